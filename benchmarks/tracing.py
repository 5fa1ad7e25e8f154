"""What watching a run costs: a step with a tracer, and with OpenTelemetry.

    python benchmarks/tracing.py --json benchmarks/results/tracing.json

The events of one scripted run of 8 steps, of which 7 call a tool and the last one answers, are told again and again to
what follows a run. `…_us` is the median of the processor time, a step; the making of the trace and the end of the
spans are shares of it. `json_us` is what a trace's text costs, once a run, `read_us` reading it, `bytes` its size as
one line.

OpenTelemetry's spans go through the SDK's simple processor to an exporter in memory, metrics to a reader in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from pathlib import Path
from statistics import median
from time import thread_time
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.agent import RunFacts, RunHook
    from loraloop.agent.events import Event

CALLS = 7
TEXT = "It is sunny there, with light clouds in the west and a wind of three metres per second from the sea."


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def events_of_a_run() -> tuple[RunFacts, list[Event]]:
    """A run's facts and its events: calls, and the answer."""
    from loraloop.agent import Agent, RunFacts
    from loraloop.testing import ScriptedRuntime, calls

    runtime = ScriptedRuntime(*(calls(weather={"city": f"city {number}"}) for number in range(CALLS)), TEXT)
    agent: Agent[Any] = Agent(runtime, [weather])
    events = list(agent.stream("How is the weather?"))
    return RunFacts(events[0].run_id, runtime, agent.job("How is the weather?"), None), events


def follow(hook: RunHook, facts: RunFacts, events: Sequence[Event]) -> None:
    """Has a hook follow the run once more."""
    from loraloop.agent.events import ToolCallStarted

    follower = hook.begin(facts)
    for event in events:
        follower(event)
        if isinstance(event, ToolCallStarted):
            copy_context().run(follower.calling, event.id)
    follower.over(None)


def opentelemetry(content: bool) -> RunHook:
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

    facts, events = events_of_a_run()
    tracer = Tracer()
    hooks: dict[str, RunHook] = {
        "tracer": tracer,
        "tracer_without_contents": Tracer(content=False),
        "otel": opentelemetry(content=False),
        "otel_with_contents": opentelemetry(content=True),
    }
    metrics: dict[str, float] = {}
    for name, hook in hooks.items():
        follow(hook, facts, events)
        metrics[f"{name}_us"] = timed(lambda hook=hook: follow(hook, facts, events), rounds) / (CALLS + 1)
    trace = tracer.last
    said = trace.to_json()
    metrics["json_us"] = timed(trace.to_json, rounds)
    metrics["read_us"] = timed(lambda: Trace.from_json(said), rounds)
    metrics["bytes"] = len(said.encode())
    return metrics


def main() -> None:
    given = options(__doc__.splitlines()[0], limit=200).parse_args()
    finish(BenchmarkReport("tracing", given.limit, measure(given.limit)), given.json)


if __name__ == "__main__":
    main()
