"""pydantic-ai against `loraloop serve`: its agent, its tool, our model."""

import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

url = os.environ.get("LORALOOP_URL", "http://127.0.0.1:8000") + "/v1"
agent = Agent(OpenAIChatModel("auto", provider=OpenAIProvider(base_url=url, api_key="none")))


@agent.tool_plain
def get_weather(city: str) -> str:
    """Current weather of a city."""
    print("asked for", city)
    return "sunny, 21 degrees"


print("answer:", agent.run_sync("What is the weather in Paris?").output)
