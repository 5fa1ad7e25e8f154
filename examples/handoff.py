"""Several agents on one runtime: each has its own tools and instructions, and one hands the conversation on to others.

A hand-over is a call of a tool without a function: the run ends with it, and the program asks the next agent. All share
base, skills and router, so that another agent costs nothing. They see the same conversation, each behind its own
system message; an agent that is asked again goes on where it was, and the trace says how much it did not have to read.
"""

from collections.abc import Mapping
from typing import Any

from loraloop import Agent, Limits, Message, Policy, RunResult, Runtime, Tool, tool

MOST = 3  # agents that one request goes through


def hand_over(to: str, when: str) -> Tool:
    """What an agent calls to have another one answer."""
    return Tool(f"to_{to}", when)


@tool
def get_weather(city: str) -> dict[str, Any]:
    """Get the weather of a city.

    Args:
        city: Name of the city
    """
    return {"city": city, "celsius": 18, "sky": "light clouds"}


@tool
def order_status(order: int) -> dict[str, Any]:
    """Get where an order is.

    Args:
        order: Number of the order
    """
    return {"order": order, "status": "shipped"}


def make_agents(runtime: Runtime) -> dict[str, Agent[None]]:
    """A front desk that only hands over, and two that know something."""
    calls = Policy(tool_choice="required", max_calls=1)
    limits = Limits(max_steps=4, step_tokens=128)
    front = [
        hand_over("weather", "Answers about the weather."),
        hand_over("orders", "Answers about orders and parcels."),
    ]
    return {
        "front": Agent(runtime, front, "You send customers on to who can help.", policy=calls, limits=limits),
        "weather": Agent(runtime, [get_weather], "You tell the weather.", policy=calls, limits=limits),
        "orders": Agent(runtime, [order_status], "You look up orders.", policy=calls, limits=limits),
    }


def ask(
    agents: Mapping[str, Agent[None]], prompt: str, history: list[Message], first: str = "front"
) -> list[tuple[str, RunResult[None]]]:
    """Asks an agent, and whoever it hands over to; what was said is added to `history`.

    Returns:
        Who was asked, and each one's result; the last one has the answer.
    """
    asked: list[tuple[str, RunResult[None]]] = []
    who = first
    for _ in range(MOST):
        result = agents[who].run_sync(prompt, messages=history)
        asked.append((who, result))
        names = [call.name.removeprefix("to_") for call in result.calls]
        if result.stop_reason != "tool_call" or names[0] not in agents:
            break
        who = names[0]
    last = asked[-1][1]
    answer = "(nobody answered)" if last.stop_reason == "tool_call" else last.output
    history += [Message("user", prompt), Message("assistant", answer)]
    return asked


def main() -> None:
    agents = make_agents(Runtime.load())
    history: list[Message] = []
    for prompt in ("What is the weather in Oslo?", "Where is my order 4711?", "And the weather in Bergen?"):
        print(f"> {prompt}")
        for who, result in ask(agents, prompt, history):
            tokens = result.steps[0].tokens
            calls = [call.name for step in result.steps for call in step.calls] or [call.name for call in result.calls]
            print(f"  {who}: {', '.join(calls)} (read {tokens.prefilled} tokens, knew {tokens.reused})")
        print(f"  {history[-1].content}")


if __name__ == "__main__":
    main()
