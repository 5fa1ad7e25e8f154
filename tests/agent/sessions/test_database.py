"""Files of sessions: what is said of one that is none, is damaged or full, and where it is by default."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent
from loraloop.agent.events import StepFinished
from loraloop.agent.sessions.sessions import Sessions, sessions_place
from loraloop.agent.sessions.sqlite import SessionFile
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError, SessionError


@pytest.fixture
def store(sessions_place: str) -> Iterator[Sessions]:
    with Sessions(sessions_place) as opened:
        yield opened


def agent_of(*script: Any, tools: Any = ()) -> Agent[Any, Any]:
    return Agent(ScriptedRuntime(*script), tools)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.db").write_text("not a database at all " * 100)
    with pytest.raises(SessionError, match=r"text\.db is not a file of sessions: name another"):
        Sessions(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(SessionError, match="another program's database"):
        Sessions(tmp_path / "other.db")
    with pytest.raises(SessionError, match=r"cannot be opened|cannot open"):
        Sessions(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="cannot open the sessions"):
        Sessions(tmp_path / "file" / "s.db")
    Sessions(tmp_path / "new.db").close()
    with sqlite3.connect(tmp_path / "new.db") as newer:
        newer.execute("PRAGMA user_version = 7")
    with pytest.raises(SessionError, match="format 7, and this loraloop reads formats up to 4"):
        Sessions(tmp_path / "new.db")
    with sqlite3.connect(tmp_path / "new.db") as older:
        older.execute("PRAGMA user_version = 1")
    with pytest.raises(SessionError, match=r"sessions of loraloop 0\.1: open it once with loraloop 0\.2"):
        Sessions(tmp_path / "new.db")
    monkeypatch.setattr(SessionFile, "wait", 0.1)
    with Sessions(tmp_path / "s.db") as store:
        session = store.session("s")
        holder = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(SessionError, match=r"another program has .*locked for more than"):
            agent_of("Hi.").run_sync("Hello.", session=session)
        holder.execute("ROLLBACK")
        holder.close()
        assert agent_of("Hi.").run_sync("Hello.", session=session).output == "Hi."


def test_a_damaged_file(tmp_path: Path) -> None:
    with Sessions(tmp_path / "s.db") as store:
        for number in range(3):
            agent_of("Hi. " * 100).run_sync("Hello. " * 2000, session=store.session(str(number)))
    file = tmp_path / "s.db"
    raw = bytearray(file.read_bytes())
    raw[4096 * 2 :] = b"\xff" * (len(raw) - 4096 * 2)
    file.write_bytes(raw)
    with pytest.raises(SessionError, match=r"s\.db is damaged .*\.recover"), Sessions(file) as store:
        for each in store.list():
            assert store[each.id].turns


def damage(store: Sessions, statement: str, *values: Any) -> None:
    with store.database.writing() as database:
        assert database.execute(statement, values).rowcount > 0


def killed(store: Sessions) -> Any:
    """A session whose run was left after its first step; one turn before it is finished."""
    session = store.session("s")
    agent_of("Hi.").run_sync("Hello.", session=session)
    stream = agent_of(calls(add={"a": 1, "b": 2}), "3.", tools=[add]).stream("Add 1 and 2.", session=session)
    next(event for event in stream if isinstance(event, StepFinished))
    stream.close()
    return session


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


DEEP = '{"x":' + "[" * 20_000 + "]" * 20_000 + "}"
PLACES = ("runs SET state", "runs SET asked", "steps SET body", "calls SET record", "messages SET body")


@pytest.mark.parametrize("body", ["{", "{}", None, b"\xff\x00", "7", DEEP])
@pytest.mark.parametrize("place", PLACES)
def test_damaged_rows_are_told_and_what_can_be_read_is_saved(
    store: Sessions, place: str, body: str | bytes | None
) -> None:
    if isinstance(body, bytes) and "://" in store.place:
        pytest.skip("PostgreSQL takes nothing but text")
    session = killed(store)
    table, _, column = place.partition(" SET ")
    if body is None and (table, column) not in (("runs", "state"), ("calls", "record")):
        pytest.skip("the table does not take it")
    last = "place = 4" if table == "messages" else "run = 1"
    damage(store, f"UPDATE {table} SET {column} = ? WHERE {last}", body)
    told = 0
    for act in (
        lambda: session.turns,
        lambda: session.messages,
        lambda: session.result,
        lambda: session.resume(agent_of("3.", tools=[add])),
        lambda: agent_of("x").run_sync("Something else.", session=session),
    ):
        try:
            act()
        except SessionError as error:
            told += "damaged" in str(error) and "give_up()" in str(error)
            if session.state == "idle":
                break
    assert session.info.id == "s" and store.list()
    if (table, body) != ("calls", None):
        assert told
    if session.state == "interrupted":
        session.give_up()
    before = session.messages
    assert before[1].content == "Hello." and session.state == "idle"
    assert agent_of("Yes.").run_sync("Still there?", session=session).output == "Yes."
    assert session.messages[1 : len(before)] == before[1:]


def test_a_finished_session_with_a_damaged_message_goes_on_from_what_can_be_read(store: Sessions) -> None:
    session = store.session("s")
    agent = agent_of("Hi.", "Good.", "Again.")
    agent.run_sync("Hello.", session=session)
    agent.run_sync("How are you?", session=session)
    damage(store, "UPDATE messages SET body = '[' WHERE place = 2")
    with pytest.raises(SessionError, match=r"message 2 of session 's' is damaged .*give_up\(\)"):
        agent.run_sync("And now?", session=session)
    session.give_up()
    assert [message.content for message in session.messages] == ["Hello.", "Hi."]
    assert agent.run_sync("And now?", session=session).output == "Again."


def test_a_result_nested_by_hundreds_of_levels_in_an_old_file_is_read(store: Sessions) -> None:
    session = killed(store)
    deep = '"result":' + "[" * 400 + "]" * 400
    for column in ("calls SET record", "steps SET body"):
        value = column.split()[-1]
        damage(store, f"UPDATE {column} = replace({value}, ?, ?) WHERE run = 1", '"result":3', deep)
    assert session.turns[1].steps[0].calls[0].result
    assert session.resume(agent_of("3.", tools=[add])).output == "3."


def test_a_full_disk_ends_the_run_and_keeps_what_was_committed(tmp_path: Path) -> None:
    store = Sessions(tmp_path / "sessions.db")
    assert isinstance(store.database, SessionFile)
    file = store.database._database

    def long(n: int) -> str:
        """Long."""
        return f"{n}" * 40_000

    script = [calls(long={"n": 1}), calls(long={"n": 2}), "Done."]
    session = store.session("s")
    pages = file.execute("PRAGMA page_count").fetchone()[0]
    file.execute(f"PRAGMA max_page_count = {pages + 27}")
    with pytest.raises(SessionError, match=r"no room for .*can be resumed"):
        agent_of(*script, tools=[long]).run_sync("Go.", session=session)
    assert session.state == "interrupted"
    done = len(session.turns[0].steps)
    assert done == 1 and session.turns[0].steps[0].calls[0].result == "1" * 40_000
    file.execute("PRAGMA max_page_count = 100000")
    (call,) = session.unfinished  # it ran, and there was no room for its result
    result = session.resume(agent_of("Done.", tools=[long]), on_unfinished="run_again")
    assert result.output == "Done." and result.steps[1].calls[0].at_least_once and call.step == 1


def test_the_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LORALOOP_SESSIONS", raising=False)
    assert sessions_place() == str(tmp_path / "loraloop" / "sessions.db")
    monkeypatch.setenv("LORALOOP_SESSIONS", str(tmp_path / "mine.db"))
    with Sessions() as store:
        assert store.place == str(tmp_path / "mine.db") and (tmp_path / "mine.db").exists()


def test_without_psycopg_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "loraloop.agent.sessions.postgres", raising=False)
    with pytest.raises(InputError, match=r"PostgreSQL need psycopg: pip install 'loraloop\[postgres\]'"):
        Sessions("postgresql://db.example/x")


def test_what_is_committed_is_on_the_disk(sessions_place: str) -> None:
    """As far as that can be seen without cutting the power: what a commit waits for, whatever the server's default."""
    asked: dict[str, Any] = {"PRAGMA synchronous": 2, "PRAGMA journal_mode": "wal"}  # 2: FULL, a sync of the journal
    if "://" in sessions_place:
        asked = {"SHOW synchronous_commit": "on"}
        sessions_place += "&options=-csynchronous_commit%3Doff"
    with Sessions(sessions_place) as store, store.database.writing() as database:
        assert {name: database.execute(name).fetchone()[0] for name in asked} == asked


