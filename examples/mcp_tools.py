"""Tools of an MCP server (examples/mcp_server.py), run as a child process and talked to over stdio."""

import sys
from pathlib import Path

from loraloop import Agent, McpServer, Runtime

SERVER = Path(__file__).with_name("mcp_server.py")


def main() -> None:
    with McpServer.stdio(sys.executable, [str(SERVER)]) as server:
        print(f"{server.name} offers {', '.join(tool.name for tool in server.tools)}")
        agent = Agent(Runtime.load(), tools=server.tools)
        result = agent.run_sync("What is the weather in Paris in fahrenheit?")
        for step in result.steps:
            for call in step.calls:
                print(f"{call.name}({call.arguments}) -> {call.result}")
        print(result.output)


if __name__ == "__main__":
    main()
