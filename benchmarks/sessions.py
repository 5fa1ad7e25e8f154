"""What it costs to keep a session: the time of each commit on this disk, against the time of the step itself.

    python benchmarks/sessions.py --json benchmarks/results/sessions.json

The embedded base answers requests that call a tool, in a session and without one. `step_us`, `call_begun_us`,
`call_ended_us`, `run_begun_us` and `run_ended_us` are the journal's parts, each with its commit; `step_ms` is what the
model and the router need for a step, and `share` what a step with one call spends on the journal, relative to that.
`fsync_us` is this disk alone: 4 KiB appended to a file, and an fsync.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import BenchmarkReport, finish, options, spread

PARTS = {
    "opened": "run_begun",
    "begun": "call_begun",
    "ended": "call_ended",
    "stepped": "step",
    "finished": "run_ended",
}


def timed(times: dict[str, list[float]], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; each call adds its microseconds."""

    def call(*given: Any) -> Any:
        start = perf_counter()
        value = method(*given)
        times[name].append(1e6 * (perf_counter() - start))
        return value

    return call


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def fsyncs(folder: Path, count: int) -> list[float]:
    """Microseconds of an append and an fsync each."""
    found = []
    with open(folder / "plain", "wb", buffering=0) as file:
        for _ in range(count):
            start = perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            found.append(1e6 * (perf_counter() - start))
    return found


def main() -> None:
    from loraloop.agent import Agent, Limits, Policy, Runtime
    from loraloop.agent.sessions.journal import SessionJournal
    from loraloop.agent.sessions.sessions import Sessions

    parser = options(__doc__.splitlines()[0], limit=40)
    parser.add_argument("--folder", type=Path, help="where the file lies, instead of the system's own")
    given = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in PARTS.values()}
    for method, name in PARTS.items():
        setattr(SessionJournal, method, timed(times, name, getattr(SessionJournal, method)))
    agent = Agent(Runtime.load(), [add], limits=Limits(max_steps=3, step_tokens=48), policy=Policy(max_calls=1))
    steps: list[float] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        store = Sessions(Path(folder) / "sessions.db")
        for number in range(given.limit + 1):
            prompt = f"How much is {number} plus {number * 7 % 11}?"
            result = agent.run_sync(prompt, session=store.session(str(number)), tool_choice="required")
            if number == 0:  # what is made once
                for each in times.values():
                    each.clear()
                continue
            for step in result.steps:
                phases = (ms for phase, ms in step.ms.items() if phase not in ("first_token", "tool"))
                steps.append(sum(phases))
        disk = fsyncs(Path(folder), 200)
        store.close()
        size = (Path(folder) / "sessions.db").stat().st_size
    metrics: dict[str, float] = {}
    for name, found in times.items():
        metrics |= spread(f"{name}_us", found)
    metrics |= spread("fsync_us", disk)
    metrics["step_ms_median"] = median(steps)
    both = sum(median(times[name]) for name in ("step", "call_begun", "call_ended"))
    metrics["share"] = both / 1e3 / median(steps)
    metrics["steps"] = len(steps)
    metrics["bytes_a_step"] = size / (len(steps) + len(steps) // given.limit)
    finish(BenchmarkReport("sessions", given.limit, metrics), given.json)


if __name__ == "__main__":
    main()