def test_conversations_are_their_owners_alone(tmp_path: Path) -> None:
    with Sessions(tmp_path / "new" / "sessions.db") as store:
        agent_of("Hello.").run_sync("Hi", session=store.session("talk"))
        files = sorted((tmp_path / "new").glob("sessions.db*"))
        modes = {file.suffix: file.stat().st_mode & 0o077 for file in files if file.is_file()}
        assert {".db", ".db-shm", ".db-wal"} <= set(modes) and set(modes.values()) == {0}


def test_a_file_of_an_earlier_version_becomes_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    with Sessions(file) as store, store.database.writing() as database:
        for statement in ("DROP TABLE responses", "PRAGMA user_version = 3"):
            database.execute(statement)
    file.chmod(0o644)
    reader = sqlite3.connect(file)
    reader.execute("SELECT * FROM sessions")  # has the files beside it made, as others could read them
    beside = [tmp_path / f"sessions.db{suffix}" for suffix in ("-wal", "-shm")]
    assert [each.stat().st_mode & 0o077 for each in (file, *beside)] == [0o044] * 3
    with Sessions(file) as store, store.database.reading() as database:
        assert database.execute("SELECT count(*) FROM responses").fetchone() == (0,)
        assert [each.stat().st_mode & 0o077 for each in (file, *beside)] == [0] * 3
    reader.close()
