"""`skills build`: skills and a router for a base that the package does not know, planned, built, resumed, used."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loraloop import Runtime
from loraloop.adapters.base import Base, random_base
from loraloop.adapters.base.loading.catalog import CATALOG
from loraloop.evals.skills import TOKENS
from loraloop.router import Router, fit, states
from loraloop.tool_schemas.errors import InputError, UnknownNameError
from loraloop.training import build_plan
from loraloop.training.build import BuildOrder, build, recipe_folder, skill_document, skill_names
from loraloop.training.build_plan import plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    """A random model as Hugging Face saves one."""
    place = tmp_path_factory.mktemp("model")
    save_llama(place, hidden_size=64, intermediate_size=96, max_position_embeddings=4096)
    return place


@pytest.fixture(scope="module", autouse=True)
def states_are_read_once() -> Iterator[None]:
    """The states of a router, which are more than ten thousand and the same for every base here."""
    read = functools.cache(states.frozen_states)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "frozen_states", read)
        patch.setattr(fit, "frozen_states", read)
        yield


@pytest.fixture
def few_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router is fitted on few of its states: the bases here are random, and none of its scores is looked at."""
    monkeypatch.setattr("loraloop.training.build.LEAST_SHARE", 0.03)


@pytest.mark.parametrize("name", ["data", "desk", "make", "worlds"])
def test_a_folder_beside_the_recipes_is_no_bases(name: str) -> None:
    assert recipe_folder(cast(Base, SimpleNamespace(name=name, config=random_base(0).config))).name == "smollm2-135m"


def test_a_base_of_ones_own_gets_skills_and_a_router(folder: Path, tmp_path: Path, run: Any, few_states: None) -> None:
    order = BuildOrder(str(folder), tmp_path / "out", quantize="fp32", records=24, measured=6)
    base = Base.load(str(folder), quantize="fp32")
    assert recipe_folder(base).name == "smollm2-135m"
    report = build(replace(order, skills=("safety", "code")), base=base)
    assert list(report.skills) == ["safety"]
    assert [note.split()[0] for note in report.notes] == ["code", "without"], "what is left out without --data"
    told = json.loads((order.out / "report.json").read_text(encoding="utf-8"))
    assert {"base", "skill"} <= set(told["skills"]["safety"]["evaluation"]["scores"])
    page = (order.out / "report.md").read_text(encoding="utf-8")
    assert "bare base" in page and "| safety |" in page and "held out macro f1" in page
    card = json.loads((order.out / "safety" / "card.json").read_text(encoding="utf-8"))
    assert report.skills["safety"]["data"]["train"] == report.skills["safety"]["data"]["valid"] == 24
    assert card["base"].startswith(base.name) and card["data"][0]["license"] == "Apache-2.0"

    times = {path: path.stat().st_mtime_ns for path in order.out.rglob("*.safetensors")}
    again = build(replace(order, skills=("safety",)), base=base)
    assert {path: path.stat().st_mtime_ns for path in order.out.rglob("*.safetensors")} == times, "nothing is redone"
    assert again.router == report.router
    shutil.rmtree(order.out / "work")
    assert build(replace(order, skills=("safety",)), base=base).skills == again.skills
    with pytest.raises(InputError, match="built with other options"):
        build(replace(order, skills=("safety",), records=32), base=base)

    assert f'skills="{order.out}"' in page and f"--base {folder} --quantize fp32 --skills {order.out}" in page
    runtime = Runtime.load(base, skills=str(order.out))
    assert set(runtime.skills) == {"safety", "tools"}, "the base itself calls, since no tools skill was built"
    assert isinstance(runtime.router, Router) and runtime.router.card == Router.load(order.out / "router").card
    command = "run", "--base", str(folder), "--quantize", "fp32", "--skills", str(order.out), "--json"
    status, out, _ = run(*command, "--max-tokens", "4", "--no-screen", "Say hello.")
    steps = json.loads(out)["steps"]
    assert status in (0, 5) and steps and {step["decided_by"] for step in steps} == {"router"}


def test_the_recipes_are_fitted_to_what_serves_the_base_and_how_long_its_contexts_are(tmp_path: Path) -> None:
    for native, precision, trunks in ((True, "served", "served"), (False, "base", "trained")):
        config = SimpleNamespace(max_positions=2048)
        base = cast(Base, SimpleNamespace(name="qwen2.5-coder-1.5b", native=native, config=config))
        document = skill_document("tools", base, BuildOrder("x", tmp_path))
        assert document is not None and document["data"]["longest"] == 2048
        assert (document["schedule"]["precision"], document["schedule"]["trunks"]) == (precision, trunks)


def test_skills_that_speak_of_a_run_are_built_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_states: None
) -> None:
    monkeypatch.setitem(TOKENS, "verdict", 64)  # this base's tokens are single characters
    order = BuildOrder(str(folder), tmp_path, ("answer", "verdict"), quantize="fp32", records=24, measured=6)
    report = build(order)
    assert report.skills["answer"]["threshold"] is None and not report.skills["answer"]["evaluation"]
    threshold = report.skills["verdict"]["threshold"]
    assert threshold["chosen"]["n"] == 12 and 0 < threshold["value"] <= 1
    assert threshold["chosen"]["command"] == report.facts["command"], "with its base and options"
    cards = [json.loads((tmp_path / name / "card.json").read_text(encoding="utf-8")) for name in order.skills]
    assert [(card["contract"], card.get("closes", False)) for card in cards] == [("text", True), ("agreement", False)]


