"""PostgreSQL as the store of sessions: leases by its clock, two runners, what it says of errors, and restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from loraloop import Agent
from loraloop.agent.events import StepFinished
from loraloop.agent.sessions.sessions import Session, Sessions
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError, SessionBusyError, SessionError

pytestmark = pytest.mark.postgres
HOLDER = """
import os, sys, time
from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.sessions.postgres import PostgresStore
PostgresStore.lease_seconds = float(sys.argv[2])
lease = Sessions(sys.argv[1]).database.lease("s")
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


ADD = calls(add={"a": 1, "b": 2})


def agent_of(*script: Any, tools: Any = (add,)) -> Agent[Any, Any]:
    return Agent(ScriptedRuntime(*script), tools)


def leave(agent: Agent[Any, Any], session: Session) -> None:
    """Runs one step, and leaves the run there."""
    stream = agent.stream("Add 1 and 2.", session=session)
    next(event for event in stream if isinstance(event, StepFinished))
    stream.close()


@pytest.fixture
def store(postgres_url: str) -> Iterator[Sessions]:
    with Sessions(postgres_url) as opened:
        yield opened


def query(url: str, statement: str) -> Any:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else None


def test_a_lease_is_renewed_while_its_process_lives_and_runs_out_when_it_is_killed(
    store: Sessions, postgres_url: str
) -> None:
    session = store.session("s")
    leave(agent_of(ADD, "3."), session)
    command = [sys.executable, "-c", HOLDER, postgres_url, "1.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            time.sleep(3)  # two leases long
            assert (session.state, session.info.pid, session.info.host) == ("running", holder.pid, os.uname().nodename)
            assert not list(store.interrupted())
            with pytest.raises(SessionBusyError, match=f"run by process {holder.pid} on {os.uname().nodename}"):
                session.resume(agent_of("3."))
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            killed = time.monotonic()
            while session.state == "running":
                time.sleep(0.05)
            assert time.monotonic() - killed < 3
            os.kill(child, 0)  # a child that was forked lives, and does not renew what its parent had
            assert [each.resume(agent_of("3.")).output for each in store.interrupted()] == ["3."]
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_runner_that_was_away_for_longer_than_its_lease_writes_nothing_more(
    store: Sessions, postgres_url: str
) -> None:
    """Its lease runs out while a tool of it runs; somebody else takes the session over, and goes on."""
    session, made = store.session("s"), list[str]()

    def pay() -> str:
        """Pays."""
        made.append("pay")
        if len(made) == 1:
            query(postgres_url, "UPDATE loraloop.leases SET expires = clock_timestamp() - interval '1 s'")
            (other,) = store.interrupted()
            result = other.resume(agent_of("Paid, perhaps.", tools=[pay]))
            assert result.steps[0].calls[0].at_least_once and "may have run" in (result.steps[0].calls[0].error or "")
        return "paid"

    with pytest.raises(SessionBusyError, match="another runner has taken the session"):
        agent_of(calls(pay={}), "Paid.", tools=[pay]).run_sync("Pay.", session=session)
    assert made == ["pay"] and session.messages[-1].content == "Paid, perhaps."
    assert [turn.stop_reason for turn in session.turns] == ["answer"] and session.state == "idle"


def test_of_two_that_write_at_the_same_time_one_is_refused(store: Sessions, postgres_url: str) -> None:
    """Both have read the session; whoever commits second finds that it went on."""
    session = store.session("s")
    agent_of("Hi.").run_sync("Hello.", session=session)
    first, second = (session.journal("More.") for _ in range(2))
    assert second.interrupted is None
    with first.hold():
        query(postgres_url, "DELETE FROM loraloop.leases")  # as if it had run out
        with second.hold():
            with store.database.writing() as database:
                second._key = first._key = database.execute("SELECT key FROM sessions").fetchone()[0]
            with first._committing(time.time()):
                late = threading.Thread(target=lambda: errors.append(caught(second)))
                errors: list[str] = []
                late.start()
                late.join(0.5)
                assert late.is_alive(), "it waits for the end of the other one's commit"
            late.join(20)
    assert errors == ["went on meanwhile"]


def caught(journal: Any) -> str:
    try:
        with journal._committing(time.time()):
            return "committed"
    except SessionBusyError as error:
        return "went on meanwhile" if "went on meanwhile" in str(error) else str(error)


def test_many_workers_take_over_every_run_once(store: Sessions, postgres_url: str) -> None:
    for number in range(12):
        leave(agent_of(ADD, "3."), store.session(f"s{number}"))
    taken, lock = list[str](), threading.Lock()

    def work() -> None:
        with Sessions(postgres_url) as own:
            for session in own.interrupted():
                assert session.resume(agent_of("3.")).output == "3."
                with lock:
                    taken.append(session.id)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(taken) == sorted(f"s{number}" for number in range(12))
    assert {each.state for each in store.list()} == {"idle"}


def test_connections_that_were_cut_are_made_anew(store: Sessions, postgres_url: str) -> None:
    agent, session = agent_of("Hi.", "Again."), store.session("s")
    agent.run_sync("Hello.", session=session)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    cut = query(postgres_url, f"SELECT pg_terminate_backend(pid) {others}")
    assert cut
    assert agent.run_sync("And now?", session=session).output == "Again."


def test_a_server_that_goes_away_ends_the_run_and_what_was_committed_is_there(
    store: Sessions, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = urlsplit(postgres_url).path[1:]
    monkeypatch.setattr(type(store.database), "wait", 1.0)

    def gone() -> str:
        """Goes."""
        query(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        query(admin, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return "gone"

    admin = postgres_url.replace(f"/{name}?", "/postgres?")
    with Sessions(postgres_url) as own:
        session = own.session("s")
        try:
            with pytest.raises(SessionError, match=r"what was committed before is there"):
                agent_of(ADD, calls(gone={}), "3.", tools=[add, gone]).run_sync("Go.", session=session)
        finally:
            query(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    found = store["s"]  # whose pool has the time to connect again
    assert len(found.turns[0].steps) == 1 and [call.name for call in found.unfinished] == ["gone"]
    query(postgres_url, "UPDATE loraloop.leases SET expires = clock_timestamp() - interval '1 s'")
    result = store["s"].resume(agent_of("It is gone.", tools=[add, gone]))
    assert result.output == "It is gone." and result.steps[1].calls[0].at_least_once


def test_what_cannot_be_opened_is_told_without_the_password(postgres_url: str) -> None:
    start = time.monotonic()
    for url, says in (
        (postgres_url.replace("/test_", "/nothing_"), "does not exist.*see to the URL"),
        ("postgresql://me:secret@127.0.0.1:1/x", "cannot be reached.*see to the URL and to the server"),
    ):
        with pytest.raises(SessionError, match=says) as caught:
            Sessions(url)
        assert "secret" not in str(caught.value) and "secret" not in repr(caught.value)
    assert time.monotonic() - start < 8, "told at once"
    for url, says in (
        ("postgresql://me:secret@host/x?colour=blue", "colour"),
        ("mysql://host/x", r"a file or in PostgreSQL \(postgresql://…\), not in mysql"),
    ):
        with pytest.raises(InputError, match=says) as refused:
            Sessions(url)
        assert "secret" not in str(refused.value)
    Sessions(postgres_url).close()
    query(postgres_url, "UPDATE loraloop.schema_version SET version = 7")
    with pytest.raises(SessionError, match="format 7, and this loraloop reads formats up to 4"):
        Sessions(postgres_url)


def test_the_tables_are_made_once_though_many_come_at_the_same_time(postgres_url: str) -> None:
    failed = list[Exception]()

    def come() -> None:
        try:
            Sessions(postgres_url).close()
        except Exception as error:
            failed.append(error)

    many = [threading.Thread(target=come) for _ in range(6)]
    for each in many:
        each.start()
    for each in many:
        each.join(30)
    assert not failed and query(postgres_url, "SELECT version FROM loraloop.schema_version") == [(4,)]


def test_who_may_only_read_is_told_so(postgres_url: str) -> None:
    Sessions(postgres_url).close()
    query(postgres_url, "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA loraloop TO reader; "
    "GRANT SELECT ON ALL TABLES IN SCHEMA loraloop TO reader, tests")  # fmt: skip
    with (
        pytest.raises(SessionError, match=r"cannot be written \(permission denied.*grant it"),
        Sessions(postgres_url.replace("tests@", "reader@")) as store,
    ):
        agent_of("Hi.").run_sync("Hello.", session=store.session("s"))
