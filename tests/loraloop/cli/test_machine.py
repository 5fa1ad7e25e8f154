"""``loraloop doctor``: findings with what to do, as lines and as JSON, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base, random_base
from loraloop.adapters.skill.registry import library, register
from loraloop.cli import machine as doctor


@pytest.fixture
def on_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any base is a small random one."""
    made = random_base(seed=0)
    monkeypatch.setattr(Base, "load", classmethod(lambda cls, *args, **kwargs: made))


def test_findings_say_what_fits_and_what_to_do(
    run: Any, base: Base, on_random: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path))
    monkeypatch.setattr("loraloop.router.proxy._embedded", lambda: base)
    register(library()["tools"], "mine")
    code, out, _ = run("doctor", "--json")
    told = json.loads(out)
    found = {each["what"]: each for each in told["findings"]}
    assert found["torch"]["ok"] and found["base"]["ok"] and found["device"]["ok"]
    assert ("processor" in found) == found["base"]["found"].endswith("C decoder")
    assert found["self-test"]["ok"] and " tokens in " in found["self-test"]["found"]
    assert found["router"]["ok"] and "embedded" in found["router"]["found"]  # the random base has none of its own
    assert not found["skill mine"]["ok"] and "--base" in found["skill mine"]["todo"]
    assert (code, told["ok"]) == (0, True)
    lines = run("doctor")[1].splitlines()
    assert any(line.startswith("ok  router") for line in lines) and any(line.startswith("ok  torch") for line in lines)


def test_a_base_that_is_not_there_is_a_finding(run: Any) -> None:
    code, out, _ = run("doctor", "--base", "smollm", "--json")
    last = json.loads(out)["findings"][-1]
    assert code == 1 and last["what"] == "base" and "did you mean" in last["todo"]


def test_the_class_of_the_processor_is_named(base: Base) -> None:
    if not base.native:
        pytest.skip("no C compiler")
    finding = doctor._processor()
    named, means = finding.found.split(": ")
    assert finding.ok and named and ("in one instruction" in means) == ("VNNI" in named or "dot products" in named)


def test_a_missing_package_says_how_to_get_it() -> None:
    finding = doctor._package("no-such-package-here")
    assert not finding.ok and finding.needed and finding.todo == "pip install no-such-package-here"
