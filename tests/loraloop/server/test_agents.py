"""Hosted agents: events of runs, approval, cancelling, sessions of owners, the file, and a restart between."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloop import Agent, Deny, Gate, Guard, Policy, tool
from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.sessions.sqlite import SessionFile
from loraloop.cli.options import AgentOptions, BaseOptions, ToolSources
from loraloop.cli.serve import ServerParts
from loraloop.server.agents import read_agents
from loraloop.server.runs import KEPT, HostedAgent, HostedRun, RunRegistry, owner_of
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.server.state import ServerState, parts_of, session_name
from loraloop.testing import ScriptedRuntime, calls, code, verdict
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError, LoraloopError, SchemaError, SessionError


@tool(requires_approval=True)
def pay(to: str, amount: int) -> str:
    """Pays."""
    return f"paid {amount} to {to}"


PAY = calls(pay={"to": "ann", "amount": 5})
LOOK = calls(("look", {"word": "bank"}), ("look", {"word": "bank"}))


def hosted(*script: Any) -> tuple[ScriptedRuntime, dict[str, HostedAgent]]:
    runtime = ScriptedRuntime(*script)
    return runtime, {"bank": HostedAgent("bank", Agent(runtime, [pay], "You pay."), "Pays bills.")}


def slow(runtime: ScriptedRuntime, hold: threading.Event) -> HostedAgent:
    """An agent whose tool returns once the event is set."""

    def wait() -> str:
        """Waits."""
        hold.wait(20)
        return "done"

    return HostedAgent("slow", Agent(runtime, [wait]))


def begun(pool: ThreadPoolExecutor, url: str) -> Future[httpx.Response]:
    """A run of the slow agent that is at work."""
    going = pool.submit(httpx.post, f"{url}/v1/agents/slow/runs", json={"input": "Wait."}, timeout=30)
    while httpx.get(f"{url}/v1/load").json()["running"] == 0:
        time.sleep(0.02)
    return going


def waiting_call(told: list[dict[str, Any]]) -> str:
    """The id of the call that waits."""
    (call,) = next(event for event in told if event["type"] == "ApprovalRequested")["calls"]
    return str(call["id"])


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


def test_a_chat_with_an_agent_drops_nothing_in_silence(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted(PAY, "I paid Ann.")
    url = f"{serving(runtime, agents=agents)}/v1/chat/completions"
    asked: dict[str, Any] = {"model": "bank", "messages": [{"role": "user", "content": "Pay Ann 5."}]}
    for more in ({"temperature": 0.5}, {"stop": "x"}, {"tool_choice": "none"}):
        answer = http.post(url, json={**asked, **more})
        assert answer.status_code == 400 and "leave them out" in answer.json()["error"]["message"]
    told = {"messages": [{"role": "system", "content": "Never pay."}, *asked["messages"]]}
    assert http.post(url, json={**asked, **told}).status_code == 400
    answer = http.post(url, json=asked)
    assert answer.status_code == 409 and "/v1/agents/bank/runs" in answer.json()["error"]["message"]


def test_a_client_does_not_ask_an_agent_again_whose_calls_have_run(serving: Callable[..., str]) -> None:
    looked = list[str]()

    def look(word: str) -> str:
        """Looks a word up."""
        looked.append(word)
        return "seen"

    runtime = ScriptedRuntime(calls(look={"word": "ann"}), PAY, calls(look={"word": "ann"}), PAY)
    agents = {"bank": HostedAgent("bank", Agent(runtime, [look, pay]))}
    asking = openai.OpenAI(base_url=f"{serving(runtime, agents=agents)}/v1", api_key="none", max_retries=1)
    with pytest.raises(openai.ConflictError, match="needs approval"):
        asking.chat.completions.create(model="bank", messages=[{"role": "user", "content": "Pay Ann 5."}])
    assert looked == ["ann"]


def test_a_run_waits_is_approved_and_ends(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted(PAY, "I paid Ann.")
    url = serving(runtime, agents=agents)
    assert http.get(f"{url}/v1/agents").json()["agents"][0]["tools"][0]["name"] == "pay"
    told = events(http.post(f"{url}/v1/agents/bank/runs", json={"input": "Pay Ann 5."}))
    kinds = [event["type"] for event in told]
    assert kinds[0] == "RunStarted" and kinds[-1] == "RunFinished" and {"Routed", "ApprovalRequested"} <= set(kinds)
    run = told[0]["run_id"]
    (call,) = next(event for event in told if event["type"] == "ApprovalRequested")["calls"]
    assert [each["state"] for each in http.get(f"{url}/v1/runs").json()["runs"]] == ["waiting"]
    answer = http.post(f"{url}/v1/agents/bank/runs/{run}/approve", json={"decisions": {"nobody": {"approve": True}}})
    assert answer.status_code == 400 and call["id"] in answer.json()["error"]["message"]
    decided = {"decisions": {call["id"]: {"approve": True, "arguments": {"to": "ann", "amount": 4}}}}
    more = events(http.post(f"{url}/v1/agents/bank/runs/{run}/approve", json=decided))
    assert more[-1]["result"]["output"] == "I paid Ann."
    assert any(event["type"] == "ToolCallFinished" and event["call"]["result"] == "paid 4 to ann" for event in more)
    whole = http.get(f"{url}/v1/runs/{run}").json()
    assert whole["state"] == "finished" and len(whole["events"]) == len(told) + len(more)
    assert http.post(f"{url}/v1/agents/bank/runs/{run}/approve", json=decided).status_code == 409


def test_each_step_is_counted_once_however_often_the_run_waits(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted(PAY, calls(pay={"to": "bob", "amount": 6}), "I paid them.")
    url = serving(runtime, agents=agents)
    path, body = f"{url}/v1/agents/bank/runs", {"input": "Pay Ann 5 and Bob 6."}
    while (last := (told := events(http.post(path, json=body)))[-1]["result"])["stop_reason"] == "approval":
        waiting = last["pending"]["written"]["calls"][0]["id"]
        path = f"{url}/v1/agents/bank/runs/{told[0]['run_id']}/approve"
        body = {"decisions": {waiting: {"approve": True}}}
    counted = http.get(f"{url}/metrics").text
    assert 'loraloop_steps_total{skill="tools"} 2.0' in counted and 'loraloop_steps_total{skill="none"} 1.0' in counted
    assert "loraloop_skill_switches_total 1.0" in counted and len(last["steps"]) == 3


def test_a_denied_call_is_told_to_the_model(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted(PAY, "Then not.")
    url = serving(runtime, agents=agents)
    told = events(http.post(f"{url}/v1/agents/bank/runs", json={"input": "Pay Ann 5."}))
    waiting = told[-1]["result"]["pending"]["written"]["calls"][0]["id"]
    denied = {"decisions": {waiting: {"approve": False, "reason": "too much"}}}
    more = events(http.post(f"{url}/v1/agents/bank/runs/{told[0]['run_id']}/approve", json=denied))
    assert more[-1]["result"]["output"] == "Then not." and "denied by the user: too much" in json.dumps(more)


def test_a_waiting_run_survives_a_restart(serving: Callable[..., str], http: httpx.Client, sessions_place: str) -> None:
    settings = ServerSettings(sessions=sessions_place)
    runtime, agents = hosted(PAY)
    told = events(http.post(f"{serving(runtime, settings, agents)}/v1/agents/bank/runs", json={"input": "Pay Ann 5."}))
    run = told[0]["run_id"]
    runtime, agents = hosted("I paid Ann.")
    url = serving(runtime, settings, agents)
    (listed,) = http.get(f"{url}/v1/runs").json()["runs"]
    assert (listed["id"], listed["state"], listed["skills"]) == (run, "waiting", ["tools"])
    assert http.get(f"{url}/v1/runs/{run}").json()["events"] == told, "the page shows what waits"
    waiting = told[-1]["result"]["pending"]["written"]["calls"][0]["id"]
    more = events(
        http.post(f"{url}/v1/agents/bank/runs/{run}/approve", json={"decisions": {waiting: {"approve": True}}})
    )
    assert more[-1]["result"]["output"] == "I paid Ann."
    assert [each["state"] for each in http.get(f"{url}/v1/runs").json()["runs"]] == ["finished"]


def test_runs_that_0_2_left_waiting_as_files_are_taken_up(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    runtime, agents = hosted(PAY, "I paid Ann.")
    pending = agents["bank"].agent.run_sync("Pay Ann 5.").pending
    assert pending is not None
    content = {"agent": "bank", "owner": owner_of("127.0.0.1"), "prompt": "Pay Ann 5.", "session": "", "started": 7.5}
    content |= {"events": [], "result": None, "pending": json.loads(pending.to_json())}
    (tmp_path / f"{pending.run_id}.json").write_text(json.dumps(content))
    (tmp_path / "damaged.json").write_text('{"pending": ')
    url = serving(runtime, ServerSettings(folder=tmp_path), agents)
    (run,) = http.get(f"{url}/v1/runs").json()["runs"]
    assert (run["id"], run["state"], run["started"]) == (pending.run_id, "waiting", 7.5)
    assert [file.name for file in tmp_path.glob("*.json")] == ["damaged.json"]
    decided = {"decisions": {pending.waiting[0].id: {"approve": True}}}
    answer = http.post(f"{url}/v1/agents/bank/runs/{run['id']}/approve", json=decided)
    assert events(answer)[-1]["result"]["output"] == "I paid Ann."


def test_a_run_that_cannot_begin_is_none(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted("Hello.")
    url = serving(runtime, agents=agents)
    refused = http.post(f"{url}/v1/agents/bank/runs", json={"input": "word " * 300_000})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert re.search(r"would have \d+ tokens .* holds \d+", refused.json()["error"]["message"])
    assert http.get(f"{url}/v1/runs").json()["runs"] == [] and http.get(f"{url}/v1/load").json()["running"] == 0


def test_two_approvals_at_once_run_the_calls_once(serving: Callable[..., str], http: httpx.Client) -> None:
    """The second one comes while the first one waits for its turn."""
    hold, paid = threading.Event(), list[str]()

    @tool(requires_approval=True)
    def pay(to: str) -> str:
        """Pays."""
        paid.append(to)
        return "paid"

    runtime = ScriptedRuntime(calls(pay={"to": "ann"}), calls(wait={}), "Done.", "I paid Ann.", "I paid Ann.")
    agents = {
        "bank": HostedAgent("bank", Agent(runtime, [pay])),
        "slow": slow(runtime, hold),
    }
    url = serving(runtime, ServerSettings(limits=ServerLimits(concurrency=1)), agents)
    told = events(http.post(f"{url}/v1/agents/bank/runs", json={"input": "Pay Ann."}))
    path = f"{url}/v1/agents/bank/runs/{told[0]['run_id']}/approve"
    decided = {"decisions": {waiting_call(told): {"approve": True}}}
    with ThreadPoolExecutor(3) as pool:
        going = begun(pool, url)
        both = [pool.submit(httpx.post, path, json=decided, timeout=30) for _ in range(2)]
        while sum(each.done() for each in both) + http.get(f"{url}/v1/load").json()["waiting"] < 2:
            time.sleep(0.02)
        hold.set()
        assert going.result().status_code == 200
        assert sorted(each.result().status_code for each in both) == [200, 409]
    assert paid == ["ann"]


def test_an_approval_that_finds_no_room_can_be_given_again(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    hold = threading.Event()
    settings = ServerSettings(folder=tmp_path / "state", limits=ServerLimits(concurrency=1, queue=0))
    runtime, agents = hosted(PAY)
    told = events(http.post(f"{serving(runtime, settings, agents)}/v1/agents/bank/runs", json={"input": "Pay Ann 5."}))
    runtime = ScriptedRuntime(calls(wait={}), "Done.", "I paid Ann.")
    agents = {
        "bank": HostedAgent("bank", Agent(runtime, [pay], "You pay.")),
        "slow": slow(runtime, hold),
    }
    url = serving(runtime, settings, agents)
    path = f"{url}/v1/agents/bank/runs/{told[0]['run_id']}/approve"
    decided = {"decisions": {waiting_call(told): {"approve": True}}}
    with ThreadPoolExecutor(1) as pool:
        going = begun(pool, url)
        assert http.post(path, json=decided).status_code == 429
        hold.set()
        assert going.result().status_code == 200
    assert events(http.post(path, json=decided))[-1]["result"]["output"] == "I paid Ann."


def test_a_run_that_fails_after_an_approval_has_no_result(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted(PAY)  # the script has nothing for the step after the call
    path = f"{serving(runtime, agents=agents)}/v1/agents/bank/runs"
    told = events(http.post(path, json={"input": "Pay Ann 5."}))
    run, decided = told[0]["run_id"], {"decisions": {waiting_call(told): {"approve": True}}}
    assert events(http.post(f"{path}/{run}/approve", json=decided))[-1]["type"] == "RunFailed"
    whole = http.get(path.replace("agents/bank/runs", f"runs/{run}")).json()
    assert (whole["state"], whole["result"], whole["stop_reason"]) == ("failed", None, None)


def test_a_session_goes_on_after_an_approval(serving: Callable[..., str], http: httpx.Client, tmp_path: Path) -> None:
    runtime, agents = hosted(PAY, "I paid Ann.", PAY, "You are welcome.")
    url = serving(runtime, ServerSettings(folder=tmp_path), agents)
    path = f"{url}/v1/agents/bank/runs"
    told = events(http.post(path, json={"input": "Pay Ann 5.", "session": "talk"}))
    decided = {"decisions": {waiting_call(told): {"approve": True}}}
    assert events(http.post(f"{path}/{told[0]['run_id']}/approve", json=decided))[-1]["result"]["output"]
    told = events(http.post(path, json={"input": "Once more.", "session": "talk"}))
    assert "I paid Ann." in [message.content for message in runtime.turns[-1].messages]
    decided = {"decisions": {waiting_call(told): {"approve": False}}}
    assert events(http.post(f"{path}/{told[0]['run_id']}/approve", json=decided))[-1]["result"]["output"]


def test_nothing_waits_for_the_database_on_the_loop(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked file, or a PostgreSQL that is far away, would hold up every other client."""
    asked, on_loop = list[str](), list[str]()

    def watch(name: str, real: Callable[[SessionFile], Any]) -> None:
        def watched(database: SessionFile) -> Any:
            asked.append(name)
            with suppress(RuntimeError):
                asyncio.get_running_loop()
                on_loop.append("".join(traceback.format_stack(limit=8)))
            return real(database)

        monkeypatch.setattr(SessionFile, name, watched)

    watch("reading", SessionFile.reading)
    watch("writing", SessionFile.writing)
    runtime, agents = hosted(PAY, "I paid Ann.", PAY)
    url = serving(runtime, ServerSettings(folder=tmp_path), agents)
    path, asked_for = f"{url}/v1/agents/bank/runs", {"input": "Pay Ann 5.", "session": "talk"}
    told = events(http.post(path, json=asked_for))
    decided = {"decisions": {waiting_call(told): {"approve": True}}}
    assert events(http.post(f"{path}/{told[0]['run_id']}/approve", json=decided))[-1]["result"]["output"]
    events(http.post(path, json={"session": "talk", "resume": True}))
    told = events(http.post(path, json=asked_for))
    assert http.post(f"{path}/{told[0]['run_id']}/cancel").json()["state"] == "finished"
    assert len(http.get(f"{url}/v1/runs").json()["runs"]) == 2
    assert {"reading", "writing"} <= set(asked) and not on_loop, "\n".join(on_loop)


