"""A short soak on a small random base: all holds; and what a soak is to find is found where it is made to happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import random_base
from loraloop.agent import Runtime
from loraloop.agent.sessions.sessions import Sessions
from loraloop.testing import ScriptedRouter, calls

SECONDS = 6.0


@pytest.fixture(scope="module")
def soak(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("soak")


def made(benchmark: Callable[[str], ModuleType]) -> Runtime:
    """More skills than slots, one of them on the whole context."""
    distinct_skill = benchmark("soak").distinct_skill
    base = random_base(seed=3)
    bank = Bank(base, slots=4, rank=4)
    for seed, name in enumerate(("tools", "code", "retrieval", "first", "second", "third")):
        bank.add(distinct_skill(base, name, seed, 20))
    bank.add(distinct_skill(base, "whole", 9, 20, "full"))
    return Runtime(base, bank, ScriptedRouter(), context=1500, reuse=6000, full_reuse=3000)


def test_a_short_soak_holds(soak: ModuleType, benchmark: Callable[[str], ModuleType]) -> None:
    """Memory is not judged here: a few seconds are its warm-up."""
    at = soak.Soak(made(benchmark), step_tokens=64, share=1.0, samples=12)
    seen = at.run(8, SECONDS)
    verdict = soak.checked(at.runtime, at.samples.kept, 0.05)
    document = soak.report(at, seen, verdict, 8).document()
    problems = [text for text in document["details"]["problems"] if not text.startswith("memory grew")]
    assert problems == []
    metrics = document["metrics"]
    assert metrics["runs"] > 8 and metrics["calls"] > 2 and metrics["accidents"] >= 1
    assert metrics["steps_recomputed"] >= 6 and len(document["details"]["steps_by_skill"]) >= 4
    assert metrics["logit_distance_own_max"] < metrics["logit_distance_nearest_other_median"]


def test_a_step_under_another_adapter_is_found(soak: ModuleType, benchmark: Callable[[str], ModuleType]) -> None:
    """The check can fail: two adapters change places behind the steps' back."""
    runtime = made(benchmark)
    at = soak.Soak(runtime, step_tokens=64, share=1.0, accidents=())
    for name in ("first", "second"):
        at._agent.run_sync("Say something.", skill=name, deps=soak.Notes())
    kept = {sample.skill: sample for sample in at.samples.kept}
    assert soak.checked(runtime, list(kept.values()), 0.05).wrong == []
    kept["first"].skill, kept["second"].skill = "second", "first"
    wrong = soak.checked(runtime, list(kept.values()), 0.05).wrong
    assert len(wrong) == 2 and "a step names second" in wrong[0] and "first is off by" in wrong[0]


def test_lost_steps_and_calls_are_found(soak: ModuleType, benchmark: Callable[[str], ModuleType]) -> None:
    at = soak.Soak(made(benchmark), step_tokens=64, accidents=())
    result: Any = at._agent.run_sync("Look it up.", tool_choice="works", deps=soak.Notes())
    told = list(result.steps)
    at._account("tool", soak.Notes(["works"]), told, len(told), result, "")
    assert at.tally.problems == []
    at._account("tool", soak.Notes(["works"]), told[1:], len(told), result, "")
    at._account("tool", soak.Notes([]), told, len(told), result, "")
    at._account("tool", soak.Notes(["works"]), told, 0, None, "")
    found = "\n".join(at.tally.problems)
    for part in ("steps [1", "to the hook", "the result has", "the tools ran []", "without a result"):
        assert part in found


def test_growth_is_a_slope(benchmark: Callable[[str], ModuleType]) -> None:
    watch = benchmark("soak_watch")
    flat = [watch.Sample(float(n), (100.0 + n % 2, *[1.0] * 6)) for n in range(60)]
    grown = [watch.Sample(float(n), (100.0 + n, *[1.0] * 6)) for n in range(60)]
    assert abs(watch.slope(flat, "rss_mb")) < 1 and watch.slope(grown, "rss_mb") == pytest.approx(60)
    assert watch.slope(flat[:1], "rss_mb") == 0


@pytest.mark.parametrize("name", ["skill_cut_short", "index_on_a_full_disk", "writer_that_dies", "server_that_dies"])
def test_an_accident_leaves_all_whole(name: str, benchmark: Callable[[str], ModuleType], tmp_path: Any) -> None:
    getattr(benchmark("soak_faults"), name)(made(benchmark), tmp_path)


def test_a_session_that_lost_something_is_found(benchmark: Callable[[str], ModuleType], tmp_path: Path) -> None:
    accidents = benchmark("soak_sessions")
    accidents.session_on_a_full_disk(None, tmp_path)
    with Sessions(tmp_path / "s.db") as store:
        accidents._agent([calls(pay={"amount": 0}), "Done."]).run_sync("Pay.", session=store.session("s"))
        accidents._check(store, ["paid 0", "step 0"])
        with pytest.raises(AssertionError, match=r"not in the file: .'paid 1'"):
            accidents._check(store, ["paid 0", "paid 1"])
        with pytest.raises(AssertionError, match="did not run"):
            accidents._check(store, ["step 0"])
