"""Files that loraloop 0.1 wrote: `fixtures/sessions.db` has finished, killed and waiting runs, each a session."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent, Approve, Limits, PendingRun, Trace
from loraloop.agent.sessions.sessions import Sessions
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError

FIXTURES = Path(__file__).with_name("fixtures")
SCRIPT = (
    calls(pay={"amount": 1}),
    calls(("pay", {"amount": 2}), ("look", {"at": 3}), ("pay", {"amount": 4})),
    calls(),
    "All is paid.",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Sessions]:
    shutil.copy(FIXTURES / "sessions.db", tmp_path / "s.db")
    with Sessions(tmp_path / "s.db") as opened:
        yield opened


def test_the_file_is_migrated_and_the_original_is_kept(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "sessions.db", tmp_path / "s.db")
    for _ in range(2):
        Sessions(tmp_path / "s.db").close()
    with sqlite3.connect(tmp_path / "s.db") as new, sqlite3.connect(tmp_path / "s.db.format-1") as old:
        assert new.execute("PRAGMA user_version").fetchone() == (3,)
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
        with sqlite3.connect(FIXTURES / "sessions.db") as original:
            for table in ("sessions", "messages", "runs", "steps", "calls"):
                query = f"SELECT * FROM {table}"
                assert old.execute(query).fetchall() == original.execute(query).fetchall()


def agent_of(made: list[str], *script: Any) -> Agent[Any, Any]:
    def pay(amount: int) -> str:
        """Pays."""
        made.append(f"pay {amount}")
        return f"paid {amount}"

    def look(at: int) -> int:
        """Looks."""
        made.append(f"look {at}")
        return at * 10

    def refund(amount: int) -> str:
        """Pays back."""
        made.append(f"refund {amount}")
        return f"refunded {amount}"

    tools = [
        Tool.from_function(pay),
        Tool.from_function(look, idempotent=True),
        Tool.from_function(refund, requires_approval=True),
    ]
    return Agent(ScriptedRuntime(*script), tools, limits=Limits(step_tokens=120))


def test_a_finished_session_is_read_and_goes_on(store: Sessions) -> None:
    assert {each.id: each.state for each in store.list()} == {
        "finished": "idle",
        "killed at the start": "interrupted",
        "killed between steps": "interrupted",
        "killed in a call": "interrupted",
        "waiting": "idle",
    }
    session = store["finished"]
    first, second = session.turns
    assert session.info.title == "Payments of May" and first.prompt == "Pay one and look at 3."
    assert [(call.name, call.arguments) for call in first.calls] == [("pay", {"amount": 1}), ("look", {"at": 3})]
    assert [step.outcome for step in first.steps] == ["calls", "calls", "no_call", "text"]
    assert first.result is not None and first.result.output == "Paid 1; 30 was seen."
    assert second.result is not None and second.result.output == "It is green." and second.result.citations == ("a",)
    assert second.result.cited[0].source == "pears.md"
    before = session.messages
    assert agent_of([], "You are welcome.").run_sync("Thanks.", session=session).output == "You are welcome."
    assert session.messages[1 : len(before)] == before[1:] and len(session.turns) == 3


@pytest.mark.parametrize(
    ("name", "done", "made"),
    [
        ("killed at the start", 0, ["pay 1", "pay 2", "look 3", "pay 4"]),
        ("killed in a call", 2, ["pay 4"]),
        ("killed between steps", 2, []),
    ],
)
def test_a_killed_run_is_resumed(store: Sessions, name: str, done: int, made: list[str]) -> None:
    session, ran = store[name], list[str]()
    agent = agent_of(ran, *SCRIPT[done:])
    result = session.resume(agent, on_unfinished="run_again")
    agent.runtime.assert_finished()
    assert result.output == "All is paid." and ran == made
    assert [len(step.calls) for step in result.steps] == [1, 3, 0, 0]
    assert [call.result for call in result.steps[1].calls] == ["paid 2", 30, "paid 4"]
    assert session.state == "idle" and session.messages == result.messages


def test_a_killed_run_is_given_up(store: Sessions) -> None:
    session = store["killed in a call"]
    session.give_up()
    assert session.state == "idle" and session.turns[0].stop_reason == "stopped" and len(session.turns[0].steps) == 1
    assert agent_of([], "Hello.").run_sync("Hello.", session=session).output == "Hello."


def test_a_run_that_waits_goes_on(store: Sessions) -> None:
    session, ran = store["waiting"], list[str]()
    result = session.result
    assert result is not None and result.pending is not None and result.stop_reason == "approval"
    (call,) = result.pending.waiting
    assert call.name == "refund" and call.arguments == {"amount": 7}
    done = agent_of(ran, calls(), "It is paid back.").resume_sync(result.pending, {call.id: Approve()}, session=session)
    assert done.output == "It is paid back." and ran == ["refund 7"] and len(session.turns) == 2


def test_its_traces_are_read() -> None:
    trace = Trace.load(FIXTURES / "trace.json")
    assert trace.end is not None and trace.end.output == "Paid 1; 30 was seen."
    assert [call.name for step in trace.steps for call in step.calls] == ["pay", "look"]


def test_its_pending_runs_are_read_or_refused_in_words() -> None:
    text = (FIXTURES / "pending.json").read_text()
    try:
        assert PendingRun.from_json(text).waiting[0].name == "refund"
    except InputError as error:
        assert "resume it with the loraloop that wrote it" in str(error)