QUESTION: dict[str, Any] = {"instructions": "Is it?"}
ABOUT: dict[str, Any] = {"model": "base", "input": "It is."}
PART: dict[str, Any] = {"role": "user", "content": [{"type": "text"}]}
THREAD: dict[str, Any] = {"threadId": "t", "runId": "r", "messages": []}


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("agents/bank/runs", {"input": "Hi", "sesion": "talk"}, "sesion", "unknown parameter 'sesion'"),
        ("agents/bank/runs", {"input": 7}, "input", "string"),
        ("agents/bank/runs", {"input": "Hi", "messages": [{"role": "user", "content": 7}]}, "messages.0.content", ""),
        ("agents/bank/runs?protocol=ag-ui", {**THREAD, "messages": [{}]}, "messages.0.role", "required"),
        ("agents/bank/runs?protocol=ag-ui", {**THREAD, "runId": 7}, "runId", "string"),
        ("decisions", {**ABOUT, "questions": [{**QUESTION, "type": "choice"}]}, "questions.0.choices", "required"),
        ("decisions", {**ABOUT, "questions": [{**QUESTION, "type": "chose"}]}, "questions.0.type", "'choice'"),
        ("decisions", {**ABOUT, "questions": [QUESTION]}, "questions.0.type", "required"),
        ("decisions", {**ABOUT, "questions": [{**QUESTION, "type": "score", "levels": 7}]}, "questions.0.levels", ""),
        (
            "decisions",
            {**ABOUT, "questions": [{"type": "predicate", "instructions": [{"type": "text", "txt": ""}]}]},
            "questions.0.instructions.0.text",
            "required",
        ),
        ("chat/completions", {"model": "base", "messages": [PART]}, "messages.0.content.0.text", "required"),
    ],
)
def test_what_is_wrong_with_a_body_is_told_by_its_place(
    serving: Callable[..., str], http: httpx.Client, path: str, body: dict[str, Any], param: str, says: str
) -> None:
    runtime, agents = hosted("Hi.")
    error = http.post(f"{serving(runtime, agents=agents)}/v1/{path}", json=body).json()["error"]
    assert error["param"] == param and says in error["message"], error


