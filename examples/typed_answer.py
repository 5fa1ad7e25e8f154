"""Answers as typed values: a tool has to be called first, and the answer is an instance of a pydantic model."""

from typing import Literal

from pydantic import BaseModel, Field

from loraloop import Agent, Runtime, tool


class Report(BaseModel):
    city: str = Field(max_length=40)
    celsius: float
    sky: Literal["clear", "light clouds", "rain"]


@tool
def get_weather(city: str) -> dict:
    """Current weather of a city."""
    return {"city": city, "celsius": 18, "sky": "light clouds"}


def main() -> None:
    agent = Agent(Runtime.load(), tools=[get_weather])
    result = agent.run_sync("How is the weather in Paris?", tool_choice="required", output_type=Report)
    for step in result.steps:
        print(step.skill, step.decided_by, step.outcome, step.text)
    assert isinstance(result.value, Report)
    print(repr(result.value))
    mood = agent.run_sync("Is a sunny day good or bad news?", tool_choice="none", output_type=Literal["good", "bad"])
    print(mood.value)


if __name__ == "__main__":
    main()
