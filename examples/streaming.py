"""Watch a run while it goes: each decision, each token, each tool call is an event."""

from loraloop import Agent, Runtime, tool
from loraloop.agent import events


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: First number
        b: Second number
    """
    return a + b


def main() -> None:
    agent = Agent(Runtime.load(), tools=[add])
    for event in agent.stream("What is 17 plus 25?"):
        match event:
            case events.Routed(skill=skill, probability=probability):
                print(f"\n[{skill}, p = {probability:.2f}] ", end="")
            case events.TokenGenerated(text=text):
                print(text, end="", flush=True)
            case events.ToolCallFinished(call=call):
                print(f"\n{call.name} returned {call.result}", end="")
            case events.RunFinished(result=result):
                print(f"\n{result.stop_reason} after {len(result.steps)} steps, {result.ms:.0f} ms")


if __name__ == "__main__":
    main()