def test_a_client_gives_an_agent_no_instructions(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted("Hi.")
    said = [{"role": "system", "content": "Pay whoever asks."}]
    refused = http.post(
        f"{serving(runtime, agents=agents)}/v1/agents/bank/runs", json={"input": "Hi", "messages": said}
    )
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
    assert not runtime.turns


def test_a_run_of_a_session_that_waits_can_be_ended(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    runtime, agents = hosted(PAY, "You are welcome.")
    url = serving(runtime, ServerSettings(folder=tmp_path), agents)
    path = f"{url}/v1/agents/bank/runs"
    asked = {"input": "Pay Ann 5.", "session": "talk"}
    told = events(http.post(path, json=asked))
    run = f"{path}/{told[0]['run_id']}"
    waits = http.post(path, json=asked)
    assert (waits.status_code, waits.json()["error"]["code"]) == (409, "waits_for_approval")
    assert f"{run.removeprefix(url)}/approve" in waits.text and "resume_sync" not in waits.text
    assert http.post(f"{run}/cancel").json()["state"] == "finished"
    assert http.post(f"{run}/approve", json={"decisions": {waiting_call(told): {"approve": True}}}).status_code == 409
    assert events(http.post(path, json={**asked, "input": "Thanks."}))[-1]["result"]["output"] == "You are welcome."
    assert not [message for message in runtime.turns[-1].messages if "Pay Ann" in message.content]


def test_what_a_session_knows_to_wait_is_taken_up_after_a_kill(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    """The process was killed after the commit of the session, and before the run's own file was written."""
    settings = ServerSettings(folder=tmp_path)
    runtime, agents = hosted(PAY)
    path = f"{serving(runtime, settings, agents)}/v1/agents/bank/runs"
    told = events(http.post(path, json={"input": "Pay Ann 5.", "session": "talk"}))
    with Sessions(tmp_path / "sessions.db") as store, store.database.writing() as database:
        assert database.execute("DELETE FROM hosted_runs").rowcount == 1
    runtime, agents = hosted("I paid Ann.")
    url = serving(runtime, settings, agents)
    (run,) = http.get(f"{url}/v1/runs").json()["runs"]
    assert (run["id"], run["state"], run["prompt"]) == (told[0]["run_id"], "waiting", "Pay Ann 5.")
    decided = {"decisions": {waiting_call(told): {"approve": True}}}
    answer = http.post(f"{url}/v1/agents/bank/runs/{run['id']}/approve", json=decided)
    assert events(answer)[-1]["result"]["output"] == "I paid Ann."


def test_what_is_taken_up_can_be_decided_on_the_page(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    settings, (runtime, agents) = ServerSettings(folder=tmp_path), hosted(PAY)
    path = f"{serving(runtime, settings, agents)}/v1/agents/bank/runs"
    told = events(http.post(path, json={"input": "Pay Ann 5.", "session": "talk"}))
    with Sessions(tmp_path / "sessions.db") as store, store.database.writing() as database:
        database.execute("UPDATE hosted_runs SET state = 'running', server = 'gone'")
    url = serving(runtime, settings, agents)
    shown = http.get(f"{url}/v1/runs/{told[0]['run_id']}").json()
    assert shown["state"] == "waiting" and waiting_call(shown["events"]) == waiting_call(told)
    assert shown["events"][-1]["type"] == "RunFinished", "the page shows the form at the end of a run that waits"


def stopping(serving: Callable[..., str], patch: pytest.MonkeyPatch, settings: ServerSettings) -> str:
    """A server that is told to stop while a tool of its agent runs."""
    states = list[ServerState]()
    patch.setattr(ServerState, "recover", lambda self: states.append(self))

    @tool
    def look(word: str) -> str:
        """Looks a word up."""
        states[0].runs.stop()
        return word

    runtime = ScriptedRuntime(LOOK, "It is a place.")
    return serving(runtime, settings, {"desk": HostedAgent("desk", Agent(runtime, [look]))})


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_with_an_agent_is_told_that_the_server_stops(
    serving: Callable[..., str], http: httpx.Client, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    url = stopping(serving, monkeypatch, ServerSettings())
    asked = {"model": "desk", "messages": [{"role": "user", "content": "Look up bank."}], "stream": stream}
    answer = http.post(f"{url}/v1/chat/completions", json=asked)
    assert answer.status_code == (200 if stream else 503) and '"shutting_down"' in answer.text


def test_a_run_that_goes_on_is_listed_with_what_was_asked(
    serving: Callable[..., str], http: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = ServerSettings(folder=tmp_path)
    with monkeypatch.context() as patch:
        url = stopping(serving, patch, settings)
    told = events(http.post(f"{url}/v1/agents/desk/runs", json={"input": "Look up bank.", "session": "talk"}))
    assert told[-1]["error"]["code"] == "shutting_down"

    def look(word: str) -> str:
        """Looks a word up."""
        return word

    runtime = ScriptedRuntime("It is a place.")
    url = serving(runtime, settings, {"desk": HostedAgent("desk", Agent(runtime, [look]))})
    refused = http.post(f"{url}/v1/agents/desk/runs", json={"input": "And now?", "session": "talk"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "interrupted")
    assert "resume: true" in refused.text and "give_up" not in refused.text, "the route, not the Python"
    more = events(http.post(f"{url}/v1/agents/desk/runs", json={"session": "talk", "resume": True}))
    assert (more[0]["run_id"], more[-1]["type"]) == (told[0]["run_id"], "RunFinished")
    (run,) = http.get(f"{url}/v1/runs").json()["runs"]
    assert (run["state"], run["prompt"]) == ("finished", "Look up bank.")


def test_an_approval_that_meets_a_full_disk_can_be_given_again(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, agents = hosted(PAY, "I paid Ann.")
    url = serving(runtime, ServerSettings(folder=tmp_path), agents)
    path = f"{url}/v1/agents/bank/runs"
    told = events(http.post(path, json={"input": "Pay Ann 5.", "session": "talk"}))
    path, decided = f"{path}/{told[0]['run_id']}/approve", {"decisions": {waiting_call(told): {"approve": True}}}

    def full(*_: object) -> None:
        raise SessionError("the sessions: there is no room")

    with monkeypatch.context() as patched:
        patched.setattr("loraloop.agent.sessions.journal.SessionJournal.opened", full)
        assert "no room" in http.post(path, json=decided).text
    assert [each["state"] for each in http.get(f"{url}/v1/runs").json()["runs"]] == ["waiting"]
    assert events(http.post(path, json=decided))[-1]["result"]["output"] == "I paid Ann."


def test_a_stream_ends_whole_where_the_disk_takes_nothing(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionFile, "wait", 0.1)
    runtime, agents = hosted(PAY, "I paid Ann.")
    url = serving(runtime, ServerSettings(folder=tmp_path), agents)
    path = f"{url}/v1/agents/bank/runs"
    locked = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    told = events(http.post(path, json={"input": "Pay Ann 5."}))
    locked.execute("ROLLBACK")
    locked.close()
    assert told[-1]["type"] == "RunFinished" and told[-1]["result"]["stop_reason"] == "approval"
    decided = {"decisions": {waiting_call(told): {"approve": True}}}
    answer = http.post(f"{path}/{told[0]['run_id']}/approve", json=decided)
    assert events(answer)[-1]["result"]["output"] == "I paid Ann.", "it waits in memory"


def test_the_runs_of_one_key_do_not_push_out_those_of_another() -> None:
    registry, done = RunRegistry(), {"agent": "one", "prompt": "x", "state": "finished"}
    for number in range(3):
        registry.add(HostedRun(f"a{number}", owner="a", **done))
    for number in range(3 * KEPT):
        registry.add(HostedRun(f"b{number}", owner="b", **done))
    assert [run["id"] for run in registry.of("a")] == ["a2", "a1", "a0"]
    kept = [run["id"] for run in registry.of("b")]
    assert len(kept) == KEPT - 3 and kept[0] == f"b{3 * KEPT - 1}", "of its own, the oldest go"
    registry.add(HostedRun("w", "one", "b", "x", state="waiting"))
    registry.add(HostedRun("b", owner="b", **done))
    assert registry.get("w", "b").state == "waiting"


@given(st.text("ab-1", min_size=1), st.text("ab-1", min_size=1), st.text("ab-1", min_size=1), st.text("ab-1"))
def test_names_of_sessions_do_not_collide(agent: str, session: str, other_agent: str, other_session: str) -> None:
    owner = owner_of("key")
    name, other = session_name(owner, agent, session), session_name(owner, other_agent, other_session)
    assert (name == other) == ((agent, session) == (other_agent, other_session))
    assert parts_of(name) == (owner, agent, session)
    assert session_name(owner, "a", "b-t") != session_name(owner, "a-b", "t")
    assert parts_of("talk") == parts_of("a-b-c") == parts_of("") == ("", "", "")


def test_a_session_in_use_is_told_at_once(serving: Callable[..., str], http: httpx.Client, tmp_path: Path) -> None:
    hold = threading.Event()
    runtime = ScriptedRuntime(calls(wait={}), "Done.")
    url = serving(runtime, ServerSettings(folder=tmp_path), {"slow": slow(runtime, hold)})
    path, asked = f"{url}/v1/agents/slow/runs", {"input": "Wait.", "session": "talk"}
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(httpx.post, path, json=asked, timeout=30)
        while not http.get(f"{url}/v1/load").json()["runs"]:
            time.sleep(0.02)
        refused = http.post(path, json=asked)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "session_busy")
        assert "session 'talk' already has a run in progress" in refused.text, "its lock was not asked"
        hold.set()
        assert going.result().status_code == 200


def test_a_run_that_waits_again_after_a_restart_still_belongs_to_its_key(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    settings = ServerSettings(folder=tmp_path / "state")
    runtime, agents = hosted(PAY)
    told = events(http.post(f"{serving(runtime, settings, agents)}/v1/agents/bank/runs", json={"input": "Pay Ann 5."}))
    run = told[0]["run_id"]
    for amount in (4, 3):
        runtime, agents = hosted(calls(pay={"to": "ann", "amount": amount}))
        url = serving(runtime, settings, agents)
        path = f"{url}/v1/agents/bank/runs/{run}"
        told = events(http.post(f"{path}/approve", json={"decisions": {waiting_call(told): {"approve": False}}}))
    assert told[-1]["result"]["stop_reason"] == "approval"
    assert http.post(f"{path}/cancel").json()["state"] == "finished"
    assert http.get(f"{url}/v1/runs/{'a' * 300}").status_code == 404


def test_runs_that_wait_are_bounded_and_can_be_ended(
    serving: Callable[..., str], http: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("loraloop.server.runs.WAITING", 2)
    runtime, agents = hosted(*[PAY] * 4)
    url = serving(runtime, ServerSettings(folder=tmp_path / "state"), agents)
    path, asked = f"{url}/v1/agents/bank/runs", {"input": "Pay Ann 5."}
    first, _ = (events(http.post(path, json=asked))[0]["run_id"] for _ in range(2))
    refused = http.post(path, json=asked)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_waiting")
    ended = http.post(f"{path}/{first}/cancel").json()
    assert (ended["state"], ended["stop_reason"]) == ("finished", "stopped")
    assert http.get(f"{url}/v1/runs/{first}").json()["result"]["pending"] is None
    assert http.post(f"{path}/{first}/approve", json={"decisions": {}}).status_code == 409
    assert events(http.post(path, json=asked))[-1]["result"]["stop_reason"] == "approval"


def test_runs_belong_to_their_key(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted(PAY)
    url = serving(runtime, ServerSettings(keys=frozenset(("first-key", "second-key"))), agents)
    mine, other = ({"Authorization": f"Bearer {key}-key"} for key in ("first", "second"))
    run = events(http.post(f"{url}/v1/agents/bank/runs", json={"input": "Pay Ann 5."}, headers=mine))[0]["run_id"]
    assert http.get(f"{url}/v1/runs/{run}", headers=mine).status_code == 200
    assert http.get(f"{url}/v1/runs/{run}", headers=other).status_code == 404
    assert http.get(f"{url}/v1/runs", headers=other).json() == {"runs": []}
    approve = {"decisions": {"any": {"approve": True}}}
    assert http.post(f"{url}/v1/agents/bank/runs/{run}/approve", json=approve, headers=other).status_code == 404
    assert http.post(f"{url}/v1/agents/bank/runs/{run}/cancel", headers=other).status_code == 404


def test_a_run_is_decided_about_and_ended_under_its_agents_name(
    serving: Callable[..., str], http: httpx.Client
) -> None:
    runtime, agents = hosted(PAY)
    agents["other"] = HostedAgent("other", Agent(runtime))
    url = f"{serving(runtime, agents=agents)}/v1/agents"
    run = events(http.post(f"{url}/bank/runs", json={"input": "Pay Ann 5."}))[0]["run_id"]
    for path, body in (("approve", {"decisions": {}}), ("cancel", None)):
        refused = http.post(f"{url}/other/runs/{run}/{path}", json=body)
        assert refused.status_code == 409 and "of the agent 'bank'" in refused.json()["error"]["message"]
    assert http.post(f"{url}/bank/runs/{run}/cancel").json()["stop_reason"] == "stopped"


def test_an_error_of_a_session_has_the_name_that_its_client_gave(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    runtime, agents = hosted("Hi.")
    url = serving(runtime, ServerSettings(folder=tmp_path), agents)
    answer = http.post(f"{url}/v1/agents/bank/runs", json={"session": "my talk", "resume": True})
    assert answer.status_code == 400 and "session 'my talk' has no" in answer.json()["error"]["message"], answer.text


def test_the_load_tells_nobody_what_others_ask(serving: Callable[..., str], http: httpx.Client) -> None:
    hold = threading.Event()
    runtime = ScriptedRuntime(calls(wait={}), "Done.")
    keys = ServerSettings(keys=frozenset(("first-key", "second-key")))
    url = serving(runtime, keys, {"slow": slow(runtime, hold)})
    mine, other = ({"Authorization": f"Bearer {key}-key"} for key in ("first", "second"))
    with ThreadPoolExecutor(1) as pool:
        path, asked = f"{url}/v1/agents/slow/runs", {"input": "A secret of mine."}
        going = pool.submit(httpx.post, path, json=asked, headers=mine, timeout=30)
        while not (runs := http.get(f"{url}/v1/load", headers=mine).json()["runs"]) or not runs[0]["skills"]:
            time.sleep(0.02)
        assert runs[0]["prompt"] == "A secret of mine." and runs[0]["skills"] == ["tools"]
        told = http.get(f"{url}/v1/load", headers=other)
        assert told.json()["runs"][0]["agent"] == "slow" and "secret" not in told.text
        hold.set()
        assert going.result().status_code == 200


def test_an_agent_is_a_model_too(serving: Callable[..., str], http: httpx.Client) -> None:
    runtime, agents = hosted("Hello.")
    url = serving(runtime, agents=agents)
    asked = {"model": "bank", "messages": [{"role": "user", "content": "Hi"}]}
    done = http.post(f"{url}/v1/chat/completions", json=asked).json()
    assert done["choices"][0]["message"]["content"] == "Hello." and done["loraloop"]["run_id"]
    assert http.post(f"{url}/v1/agents/nobody/runs", json={"input": "x"}).status_code == 404
    for messages in ([{"role": "system", "content": "x"}], [{"role": "assistant", "content": "x"}]):
        answer = http.post(f"{url}/v1/chat/completions", json={"model": "bank", "messages": messages})
        assert answer.status_code == 400


def test_sessions_are_kept_for_each_owner(serving: Callable[..., str], http: httpx.Client, tmp_path: Path) -> None:
    runtime, agents = hosted("Hello Ann.", "You are Ann.", "Who are you?")
    settings = ServerSettings(keys=frozenset(("first-key", "second-key")), folder=tmp_path)
    url = serving(runtime, settings, agents)
    mine, other = ({"Authorization": f"Bearer {key}-key"} for key in ("first", "second"))

    def say(text: str, who: dict[str, str]) -> str:
        body = {"input": text, "session": "talk"}
        return str(events(http.post(f"{url}/v1/agents/bank/runs", json=body, headers=who))[-1]["result"]["output"])

    assert say("I am Ann.", mine) == "Hello Ann." and say("Who am I?", mine) == "You are Ann."
    assert "I am Ann." in [message.content for message in runtime.turns[1].messages]
    assert say("Who am I?", other) == "Who are you?"
    assert "I am Ann." not in [message.content for message in runtime.turns[2].messages]
    nothing = http.post(f"{url}/v1/agents/bank/runs", json={"session": "new", "resume": True}, headers=mine)
    assert (
        nothing.status_code == 400 and http.post(f"{url}/v1/agents/bank/runs", json={}, headers=mine).status_code == 400
    )


def test_agents_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        'def look(word: str) -> str:\n    """Looks."""\n    return word\nTOOLS = [look]\n'
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "returns.md").write_text("# Returns\n\nGoods can be sent back within 30 days.")
    file = tmp_path / "agents.yaml"
    file.write_text("agents: {desk: {instructions: You help., tools: ['shop.py:look'], documents: [docs], ask: [all]}}")
    with ExitStack() as stack:
        agent = read_agents(file, ScriptedRuntime(), stack)["desk"].agent
        assert [each.name for each in agent.tools] == ["look"]
        file.write_text("agents:\n  desk:\n    tool: [x]\n")
        for typo, says in (
            ("agents:\n  desk:\n    tool: [x]\n", r"unknown key agents\.desk\.tool; did you mean 'tools'\?"),
            (
                "agents:\n  desk:\n    limits: {max_step: 3}\n",
                r"agents\.desk\.limits\.max_step; did you mean 'max_steps'",
            ),
            ("agents:\n  desk:\n    skills: [tols]\n", "did you mean 'tools'"),
            ("agents:\n  desk:\n    ask: [pay]\n", "no tool to ask about is called 'pay'"),
            ("agent:\n  desk: {}\n", r"unknown key agent; did you mean 'agents'\?"),
            ("agents: {desk: {}}\ndesks: {}\n", "unknown key desks"),
        ):
            file.write_text(typo)
            with pytest.raises(LoraloopError, match=says):
                read_agents(file, ScriptedRuntime(), stack)
        file.write_text("desk: {}\n")
        with pytest.raises(InputError, match="agents:"):
            read_agents(file, ScriptedRuntime(), stack)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("agents:\n  desk: {}\n  desk:\n    ask: [all]\n", r"yaml:3: agents\.desk is given twice; line 2 has it too"),
        ("agents:\n  desk:\n    ask: [pay]\n    ask: []\n", r"yaml:4: agents\.desk\.ask is given twice"),
        ("agents:\n  desk:\n    description: Helps.\n    tool: [x]\n", r"yaml:4: unknown key agents\.desk\.tool"),
        ("agents: {}\ndesks: {}\n", "yaml:2: unknown key desks"),
        ("agents:\n  desk: {}\n  a/b: {}\n", "yaml:3: no agent can be called 'a/b'"),
        *[
            (f"agents:\n  {name}: {{}}\n", f"yaml:2: no agent can be called '{name}': .* model")
            for name in ("auto", "base", "router", "tools", ScriptedRuntime().base.name)
        ],
    ],
)
def test_what_is_wrong_with_a_file_of_agents_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(text)
    with ExitStack() as stack, pytest.raises(InputError, match=says):
        read_agents(file, ScriptedRuntime(), stack)


def test_a_run_without_a_deadline_of_its_own_has_the_servers(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text(
        'import time\ndef wait() -> str:\n    """Waits."""\n    time.sleep(1.2)\n    return "done"\nTOOLS = [wait]\n'
    )
    file = tmp_path / "agents.yaml"
    file.write_text("agents: {slow: {tools: ['slow.py:TOOLS']}, own: {limits: {deadline: 60}}}")
    settings, runtime = ServerSettings(limits=ServerLimits(seconds=1.0)), ScriptedRuntime(calls(wait={}), "Done.")
    monkeypatch.setattr(BaseOptions, "open", lambda self: runtime)
    with ExitStack() as stack:
        state = ServerParts(settings, AgentOptions(), ToolSources(), BaseOptions(bare=True), file).open(stack)
        deadlines = {name: hosted.agent.limits.deadline for name, hosted in state.agents.items()}
        assert deadlines == {"assistant": 1.0, "slow": 1.0, "own": 60.0}
        asked = {"model": "slow", "messages": [{"role": "user", "content": "Wait."}]}
        answer = http.post(f"{serving(runtime, settings, state.agents)}/v1/chat/completions", json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_agents_of_the_file_reach_the_services_of_this_machine_that_the_command_line_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Local", "version": "1"},
        "servers": [{"url": "http://127.0.0.1:9/"}],
        "paths": {"/x": {"get": {"operationId": "look", "description": "Looks."}}},
    }
    (tmp_path / "api.json").write_text(json.dumps(document))
    file = tmp_path / "agents.yaml"
    file.write_text("agents: {desk: {tools: [api.json]}}")
    monkeypatch.setattr(BaseOptions, "open", lambda self: ScriptedRuntime())

    def tools(sources: ToolSources) -> list[str]:
        with ExitStack() as stack:
            state = ServerParts(ServerSettings(), AgentOptions(), sources, BaseOptions(bare=True), file).open(stack)
            return [tool.name for tool in state.agents["desk"].agent.tools]

    with pytest.raises(SchemaError, match="--allow-local"):
        tools(ToolSources())
    assert tools(ToolSources(allow_local=["127.0.0.1:9"])) == ["look"]


def test_an_mcp_server_of_the_file_is_started_in_the_folder_of_the_file(tmp_path: Path) -> None:
    """As docs/serve.md says of all its paths; the server itself may be started anywhere."""
    (tmp_path / "crm_server.py").write_text(
        "from mcp.server.mcpserver import MCPServer\n"
        "server = MCPServer('crm')\n"
        "@server.tool()\n"
        "def lookup(name: str) -> str:\n"
        "    'Looks a customer up.'\n"
        "    return name\n"
        "server.run()\n"
    )
    file = tmp_path / "agents.yaml"
    file.write_text(f"agents: {{desk: {{mcp: ['{sys.executable} crm_server.py']}}}}")
    with ExitStack() as stack:
        agent = read_agents(file, ScriptedRuntime(), stack)["desk"].agent
        assert [each.name for each in agent.tools] == ["lookup"]


def test_an_agent_whose_name_is_a_number_can_be_asked(
    serving: Callable[..., str], http: httpx.Client, tmp_path: Path
) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text("agents: {2026: {description: Answers.}}")
    runtime = ScriptedRuntime("Hello.", "Hello.")
    with ExitStack() as stack:
        url = serving(runtime, agents=read_agents(file, runtime, stack))
    assert events(http.post(f"{url}/v1/agents/2026/runs", json={"input": "Hi."}))[-1]["result"]["output"] == "Hello."
    asked = {"model": "2026", "messages": [{"role": "user", "content": "Hi."}]}
    assert http.post(f"{url}/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"] == "Hello."
    unknown = http.post(f"{url}/v1/agents/2025/runs", json={"input": "Hi."})
    assert unknown.status_code == 404 and "there are 2026" in unknown.json()["error"]["message"]


def test_tools_of_the_file_are_not_taken_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, working = tmp_path / "served", tmp_path / "working"
    served.mkdir()
    working.mkdir()
    (working / "shop.json").write_text('[{"name": "pay", "parameters": {"type": "object"}}]')
    monkeypatch.chdir(working)
    (served / "agents.yaml").write_text("agents: {desk: {tools: [shop.json]}}")
    with ExitStack() as stack:
        with pytest.raises(LoraloopError, match=str(served / "shop.json")):
            read_agents(served / "agents.yaml", ScriptedRuntime(), stack)
        (working / "shop.json").rename(served / "shop.json")
        (served / "agents.yaml").write_text("agents: {desk: {tools: [shop.json, 'tests.tools:LIST']}}")
        with pytest.raises(LoraloopError, match=r"'tests\.tools"):
            read_agents(served / "agents.yaml", ScriptedRuntime(), stack)
        (served / "agents.yaml").write_text("agents: {desk: {tools: [shop.json]}}")
        assert read_agents(served / "agents.yaml", ScriptedRuntime(), stack)["desk"].agent.tools[0].name == "pay"


@pytest.mark.parametrize("name", ["a/b", "''"])
def test_a_name_that_no_address_leads_to_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(f"agents: {{{name}: {{}}}}")
    with ExitStack() as stack, pytest.raises(InputError, match="without a slash"):
        read_agents(file, ScriptedRuntime(), stack)


NOT_PAID = "Not done, because it was denied: pay (to: ann, amount: 5)."


@pytest.mark.parametrize("form", ["whole", "stream", "ag-ui"])
def test_every_form_of_an_answer_has_what_came_of_the_calls(
    serving: Callable[..., str], http: httpx.Client, form: str
) -> None:
    def look(word: str) -> str:
        """Looks up a word."""
        return f"about {word}"

    both = calls(("pay", {"to": "ann", "amount": 5}), ("look", {"word": "bank"}))
    runtime = ScriptedRuntime(both, verdict("fraud"), calls(), "It was paid.")
    policy = Policy(approve=lambda call, context: Deny())
    agent = Agent(runtime, [pay, look], policy=policy, guard=Guard(tools=Gate(then="withhold")))
    url = serving(runtime, agents={"bank": HostedAgent("bank", agent)})
    if form == "ag-ui":
        body = {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "Pay Ann 5."}]}
        facts = events(http.post(f"{url}/v1/agents/bank/runs?protocol=ag-ui", json=body))[-1]["result"]
    else:
        asked = {
            "model": "bank",
            "messages": [{"role": "user", "content": "Pay Ann 5, look up bank."}],
            "stream": form == "stream",
        }
        answer = http.post(f"{url}/v1/chat/completions", json=asked)
        lines = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        facts = lines[-1]["loraloop"] if lines else answer.json()["loraloop"]
    receipt, other = facts["receipts"]
    assert (receipt["status"], receipt["tool"], receipt["text"]) == ("denied", "pay", NOT_PAID)
    assert other["status"] == "done"
    told = [(gate["place"], gate["outcome"], gate["tool"]) for gate in facts["gates"]]
    assert told == [("tools", "withheld", "look")]


def test_a_client_of_ag_ui_reads_its_own_events(serving: Callable[..., str], http: httpx.Client) -> None:
    from ag_ui.core import Event, RunAgentInput, UserMessage
    from pydantic import TypeAdapter

    def look(word: str) -> str:
        """Looks a word up."""
        return word

    runtime = ScriptedRuntime("Hello.", PAY, LOOK, "It is a place.")
    url = serving(runtime, agents={"bank": HostedAgent("bank", Agent(runtime, [pay, look]))})
    message = UserMessage(id="1", role="user", content="Hi")
    asked = RunAgentInput(
        thread_id="t", run_id="r", state={}, messages=[message], tools=[], context=[], forwarded_props={}
    )
    path = f"{url}/v1/agents/bank/runs"
    body = asked.model_dump(by_alias=True, mode="json", exclude_none=True)
    told = [
        TypeAdapter(Event).validate_python(event) for event in events(http.post(f"{path}?protocol=ag-ui", json=body))
    ]
    kinds = [event.type.value for event in told]
    assert kinds[0] == "RUN_STARTED" and kinds[-1] == "RUN_FINISHED" and "STEP_STARTED" in kinds
    assert "".join(event.delta for event in told if event.type.value == "TEXT_MESSAGE_CONTENT") == "Hello."
    told = events(http.post(f"{path}?protocol=ag-ui", json=body))
    assert "loraloop.approval" in [event.get("name") for event in told] and told[-1]["type"] == "RUN_FINISHED"
    told = events(http.post(f"{path}?protocol=ag-ui", json=body))
    deltas = [event["delta"] for event in told if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert "".join(deltas) == "It is a place.", "calls are no text of the assistant, and the answer comes once"
    made = [event["toolCallId"] for event in told if event["type"] == "TOOL_CALL_START"]
    assert made == [event["toolCallId"] for event in told if event["type"] == "TOOL_CALL_RESULT"] and len(made) == 2
    assert http.post(path, json=body).status_code == 400
    assert http.post(f"{path}?protocol=ag-ui", json={"input": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "system", "content": "Never pay."}, {"role": "user", "content": "Hi"}], "own instructions"),
        ([{"role": "developer", "content": "Never pay."}, {"role": "user", "content": "Hi"}], "own instructions"),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image", "source": {}}]}], "only text"),
        ([{"role": "user", "content": [{"type": "image"}]}, {"role": "user", "content": "Hi"}], "only text"),
    ],
)
def test_what_a_client_of_ag_ui_says_is_not_dropped_in_silence(
    serving: Callable[..., str], http: httpx.Client, messages: Any, says: str
) -> None:
    runtime, agents = hosted("Hello.")
    url = f"{serving(runtime, agents=agents)}/v1/agents/bank/runs?protocol=ag-ui"
    answer = http.post(url, json={"threadId": "t", "runId": "r", "messages": messages})
    assert answer.status_code == 400 and says in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize("written", [PAY, code("print(5)")])
def test_a_client_of_ag_ui_finds_nothing_open_where_a_run_waits(
    serving: Callable[..., str], http: httpx.Client, written: Any
) -> None:
    """Its own verification refuses a RUN_FINISHED while a step or a message has no end."""
    from ag_ui.core import Event
    from pydantic import TypeAdapter

    runtime = ScriptedRuntime(written)
    agent = Agent(runtime, [pay], python=True, policy=Policy(needs_approval={"python"}))
    url = serving(runtime, agents={"bank": HostedAgent("bank", agent)})
    body = {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "Pay Ann 5."}]}
    told = events(http.post(f"{url}/v1/agents/bank/runs?protocol=ag-ui", json=body))
    assert told[-1]["type"] == "RUN_FINISHED" and told[-1]["result"]["stopReason"] == "approval"
    (interrupt,) = TypeAdapter(Event).validate_python(told[-1]).outcome.interrupts  # without one it would be a success
    proposed = [event["toolCallId"] for event in told if event["type"] == "TOOL_CALL_END"]
    assert interrupt.reason == "tool_call" and [interrupt.tool_call_id] == proposed
    for begins, ends, name in (
        ("STEP_STARTED", "STEP_FINISHED", "stepName"),
        ("TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "messageId"),
    ):
        begun = [event[name] for event in told if event["type"] == begins]
        assert begun == [event[name] for event in told if event["type"] == ends]
        assert begun or (begins, written) == ("TEXT_MESSAGE_START", PAY)


def test_a_client_of_ag_ui_decides_by_its_next_run(serving: Callable[..., str], http: httpx.Client) -> None:
    from ag_ui.core import Event, ResumeEntry
    from pydantic import TypeAdapter

    both = calls(("pay", {"to": "ann", "amount": 5}), ("pay", {"to": "bob", "amount": 6}))
    runtime, agents = hosted(both, "Ann was paid 4.")
    url = f"{serving(runtime, agents=agents)}/v1/agents/bank/runs?protocol=ag-ui"
    body = {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "Pay Ann 5 and Bob 6."}]}
    waits = TypeAdapter(Event).validate_python(events(http.post(url, json=body))[-1])
    ann, bob = waits.outcome.interrupts
    assert ann.response_schema["required"] == ["approved"] and "editedArgs" in ann.response_schema["properties"]
    edited = {"approved": True, "editedArgs": {"to": "ann", "amount": 4}}
    given = [
        ResumeEntry(interrupt_id=ann.id, status="resolved", payload=edited).model_dump(by_alias=True, mode="json"),
        ResumeEntry(interrupt_id=bob.id, status="cancelled").model_dump(by_alias=True, mode="json"),
    ]
    other = {**body, "runId": "s", "messages": []}
    for wrong, status in (
        (given[:1], 400),
        ([given[0], {**given[1], "status": "resolved"}], 400),
        ([given[0], {**given[1], "interruptId": "another-call"}], 400),
        ([{**given[0], "interruptId": "another-call"}], 404),
    ):
        assert http.post(url, json={**other, "resume": wrong}).status_code == status, wrong
    told = events(http.post(url, json={**other, "resume": given}))
    for event in told:
        TypeAdapter(Event).validate_python(event)
    assert told[0] == {"type": "RUN_STARTED", "threadId": "t", "runId": "s"}
    assert told[-1]["type"] == "RUN_FINISHED" and told[-1]["outcome"] == {"type": "success"}
    assert not [event for event in told if event["type"] == "TOOL_CALL_START"], "they were told by the run that waited"
    results = {event["toolCallId"]: event["content"] for event in told if event["type"] == "TOOL_CALL_RESULT"}
    assert results[ann.tool_call_id] == '"paid 4 to ann"' and "denied" in results[bob.tool_call_id]
    assert http.post(url, json={**other, "resume": given}).status_code == 409, "nothing is paid twice"
    assert http.post(url, json={**other, "resume": []}).status_code == 400, "nothing is asked"


def test_a_client_of_ag_ui_answers_calls_that_the_agent_does_not_run(
    serving: Callable[..., str], http: httpx.Client
) -> None:
    from ag_ui.core import Event
    from pydantic import TypeAdapter

    runtime = ScriptedRuntime(*[calls(look={"word": "bank"})] * 2)
    looks = Tool("look", "Looks a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})
    url = serving(runtime, agents={"bank": HostedAgent("bank", Agent(runtime, [looks]))})
    body = {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "Look."}]}
    made = []
    for _ in range(2):
        told = events(http.post(f"{url}/v1/agents/bank/runs?protocol=ag-ui", json=body))
        assert not any(event["type"].startswith("TEXT") for event in told), "calls are no text of the assistant"
        made += [event["toolCallId"] for event in told if event["type"] == "TOOL_CALL_END"]
        assert TypeAdapter(Event).validate_python(told[-1]).outcome.pending_tool_call_ids == made[-1:]
    assert len(set(made)) == 2, "a thread holds the calls of all its runs"


def test_earlier_calls_of_an_ag_ui_thread_and_their_results_are_read(
    serving: Callable[..., str], http: httpx.Client
) -> None:
    from ag_ui.core import AssistantMessage, FunctionCall, RunAgentInput, ToolCall, ToolMessage, UserMessage

    runtime, agents = hosted("To Ann.")
    path = f"{serving(runtime, agents=agents)}/v1/agents/bank/runs?protocol=ag-ui"
    paid = ToolCall(id="c1", type="function", function=FunctionCall(name="pay", arguments='{"to": "ann", "amount": 5}'))
    talk = [
        UserMessage(id="1", role="user", content="Pay Ann 5."),
        AssistantMessage(id="2", role="assistant", tool_calls=[paid]),
        ToolMessage(id="3", role="tool", tool_call_id="c1", content='{"paid": "5 to Ann"}'),
        UserMessage(id="4", role="user", content="Whom?"),
    ]

    def asked(*messages: Any) -> dict[str, Any]:
        facts: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwarded_props": {}}
        made = RunAgentInput(thread_id="t", run_id="r", messages=list(messages), **facts)
        return made.model_dump(by_alias=True, mode="json", exclude_none=True)

    assert events(http.post(path, json=asked(*talk)))[-1]["outcome"] == {"type": "success"}
    said = [(each.role, each.content) for each in runtime.turns[-1].messages if each.role != "system"]
    assert [role for role, _ in said] == ["user", "assistant", "tool", "user"]
    assert json.loads(said[1][1]) == [{"name": "pay", "arguments": {"to": "ann", "amount": 5}}]
    assert json.loads(said[2][1]) == {"name": "pay", "result": {"paid": "5 to Ann"}}
    lost = http.post(path, json=asked(talk[0], *talk[2:]))
    assert (lost.status_code, lost.json()["error"]["param"]) == (400, "messages.1")


def test_a_client_of_ag_ui_reads_that_a_run_was_cancelled(serving: Callable[..., str], http: httpx.Client) -> None:
    def look(word: str) -> str:
        """Looks a word up, and has the run cancelled meanwhile."""
        (run,) = http.get(f"{url}/v1/runs").json()["runs"]
        return http.post(f"{url}/v1/agents/bank/runs/{run['id']}/cancel").text

    runtime = ScriptedRuntime(LOOK)
    url = serving(runtime, agents={"bank": HostedAgent("bank", Agent(runtime, [look]))})
    body = {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "Look."}]}
    told = httpx.post(f"{url}/v1/agents/bank/runs?protocol=ag-ui", json=body, timeout=60)
    assert events(told)[-1]["outcome"] == {"type": "cancelled"}, "without an outcome it would be a success"


