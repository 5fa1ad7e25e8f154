"""Sessions: what they hold, what they refuse, and who may run them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent, Approve, Context, Limits, PendingRun, Policy
from loraloop.adapters.base import Message
from loraloop.agent.events import RunFinished, RunStarted, StepFinished, ToolCallFinished, ToolCallStarted
from loraloop.agent.sessions.sessions import Session, Sessions
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError, SessionBusyError, SessionError, UnknownNameError


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@pytest.fixture
def store(sessions_place: str) -> Iterator[Sessions]:
    with Sessions(sessions_place) as opened:
        yield opened


def agent_of(*script: Any, tools: Any = (add,), **options: Any) -> Agent[Any, Any]:
    return Agent(ScriptedRuntime(*script), tools, **options)


def leave(agent: Agent[Any, Any], session: Session, kind: type[Any] = StepFinished, **options: Any) -> None:
    """Runs until an event of a kind, and leaves the run there."""
    stream = agent.stream("Add 1 and 2.", session=session, **options)
    next(event for event in stream if isinstance(event, kind))
    stream.close()


ADD = calls(add={"a": 1, "b": 2})


def test_a_conversation_goes_on_and_is_told(store: Sessions) -> None:
    before = datetime.now(UTC)
    agent = agent_of(ADD, "It is 3.", "Good bye.", sessions=store)
    first = agent.run_sync("How much is\n1 and 2?", session="sums")
    second = agent.run_sync("Bye.", session=store.session("sums"))
    session = store["sums"]
    assert second.messages[: len(first.messages)] == first.messages and session.messages == second.messages
    info = session.info
    assert (info.title, info.turns, info.steps, info.calls) == ("How much is 1 and 2?", 2, 3, 1)
    assert before <= info.created < info.updated and (info.state, info.pid) == ("idle", None)
    one, two = session.turns
    assert (one.prompt, one.stop_reason, two.prompt) == ("How much is\n1 and 2?", "answer", "Bye.")
    (call,) = one.calls
    assert (call.name, call.arguments, call.times, call.at_least_once) == ("add", {"a": 1, "b": 2}, 1, False)
    assert call.record == first.steps[0].calls[0] and call.ended is not None and call.begun <= call.ended
    assert session.result == second and one.steps == first.steps and one.result is not None
    agent_of("Hello.").run_sync("Hi.", session=store.session("other", title="A greeting"))
    assert [each.id for each in store.list()] == ["other", "sums"] and len(store) == 2
    assert store["other"].info.title == "A greeting"
    assert store.session().id != store.session().id and len(store) == 2


def test_an_agent_may_be_given_the_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "s.db"
    agent_of("Hello.", sessions=str(file)).run_sync("Hi.", session="a")
    again = agent_of("Again.", sessions=file).run_sync("Hi.", session="a")
    assert [message.content for message in again.messages[1:]] == ["Hi.", "Hello.", "Hi.", "Again."]


async def test_all_ways_to_run_keep_the_session(store: Sessions) -> None:
    agent, session = agent_of("1.", "2.", "3.", "4."), store.session("s")
    await agent.run("a", session=session)
    for event in agent.stream("b", session=session):
        if isinstance(event, RunFinished):
            assert session.state == "running" and session.turns[-1].stop_reason == "answer"  # committed, then told
    for _ in agent.iter("c", session=session):
        pass
    agent.run_sync("d", session=session)
    answers = [message.content for message in session.messages if message.role == "assistant"]
    assert answers == ["1.", "2.", "3.", "4."] and [turn.prompt for turn in session.turns] == ["a", "b", "c", "d"]


def test_results_of_calls_that_the_caller_ran_are_added(store: Sessions) -> None:
    remote = Tool("find", "Finds.", {"type": "object", "properties": {}})
    agent, session = agent_of(calls(find={}), "Found.", tools=[remote]), store.session("s")
    assert agent.run_sync("Find it.", session=session).stop_reason == "tool_call"
    done = agent.run_sync(messages=[Message("tool", '{"name":"find","result":1}')], session=session)
    assert done.output == "Found."
    assert [message.role for message in done.messages[1:]] == ["user", "assistant", "tool", "assistant"]
    seeded = store.session("seeded")
    agent_of("Yes.", tools=[remote]).run_sync("Still?", messages=done.messages, session=seeded)
    assert seeded.messages[: len(done.messages)] == done.messages


def test_a_run_whose_calls_are_the_callers_does_not_run_them_when_it_goes_on(store: Sessions) -> None:
    agent, session = agent_of(calls(), "Which?", ADD), store.session("s")
    leave(agent, session, execute_tools=False)
    with pytest.raises(SessionError, match="started with execute_tools=…: pass the same again"):
        agent.run_sync(session=session)
    with pytest.raises(SessionError, match="pass the same again"):
        agent.run_sync(session=session, execute_tools=True)
    assert agent.run_sync(session=session, execute_tools=False).output == "Which?"
    agent, session = agent_of(ADD, "3."), store.session("t")
    leave(agent, session, execute_tools=True)  # which needs not be said
    assert agent.run_sync(session=session).output == "3."


def test_any_text_is_kept(store: Sessions) -> None:
    agent_of("Yes.").run_sync("zero \0, ' and \u2028", session=store.session("s"))
    assert store["s"].messages[1].content == store["s"].turns[0].prompt == "zero \0, ' and \u2028"


def test_what_is_refused(store: Sessions) -> None:
    agent, session = agent_of(ADD, "3.", "Hm."), store.session("s")
    with pytest.raises(SessionError, match=r"no interrupted run.*give a prompt"):
        agent.run_sync(session=session)
    with pytest.raises(InputError, match=r"Agent\(…, sessions='FILE'\)"):
        agent.run_sync("Hi.", session="s")
    with pytest.raises(InputError, match="session=…"):
        agent.run_sync("Hi.", on_unfinished="fail")
    for prompt in (None, ["Hi."]):
        with pytest.raises(InputError, match=r"the prompt is .*: give a text"):
            agent.run_sync(prompt, session=session)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'run_again', 'report' or 'fail'"):
        agent.run_sync("Hi.", session=session, on_unfinished="retry")  # type: ignore[arg-type]
    for name in ("", " ", "a\nb", "x" * 201, 7):
        with pytest.raises(InputError, match="1 to 200 characters"):
            store.session(name)  # type: ignore[arg-type]
    assert "s" not in store and session.state == "idle" and not session.turns and session.result is None
    leave(agent, session)
    with pytest.raises(SessionError, match=r"was interrupted: resume it first.*give_up\(\)"):
        agent.run_sync("Another thing.", session=session)
    with pytest.raises(InputError, match="keeps the options that it began with: leave out messages, skill"):
        agent.run_sync(session=session, skill="tools", messages=[Message("user", "x")])
    with pytest.raises(UnknownNameError, match="no session is called 't'; known: s"):
        store["t"]
    with pytest.raises(UnknownNameError, match="no session is called 't'; known: s"):
        assert store.session("t").info


def test_what_is_no_data_has_to_be_given_again(store: Sessions) -> None:
    def shop(context: Context[str]) -> str:
        """Shops."""
        return context.deps

    session = store.session("s")
    options: dict[str, Any] = {"deps": "pears", "policy": Policy(repairs=1), "output_type": str}
    leave(agent_of(calls(shop={}), "x", tools=[shop]), session, **options)
    agent = agent_of("Pears.", tools=[shop])
    with pytest.raises(SessionError, match="was started with policy=…, deps=…, output_type=…: pass the same again"):
        session.resume(agent)
    assert session.resume(agent, **options).steps[0].calls[0].result == "pears"


def test_a_run_is_not_resumed_on_another_base(store: Sessions, make_runtime: Callable[..., Any]) -> None:
    session = store.session("s")
    leave(agent_of(ADD, "3."), session)
    with pytest.raises(SessionError, match="another base"):
        session.resume(Agent(make_runtime(), [add]))
    session.give_up()
    other, messages = Agent(make_runtime(), [add], limits=Limits(step_tokens=8)), session.messages
    result = other.run_sync("Go on in words.", session=session)  # the tokens of the old base are of no use to it
    apart = Agent(make_runtime(), [add], limits=Limits(step_tokens=8))
    assert result.messages == apart.run_sync("Go on in words.", messages=messages).messages


def test_calls_without_an_end(store: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left by an error that no tool can raise, as a process leaves them that is killed."""
    made: list[str] = []

    def pay() -> str:
        """Pays."""
        made.append("pay")
        return "paid"

    class Stop(BaseException):
        pass

    def dying(*_: object) -> None:
        raise Stop

    script = calls(pay={})
    for policy, repeatable, seen, error in (
        (None, False, 1, "may have run already"),
        (None, True, 2, ""),
        ("run_again", False, 2, ""),
        ("report", True, 1, "may have run already"),
    ):
        session, tool = store.session(f"{policy} {repeatable}"), Tool.from_function(pay, idempotent=repeatable)
        made.clear()
        run = agent_of(script, "Done.", tools=[tool])._starter("Pay.", session=session)()
        monkeypatch.setattr(run._journal, "ended", dying)
        with pytest.raises(Stop):
            list(run.events())
        assert session.state == "interrupted" and [call.name for call in session.unfinished] == ["pay"]
        with pytest.raises(SessionError, match="calls that may have run: pay in step 0"):
            session.resume(agent_of("Done.", tools=[tool]), on_unfinished="fail")
        result = session.resume(agent_of("Done.", tools=[tool]), on_unfinished=policy)  # type: ignore[arg-type]
        (record,) = result.steps[0].calls
        assert record.at_least_once and len(made) == seen and not session.unfinished
        assert error in (record.error or "") and bool(record.error) == bool(error)
        told = next(message for message in result.messages if message.role == "tool")
        assert told.origin is not None and (told.origin.kind == "runtime") == bool(error)  # no gate judges its own note
        (call,) = session.turns[0].calls
        assert call.at_least_once and call.times == seen


