"""Tools as JSON Schemas in a folder, one a file: read, given their functions by name, and called by an agent."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraloop import Agent, Policy, Runtime, Tool, load_tools

FOLDER = Path(__file__).with_name("desk")


def order_status(order: int) -> dict[str, Any]:
    return {"order": order, "status": "shipped", "arrives": "2026-05-05"}


FUNCTIONS: dict[str, Callable[..., Any]] = {"order_status": order_status}


def with_functions(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Tools with the functions of their names; one whose file has a `result` needs none."""
    return tuple(replace(tool, function=FUNCTIONS[tool.name]) if tool.name in FUNCTIONS else tool for tool in tools)


def main() -> None:
    tools = with_functions(load_tools(FOLDER))
    print("tools:", ", ".join(tool.name for tool in tools))
    agent = Agent(Runtime.load(), tools=tools, policy=Policy(max_calls=1))
    for question in ("Where is my order 4711?", "When is the shop in Oslo open on sunday?"):
        result = agent.run_sync(question, tool_choice="required")
        call = result.steps[0].calls[0]
        print(f"{question} {call.name}({call.arguments}) -> {call.result}")


if __name__ == "__main__":
    main()
