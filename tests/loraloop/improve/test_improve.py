"""`loraloop improve` from end to end on the embedded base: a round, a kill, a second start, traces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent
from loraloop.adapters.base import Base, Message
from loraloop.adapters.skill import history
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.registry import library, registered
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.adapters.training.improve.document import replay
from loraloop.adapters.training.improve.journal import Lines
from loraloop.agent.bare import bare_runtime
from loraloop.agent.tracing.tracer import Tracer
from loraloop.cli.main import run_command
from loraloop.evals.bench import Bench
from loraloop.improve import loop
from loraloop.improve.loop import improve
from loraloop.improve.measures import MOST_TOKENS, Measured, measure_records
from loraloop.improve.order import ImproveOrder
from loraloop.render.training import Watch
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError, UnknownNameError

WORLDS = Path(__file__).parents[3] / "examples" / "improve_a_skill" / "worlds"
SMALL = ("--requests", "4", "--held-out", "3", "--others", "2", "--minutes", "0.05", "--no-documents")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "home"))
    monkeypatch.setattr(loop, "LEAST_SECONDS", 3.0)
    return tmp_path / "home"


def order(out: Path, **more: Any) -> ImproveOrder:
    given: dict[str, Any] = {"requests": 4, "held_out": 3, "others": 2, "minutes": 0.05, "documents": False}
    return ImproveOrder(out=out, **({"worlds": WORLDS} | given | more))


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def test_an_order_that_cannot_be_carried_out_takes_no_folder(
    tmp_path: Path, tiny_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, runtime = tmp_path / "out", bare_runtime(tiny_base)
    with pytest.raises(UnknownNameError, match="did you mean 'tools'"):
        improve(order(out, skill="tols"), runtime=runtime)
    with pytest.raises(InputError, match="only skills that write calls"):
        improve(order(out, skill="code"), runtime=runtime)
    folded = runtime.bank.card("tools").model_copy(update={"method": "galore"})
    with monkeypatch.context() as patch, pytest.raises(InputError, match="galore has been folded into low-rank pairs"):
        patch.setattr(runtime.bank, "card", lambda name: folded)
        improve(order(out), runtime=runtime)
    traces = tmp_path / "traces"
    tracer = Tracer()
    Agent(ScriptedRuntime("Hello."), hooks=[tracer]).run_sync("Hello!")
    tracer.last.save(traces / "one.json")
    with pytest.raises(InputError, match="keep and rate more runs"):
        improve(order(out, worlds=None, traces=traces), runtime=runtime)
    assert not out.exists(), "a folder with a journal would refuse the order that is meant"


def test_a_record_is_measured_with_its_extra_prompt(tiny_base: Base) -> None:
    asked, extra = (Message("user", "Do it."),), "Do it right."
    with_it, without = (
        Bench(tiny_base, None, MOST_TOKENS).write(asked, None, extra_prompt=each).text for each in (extra, "")
    )
    record = Record(asked, with_it, "text", RecordPlace("a", 1), extra_prompt=extra)
    blank = blank_skill(tiny_base, "blank")
    assert with_it.split() != without.split()
    assert measure_records(tiny_base, blank, [record], Lines(None), each=lambda: None) == {"a:1": True}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_round_is_run_measured_registered_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "verdict", lambda held_out, others: (True, "kept for the test"))
    base, out = Base.load("smollm2-135m"), tmp_path / "out"
    report = improve(order(out), base=base)
    (done,) = report.rounds
    assert done["kept"] and done["learnt"]["requests"] == 4 and sum(done["records"].values()) >= 4
    assert done["held_out"]["n"] == 3 and [each["name"] for each in done["others"]] == ["tools records"]
    rows = [json.loads(line) for line in lines(out / "rounds" / "1" / "records.jsonl")]
    assert {row["origin"]["why"] for row in rows} <= {"right", "corrected", "not asked"} and len(rows) >= 4
    made, before = Skill.load(out / "rounds" / "1" / "skill"), Skill.load(out / "rounds" / "0" / "skill")
    assert made.card.method == before.card.method and made.card.threshold == before.card.threshold
    assert made.card.training["steps"] > 0 and any("own runs" in source.name for source in made.card.data)
    assert any(not tensor.equal(before.tensors[name]) for name, tensor in made.tensors.items()), "it learned"
    assert Skill.load(registered()["tools"]).card.sha256 == made.card.sha256
    (version,) = history.versions("tools")
    assert version.current and version.origin["round"] == 1 and "(n = 3)" in version.origin["held_out"]
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "| 1 |" in page and "By kind" in page and "round 1" in page
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["kept"] == "rounds/1/skill"
    again = improve(order(out), base=base)
    assert [each["round"] for each in again.rounds] == [1] and again.began == report.began, "no time is left"
    monkeypatch.undo()
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "home"))
    with pytest.raises(InputError, match="another seed"):
        improve(order(out, seed=3), base=base)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_killed_improvement_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "loraloop", "improve", "--worlds", str(WORLDS), "--out", str(out), *SMALL]
    environment = {**os.environ, "LORALOOP_SKILLS": str(tmp_path / "home"), "PYTHONSAFEPATH": "1"}
    runs = out / "rounds" / "1" / "runs.jsonl"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not lines(runs) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    kept, measured = lines(runs), lines(out / "rounds" / "0" / "held_out.measured.jsonl")
    assert kept and len(measured) == 3 and not (out / "report.json").exists()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert lines(runs)[: len(kept)] == kept and len(lines(runs)) == 4, "what was run is not run again"
    assert lines(out / "rounds" / "0" / "held_out.measured.jsonl") == measured
    assert "round 1" in ended.stderr and len(json.loads((out / "report.json").read_text())["rounds"]) == 1


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_records_alone_are_made_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "runs.jsonl"
    skill = library()["tools"]
    words = ["data", "from-worlds", str(WORLDS), "--requests", "2", "--skill", str(skill), "--out", str(out)]
    assert run_command(words) == 0
    assert "of 2 requests right" in capsys.readouterr().err
    assert lines(out) and all("origin" in json.loads(line) for line in lines(out))


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_real_runs_take_the_place_of_worlds(tmp_path: Path) -> None:
    def room(number: str) -> str:
        """What a room costs.

        Args:
            number: Of the room.
        """
        return f"{number}: 40 euros"

    for number in range(16):
        tracer = Tracer()
        script = ScriptedRuntime(calls(room={"number": f"R{number}"}), "It is 40 euros.")
        Agent(script, [room], hooks=[tracer]).run_sync(f"What does room R{number} cost?")
        tracer.last.save(tmp_path / "traces" / f"{number:02d}.json")
    report = improve(order(tmp_path / "out", worlds=None, traces=tmp_path / "traces", held_out=3))
    (done,) = report.rounds
    assert (
        done["records"]["worked"] > 8 and done["held_out"]["name"] == "held-out records" and not report.began["kinds"]
    )


def test_real_runs_are_parted_by_what_was_asked_also_where_a_date_note_stands_before_it(tmp_path: Path) -> None:
    def book(day: str) -> str:
        """Books a day."""
        return f"booked {day}"

    for number in range(12):
        tracer = Tracer()
        script = ScriptedRuntime(calls(book={"day": "2026-03-19"}), "It is booked.")
        made = Agent(script, [book], hooks=[tracer], clock=lambda: date(2026, 3, 18))
        made.run_sync(f"Book tomorrow for person {number}.")
        tracer.last.save(tmp_path / "traces" / f"{number:02d}.json")
    learnt, held = loop._traces(order(tmp_path / "out", worlds=None, traces=tmp_path / "traces"), "")
    assert learnt and held and len(learnt) + len(held) <= 12
    assert all("Dates:" in str(row["messages"]) for row in learnt), "the notes are there"


def test_a_skill_that_no_recipe_names_is_replayed_and_measured_by_its_contract(tmp_path: Path) -> None:
    made = Skill.load(library()["tools"])
    replace(made, card=made.card.model_copy(update={"name": "my-tools"})).save(tmp_path / "skills" / "my-tools")
    own = loop._Improvement(
        order(tmp_path / "out", skill="my-tools", skills=tmp_path / "skills"), None, None, Watch(quiet=True)
    )
    assert [(name, len(records)) for name, records in own.others.items()] == [("tools records", 2)]
    assert [source["frozen"] for source in replay(own.recipe)] == ["tools"]


def test_a_round_goes_on_from_the_skill_that_was_kept_where_it_began_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = bare_runtime(Base.load("smollm2-135m"))
    monkeypatch.setattr(loop, "_start_folder", lambda order: None)
    monkeypatch.setattr(loop, "verdict", lambda held_out, others: (True, "kept for the test"))
    own = loop._Improvement(order(tmp_path / "out"), None, runtime, Watch(quiet=True))
    (records := tmp_path / "records.jsonl").write_text("{}\n")
    asked: list[dict[str, Any]] = []

    def trained(document: dict[str, Any], **more: Any) -> Any:
        asked.append(document)
        raise InterruptedError

    def first(*given: Any) -> dict[str, Any]:
        Skill.load(library()["tools"]).save(own._round(1) / "skill")
        return {}

    monkeypatch.setattr("loraloop.training.run.run_recipe", trained)
    with pytest.raises(InterruptedError):
        own._trained(1, records, 1, 10.0)
    with monkeypatch.context() as patch:
        patch.setattr(own, "_collected", lambda number: (records, {}, {}))
        patch.setattr(own, "_measured", lambda *given: Measured({"a": True}, {}, {}))
        patch.setattr(own, "_trained", first)
        own.journal.facts |= {"began": asdict(Measured({"a": False}, {}, {})), "measuring": 0.0}
        own._one_round(1, 10.0)
    with pytest.raises(InterruptedError):
        own._trained(2, records, 1, 10.0)
    assert "start" not in asked[0] and asked[1]["start"] == str(own._round(1) / "skill")


def test_a_round_trains_for_the_time_that_running_and_measuring_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_start_folder", lambda order: None)
    runtime = bare_runtime(Base.load("smollm2-135m"))
    own = loop._Improvement(order(tmp_path / "out"), None, runtime, Watch(quiet=True))
    (records := tmp_path / "records.jsonl").write_text("{}\n")
    given: list[float] = []

    def collected(number: int) -> tuple[Path, dict[str, int], dict[str, Any]]:
        own.journal._before += 200.0  # the seconds that the runs take
        return records, {}, {}

    def trained(number: int, records: Path, count: int, seconds: float) -> dict[str, Any]:
        given.append(seconds)
        raise InterruptedError

    monkeypatch.setattr(own, "_collected", collected)
    monkeypatch.setattr(own, "_trained", trained)
    own.journal.facts["measuring"] = 100.0
    for seconds in (1000.0, 50.0):
        with pytest.raises(InterruptedError):
            own._one_round(1, seconds)
    assert given[0] == pytest.approx(700, abs=20) and given[1] == loop.LEAST_SECONDS


def test_a_skill_that_was_kept_is_registered_when_the_command_asks_for_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base.load("smollm2-135m")
    monkeypatch.setattr(loop, "_start_folder", lambda order: None)
    monkeypatch.setattr(loop, "verdict", lambda held_out, others: (True, "kept for the test"))

    def improvement(register: bool) -> Any:
        own = loop._Improvement(order(tmp_path / "out", register=register), None, bare_runtime(base), Watch(quiet=True))
        monkeypatch.setattr(own, "_collected", lambda number: (tmp_path / "records.jsonl", {"right": 1}, {}))
        monkeypatch.setattr(own, "_measured", lambda *given: Measured({"a": True}, {}, {}))
        monkeypatch.setattr(own, "_trained", trained)
        monkeypatch.setattr(own, "_next", lambda: None if own.journal.rounds else 10.0)
        return own

    def trained(number: int, *given: Any) -> dict[str, Any]:
        Skill.load(library()["tools"]).save(tmp_path / "out" / "rounds" / "1" / "skill")
        return {"steps": 1, "examples": 1, "seconds": 1.0, "validation_loss": 1.0}

    (tmp_path / "records.jsonl").write_text("{}\n")
    first = improvement(register=False)
    first.journal.facts |= {"began": asdict(Measured({"a": False}, {}, {})), "measuring": 0.0}
    assert not first.run().registered and not registered()
    assert improvement(register=True).run().registered and "tools" in registered()
    (version,) = history.versions("tools")
    assert version.origin["round"] == 1
    history.remove("tools")
    improvement(register=True).run()
    assert not registered(), "it is registered once: what became of it since is the user's"


def test_a_skill_that_falls_in_one_world_is_not_kept_although_all_together_rise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("earlier", "new"):
        shutil.copytree(WORLDS / "bikes", tmp_path / "worlds" / name)
    monkeypatch.setattr(loop, "_start_folder", lambda order: None)
    asked = order(tmp_path / "out", worlds=tmp_path / "worlds", held_out=40, register=False)
    own = loop._Improvement(asked, None, bare_runtime(Base.load("smollm2-135m")), Watch(quiet=True))
    ids = [f"{world.name}/{request.id}" for world, request in own.held_out]
    assert len(set(ids)) == 40
    after = {each: each.startswith("new/") for each in ids}
    monkeypatch.setattr(own, "_collected", lambda number: (tmp_path / "records.jsonl", {"right": 1}, {}))
    monkeypatch.setattr(own, "_measured", lambda *given: Measured(after, {}, {}))
    monkeypatch.setattr(own, "_trained", lambda *given: {})
    blank_skill(own.base, "tools", "calls").save(tmp_path / "out" / "rounds" / "1" / "skill")
    (tmp_path / "records.jsonl").write_text("{}\n")
    earlier = [each for each in ids if each.startswith("earlier/")]
    began = Measured({each: each in earlier[:10] for each in ids}, {}, {})
    own.journal.facts |= {"began": asdict(began), "measuring": 0.0}
    own._one_round(1, 1.0)
    (done,) = own.journal.rounds
    assert done["held_out"]["gained"] == 20 and done["held_out"]["lost"] == 10
    assert not done["kept"] and done["why"].startswith("world earlier fell by 50.0%")


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--worlds FOLDER, or --traces FOLDER"):
        order(tmp_path / "out", traces=tmp_path)
    plain = Path(loop.__file__).parents[3] / "recipes" / "desk"
    with pytest.raises(InputError, match=r"no world in .* has requests with slots"):
        improve(order(tmp_path / "out", worlds=plain))
    assert not (tmp_path / "out").exists(), "nothing is written"