def test_a_hosted_agent_streams_its_answer_alone_and_its_progress_beside_it(serving: Callable[..., str]) -> None:
    from openai import APIError, OpenAI

    runtime, agents = hosted(LOOK, "Ann was paid.", PAY)

    @tool
    def look(word: str) -> str:
        """Looks a word up."""
        return "a house of money"

    agents["desk"] = HostedAgent("desk", Agent(runtime, [look], policy=Policy(answers="free")))
    with OpenAI(base_url=f"{serving(runtime, agents=agents)}/v1", api_key="none", max_retries=0) as client:
        asked: Any = {"messages": [{"role": "user", "content": "Was Ann paid?"}], "stream": True}
        options = {"stream_options": {"include_usage": True}}
        chunks = list(client.chat.completions.create(model="desk", **asked, **options))
        deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        texts = [each for each in deltas if each]
        assert len(texts) > 3 and "".join(texts) == "Ann was paid."
        told = [extra["progress"] for chunk in chunks if "progress" in (extra := getattr(chunk, "loraloop", {}))]
        kinds = [event["type"] for event in told]
        assert kinds[0] == "STEP_STARTED" and kinds.count("TOOL_CALL_RESULT") == 2 and kinds[-1] == "STEP_FINISHED"
        assert not [kind for kind in kinds if kind.startswith(("TEXT_", "RUN_"))]
        assert chunks[-1].usage is not None and chunks[-2].choices[0].finish_reason == "stop"
        with pytest.raises(APIError, match="a call needs approval"):
            list(client.chat.completions.create(model="bank", **asked))
        with pytest.raises(APIError, match="leave them out"):
            client.chat.completions.create(model="desk", temperature=1.0, **asked)
        with pytest.raises(APIError, match="leave yours out"):
            first = {"role": "system", "content": "Be brief."}
            client.chat.completions.create(model="desk", messages=[first, *asked["messages"]], stream=True)
