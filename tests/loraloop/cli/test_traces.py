"""`loraloop trace`: the tree, the comparison and the replay of a run, with their exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloop.agent import Agent, Trace, Tracer
from loraloop.testing import ScriptedRuntime, calls, verdict
from loraloop.tool_schemas.errors import ContextLengthError, InputError

WEATHER = Path(__file__).resolve().parents[3] / "examples" / "tools" / "weather.json"
Run = Callable[..., tuple[int, str, str]]


def weather(city: str) -> str:
    """The weather in a city."""
    if city == "Rome":
        raise ValueError("no such station")
    return f"sunny in {city}"


WORDS = "barely hardly quite rather fairly pretty really nicely truly mildly oddly gladly amply duly fully justly"
SCRIPT = (
    calls(("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"})),
    "It is sunny " + "".join(f"and {word} warm " for word in WORDS.split()) + "there.",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Agent(ScriptedRuntime(*SCRIPT), [weather], hooks=[Tracer(tmp_path / "a.json")]).run_sync("How is Oslo?")
    return tmp_path / "a.json"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """`scripted(*steps)`: the commands get a runtime that writes these; the list has what they asked for."""

    def give(*steps: Any) -> list[Any]:
        asked: list[Any] = []

        def open_runtime(*given: Any, **_: Any) -> ScriptedRuntime:
            asked.append(given)
            return ScriptedRuntime(*steps)

        for module in ("options", "traces"):
            monkeypatch.setattr(f"loraloop.cli.{module}.open_runtime", open_runtime)
        return asked

    return give


def test_show_draws_the_steps_with_their_calls(run: Run, file: Path) -> None:
    code, out, _ = run("trace", "show", str(file))
    lines = out.splitlines()
    assert code == 0 and max(map(len, lines)) <= 100 and "scripted fp32 · 2 steps · answer" in lines[0]
    assert "user: How is Oslo?" in out and "1 tools 0.80  by router  over none 0.20" in out
    assert 'weather(city="Oslo") → "sunny in Oslo"' in out and "→ error: ValueError: no such station" in out
    assert "forced" in out and re.search(r"switch \d+(\.\d+)? (µs|ms)", out) and "warm there." not in out
    full = run("trace", "show", str(file), "--full", "--width", "200")[1]
    assert "warm there." in full and "system: # Tools" in full and "SkillActivated step 1" in full
    assert max(map(len, run("trace", "show", str(file), "--width", "60")[1].splitlines())) <= 60
    assert Trace.from_json(run("trace", "show", str(file), "--json")[1]) == Trace.load(file)


def test_show_says_what_went_wrong(run: Run, tmp_path: Path) -> None:
    tracer = Tracer(f"{tmp_path}/all/")
    agent = Agent(ScriptedRuntime(verdict("crime")), hooks=[tracer])
    agent.run_sync("bad")
    assert "p(unsafe)" in (out := run("trace", "show", str(tmp_path / "all" / f"{tracer.last.run_id}.json"))[1])
    assert "refused: I can't help with that." in out and "screened 0.90" in out
    with pytest.raises(ContextLengthError):
        Agent(ScriptedRuntime("x", context=300), hooks=[tracer]).run_sync("y" * 400)
    out = run("trace", "show", str(tmp_path / "all" / f"{tracer.last.run_id}.json"))[1]
    assert "no end" in out and "ContextLengthError" in out
    code, out, err = run("trace", "show", str(tmp_path / "none.json"))
    assert code == 2 and out == "" and err.startswith("error: cannot read the trace")


def test_diff_ends_with_1_where_something_differs(run: Run, file: Path, tmp_path: Path) -> None:
    trace = Trace.load(file)
    assert trace.end is not None
    elsewhere = replace(trace.runtime, versions={}, machine={})
    same = replace(trace, run_id="other", started="later", runtime=elsewhere)
    same.save(tmp_path / "same.json")
    assert run("trace", "diff", str(file), str(tmp_path / "same.json"))[:2] == (0, "no difference\n")
    step = replace(trace.steps[1], text=trace.steps[1].text.replace("there", "here"), ms={"decode": 9.0})
    runtime = replace(trace.runtime, base=replace(trace.runtime.base, form="int8"))
    other = replace(trace, steps=(trace.steps[0], step), runtime=runtime)
    other.save(tmp_path / "other.json")
    code, out, _ = run("trace", "diff", str(file), str(tmp_path / "other.json"))
    assert code == 1 and "setup: 1 difference" in out and "- fp32" in out and "+ int8" in out
    assert "step 2" in out and "+ …" in out and "here." in out
    code, out, _ = run("trace", "diff", str(file), str(tmp_path / "other.json"), "--json")
    found = json.loads(out)
    assert code == 1 and found["differs"] and found["behaviour"][0]["field"] == "text"
    replace(trace, runtime=runtime).save(tmp_path / "setup.json")
    code, out, _ = run("trace", "diff", str(file), str(tmp_path / "setup.json"), "--json")
    found = json.loads(out)
    assert code == 1 and found["differs"] and found["setup"] and not found["behaviour"]


def test_replay_runs_again_with_what_was_recorded(
    run: Run, file: Path, scripted: Callable[..., list[Any]], tmp_path: Path
) -> None:
    asked = scripted(*SCRIPT)
    code, out, _ = run("trace", "replay", str(file), "--save", str(tmp_path / "new.json"))
    assert (code, out) == (0, "no difference\n") and asked == [("scripted", "fp32", False, False, None)]
    new = Trace.load(tmp_path / "new.json")
    assert new.run_id != Trace.load(file).run_id and new.steps[0].calls[1].error == "ValueError: no such station"
    scripted(*SCRIPT)
    assert run("trace", "replay", str(file), "--save", f"{tmp_path}/new/")[0] == 0
    (saved,) = (tmp_path / "new").iterdir()
    assert saved.name == f"{Trace.load(saved).run_id}.json"
    asked = scripted(calls(weather={"city": "Rome"}), "No.")
    code, out, _ = run("trace", "replay", str(file), "--base", "other", "--json")
    assert code == 1 and json.loads(out)["behaviour"][0]["place"] == "step 1" and asked[0][:2] == ("other", None)


def test_replay_with_live_tools_needs_and_runs_them(
    run: Run, file: Path, scripted: Callable[..., list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(*SCRIPT)
    code, _, err = run("trace", "replay", str(file), "--live-tools")
    assert code == 2 and "--live-tools needs the tools" in err
    (tmp_path / "mine.py").write_text(
        'def weather(city: str) -> str:\n    "The weather in a city."\n    return "rain"\n'
    )
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("trace", "replay", str(file), "--live-tools", "--tools", "mine.py:weather")
    assert code == 1 and "+ rain" in out and "step 1, call 1" in out


def test_run_writes_a_trace(run: Run, scripted: Callable[..., list[Any]], tmp_path: Path) -> None:
    scripted("Hello.")
    code, out, _ = run("run", "hi", "--trace", str(tmp_path / "t.json"), "--json")
    assert code == 0 and Trace.load(tmp_path / "t.json").run_id == json.loads(out)["run_id"]
    scripted("Hello.")
    assert run("run", "hi", "--trace", str(tmp_path / "s.json"), "--stream")[0] == 0
    assert Trace.load(tmp_path / "s.json").prompt == "hi"
    opened = scripted("Hello.")
    code, _, err = run("run", "hi", "--trace", str(tmp_path / "t.json" / "under.json"))
    assert code == 2 and "cannot write traces to" in err and not opened


def test_the_schema_is_printed(run: Run) -> None:
    assert json.loads(run("trace", "schema")[1])["$id"] == "loraloop.trace/2"


def test_a_run_of_the_embedded_base_is_the_same_again(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "real.json")
    assert run("run", "What is the weather in Paris in celsius?", "--tools", str(WEATHER), "--trace", file)[0] == 0
    trace = Trace.load(file)
    assert trace.runtime.base.name == "smollm2-135m" and all(len(skill.sha256) == 64 for skill in trace.runtime.skills)
    assert trace.runtime.router.sha256 and trace.steps[0].calls[0].name == "get_weather"
    code, out, _ = run("trace", "replay", file)
    assert code == 0, out


STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m"


def steered(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The places of all texts in a JSON value, each with the value in which that text steers a terminal."""
    inside: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, str):
        yield at, value + STEERING
    for key, each in inside:
        for place, changed in steered(each, (*at, key)):
            whole = dict(value) if isinstance(value, dict) else list(value)
            whole[key] = changed
            yield place, whole


def test_no_field_of_a_trace_steers_the_terminal(
    run: Run, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Traces come from elsewhere, and terminals do what escape sequences in them say."""
    from loraloop.agent.tracing.diff import diff
    from loraloop.render.console import console, print_line
    from loraloop.render.trace import differences, trace_tree

    whole, fields = Trace.load(file), 0
    for place, changed in steered(json.loads(file.read_text(encoding="utf-8"))):
        try:
            trace = Trace.from_dict(changed)
        except InputError:
            continue
        fields += 1
        console(120).print(trace_tree(trace, full=True))
        console(120).print(trace_tree(trace))
        console(120).print(differences(diff(whole, trace), full=True))
        print_line(trace.to_json())
        shown = capsys.readouterr().out
        assert "owned" in shown and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown), place
    assert fields > 30
