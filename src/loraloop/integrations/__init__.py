"""loraloop inside other frameworks: as their model (pydantic-ai, smolagents), and as an MCP server."""
