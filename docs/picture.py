"""Draws docs/trace.svg, the trace that the README shows: a tool call on the embedded base."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from loraloop import Agent, Runtime, Tracer, tool
from loraloop.render.trace import trace_tree


@tool
def get_weather(city: str) -> dict[str, object]:
    """Current weather of a city."""
    return {"city": city, "celsius": 18, "sky": "light clouds"}


def main() -> None:
    """Runs the README's request and writes its trace as a picture."""
    tracer = Tracer()
    Agent(Runtime.load(), tools=[get_weather], hooks=[tracer]).run_sync("What is the weather in Paris?")
    console = Console(record=True, width=104, file=io.StringIO())
    console.print(trace_tree(tracer.last))
    console.save_svg(str(Path(__file__).with_name("trace.svg")), title="loraloop trace show")


if __name__ == "__main__":
    main()
