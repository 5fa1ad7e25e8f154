"""loraloop inside other frameworks: as the model of pydantic-ai, and as an MCP server."""
