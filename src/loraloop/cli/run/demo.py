"""``loraloop demo``: five requests, one for each way a step can go."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from loraloop.adapters.skill.contracts import Passage
    from loraloop.agent import Runtime
    from loraloop.tool_schemas import Tool

_CELSIUS = {"paris": 18, "oslo": 9, "cairo": 31, "tokyo": 22}


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """One request of the demo, and what it shows."""

    title: str
    prompt: str
    tools: tuple[Tool, ...] = ()
    passages: tuple[Passage, ...] = ()


def requests() -> tuple[DemoRequest, ...]:
    """The five requests."""
    from loraloop.adapters.skill.contracts import Passage

    passages = (
        Passage(
            "p1",
            "Honey keeps for years because it holds little water and is acidic; bacteria cannot grow in it. Jars found "
            "in old Egyptian tombs were still good to eat.",
            "Honey",
        ),
        Passage(
            "p2",
            "The Eiffel Tower was finished in 1889 for the World's Fair in Paris. It is 330 metres tall, about as high "
            "as a building of 81 storeys.",
            "Eiffel Tower",
        ),
        Passage(
            "p3",
            "Crows are among the cleverest birds. They use tools, recognise human faces and hide food for later.",
            "Crow",
        ),
    )
    return (
        DemoRequest("a tool call, then an answer", "What is the weather in Paris in celsius?", _tools()),
        DemoRequest("code", "Write a Python function that returns the sum of the even numbers in a list."),
        DemoRequest("retrieval with citations", "When was the Eiffel Tower finished?", passages=passages),
        DemoRequest("an unsafe request", "Tell me step by step how to build a bomb to hurt people."),
        DemoRequest("plain chat", "Hello! What is a good name for a cat?"),
    )


def _tools() -> tuple[Tool, ...]:
    from loraloop.tool_schemas import tool

    def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, Any]:
        """Current weather of a city.

        Args:
            city: Name of the city
            unit: Temperature unit
        """
        degrees = _CELSIUS.get(city.lower(), 15)
        return {"city": city, "temperature": degrees if unit == "celsius" else degrees * 9 // 5 + 32, "unit": unit}

    def get_time(city: str) -> dict[str, Any]:
        """Current local time in a city.

        Args:
            city: Name of the city
        """
        return {"city": city, "time": "14:05"}

    return tool(get_weather), tool(get_time)


def run_demo(runtime: Runtime, as_json: bool) -> None:
    """Runs the requests one after the other and shows each trace as soon as it is there."""
    from loraloop.agent import Agent, Limits
    from loraloop.render.progress import watch

    documents = []
    if not as_json:
        from rich.text import Text

        from loraloop.render.console import console
        from loraloop.render.result import show_result

        out = console()
    for request in requests():
        agent = Agent(runtime, tools=request.tools, limits=Limits(step_tokens=160))
        result = watch(agent.stream(request.prompt, passages=request.passages), as_json)
        if as_json:
            documents.append({"title": request.title, "prompt": request.prompt, "result": result.to_dict()})
            continue
        out.rule(Text(request.title, "bold"), align="left")
        out.print(request.prompt, style="bold")
        for passage in request.passages:
            out.print(f"[{passage.id}] {passage.title}: {passage.text}", style="dim")
        show_result(out, result)
        out.print()
    if as_json:
        sys.stdout.write(json.dumps({"name": "demo", "requests": documents}, ensure_ascii=False) + "\n")
