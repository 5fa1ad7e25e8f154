"""loraloop as a model of pydantic-ai: its calls and its structured output cannot leave their schemas."""

from pydantic import BaseModel
from pydantic_ai import Agent

from loraloop import Runtime
from loraloop.integrations.pydantic_ai import LoraloopModel


class City(BaseModel):
    name: str
    country: str


def get_weather(city: str) -> str:
    """Current weather of a city.

    Args:
        city: Its name.
    """
    return f"18 degrees and sunny in {city}"


def main() -> None:
    model = LoraloopModel(Runtime.load())
    result = Agent(model, tools=[get_weather]).run_sync("What is the weather in Rome?")
    print(result.output)
    for message in result.all_messages():
        for part in message.parts:
            print(f"{part.part_kind}: {getattr(part, 'args', None) or part.content}")
    print(repr(Agent(model, output_type=City).run_sync("Tell me about Paris.").output))
    print(f"{result.usage.input_tokens} tokens read, {result.usage.cache_read_tokens} of them from the cache")


if __name__ == "__main__":
    main()
