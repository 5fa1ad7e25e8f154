"""The figures of the comparison with vLLM, which itself is made by `make bench-parity`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from loraloop.adapters.skill.skill import Skill
from loraloop.cli.main import run_command


def test_figures_count_each_request_once(benchmark: Callable[[str], ModuleType]) -> None:
    parity = benchmark("parity")
    made = parity.Compared
    found = parity.figures_of(
        [
            made("a", "tools", True, True, "", [], []),
            made("b", "tools", True, False, "bf16", [], "invalid"),
            made("c", "code", False, True, "", "code", "text"),
            made("d", "none", True, True, "", "text", "answer"),
        ]
    )
    rows = {row: found[f"{row}/all"] for row in ("requests", "same route", "valid there", "same step", "differs: bf16")}
    assert rows == {"requests": 4, "same route": 3, "valid there": 3, "same step": 1, "differs: bf16": 1}
    assert (found["same step/tools"], found["same route/code"], found["requests/none"]) == (1, 0, 1)
    assert "same step/none" not in found and "requests/safety" not in found


def test_the_reason_of_another_route_is_the_first_lack_under_which_this_engine_takes_it(
    benchmark: Callable[[str], ModuleType],
) -> None:
    parity = benchmark("parity")

    def steps(skill: str) -> SimpleNamespace:
        step = SimpleNamespace(skill=skill, routed=skill, text="[]", outcome="calls")
        return SimpleNamespace(first=lambda *_, **__: step)

    made = object.__new__(parity.Parity)
    made.here, made.there = steps("retrieval"), steps("none")
    made.lacking = {"thresholds": lambda: steps("retrieval"), "the whole context": lambda: steps("none")}
    world, request = SimpleNamespace(name="desk"), SimpleNamespace(id="a")
    assert made.compare(world, request)[:5] == ("desk/a", "retrieval", False, True, "the whole context")
    made.lacking = {"thresholds": lambda: steps("retrieval")}
    assert made.compare(world, request).reason == "unexplained"


def test_vllm_gets_what_skills_export_writes(
    benchmark: Callable[[str], ModuleType],
    base: Any,
    one_base: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parity = benchmark("parity")
    ours = parity.exported_skills(base, tmp_path / "ours")
    assert run_command(["skills", "export", *parity.SKILLS, "--for", "vllm", "--out", str(tmp_path / "theirs")]) == 0
    theirs = {folder.name for folder in (tmp_path / "theirs").iterdir()}
    assert {folder.name for folder in ours.values()} == theirs, "a name tells the content"


def test_each_way_of_writing_a_step_here_has_the_skill_of_its_reason(
    benchmark: Callable[[str], ModuleType], base: Any, one_base: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parity = benchmark("parity")
    monkeypatch.setattr(parity.Runtime, "connect", lambda *_, **__: None)
    ways = parity.Parity(base, Path("model"), "http://127.0.0.1:1/v1", {}).lacking
    folder = parity.known_skills(parity.BASE)["tools"]
    branch, full = (Skill.load(each).card.model_copy(update={"threshold": None}) for each in (folder, folder / "full"))
    whole = branch.model_copy(update={"activation": "full"})
    assert full.activation == "full" and full != whole and branch != whole
    for name, card in zip(ways, (branch, whole, full), strict=False):
        assert ways[name]()._runtime.bank.card("tools") == card, name
    assert (*ways, "unexplained") == parity.REASONS, "the figures count each"
