"""Servers that share a database: any of them goes on with a conversation, and with a run that waits or was lost."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from loraloop import Agent, Limits, Policy, tool
from loraloop.agent.sessions.sessions import Sessions
from loraloop.server.app import create_app
from loraloop.server.runs import HostedAgent, HostedRun, RunRegistry, owner_of
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.server.state import ServerState, session_name
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool

Serving = Callable[..., str]
RUNS, PAYMENTS = 50, 3  # of the test that kills a server, and of each of them


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def server(serving: Serving, place: str, tools: Any, *script: Any) -> str:
    """The path of the runs of an agent on a server of its own."""
    runtime = ScriptedRuntime(*script)
    agents = {"bank": HostedAgent("bank", Agent(runtime, tools))}
    return f"{serving(runtime, ServerSettings(sessions=place), agents)}/v1/agents/bank/runs"


def listed(path: str) -> list[str]:
    return [run["state"] for run in httpx.get(path.replace("/agents/bank", "")).json()["runs"]]


def post(path: str, body: Any) -> httpx.Response:
    return httpx.post(path, json=body, timeout=30)


def test_a_conversation_goes_on_at_another_server(serving: Serving, sessions_place: str) -> None:
    one, two = (server(serving, sessions_place, [], text) for text in ("Hello Ann.", "You are Ann."))
    events(post(one, {"input": "I am Ann.", "session": "talk"}))
    assert events(post(two, {"input": "Who am I?", "session": "talk"}))[-1]["result"]["output"] == "You are Ann."
    assert listed(one) == listed(two) == ["finished", "finished"]


@pytest.mark.parametrize("asked", [{}, {"session": "talk"}])
def test_two_servers_are_told_the_same_decision_and_the_call_runs_once(
    serving: Serving, sessions_place: str, asked: dict[str, str]
) -> None:
    paid = list[str]()

    @tool(requires_approval=True)
    def pay(to: str) -> str:
        """Pays."""
        paid.append(to)
        return "paid"

    one = server(serving, sessions_place, [pay], calls(pay={"to": "ann"}), "Ann was paid.")
    two = server(serving, sessions_place, [pay], "Ann was paid.")
    told = events(post(one, {"input": "Pay Ann.", **asked}))
    (call,) = next(event for event in told if event["type"] == "ApprovalRequested")["calls"]
    decided = {"decisions": {call["id"]: {"approve": True}}}
    assert listed(two) == ["waiting"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda path: post(f"{path}/{told[0]['run_id']}/approve", decided), 3 * (one, two)))
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409, 409, 409]
    (done,) = (each for each in answers if each.status_code == 200)
    assert events(done)[-1]["result"]["output"] == "Ann was paid." and paid == ["ann"]
    assert listed(one) == listed(two) == ["finished"]


def test_a_run_is_cancelled_through_another_server(serving: Serving, sessions_place: str) -> None:
    going = threading.Event()

    def look() -> str:
        """Looks."""
        going.set()
        time.sleep(1.2)
        return "nothing"

    one = server(serving, sessions_place, [look], calls(look={}), *[calls(look={})] * 9, "Nothing.")
    two = server(serving, sessions_place, [look])
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(post, one, {"input": "Look."})
        assert going.wait(20)
        deadline = time.monotonic() + 30
        while listed(two) != ["running"]:  # on a machine that hardly moves, the lease of a server may run out
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (run,) = httpx.get(two.replace("/agents/bank", "")).json()["runs"]
        assert post(f"{two}/{run['id']}/cancel", {}).json()["state"] == "running"
        assert events(work.result())[-1]["result"]["stop_reason"] == "cancelled"
    assert listed(one) == listed(two) == ["finished"]


@pytest.mark.parametrize("through", [0, 1])
def test_a_run_that_is_cancelled_while_its_approval_waits_for_a_turn_pays_nothing(
    serving: Serving, sessions_place: str, through: int
) -> None:
    paid, hold = list[str](), threading.Event()

    @tool(requires_approval=True)
    def pay(to: str) -> str:
        """Pays."""
        paid.append(to)
        return "paid"

    def wait() -> str:
        """Waits."""
        hold.wait(20)
        return "done"

    runtime = ScriptedRuntime(calls(pay={"to": "ann"}), calls(wait={}), "Done.", "Ann was paid.")
    agents = {name: HostedAgent(name, Agent(runtime, [each])) for name, each in (("bank", pay), ("slow", wait))}
    settings = ServerSettings(sessions=sessions_place, limits=ServerLimits(concurrency=1))
    one = f"{serving(runtime, settings, agents)}/v1/agents/bank/runs"
    two = server(serving, sessions_place, [pay])
    told = events(post(one, {"input": "Pay Ann."}))
    (call,) = next(event for event in told if event["type"] == "ApprovalRequested")["calls"]
    run, load = told[0]["run_id"], one.replace("/agents/bank/runs", "/load")
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(post, one.replace("bank", "slow"), {"input": "Wait."})
        while httpx.get(load).json()["running"] == 0:
            time.sleep(0.02)
        going = pool.submit(post, f"{one}/{run}/approve", {"decisions": {call["id"]: {"approve": True}}})
        while httpx.get(load).json()["waiting"] == 0:
            time.sleep(0.02)
        assert post(f"{(one, two)[through]}/{run}/cancel", {}).json()["state"] == "running"
        hold.set()
        assert slow.result().status_code == 200
        assert events(going.result())[-1]["result"]["stop_reason"] == "cancelled"
    assert paid == [] and listed(two)[-1] == "finished"


def test_who_lost_the_connection_learns_how_the_run_ended(serving: Serving, sessions_place: str) -> None:
    one = server(serving, sessions_place, [], "Hello.", "Again.")
    two = server(serving, sessions_place, [])
    asked = {"session": "talk", "resume": True}
    assert post(two, asked).status_code == 400, "there is no such session"
    told = events(post(one, {"input": "Hi.", "session": "talk"}))
    again = events(post(two, asked))
    assert [event["type"] for event in again] == ["RunFinished"]
    assert (again[0]["run_id"], again[0]["result"]["output"]) == (told[0]["run_id"], "Hello.")
    assert events(post(one, {"input": "Hi.", "session": "talk"}))[-1]["result"]["output"] == "Again."


def test_a_run_of_a_server_that_died_has_failed_and_its_calls_cannot_be_approved_again(sessions_place: str) -> None:
    with Sessions(sessions_place) as store:
        one, two = RunRegistry(store), RunRegistry(store)
        one.add(HostedRun("r", "bank", "ann", "Pay."))
        assert [run["state"] for run in two.of("ann")] == ["running"] == [two.get("r", "ann").state]
        one.close()
        assert [run["state"] for run in two.of("ann")] == ["failed"] == [two.get("r", "ann").state]
        two.close()


def test_a_server_that_was_away_does_not_overwrite_what_became_of_its_run(
    serving: Serving, sessions_place: str
) -> None:
    """Its session is taken over while a tool of it runs: as if its lease had run out."""
    taken = list[dict[str, Any]]()

    @tool(idempotent=True)
    def look() -> str:
        """Looks."""
        if not taken:
            taken.append({})
            with Sessions(sessions_place) as store, store.database.writing() as database:
                if "://" in sessions_place:
                    database.execute("UPDATE leases SET expires = clock_timestamp() - interval '1 s'")
                else:
                    shutil.rmtree(f"{sessions_place}-locks")
            taken[0] |= events(post(two, {"session": "talk", "resume": True}))[-1]
        return "a pear"

    one = server(serving, sessions_place, [look], calls(look={}), "A pear.")
    two = server(serving, sessions_place, [look], "A pear, I think.")
    told = events(post(one, {"input": "Look.", "session": "talk"}))
    assert told[-1]["type"] == "RunFailed" and "another runner has taken the session" in str(told[-1])
    assert taken[0]["result"]["output"] == "A pear, I think." and taken[0]["run_id"] == told[0]["run_id"]
    assert listed(one) == listed(two) == ["finished"]


def test_what_a_server_that_died_had_taken_waits_again_if_its_session_says_so(
    serving: Serving, sessions_place: str
) -> None:
    """It was killed after it had taken the decision, and before the run went on."""

    @tool(requires_approval=True)
    def pay(to: str) -> str:
        """Pays."""
        return "paid"

    one = server(serving, sessions_place, [pay], calls(pay={"to": "ann"}))
    told = events(post(one, {"input": "Pay Ann.", "session": "talk"}))
    with Sessions(sessions_place) as store, store.database.writing() as database:
        database.execute("UPDATE hosted_runs SET state = 'running', server = 'gone'")
    two = server(serving, sessions_place, [pay], "Ann was paid.")
    assert listed(two) == ["waiting"] == listed(one)
    (call,) = next(event for event in told if event["type"] == "ApprovalRequested")["calls"]
    answer = post(f"{two}/{told[0]['run_id']}/approve", {"decisions": {call["id"]: {"approve": True}}})
    assert events(answer)[-1]["result"]["output"] == "Ann was paid."


def paying(place: str, effects: Path) -> ServerState:
    """A server whose agent pays a few times in each run; each payment is a line of a file.

    While there is a file `hold` beside it, only the first `RUNS` payments of all servers return.
    """
    from loraloop import Context  # an annotation's names have to be there where Ray unpickles this function

    def pay(context: Context[None]) -> str:
        """Pays."""
        with open(effects, "a") as file:
            file.write(f"{context.run_id} {context.step} {os.getpid()}\n")
            written = file.tell()
        time.sleep(0.2)
        held = effects.read_bytes()[:written].count(b"\n") > RUNS
        while held and effects.with_name("hold").exists():
            time.sleep(0.02)
        return "paid"

    if "://" in place:
        from loraloop.agent.sessions.postgres import PostgresStore

        PostgresStore.lease_seconds = 3.0
    runtime = ScriptedRuntime(*[calls(pay={})] * 2000)
    tools = [Tool.from_function(pay, effects=True, requires_approval=False)]
    bounds, policy = Limits(max_steps=PAYMENTS), Policy(repeat_calls=True)
    agent: Agent[Any, Any] = Agent(runtime, tools, limits=bounds, policy=policy)
    return ServerState(runtime, limited(place), {"bank": HostedAgent("bank", agent)})


def limited(place: str) -> ServerSettings:
    return ServerSettings(sessions=place, limits=ServerLimits(concurrency=8, per_key=100))


def paying_server(place: str, effects: Path, port: Any) -> None:
    """Serves the agent that pays. Sends the port."""
    app = create_app(paying(place, effects))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port.send(listening.getsockname()[1])
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def to_its_end(client: httpx.Client, servers: Sequence[str], session: str) -> int:
    """What a client does: asks a server, and goes on at the others with what broke off. Returns how often it asked."""
    body: dict[str, Any] = {"input": "Pay.", "session": session}
    for tries in range(300):
        time.sleep(1.0 if tries > 1 else 0.0)
        try:
            answer = client.post(f"{servers[tries % len(servers)]}/v1/agents/bank/runs", json=body)
        except httpx.ConnectError:  # nothing was asked
            continue
        except httpx.HTTPError:  # the connection broke: the run may have begun, and may have ended
            body = {"session": session, "resume": True}
            continue
        told = events(answer) if answer.status_code == 200 else []
        if told and told[-1]["type"] == "RunFinished":
            return tries + 1
        began = "no interrupted run" not in answer.text
        body = {"session": session, "resume": True} if began else {"input": "Pay.", "session": session}
    raise AssertionError(f"{session} came to no end: {answer.text}")


def pay_while_one_is_killed(servers: Sequence[str], place: str, effects: Path, victims: Sequence[int] = ()) -> None:
    """Has many clients make payments, kills a process in their middle, and checks what every call came to.

    Args:
        servers: Addresses that a client asks in turn.
        place: The sessions.
        effects: The file of payments.
        victims: Process ids of the servers, the first of which is killed; empty for the one that holds the most calls.
    """
    hold = effects.with_name("hold")
    hold.touch()
    names = [f"s{number}" for number in range(RUNS)]
    client = httpx.Client(timeout=120, limits=httpx.Limits(max_connections=2 * RUNS))
    with client, ThreadPoolExecutor(RUNS) as pool:
        orders = [servers if number % 2 else servers[::-1] for number in range(len(names))]
        going = [pool.submit(to_its_end, client, *each) for each in zip(orders, names, strict=True)]
        working, held = Counter[int](), Counter[int]()
        while len(working) < 2 or not (held[victims[0]] if victims else held):  # both work, and it makes a call
            time.sleep(0.02)
            paid = [int(line.split()[2]) for line in effects.read_text().splitlines()]
            working, held = Counter(paid), Counter(paid[RUNS:])
        os.kill(victims[0] if victims else held.most_common(1)[0][0], signal.SIGKILL)
        hold.unlink()
        asked = [each.result() for each in going]
    marked, elsewhere = payments_marked(place, effects, names), sum(tries > 1 for tries in asked)
    assert elsewhere >= 5 and 1 <= marked <= 8  # at most the calls that the server had begun
    print(f"{RUNS} runs of {PAYMENTS} calls: {elsewhere} went on elsewhere, {marked} calls marked, none ran twice")


def payments_marked(place: str, effects: Path, names: Sequence[str]) -> int:
    """Checks that every run made its payments, none twice. Returns how many are marked as ones that may have."""
    made = Counter((run, int(step)) for run, step, _ in map(str.split, effects.read_text().splitlines()))
    marked = 0
    with Sessions(place) as store:
        for name in names:
            (turn,) = store[session_name(owner_of("127.0.0.1"), "bank", name)].turns
            assert turn.stop_reason == "max_steps" and len(turn.steps) == len(turn.calls) == PAYMENTS
            for call in turn.calls:
                ran = made.pop((turn.run_id, call.step), 0)
                marked += call.at_least_once
                assert call.record is not None and (call.at_least_once or (ran, call.record.error) == (1, None))
                assert ran <= 1, "what may have run is told to the model, and not run again"
    assert not made, "every effect belongs to a call on record"
    return marked


def test_runs_of_a_server_that_is_killed_go_on_at_another_and_no_call_runs_twice_unmarked(
    sessions_place: str, tmp_path: Path
) -> None:
    effects, fork = tmp_path / "effects", multiprocessing.get_context("fork")
    effects.touch()
    port, sent = fork.Pipe(duplex=False)
    servers = [fork.Process(target=paying_server, args=(sessions_place, effects, sent), daemon=True) for _ in range(2)]
    urls = []
    try:
        for each in servers:
            each.start()
            urls.append(f"http://127.0.0.1:{port.recv()}")
        pay_while_one_is_killed(urls, sessions_place, effects, [each.pid or 0 for each in servers])
    finally:
        for each in servers:
            each.kill()


@pytest.fixture
def replicas(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Any
) -> Iterator[tuple[str, Callable[[], object]]]:
    """The address of two replicas of the agent that pays, and what deploys them once more."""
    for name, value in benchmark("replicas").PATIENT.items():
        monkeypatch.setenv(name, value)
    import ray
    from ray import cloudpickle, serve

    from loraloop.scale.replicas import application

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # replicas cannot import this module
    (tmp_path / "effects").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    build = functools.partial(paying, postgres_url, tmp_path / "effects")

    def deploy() -> None:
        serve.run(application(build, limited(postgres_url), num_replicas=2), name="loraloop", route_prefix="/")

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)  # an update starts a replica before it ends one
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        deploy()
        yield f"http://127.0.0.1:{port}", deploy
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_runs_of_a_replica_that_is_killed_go_on_at_another_and_no_call_runs_twice_unmarked(
    replicas: tuple[str, Callable[[], object]], postgres_url: str, tmp_path: Path
) -> None:
    pay_while_one_is_killed([replicas[0]], postgres_url, tmp_path / "effects")


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_an_update_replaces_the_replicas_and_breaks_no_run(
    replicas: tuple[str, Callable[[], object]], postgres_url: str, tmp_path: Path
) -> None:
    (url, deploy), updated, effects = replicas, threading.Event(), tmp_path / "effects"

    def client(number: int) -> list[str]:
        """Begins one run after the other until the update is over, and three more."""
        names, after = list[str](), 3
        while after:
            after -= updated.is_set()
            names.append(f"s{number}-{len(names)}")
            assert to_its_end(asking, [url], names[-1]) == 1, "the connection broke"
        return names

    with httpx.Client(timeout=120) as asking, ThreadPoolExecutor(8) as pool:
        going = [pool.submit(client, number) for number in range(8)]
        try:
            while len({line.split()[2] for line in effects.read_text().splitlines()}) < 2:
                time.sleep(0.02)
            deploy()
        finally:
            updated.set()
        names = [name for each in going for name in each.result()]
    processes = {line.split()[2] for line in effects.read_text().splitlines()}
    assert len(processes) == 4, "two old replicas, and two new ones"
    assert payments_marked(postgres_url, effects, names) == 0
    print(f"{len(names)} runs of {PAYMENTS} calls during an update: none broke off, no call marked")
