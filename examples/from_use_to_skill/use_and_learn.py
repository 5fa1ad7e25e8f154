"""From use to skill: run an agent, rate its runs, train on them, and see it do better on requests it never met.

    python use_and_learn.py            # about three minutes on two cores

A waterworks has a way of writing down its pumps that no model can know: pump 14 in the north is `N-14`. The tools skill
is used on sixty requests. Where it calls the wrong thing, somebody corrects the run, as `loraloop trace rate` does with
`--correct`. The records of these runs train a skill that begins from the shipped one.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from loraloop import Agent, Limits, Policy, Runtime, Tracer, run_recipe, tool
from loraloop.training.trace_data import from_traces, rate

SITES = {"north": "N", "south": "S", "east": "E", "west": "W", "harbour": "H"}
WAYS = (
    "Pump {n} in the {site} shows {bar} bar.",
    "Please note {bar} bar at pump {n}, {site} hall.",
    "{site} hall, pump {n}: {bar} bar",
    "Write down that pump {n} in the {site} is at {bar} bar.",
    "I read {bar} bar on pump {n} of the {site} hall.",
)


@tool
def record_pressure(pump: str, bar: float) -> dict[str, object]:
    """Record the pressure of a pump.

    Args:
        pump: The pump's short name.
        bar: The pressure in bar.
    """
    return {"pump": pump, "bar": bar, "recorded": True}


def requests(count: int, seed: int) -> list[tuple[str, dict[str, object]]]:
    """Requests, each with the arguments that are meant."""
    rng, made = random.Random(seed), []
    for _ in range(count):
        site, n, bar = rng.choice(list(SITES)), rng.randrange(2, 60), rng.randrange(11, 94) / 10
        meant: dict[str, object] = {"pump": f"{SITES[site]}-{n}", "bar": bar}
        made.append((rng.choice(WAYS).format(n=n, site=site, bar=bar), meant))
    return made


def use(runtime: Runtime, skill: str, asked: list[tuple[str, dict[str, object]]], folder: Path | None = None) -> float:
    """The share of requests that are served rightly; with a folder, traces and ratings of all runs go there."""
    right = 0
    for number, (request, meant) in enumerate(asked):
        tracer = Tracer()
        agent = Agent(
            runtime, [record_pressure], policy=Policy(skills=(skill,)), limits=Limits(max_steps=1), hooks=[tracer]
        )
        calls = agent.run_sync(request).steps[0].calls
        good = [call.arguments for call in calls] == [meant]
        right += good
        if folder is not None:
            path = tracer.last.save(folder / f"{number:03}.json")
            correction = json.dumps([{"name": "record_pressure", "arguments": meant}])
            rate(path, "good") if good else rate(path, "bad", correction)
    return right / len(asked)


def main(folder: Path, used: int = 60, held_out: int = 30, steps: int = 36) -> tuple[float, float]:
    """Runs, rates and trains; returns the shares of held-out requests served rightly before and after."""
    folder.mkdir(parents=True, exist_ok=True)
    runtime, fresh = Runtime.load(skills=["tools"]), requests(held_out, seed=2)
    before = use(runtime, "tools", fresh)
    (folder / "traces").mkdir(exist_ok=True)
    use(runtime, "tools", requests(used, seed=1), folder / "traces")
    found = from_traces(folder / "traces")
    records, *_ = found.write(folder / "runs.jsonl")
    recipe = {
        "skill": {"name": "waterworks", "description": "Calls the waterworks' tools.", "contract": "calls"},
        "start": "tools",
        "data": {
            "sources": [{"file": str(records), "license": "proprietary", "name": "rated runs (data from-traces)"}],
            "validation": 0.15,
        },
        "method": {"name": "lora", "rank": 16, "alpha": 32},
        "schedule": {"steps": steps, "batch": 4, "learning_rate": 1e-3, "validate_every": 12},
        "evaluation": {"enabled": False},
        "router": {"enabled": False},
        "output": {"folder": str(folder / "skill"), "register": False},
    }
    report = run_recipe(recipe, base=runtime.base)
    after = use(Runtime.load(runtime.base, skills=[report.skill]), "waterworks", fresh)
    print(f"{len(found.records)} records of {used} runs; held-out requests served rightly: {before:.0%} -> {after:.0%}")
    return before, after


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/waterworks"))
