"""`loraloop sessions` and `loraloop run --session`, on a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent
from loraloop.agent.events import StepFinished, ToolCallStarted
from loraloop.agent.sessions.sessions import Sessions
from loraloop.testing import ScriptedRuntime, calls

Run = Callable[..., tuple[int, str, str]]
TOOLS = """
def add(a: int, b: int) -> int:
    '''Adds.'''
    return a + b


tools = [add]
"""


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """`say(*script)`: what the model of the next command writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORALOOP_SESSIONS", str(tmp_path / "own" / "sessions.db"))
    (tmp_path / "sums.py").write_text(TOOLS)

    def given(*script: Any) -> None:
        monkeypatch.setattr("loraloop.cli.options.open_runtime", lambda *_, **__: ScriptedRuntime(*script))

    return given


def interrupted(file: Path, kind: type[Any], *script: Any) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    with Sessions(file) as store:
        stream = Agent(ScriptedRuntime(*script), [add]).stream("Add 1 and 2.", session=store.session("sums"))
        next(event for event in stream if isinstance(event, kind))
        stream.close()


ADD = calls(add={"a": 1, "b": 2})


def test_a_conversation_is_kept_listed_and_shown(run: Run, say: Callable[..., None], tmp_path: Path) -> None:
    say(ADD, "It is 3.")
    code, out, err = run("run", "Add 1 and 2.", "--tools", "sums.py:tools", "--session", "sums")
    assert code == 0 and "It is 3." in out, err
    say("You are welcome.")
    code, out, _ = run("run", "Thanks.", "--tools", "sums.py:tools", "--session", "sums", "--json")
    assert code == 0 and [m["content"] for m in json.loads(out)["messages"][-2:]] == ["Thanks.", "You are welcome."]
    code, out, err = run("sessions", "list")
    assert code == 0 and "sums" in out and "idle" in out and str(tmp_path / "own" / "sessions.db") in err
    code, out, _ = run("sessions", "list", "--json")
    (listed,) = json.loads(out)
    assert (listed["id"], listed["turns"], listed["steps"], listed["calls"]) == ("sums", 2, 3, 1)
    code, out, _ = run("sessions", "show", "sums")
    assert code == 0 and "1. Add 1 and 2." in out and 'add({"a": 1, "b": 2})' in out and "done" in out
    code, out, _ = run("sessions", "show", "sums", "--json")
    told = json.loads(out)
    assert (
        told["turns"][0]["steps"][0]["skill"] == "tools" and told["turns"][1]["result"]["output"] == "You are welcome."
    )


def test_an_interrupted_run_goes_on(run: Run, say: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "mine.db"
    say()
    interrupted(file, StepFinished, ADD, "3.")
    code, out, _ = run("sessions", "list", "--sessions", str(file))
    assert "interrupted" in out
    code, _, err = run("run", "Another.", "--session", "sums", "--sessions", str(file))
    assert code == 2 and "resume it first" in err
    say("It is 3.")
    code, out, err = run("sessions", "resume", "sums", "--sessions", str(file), "--tools", "sums.py:tools", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["output"] == "It is 3." and result["steps"][0]["calls"][0]["result"] == 3
    code, _, err = run("sessions", "resume", "sums", "--sessions", str(file))
    assert code == 2 and "is idle: there is no interrupted run" in err


def test_resuming_streams_as_well(run: Run, say: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "mine.db"
    say("It is 3.")
    interrupted(file, StepFinished, ADD, "3.")
    given = ("sessions", "resume", "sums", "--sessions", str(file), "--tools", "sums.py:tools", "--stream", "--json")
    code, out, err = run(*given)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and events[0]["resumed"] is True and events[-1]["type"] == "RunFinished", err


def test_export(run: Run, say: Callable[..., None], tmp_path: Path) -> None:
    say(ADD, "It is 3.")
    run("run", "Add 1 and 2.", "--tools", "sums.py:tools", "--session", "sums")
    code, out, _ = run("sessions", "export", "sums")
    assert code == 0 and [m["role"] for m in json.loads(out)["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    code, out, _ = run("sessions", "export", "sums", "--format", "jsonl")
    assert [json.loads(line)["role"] for line in out.splitlines()][1:3] == ["user", "assistant"]
    code, out, _ = run("sessions", "export", "sums", "--out", "sums.json")
    kept = json.loads((tmp_path / "sums.json").read_text(encoding="utf-8"))
    assert code == 0 and out == "" and kept["turns"][0]["prompt"] == "Add 1 and 2."
    code, _, err = run("sessions", "export", "sums", "--out", "no/such/folder.json")
    assert code == 2 and "cannot write" in err


def test_giving_up_deleting_and_pruning(run: Run, say: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "mine.db"
    say()
    interrupted(file, ToolCallStarted, ADD, "3.")
    assert run("sessions", "prune", "0", "--sessions", str(file)) == (0, "", "")
    code, out, err = run("sessions", "prune", "1e12", "--sessions", str(file))
    assert (code, out) == (2, "") and "for 'days': Input should be less than or equal to 999999999" in err
    assert run("sessions", "give-up", "sums", "--sessions", str(file))[0] == 0
    with Sessions(file) as store:
        assert store["sums"].turns[0].stop_reason == "stopped"
    code, out, _ = run("sessions", "prune", "0", "--sessions", str(file))
    assert (code, out) == (0, "sums\n")
    interrupted(file, StepFinished, ADD, "3.")
    assert run("sessions", "delete", "sums", "--sessions", str(file))[0] == 0
    with Sessions(file) as store:
        assert not store.list()


def test_names_that_are_not_there(run: Run, say: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "mine.db"
    interrupted(file, StepFinished, ADD, "3.")
    for command in ("show", "resume", "export", "give-up", "delete"):
        code, _, err = run("sessions", command, "sum", "--sessions", str(file))
        assert code == 2 and "did you mean 'sums'" in err
    code, _, err = run("sessions", "list", "--sessions", str(tmp_path / "none.db"))
    assert code == 2 and "there is no file" in err and not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("text " * 500)
    code, _, err = run("sessions", "list", "--sessions", str(tmp_path / "text.db"))
    assert code == 2 and "is not a file of sessions" in err


def test_a_place_for_sessions_without_a_session_is_refused(run: Run, say: Callable[..., None], tmp_path: Path) -> None:
    say("Hello.")
    code, out, err = run("run", "Hi.", "--sessions", str(tmp_path / "talks.db"))
    assert (code, out) == (2, "") and "--session NAME" in err