def test_an_interrupted_run_can_be_given_up(store: Sessions) -> None:
    session = store.session("s")
    with pytest.raises(SessionError, match="no run to give up"):
        session.give_up()
    leave(agent_of(ADD, "3."), session)
    session.give_up()
    assert session.state == "idle" and session.turns[0].stop_reason == "stopped"
    assert [message.role for message in session.messages] == ["system", "user", "assistant", "tool"]
    assert session.result is not None and len(session.result.steps) == 1
    leave(agent_of(ADD, "3."), session, ToolCallStarted)
    session.give_up()
    assert [message.role for message in session.messages] == ["system", "user", "assistant", "tool"]
    assert agent_of("Yes.").run_sync("Still there?", session=session).output == "Yes."


def test_titles_deletion_and_pruning(store: Sessions) -> None:
    for name in ("a", "b", "c"):
        agent_of("Hi.").run_sync("Hello.", session=store.session(name))
    with pytest.raises(SessionError, match=r"'new' has had no run yet: .*store\.session\('new', title='New'\)"):
        store.session("new").rename("New")
    assert "new" not in store
    store["a"].rename("First")
    assert store["a"].info.title == "First"
    store["b"].delete()
    assert "b" not in store and not store.session("b").messages
    leave(agent_of(ADD, "3."), store["c"])
    assert store.prune(timedelta(days=1)) == ()
    assert store.prune(timedelta(0)) == ("a",)  # what was interrupted stays
    with store.database.reading() as database:
        kept = database.execute("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM messages)").fetchone()
    assert kept == (2, 6)


