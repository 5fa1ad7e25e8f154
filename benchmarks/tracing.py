"""What watching a run costs: a step with a tracer, with OpenTelemetry, and with a hook that does nothing.

    python benchmarks/tracing.py --json benchmarks/results/tracing.json

A scripted run of 8 steps, of which 7 call a tool and the last one answers, is run again and again, in turns with each
kind of hook. No model computes, so that the loop's own time is not lost in it: a step of the embedded base takes some
hundred milliseconds. Counted is the processor time of the thread that reads the run, where hooks are told. `…_us` is
the median, over the rounds, of what a step takes more than without hooks; `step_us` is a step without. `json_us` is
what a trace's text costs, once a run, `read_us` reading it, `bytes` its size as one line.

OpenTelemetry's spans go through the SDK's simple processor to an exporter in memory, metrics to a reader in memory.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import Report, finish, options

CALLS = 7
TEXT = "It is sunny there, with light clouds in the west and a wind of three metres per second from the sea."


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def script() -> list[Any]:
    """Steps of a run: calls, and the answer."""
    from loraloop.testing import calls

    return [*(calls(weather={"city": f"city {number}"}) for number in range(CALLS)), TEXT]


def opentelemetry(content: bool) -> Any:
    """The hook on an SDK that keeps what it is given in memory."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from loraloop.agent import OpenTelemetry

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    return OpenTelemetry(provider, meter_provider=MeterProvider([InMemoryMetricReader()]), content=content)


def step_seconds(runtime: Any, hooks: Sequence[Any]) -> float:
    """Seconds of the processor that a step of one run takes in its own thread."""
    from loraloop.agent import Agent

    steps = script()
    runtime.say(*steps)
    agent: Agent[Any] = Agent(runtime, [weather], hooks=hooks)
    gc.collect()
    gc.disable()
    start = thread_time()
    result = agent.run_sync("How is the weather?")
    seconds = thread_time() - start
    gc.enable()
    assert len(result.steps) == len(steps)
    return seconds / len(steps)


def timed(function: Callable[[], object], rounds: int) -> float:
    """Median microseconds of the processor that a call takes."""
    times = []
    for _ in range(rounds):
        start = thread_time()
        function()
        times.append(1e6 * (thread_time() - start))
    return median(times)


def measure(rounds: int) -> dict[str, float]:
    """All figures."""
    from loraloop.agent import Trace, Tracer
    from loraloop.testing import ScriptedRuntime

    runtime, tracer = ScriptedRuntime(), Tracer()
    kinds: dict[str, list[Any]] = {
        "none": [],
        "hook": [lambda event: None],
        "tracer": [tracer],
        "tracer_without_contents": [Tracer(content=False)],
        "otel": [opentelemetry(content=False)],
        "otel_with_contents": [opentelemetry(content=True)],
    }
    for hooks in kinds.values():
        step_seconds(runtime, hooks)
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds):
        names = list(kinds)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(1e6 * step_seconds(runtime, kinds[name]))
    metrics = {"step_us": median(taken["none"])}
    for name in list(kinds)[1:]:
        metrics[f"{name}_us"] = median(a - b for a, b in zip(taken[name], taken["none"], strict=True))
    trace = tracer.last
    said = trace.to_json()
    metrics["json_us"] = timed(trace.to_json, rounds)
    metrics["read_us"] = timed(lambda: Trace.from_json(said), rounds)
    metrics["bytes"] = len(said.encode())
    return metrics


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=60)
    given = parser.parse_args()
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    finish(Report("tracing", given.limit, measure(given.limit)), given.json)


if __name__ == "__main__":
    main()
