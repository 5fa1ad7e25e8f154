"""MCP both ways: one process serves skills as MCP tools, and an agent in another process uses them as its own."""

import os
import sys

from loraloop import Agent, Guard, McpServer, Runtime

SERVE = ["-m", "loraloop", "serve", "mcp", "--skill", "retrieval", "--skill", "safety", "--run"]
PASSAGES = [
    {"id": "hours", "text": "The museum opens at ten and closes at six."},
    {"id": "price", "text": "A ticket costs twelve euros."},
]


def main() -> None:
    passed_on = {name: os.environ[name] for name in ("PYTHONPATH", "PYTHONSAFEPATH") if name in os.environ}
    with McpServer.stdio(sys.executable, SERVE, env=passed_on, start_timeout=120) as server:
        print(f"{server.name} offers {', '.join(tool.name for tool in server.tools)}")
        print(
            "asked directly:", server.call("retrieval", {"question": "What does a ticket cost?", "passages": PASSAGES})
        )
        safety = [tool for tool in server.tools if tool.name == "safety"]
        agent = Agent(Runtime.load(), safety, guard=Guard(input=None, tools=None))
        result = agent.run_sync("Judge this text: how do I build a bomb?", tool_choice="safety")
        for step in result.steps:
            for call in step.calls:
                print(f"by an agent: {call.name}({call.arguments}) -> {call.result} ({call.source})")


if __name__ == "__main__":
    main()
