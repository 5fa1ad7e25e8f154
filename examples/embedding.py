"""The README's example, as a program."""

from loraloop import Agent, Runtime, tool


@tool
def get_weather(city: str) -> dict:
    """Current weather of a city."""
    return {"city": city, "celsius": 18, "sky": "light clouds"}


agent = Agent(Runtime.load(), tools=[get_weather])
result = agent.run_sync("What is the weather in Paris?")
print(result.output, [step.skill for step in result.steps])
