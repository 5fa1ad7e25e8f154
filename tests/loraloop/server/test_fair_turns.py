"""Clients take turns: who asks little does not wait behind the backlog of who asks much."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loraloop.server import state as server_state
from loraloop.server import wire
from loraloop.server.errors import ApiError
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.server.state import ConcurrencyLimiter, RequestTurn
from loraloop.testing import ScriptedRuntime
from loraloop.tool_schemas.errors import TimeLimitError

CHAT = "/v1/chat/completions"
HI = {"role": "user", "content": "Hi"}
ASKED: dict[str, Any] = {"model": "base", "messages": [HI]}


def client(url: str, host: int) -> httpx.Client:
    """A client of another address of this machine."""
    return httpx.Client(base_url=url, timeout=120, transport=httpx.HTTPTransport(local_address=f"127.0.0.{host}"))


def slow_tools(owner: str, number: int, count: int) -> list[dict[str, Any]]:
    """Tools whose schemas take long to be read, and which nobody has sent before."""
    deep: dict[str, Any] = {"type": "string", "pattern": "(?=a)b"}
    for _ in range(5):
        deep = {"anyOf": [deep, {"allOf": [deep]}]}
    schemas = ({"type": "object", "properties": {f"{owner}{number}_{each}": deep}} for each in range(count))
    return [{"type": "function", "function": {"name": f"{owner}{n}", "parameters": s}} for n, s in enumerate(schemas)]


@dataclass
class Reading:
    """The names of the tools that were read so far; one called `stop` waits until it may go on."""

    names: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    seen, tool_of = Reading(), wire.tool_of

    def noted(name: str, *more: Any) -> Any:
        made = tool_of(name, *more)
        seen.names.append(name)
        assert name != "stop" or seen.go_on.wait(10)
        return made

    monkeypatch.setattr(wire, "tool_of", noted)
    return seen


def test_slow_schemas_of_one_address_delay_that_address_alone(serving: Callable[..., str], reading: Reading) -> None:
    url, read = serving(ScriptedRuntime(*["ok"] * 20)), reading.names
    with client(url, 2) as many, client(url, 3) as one, ThreadPoolExecutor(8) as pool:
        backlog = [
            pool.submit(many.post, CHAT, json={**ASKED, "tools": slow_tools("a", number, 14)}) for number in range(5)
        ]
        while not read:
            time.sleep(0.001)
        before = len(read)
        answer = one.post(CHAT, json={**ASKED, "tools": slow_tools("b", 0, 3)})
        other = Counter(name[0] for name in read[before : 1 + max(n for n, name in enumerate(read) if name[0] == "b")])
        assert answer.status_code == 200, answer.text
        assert [each.result().status_code for each in backlog] == [200] * 5
    assert other["b"] == 3 and other["a"] <= 9, (
        "three each and what was read until it came, not one request after another nor all at once"
    )


STOP = {**ASKED, "tools": [{"type": "function", "function": {"name": "stop"}}]}


def test_requests_of_one_address_delay_that_address_alone(serving: Callable[..., str], reading: Reading) -> None:
    url = serving(ScriptedRuntime(*["ok"] * 20), ServerSettings(limits=ServerLimits(concurrency=1)))
    done = list[int]()
    with client(url, 2) as many, client(url, 3) as one, ThreadPoolExecutor(8) as pool:
        backlog = [pool.submit(many.post, CHAT, json=STOP) for _ in range(6)]
        wait_for(one, waiting=5)
        other = pool.submit(one.post, CHAT, json=ASKED)
        for each in (*backlog, other):
            each.add_done_callback(lambda each: done.append(6 if each is other else backlog.index(each)))
        wait_for(one, waiting=6)
        reading.go_on.set()
        assert [each.result().status_code for each in (*backlog, other)] == [200] * 7
    assert done.index(6) <= 2, "one of the other address ran already, and one more may be told of sooner"


def test_a_full_queue_refuses_whoever_fills_it(serving: Callable[..., str], reading: Reading) -> None:
    limits = ServerLimits(concurrency=1, queue=4)
    url = serving(ScriptedRuntime(*["ok"] * 20), ServerSettings(limits=limits))
    with client(url, 2) as many, client(url, 3) as one, ThreadPoolExecutor(8) as pool:
        backlog = [pool.submit(many.post, CHAT, json=STOP) for _ in range(5)]
        wait_for(one, waiting=4)
        more = many.post(CHAT, json=ASKED)
        assert more.status_code == 429 and more.json()["error"]["code"] == "queue_full"
        other = pool.submit(one.post, CHAT, json=ASKED)
        ended, _ = wait([*backlog, other], return_when=FIRST_COMPLETED)
        reading.go_on.set()
        assert other not in ended and [each.result().json()["error"]["code"] for each in ended] == ["queue_full"]
        assert other.result().status_code == 200
        assert Counter(each.result().status_code for each in backlog) == {200: 4, 429: 1}


def wait_for(asking: httpx.Client, waiting: int) -> None:
    """Waits until so many requests wait."""
    end = time.monotonic() + 30
    while asking.get("/v1/load").json()["waiting"] != waiting:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_request_that_takes_too_much_of_a_processor_to_be_read_is_refused(serving: Callable[..., str]) -> None:
    url = serving(ScriptedRuntime(*["ok"] * 20), ServerSettings(limits=ServerLimits(preparation=0.2)))
    answer = httpx.post(f"{url}{CHAT}", json={**ASKED, "tools": slow_tools("a", 0, 100)}, timeout=120)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "too_much_work", answer.text
    assert "0.2 s" in answer.text and "offer fewer" in answer.text
    assert httpx.post(f"{url}{CHAT}", json=ASKED, timeout=120).status_code == 200


@pytest.mark.parametrize("valid", [True, False])
def test_large_bodies_are_read_one_at_a_time_beside_the_others(
    serving: Callable[..., str], monkeypatch: pytest.MonkeyPatch, valid: bool
) -> None:
    url = serving(ScriptedRuntime(*["ok"] * 20), ServerSettings(limits=ServerLimits(max_prompt=1000)))
    one, together, threads, loads = threading.Lock(), list[bool](), set[str](), json.loads

    def noted(text: Any, **options: Any) -> Any:
        if isinstance(text, bytes) and len(text) > 500_000:
            threads.add(threading.current_thread().name)
            together.append(not one.acquire(blocking=False))
            try:
                time.sleep(0.02)
                return loads(text, **options)
            finally:
                one.release()
        return loads(text, **options)

    monkeypatch.setattr(server_state.json, "loads", noted)
    body = {**ASKED, "messages": [HI if valid else {"a": 1}] * 9_000 + [{"role": "user", "content": "x" * 500_000}]}
    with client(url, 2) as many, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: many.post(CHAT, json=body), range(6)))
    wanted = "characters, and at most" if valid else "messages.0.role"
    assert all(answer.status_code == 400 and wanted in answer.text for answer in answers), answers[0].text[:300]
    assert together == [False] * 6 and all(name.startswith("loraloop-run") for name in threads), threads


@pytest.mark.parametrize("value", [[], {}, 1])
def test_a_body_of_very_many_values_is_refused_before_it_is_decoded(
    serving: Callable[..., str], monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    url, decoded, loads = serving(ScriptedRuntime("ok")), list[int](), json.loads

    def noted(text: Any, **options: Any) -> Any:
        decoded.append(len(text))
        return loads(text, **options)

    def sent(commas: int) -> str:
        body = json.dumps({**ASKED, "messages": [value] * commas}, separators=(",", ":"))
        return httpx.post(url + CHAT, content=body, headers={"Content-Type": "application/json"}, timeout=60).text

    monkeypatch.setattr(server_state.json, "loads", noted)
    assert "messages.0" in sent(95_000) and len(decoded) == 1
    assert "200000 commas" in sent(201_000) and len(decoded) == 1


STEP = st.tuples(
    st.sampled_from(("enter", "enter", "enter", "leave", "leave", "cancel", "leave and cancel", "give way")),
    st.sampled_from("aaabc"),
    st.integers(0, 9),
)


@given(st.lists(STEP, min_size=12, max_size=40), st.integers(1, 4), st.integers(0, 5), st.integers(3, 6))
@example([*[("enter", name, 0) for name in "aabab"], ("leave", "", 2)], 3, 2, 3)
def test_turns_go_to_the_client_with_the_fewest(
    steps: list[tuple[str, str, int]], concurrency: int, queue: int, per_key: int
) -> None:
    asyncio.run(taken(steps, ServerLimits(concurrency=concurrency, queue=queue, per_key=per_key)))


def test_who_takes_long_waits_for_as_long_as_the_others_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients always have two requests, one of them of four seconds; one comes late, and has saved up nothing."""
    now, seconds = [0.0], {"long": 4.0, "short": 1.0, "late": 1.0}
    monkeypatch.setattr(server_state.time, "monotonic", lambda: now[0])

    async def order() -> list[str]:
        limiter, taken = ConcurrencyLimiter(ServerLimits(concurrency=1)), list[str]()

        async def ask(name: str, times: int) -> None:
            for _ in range(times):
                with await limiter.enter(name):
                    await asyncio.sleep(0)
                    now[0] += seconds[name]
                    taken.append(name)

        asking = [asyncio.ensure_future(ask(name, 20)) for name in ("long", "long", "short", "short")]
        while len(taken) < 20:
            await asyncio.sleep(0)
        asking += [asyncio.ensure_future(ask("late", 20)) for _ in range(2)]
        await asyncio.gather(*asking)
        return taken

    taken = asyncio.run(order())
    before, after = Counter(taken[:20]), Counter(taken[21:30])
    assert 3 <= before["long"] <= 5, "a fifth of the turns, so half of the time"
    assert abs(after["late"] - after["short"]) <= 1 and after["long"], after


