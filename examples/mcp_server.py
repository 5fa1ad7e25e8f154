"""A small MCP server over stdio, for examples/mcp_tools.py: run by that example, not by hand."""

from typing import Annotated, Literal

from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field

server = MCPServer("city-desk")


class Weather(BaseModel):
    city: str
    temperature: float
    unit: str
    sky: str


@server.tool()
def get_weather(
    city: Annotated[str, Field(description="Name of the city")],
    unit: Annotated[Literal["celsius", "fahrenheit"], Field(description="Temperature unit")] = "celsius",
) -> Weather:
    """Current weather of a city."""
    return Weather(city=city, temperature=18 if unit == "celsius" else 64, unit=unit, sky="light clouds")


@server.tool()
def find_museums(
    city: Annotated[str, Field(description="Name of the city")],
    limit: Annotated[int, Field(ge=1, le=10, description="How many at most")] = 3,
) -> list[str]:
    """Museums in a city."""
    return ["City museum", "Gallery of modern art", "House of music"][:limit]


if __name__ == "__main__":
    server.run()