def test_pruning_keeps_what_somebody_goes_on_with_meanwhile(store: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old", "deleted", "spoken", "running"):
        agent_of("Hi.").run_sync("Hello.", session=store.session(name))
    listed = store.list()
    store["deleted"].delete()  # as another prune does
    agent_of("Hi.").run_sync("Hello again.", session=store.session("spoken"))
    lease = store.database.lease("running")
    monkeypatch.setattr(store, "list", lambda: listed)
    monkeypatch.setattr("loraloop.agent.sessions.sessions.time", lambda: listed[0].updated.timestamp() + 1e-4)
    assert store.prune(timedelta(0)) == ("old",)
    lease.release()
    assert len(store["spoken"].turns) == 2 and "running" in store


def test_one_thread_at_a_time(store: Sessions) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        """Slow."""
        inside.set()
        assert go_on.wait(20)
        return "done"

    session = store.session("s")
    first = agent_of(calls(slow={}), "Done.", tools=[slow])
    work = threading.Thread(target=first.run_sync, args=("Go.",), kwargs={"session": session})
    work.start()
    assert inside.wait(20)
    assert (session.state, session.info.pid) == ("running", os.getpid())
    for act in (
        lambda: agent_of("x").run_sync("Me too.", session=session),
        lambda: session.resume(agent_of("x")),
        session.delete,
        session.give_up,
    ):
        with pytest.raises(SessionBusyError, match=f"run by process {os.getpid()}") as caught:
            act()
        assert caught.value.pid == os.getpid()
    assert agent_of("Hi.").run_sync("Hello.", session=store.session("another")).output == "Hi."
    go_on.set()
    work.join()
    assert session.state == "idle" and agent_of("Yes.").run_sync("Now?", session=session).output == "Yes."


def test_a_run_that_was_overtaken_does_not_begin(store: Sessions) -> None:
    session = store.session("s")
    slow = agent_of("Late.").stream("a", session=session)
    agent_of("Early.").run_sync("b", session=session)
    with pytest.raises(SessionBusyError, match="went on meanwhile"):
        list(slow)
    assert len(session.turns) == 1


HOLDER = """
import os, pathlib, sys, time
from loraloop.agent.sessions.file_lock import FileLease
lease = FileLease(pathlib.Path(sys.argv[1]), "s")
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Sessions]:
    with Sessions(tmp_path / "sessions.db") as opened:
        yield opened


def test_a_killed_process_gives_the_session_back_at_once_though_a_child_of_it_lives(file: Sessions) -> None:
    agent, session = agent_of("Hi.", "Again."), file.session("s")
    agent.run_sync("Hello.", session=session)
    with subprocess.Popen([sys.executable, "-c", HOLDER, file.place], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            assert (session.state, session.info.pid) == ("running", holder.pid)
            with pytest.raises(SessionBusyError, match=f"process {holder.pid}"):
                agent.run_sync("Me too.", session=session)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            assert agent.run_sync("And now?", session=session).output == "Again."
            os.kill(child, 0)  # it is there
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("how", ["removed", "opened and closed"])
def test_a_runner_that_lost_its_lock_is_told_and_writes_nothing_more(file: Sessions, how: str) -> None:
    session, order = file.session("s"), list[str]()
    agent_of("Hi.").run_sync("Hello.", session=session)
    (lock,) = Path(f"{file.place}-locks").iterdir()

    def slow() -> str:
        """Slow."""
        if how == "removed":
            lock.unlink()
        else:
            lock.open().close()
        try:
            session.give_up()
        except SessionBusyError:
            order.append("busy")
            return "done"
        order.append("taken")
        assert agent_of("Second.").run_sync("And I?", session=session).output == "Second."
        return "done"

    first = agent_of(calls(slow={}), "First.", tools=[slow])
    if how == "removed":
        with pytest.raises(SessionBusyError, match=r"another runner has taken the session.*not kept"):
            first.run_sync("Go.", session=session)
        assert order == ["taken"] and [turn.stop_reason for turn in session.turns] == ["answer", "stopped", "answer"]
        assert session.messages[-1].content == "Second." and session.state == "idle"
    else:
        assert first.run_sync("Go.", session=session).output == "First." and order == ["busy"]


def test_interrupted_runs_are_taken_over_once(store: Sessions) -> None:
    for name in ("a", "b", "c"):
        leave(agent_of(ADD, "3."), store.session(name))
    agent_of("Hi.").run_sync("Hello.", session=store.session("idle"))
    busy = store.database.lease("b")
    taken = []
    for session in store.interrupted():
        taken.append(session.id)
        if session.id == "a":
            assert [other.id for other in store.interrupted()] == ["c"], "a is taken, and b is being run"
            with pytest.raises(SessionBusyError, match=f"process {os.getpid()}"):
                store["a"].resume(agent_of("3."))
            assert session.resume(agent_of("3.")).output == "3."
    busy.release()
    assert taken == ["a", "c"], "each once, though nobody went on with c"
    assert sorted(session.id for session in store.interrupted()) == ["b", "c"]
    assert {each.id: each.state for each in store.list()} == {
        "a": "idle", "b": "interrupted", "c": "interrupted", "idle": "idle"
    }  # fmt: skip


def in_child(store: Sessions, name: str) -> None:
    agent_of("From the child.").run_sync("Hi.", session=store.session(name))


def test_a_process_that_was_forked_goes_on_with_its_own_connection(store: Sessions) -> None:
    agent_of("Hi.").run_sync("Hello.", session=store.session("parent"))
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=in_child, args=(store, f"child {n}")) for n in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert {each.id for each in store.list()} == {"parent", "child 0", "child 1"}


def test_calls_that_wait_for_approval_are_decided_in_the_session(store: Sessions) -> None:
    asked: dict[str, Any] = {"policy": Policy(needs_approval=frozenset({"add"}))}
    script = [ADD, ADD, "3."]
    session = store.session("s")
    waits = agent_of(*script, **asked).run_sync("Add 1 and 2.", session=session)
    assert waits.stop_reason == "approval" and session.state == "idle"
    kept = session.result
    assert kept is not None and kept.pending is not None and kept.pending == waits.pending
    with pytest.raises(SessionError, match=r"waits for approval: agent\.resume_sync.*`loraloop sessions resume"):
        agent_of("Hm.").run_sync("Something else.", session=session)
    decisions = {kept.pending.waiting[0].id: Approve()}
    agent = agent_of(*script[1:], **asked)
    for pending in (waits.pending, kept.pending, PendingRun.from_json(kept.pending.to_json())):
        with pytest.raises(SessionError, match=r"waits in a session.*give session="):
            agent.resume_sync(pending, decisions)
    stream = agent.resume_stream(kept.pending, decisions, session=session)
    next(event for event in stream if isinstance(event, ToolCallStarted))
    stream.close()
    assert session.state == "interrupted"  # before the call was made, so that it is all to be done again
    session.give_up()
    with pytest.raises(SessionError, match="is idle: no call waits for approval"):
        agent.resume_sync(kept.pending, decisions, session=session)


def test_an_interrupted_session_whose_resume_was_refused_is_still_the_callers(store: Sessions) -> None:
    for name in ("a", "b"):
        leave(agent_of(ADD, "3."), store.session(name), deps={"x": 1})
    for session in store.interrupted():
        with pytest.raises(SessionError, match="started with deps=…"):
            session.resume(agent_of("3."))
        if session.id == "a":
            session.give_up()
        else:
            assert session.resume(agent_of("3."), deps={"x": 1}).output == "3."
    assert [info.state for info in store.list()] == ["idle"] * 2
    leave(agent_of(ADD, "3."), store["a"])
    (late,) = store.interrupted()  # it was let go when the next was asked for
    other = store.database.lease("a")
    with pytest.raises(SessionBusyError):
        late.resume(agent_of("3."))
    other.release()


def test_a_signed_run_that_another_runner_shut_out_can_still_be_resumed(store: Sessions) -> None:
    asked: dict[str, Any] = {"policy": Policy(needs_approval=frozenset({"add"}))}
    session = store.session("s")
    waits = agent_of(ADD, **asked).run_sync("Add 1 and 2.", session=session)
    assert waits.pending is not None
    text, decisions = waits.pending.to_json(), {waits.pending.waiting[0].id: Approve()}
    stream = agent_of("3.", **asked).resume_stream(PendingRun.from_json(text), decisions, session=session)
    other = store.database.lease(session.id)
    with pytest.raises(SessionBusyError):
        stream.finish()
    other.release()
    again = agent_of("3.", **asked).resume_sync(PendingRun.from_json(text), decisions, session=session)
    assert again.output == "3." and len(session.turns) == 2


def test_a_run_that_was_approved_is_resumed_like_any_other(store: Sessions) -> None:
    asked: dict[str, Any] = {"policy": Policy(needs_approval=frozenset({"add"}))}
    session = store.session("s")
    waits = agent_of(ADD, **asked).run_sync("Add 1 and 2.", session=session)
    assert waits.pending is not None
    decisions = {waits.pending.waiting[0].id: Approve(arguments={"a": 2, "b": 2})}
    stream = agent_of("4.", **asked).resume_stream(waits.pending, decisions, session=session)
    next(event for event in stream if isinstance(event, StepFinished))
    stream.close()
    result = session.resume(agent_of("4.", **asked))
    assert (result.output, result.steps[0].calls[0].result, result.run_id) == ("4.", 4, waits.run_id)
    assert [turn.stop_reason for turn in session.turns] == ["approval", "answer"]
    (call,) = session.turns[1].calls
    assert call.record is not None and call.record.approval == "edited" and session.messages == result.messages


@pytest.mark.parametrize("kind", [RunStarted, ToolCallStarted, ToolCallFinished])
def test_approved_calls_are_made_where_the_run_is_interrupted_before_their_end(
    store: Sessions, kind: type[Any]
) -> None:
    asked: dict[str, Any] = {"policy": Policy(needs_approval=frozenset({"add"}))}
    session = store.session("s")
    waits = agent_of(ADD, **asked).run_sync("Add 1 and 2.", session=session)
    assert waits.pending is not None
    agent = agent_of("3.", **asked)
    stream = agent.resume_stream(waits.pending, {waits.pending.waiting[0].id: Approve()}, session=session)
    next(event for event in stream if isinstance(event, kind))
    stream.close()
    assert session.state == "interrupted"
    result = session.resume(agent, **asked)
    assert [message.role for message in result.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert session.messages == result.messages and result.output == "3."
    ((call,),) = [step.calls for step in result.steps if step.calls]
    assert (call.result, call.approval) == (3, "approved")


def test_a_decision_about_calls_that_do_not_wait_any_more_changes_nothing(store: Sessions) -> None:
    done: list[int] = []

    def pay(euros: int) -> str:
        """Pays."""
        done.append(euros)
        return "paid"

    policy = Policy(needs_approval=frozenset({"pay"}))
    agent = agent_of(calls(pay={"euros": 1}), calls(pay={"euros": 2}), "Paid.", tools=(pay,), policy=policy)
    session = store.session("s")
    first = agent.run_sync("Pay 1 and 2.", session=session).pending
    assert first is not None
    second = agent.resume_sync(first, {"call_0_0": Approve()}, session=session)
    assert second.stop_reason == "approval" and done == [1]
    with pytest.raises(SessionError, match="'s' waits with other calls than these"):
        agent.resume_sync(first, {"call_0_0": Approve()}, session=session)
    assert done == [1] and session.messages == second.messages and session.result is not None
    last = session.result.pending
    assert last is not None and agent.resume_sync(last, {"call_1_0": Approve()}, session=session).output == "Paid."
    assert done == [1, 2]


def test_what_a_store_cannot_do_is_told(store: Sessions) -> None:
    with pytest.raises(InputError, match=r"older_than is 30: give a timedelta, such as timedelta\(days=30\)"):
        store.prune(30)  # type: ignore[arg-type]
    store.close()
    with pytest.raises(SessionError, match="closed"):
        store.list()


def test_a_prompt_may_hold_what_no_text_can(store: Sessions) -> None:
    agent_of("Noted.", sessions=store).run_sync("half \ud83d of a smile", session="s")
    assert store["s"].info.title == "half \ufffd of a smile"