def test_of_ever_new_clients_a_bounded_number_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(server_state.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(server_state, "MOST_CLIENTS", 10)

    async def come(count: int) -> ConcurrencyLimiter:
        limiter = ConcurrencyLimiter(ServerLimits(concurrency=1))
        for number in range(count):
            with await limiter.enter(f"client {number}"):
                now[0] += 1.0 if number else 60.0
        return limiter

    known = asyncio.run(come(50))._taken
    assert 5 <= len(known) <= 11 and known["client 0"] == 60.0, "and who took most is not forgotten"


def test_nobody_waits_for_a_turn_longer_than_a_request_may_run() -> None:
    async def waited() -> None:
        limiter = ConcurrencyLimiter(ServerLimits(concurrency=1, seconds=0.05))
        first = await limiter.enter("first")
        with pytest.raises(TimeLimitError, match=r"0\.05 s"):
            await asyncio.wait_for(limiter.enter("second"), 5)
        first.leave()
        with await limiter.enter("second"):  # its place in the queue is given up
            assert (limiter.running, limiter.waiting) == (1, 0)

    asyncio.run(waited())


async def taken(steps: list[tuple[str, str, int]], limits: ServerLimits) -> None:
    """Takes steps, and checks after each of them what is promised."""
    limiter = ConcurrencyLimiter(limits)
    entering = list[tuple[str, asyncio.Task[RequestTurn]]]()
    giving_way = list[tuple[str, RequestTurn, asyncio.Task[None]]]()
    turns = list[tuple[str, RequestTurn]]()

    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        for each in [each for each in entering if each[1].done()]:
            entering.remove(each)
            if not each[1].cancelled() and not isinstance(each[1].exception(), ApiError):
                turns.append((each[0], each[1].result()))
        for back in [each for each in giving_way if each[2].done()]:
            giving_way.remove(back)
            if not isinstance(back[2].exception(), ApiError):
                turns.append(back[:2])

    for step, name, number in [*steps, *[("leave", "", 0)] * 99]:
        before, waiting, freed = list(turns), [each[0] for each in (*entering, *giving_way)], ""
        if step == "enter":
            entering.append((name, asyncio.ensure_future(limiter.enter(name))))
        if step.startswith("leave") and turns:
            freed, turn = turns.pop(number % len(turns))
            turn.leave()
            turn.leave()
        if step.endswith("cancel") and entering:
            entering[number % len(entering)][1].cancel()
        if step == "give way" and turns:
            name, turn = turns.pop(number % len(turns))
            giving_way.append((name, turn, asyncio.ensure_future(turn.give_way())))
        await settle()
        if step == "leave" and freed and waiting:
            (new,) = (each for each, turn in turns if (each, turn) not in before)
            running = Counter(each for each, _ in before) - Counter([freed])
            assert running[new] == min(running[each] for each in waiting)
        assert limiter.running == len(turns) <= limits.concurrency
        assert limiter.waiting == len(entering) + len(giving_way) <= limits.queue + len(giving_way)
        assert not limiter.waiting or limiter.running == limits.concurrency, "no turn is lost"
    assert not turns and not entering and not giving_way