@pytest.mark.slow
def test_a_killed_build_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    order = BuildOrder(str(folder), out, ("safety",), quantize="fp32", records=400, measured=6)
    script = (
        "import sys; from pathlib import Path; from loraloop.training.build import BuildOrder, build\n"
        "build(BuildOrder(sys.argv[1], Path(sys.argv[2]), ('safety',), quantize='fp32', records=400, measured=6))"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(folder), str(out)])
    log, state = (out / "work" / "safety" / "checkpoints" / name for name in ("log.jsonl", "state.pt"))
    while not state.exists():
        assert child.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (out / "safety").exists()
    begun = log.read_bytes().splitlines()[0]
    report = build(order)
    assert log.read_bytes().splitlines()[0] == begun, "the training was not begun again"
    assert list(report.skills) == ["safety"] and (out / "report.md").is_file()


def test_a_plan_measures_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    order = BuildOrder(str(folder), tmp_path / "out", skills=("safety",), records=200)
    base = Base.load(str(folder), quantize="fp32")
    skill, router = plan(order, base)
    assert skill.steps == 24 and skill.seconds > 0 and skill.disk_mb > 0 and skill.memory_mb > 0
    assert router.name == "router" and router.seconds > 0 and not order.out.exists()


def test_a_plan_counts_what_the_need_of_a_call_is_learnt_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, order = Base.load(str(folder), quantize="fp32"), BuildOrder(str(folder), tmp_path / "out", skills=("safety",))
    document = build_plan.router_document(base, order)
    counts = []
    for call in ({}, {"call": 0.01}):
        monkeypatch.setattr(build_plan, "router_document", lambda base, order, call=call: {**document, **call})
        counts.append(plan(order, base)[-1].steps)
    assert counts[1] - counts[0] == len(states.call_states(base.prompting.tools_header)) > 5000


def test_a_plan_says_what_it_does_and_reckons_what_it_has_no_time_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setattr(build_plan, "MOST_SECONDS", 0.0)
    order = BuildOrder(str(folder), tmp_path / "out", skills=("safety", "tools"), records=200)
    lines: list[str] = []
    safety, tools, router = plan(order, Base.load(str(folder), quantize="fp32"), say=lines.append)
    assert [line.split(":")[0] for line in lines] == ["safety", "safety", "tools", "router"], "tools is not measured"
    assert safety.seconds > 0 and tools.seconds > 0 and tools.steps > 0 and router.seconds > 0
    command = "skills", "build", "--base", str(folder), "--quantize", "fp32", "--out", str(order.out), "--plan"
    status, out, err = run(*command, "--skills", "safety", "--records", "200")
    assert status == 0 and "router" in out and not order.out.exists()
    assert err.splitlines()[0] == f"loading {folder}" and "safety: reading some of its records" in err


@pytest.mark.parametrize("name", CATALOG)
def test_every_base_of_the_catalog_is_trained_by_every_recipe_that_it_has(name: str, tmp_path: Path) -> None:
    base = random_base()
    base.name = name
    order = BuildOrder(name, tmp_path / "out", data=tmp_path)
    names = skill_names(order, base)
    there = {path.stem for path in recipe_folder(base).glob("*.yaml")}
    assert recipe_folder(base).name == name and {*names, "router"} == there and "tools" in names
    for skill in names:
        document = skill_document(skill, base, order)
        assert document is not None and document["skill"]["name"] == skill
    for skill in {"code", "verdict"} - set(names):
        with pytest.raises(InputError, match=f"no recipe for {skill} of {name}: build .*tools, answer"):
            build(replace(order, skills=("tools", skill)), base=base)


def test_a_build_that_names_no_skills_is_of_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    found: list[str] = []

    def note(order: BuildOrder, base: Base, say: object) -> list[Any]:
        found.extend(skill_names(order, base))
        return []

    monkeypatch.setattr(build_plan, "plan", note)
    command = "skills", "build", "--base", str(folder), "--quantize", "fp32", "--out", str(tmp_path / "out"), "--plan"
    status, out, _ = run(*command)
    assert status == 0 and "code is left out" in out
    assert found == ["tools", "answer", "verdict", "retrieval", "safety", "code"]


def test_what_is_wrong_with_an_order(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="tools"):
        BuildOrder("x", tmp_path, skills=("tool",))
    base = Base.load(str(folder), quantize="fp32")
    order = BuildOrder(str(folder), tmp_path / "out", skills=("code",))
    assert skill_document("code", base, order) is None
    with pytest.raises(InputError, match="--data"):
        build(order, base=base)
    with pytest.raises(InputError, match="no data file"):
        build(replace(order, data=tmp_path), base=base)
