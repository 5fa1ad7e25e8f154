"""loraloop as a model of smolagents: a ToolCallingAgent whose calls are valid, a CodeAgent with structured output."""

from smolagents import CodeAgent, ToolCallingAgent, tool

from loraloop import Runtime
from loraloop.integrations.smolagents import LoraloopModel


@tool
def get_weather(city: str) -> str:
    """Current weather of a city.

    Args:
        city: Its name.
    """
    return f"18 degrees and sunny in {city}"


def main() -> None:
    runtime = Runtime.load()
    agent = ToolCallingAgent([get_weather], LoraloopModel(runtime), max_steps=3, verbosity_level=0)
    print("answer:", agent.run("What is the weather in Rome?"))
    for step in agent.memory.steps[1:]:
        for call in step.tool_calls or ():
            print(f"{call.name}({call.arguments}) -> {step.observations.strip()}")
    # The code skill writes each step as a program of its own.
    coder = CodeAgent([], LoraloopModel(runtime, skill="code"), max_steps=1, verbosity_level=0)
    coder.run("Print the sum of the numbers from 1 to 10.")
    print("program:", coder.memory.steps[1].code_action)


if __name__ == "__main__":
    main()
