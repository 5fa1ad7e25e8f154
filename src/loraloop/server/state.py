"""What the routes of a server share: the runtime, the agents, whose turn it is, and the metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Count
from sse_starlette import EventSourceResponse

from loraloop.agent.events import ApprovalRequested, RunFinished
from loraloop.agent.hooks import as_hooks
from loraloop.agent.threads import awaited
from loraloop.agent.tracing.otel import OpenTelemetry
from loraloop.integrations.reply import check_length, check_prompt
from loraloop.server.errors import ApiError
from loraloop.server.runs import HostedRun, RunRegistry, take_up_files
from loraloop.server.settings import ServerLimits, ServerSettings
from loraloop.tool_schemas.errors import SessionError, TimeLimitError

if TYPE_CHECKING:
    from fastapi import Response

    from loraloop.adapters.base import Message
    from loraloop.agent import Agent
    from loraloop.agent.engine.remote.fallback import Fallback
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.sessions.sessions import Session
    from loraloop.agent.values.step import Step
    from loraloop.server.runs import HostedAgent


T = TypeVar("T")
log = logging.getLogger("loraloop.server")
SLICE = 0.02
"""Seconds after which what is prepared for a request gives way to other clients."""
LARGE = 65536
"""Bytes of a body that is read where others wait for it: its JSON is decoded in a millisecond."""
MOST_VALUES = 200_000
"""Commas and opening brackets of a body, in its texts too. Megabytes of them take half a second to be decoded."""
MOST_CLIENTS = 10_000
"""Clients of which is kept how long their turns took."""
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts requests, tokens, steps by skill, and refusals; measures first tokens, gaps and whole requests."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: Any = {"registry": self.registry}
        self.requests = Count("loraloop_requests", "Requests by route and status.", ("route", "status"), **made)
        self.first = Histogram("loraloop_ttft_seconds", "Seconds to the first text.", buckets=BUCKETS, **made)
        self.gaps = Histogram("loraloop_gap_seconds", "Seconds between two texts.", buckets=BUCKETS, **made)
        self.whole = Histogram("loraloop_request_seconds", "Seconds of a request.", buckets=BUCKETS, **made)
        self.tokens = Count("loraloop_tokens", "Tokens: read, cached, written, forced.", ("kind",), **made)
        self.steps = Count("loraloop_steps", "Steps by skill.", ("skill",), **made)
        self.switches = Count("loraloop_skill_switches", "Steps on another skill than the one before.", **made)
        self.refusals = Count("loraloop_refusals", "Refused runs.", **made)

    def watch(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Adds a gauge that is read when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(read)

    def count(self, steps: Sequence[Step], before: str = "", refused: bool = False) -> None:
        """Counts steps of a run and their tokens, and a refusal. `before` is the skill of the step before them."""
        for step in steps:
            self.steps.labels(step.skill).inc()
            self.switches.inc(step.skill != before and before != "")
            before = step.skill
            self.tokens.labels("read").inc(step.tokens.prefilled)
            self.tokens.labels("cached").inc(step.tokens.reused)
            self.tokens.labels("written").inc(step.tokens.generated)
            self.tokens.labels("forced").inc(step.tokens.forced)
        self.refusals.inc(refused)

    def total(self, kind: str) -> int:
        """The tokens of a kind so far."""
        return int(self.registry.get_sample_value("loraloop_tokens_total", {"kind": kind}) or 0)

    def text(self) -> bytes:
        """All of them in the text format."""
        return generate_latest(self.registry)


class RateLimit:
    """Bounds the requests of each key in a minute: a bucket for each, which fills steadily.

    Args:
        per_minute: Requests in a minute; as many may come at once. 0 for no bound.
    """

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> int:
        """Takes one request of a key; the seconds until there is one, 0 if it was taken."""
        if not self._most:
            return 0
        now = time.monotonic()
        left = self._left(key, now)
        if left < 1:
            return math.ceil((1 - left) * 60 / self._most)
        if len(self._buckets) > 10_000:
            self._buckets = {
                each: bucket for each, bucket in self._buckets.items() if self._left(each, now) < self._most
            }
        self._buckets[key] = (left - 1, now)
        return 0

    def _left(self, key: str, now: float) -> float:
        left, at = self._buckets.get(key, (float(self._most), now))
        return min(float(self._most), left + (now - at) * self._most / 60)


class ConcurrencyLimiter:
    """Lets so many requests run at the same time; so many more wait.

    A turn goes to the client that has the fewest, and among these to the one whose turns took the least time; who comes
    anew begins where the others are (start-time fair queueing, Goyal et al. 1996). So nobody waits behind another's
    backlog, nor for another's slow requests. Where too many wait, the last request of the client with most is refused.

    Attributes:
        running: Requests that run.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._queue: list[tuple[str, asyncio.Future[None]]] = []
        self._turns: Counter[str] = Counter()
        self._taken: dict[str, float] = {}  # seconds of each client's turns, counted from where the others were
        self._now, self.running = 0.0, 0

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._pending())

    def others_wait(self, client: str) -> bool:
        """Whether requests of other clients wait. Any thread may ask."""
        return any(each != client for each, _ in self._pending())

    async def enter(self, client: str) -> RequestTurn:
        """Waits for a turn.

        Args:
            client: The key or the address of the client that makes the request.

        Raises:
            ApiError: 429, where too many wait already.
            TimeLimitError: None came in the time that a request may take.
        """
        pending = self._pending()
        waiting = Counter(each for each, _ in pending)
        if (in_flight := self._turns[client] + waiting[client]) >= self._limits.per_key:
            raise ApiError(429, f"you already have {in_flight} requests in flight", "too_many_requests", "", 2)
        if len(pending) >= self._limits.queue and self.running >= self._limits.concurrency:
            message = f"the queue is full ({len(pending)} requests are waiting): try again later"
            full = ApiError(429, message, "queue_full", "", 2)
            if waiting[client] + 1 >= max(waiting.values(), default=0):
                raise full
            next(turn for each, turn in reversed(pending) if waiting[each] == max(waiting.values())).set_exception(full)
        await self._wait(client, len(self._queue))
        return RequestTurn(self, client)

    async def again(self, client: str, seconds: float) -> None:
        """Releases a turn and queues for the next one, ahead of the other requests of the same client.

        Args:
            client: The client that had the turn.
            seconds: How long it took.

        Raises:
            ApiError: 429, it was refused because too many wait.
            TimeLimitError: As for `enter`.
        """
        self.leave(client, seconds)
        await self._wait(client, 0)

    def leave(self, client: str, seconds: float) -> None:
        """Gives a turn back, after so many seconds."""
        self._taken[client] = self._begin(client) + seconds
        self.running -= 1
        self._turns -= Counter([client])
        self._give()

    def _pending(self) -> list[tuple[str, asyncio.Future[None]]]:
        return [each for each in self._queue if not each[1].done()]

    def _begin(self, client: str) -> float:
        """What a client's next turn counts from: nobody saves up turns."""
        return max(self._now, self._taken.get(client, 0.0))

    async def _wait(self, client: str, place: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.insert(place, (client, turn))
        self._taken[client] = self._begin(client)
        self._give()
        seconds = self._limits.seconds
        try:
            async with asyncio.timeout(seconds):
                try:
                    await turn
                except asyncio.CancelledError:
                    if not turn.cancelled() and turn.exception() is None:  # it had come
                        self.leave(client, 0.0)
                    raise
        except TimeoutError:
            raise TimeLimitError(f"no turn came within {seconds:g} s: try again later") from None

    def _give(self) -> None:
        """Gives the turns that are free."""
        self._queue = self._pending()
        while self._queue and self.running < self._limits.concurrency:
            client, turn = min(self._queue, key=lambda each: (self._turns[each[0]], self._taken.get(each[0], 0.0)))
            turn.set_result(None)
            self._queue = self._pending()
            self.running += 1
            self._turns[client] += 1
            self._now = self._begin(client)
            if len(self._taken) > MOST_CLIENTS:  # who took least is forgotten: it begins anew where the others are
                self._taken = dict(nlargest(MOST_CLIENTS // 2, self._taken.items(), itemgetter(1)))


class RequestTurn:
    """A request's turn, given back once, however often it is left."""

    def __init__(self, limiter: ConcurrencyLimiter, client: str) -> None:
        self._limiter, self._client, self._over = limiter, client, False
        self._began = time.monotonic()
        self._following: list[Callable[[], object]] = []

    def __enter__(self) -> RequestTurn:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def afterwards(self, function: Callable[[], object]) -> None:
        """Has a function called when it is given back."""
        self._following.append(function)

    async def give_way(self) -> None:
        """Waits for another turn, so that other clients have theirs."""
        self._over = True
        await self._limiter.again(self._client, time.monotonic() - self._began)
        self._over, self._began = False, time.monotonic()

    def leave(self) -> None:
        """Gives it back."""
        if not self._over:
            self._over = True
            self._limiter.leave(self._client, time.monotonic() - self._began)
            for function in self._following:
                function()


class ServerState:
    """Shared by all routes.

    Args:
        runtime: Base, skills and router.
        settings: The server's settings.
        agents: Hosted agents by name.
        fallback: The fallback of requests to a model (`auto`, a skill); hosted agents have their own.

    Attributes:
        sessions: Where conversations and runs are kept; None where the server keeps none.
        runs: Runs of the agents.
        limiter: Turns of requests that run.
        preparing: Turns of requests that keep a processor busy before they run.

    Raises:
        SessionError: The sessions cannot be opened.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: ServerSettings,
        agents: Mapping[str, HostedAgent],
        fallback: Fallback | None = None,
    ) -> None:
        self.runtime, self.settings, self.agents, self.fallback = runtime, settings, dict(agents), fallback
        self.sessions = settings.open_sessions()
        self.runs = RunRegistry(self.sessions)
        self.limiter = ConcurrencyLimiter(settings.limits)
        self.preparing = ConcurrencyLimiter(replace(settings.limits, concurrency=1))
        self.rate = RateLimit(settings.limits.per_minute)
        self.metrics = Metrics()
        self.pinned: set[str] = set()
        self.hooks = as_hooks([OpenTelemetry(agent="reply")])
        self.ready = True
        self._talking: set[str] = set()
        bank = runtime.bank
        self.metrics.watch("loraloop_running", "Requests that run.", lambda: self.limiter.running)
        self.metrics.watch("loraloop_waiting", "Requests that wait.", lambda: self.limiter.waiting)
        self.metrics.watch("loraloop_resident_skills", "Skills in slots.", lambda: len(bank.resident))
        self.recover()

    def session_of(self, run: HostedRun, turn: RequestTurn) -> Session:
        """The session that a run is in, which is its own until its turn is over; everybody has their own.

        Raises:
            ApiError: 400, the server keeps none; 409, another run has it.
        """
        name = session_name(run.owner, run.agent, run.session)
        if name in self._talking:  # asking its lock would hold up the loop
            raise ApiError(
                409, f"session {run.session!r} already has a run in progress: wait for its end", "session_busy"
            )
        self._talking.add(name)
        turn.afterwards(lambda: self._talking.discard(name))
        if self.sessions is None:
            raise ApiError(400, "this server stores no sessions: start it with --state or --sessions", "no_sessions")
        return self.sessions.session(name)

    def recover(self) -> None:
        """Takes up the runs of sessions that wait for approval and with which nobody waits.

        A server may be killed between the commit of the session and that of the run, and an approval may meet a full
        disk; what a session holds is the truth.
        """
        if self.settings.folder is not None:
            take_up_files(self.runs, self.settings.folder)
        for name in self.sessions.waiting() if self.sessions else ():
            owner, agent, session = parts_of(name)
            try:
                if session:
                    self.still_waits(HostedRun("", agent, owner, "", session))
            except SessionError as error:
                log.warning("the session %s cannot be read: %s", name, error)

    def still_waits(self, run: HostedRun) -> None:
        """Takes up a run again that failed, or is not known, where its session still waits for the decision.

        Args:
            run: The run, if it has an id; without one, any run of the session.

        Raises:
            SessionError: The session cannot be read.
        """
        assert self.sessions is not None
        result = self.sessions[session_name(run.owner, run.agent, run.session)].result
        if result is None or result.pending is None or run.id not in ("", result.run_id):
            return
        if self.runs.lost(result):
            run.id, run.prompt = result.run_id, result.pending.prompt
            asked = ApprovalRequested(run.id, result.pending.step.index, result.pending.waiting)
            run.events += [asked.to_dict(), RunFinished(run.id, result).to_dict()]  # by which the page asks
            self.runs.waits(run, result.pending, result.to_dict())


def session_name(owner: str, agent: str, session: str) -> str:
    """The name under which a session of a hosted agent is kept: another one for every other owner, agent or session."""
    return f"{owner}-{len(agent)}-{agent}-{session}"


def parts_of(name: str) -> tuple[str, str, str]:
    """Owner, agent and session of a name that `session_name` made; empty ones of any other name."""
    owner, _, rest = name.partition("-")
    length, _, rest = rest.partition("-")
    if not length.isdecimal() or not length.isascii() or rest[int(length) : int(length) + 1] != "-":
        return "", "", ""
    return owner, rest[: int(length)], rest[int(length) + 1 :]


def state_of(request: Request) -> ServerState:
    """The state of the server that a request came to."""
    state: ServerState = request.app.state.loraloop
    return state


def check_conversation(state: ServerState, agent: Agent[Any, Any], prompt: str, messages: Sequence[Message]) -> None:
    """Checks that what a hosted agent would read first is not too long; passages of its documents are not counted.

    Args:
        state: The server's limits and base.
        agent: The agent, whose instructions and tools are counted.
        prompt: What it is asked.
        messages: The transcript so far, with that of its session.

    Raises:
        ContextLengthError: It is.
    """
    base, most = state.runtime.base, state.settings.limits.max_prompt
    check_length(len(prompt), base.tokenizer.longest, most or base.config.max_positions)
    if most:
        check_length(sum(len(each.content) for each in messages), base.tokenizer.longest, most)
        whole = base.chat.complete(agent.job(prompt, messages=messages).messages)
        lines = (base.chat.message(each.role, each.content, not place) for place, each in enumerate(whole))
        check_prompt(sum(map(len, lines)), most)


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of a request's work, which is cancelled when the client goes away."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # after the body comes nothing but the end of the connection
    gone.add_done_callback(lambda _: doing.cancel())
    try:
        return await doing
    except asyncio.CancelledError:
        if not gone.done():
            raise
        raise ApiError(499, "the client went away", "gone") from None
    finally:
        gone.cancel()


async def turn_of(request: Request) -> RequestTurn:
    """A request's turn, for which it waits as long as its client does."""
    return await while_there(request, state_of(request).limiter.enter(key_of(request)))


async def in_turn(request: Request, work: Callable[[Callable[[], bool]], T]) -> T:
    """The result of what keeps a processor busy before a request runs: large bodies, conversations and schemas.

    It is done in a thread, of one request at a time; clients take turns. It is given up when the client goes away.

    Args:
        request: The request.
        work: Gets a function that is true as soon as the work has to end. The function waits where it is another
            client's turn, and raises ApiError (400) where the work takes more of a processor than it may.

    Raises:
        ApiError: 429, where too many wait already.
    """
    state, gone, loop = state_of(request), threading.Event(), asyncio.get_running_loop()
    limits, client = state.settings.limits, key_of(request)
    until = time.monotonic() + limits.seconds
    turn = await while_there(request, state.preparing.enter(client))

    def make() -> T:
        start, since = time.thread_time(), time.monotonic()

        def stop() -> bool:
            nonlocal since
            if time.thread_time() - start > limits.preparation:
                message = f"the tools and schemas took more than {limits.preparation:g} s of a processor to be read"
                raise ApiError(400, f"{message}: offer fewer, or simpler ones", "too_much_work", "tools")
            if time.monotonic() - since > SLICE and state.preparing.others_wait(client):
                asyncio.run_coroutine_threadsafe(turn.give_way(), loop).result()
                since = time.monotonic()
            return gone.is_set() or time.monotonic() >= until

        return work(stop)

    with turn:
        return await while_there(request, awaited(make, gone.set))


async def begun(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Waits for the first item, then gives all: an error of a request is raised before its stream begins."""
    first = await anext(items)

    async def every() -> AsyncGenerator[T, None]:
        async with aclosing(items):
            yield first
            async for item in items:
                yield item

    return every()


def event_stream(state: ServerState, events: AsyncGenerator[dict[str, str], None]) -> EventSourceResponse:
    """Server-sent events. A client that does not take them in time is left, and its run is cancelled.

    When the server is told to stop, its streams may go on as other requests may; this class would end them at once.
    """
    seconds = state.settings.limits.transfer_seconds
    return EventSourceResponse(events, ping=15, send_timeout=seconds, shutdown_grace_period=math.inf)


def brought_key(request: Request) -> str:
    """What a request brings as a bearer token, however the scheme is spelled."""
    brought = request.headers.get("authorization", "")
    scheme, _, key = brought.partition(" ")
    return (key if scheme.lower() == "bearer" else brought).strip()


def key_of(request: Request) -> str:
    """The owner of a request: the key that it brings, or the address that it came from."""
    known = (brought := brought_key(request)) in state_of(request).settings.keys
    return brought if known else (request.client.host if request.client else "")


class BodyRequest(Request):
    """A request whose body, if it is large, is read `in_turn`: nothing else runs while JSON of megabytes is decoded.

    Attributes:
        field: What the body has to be.
    """

    field: Any = None

    async def json(self) -> Any:
        """The body, checked if it is large; one that does not fit as it is, for FastAPI to say what is wrong."""
        body = await self.body()
        try:
            return json.loads(body) if len(body) <= LARGE else await in_turn(self, lambda _: self._read(body))
        except UnicodeDecodeError as error:
            wrong = f"it has {body[error.start]:#04x} at {error.start}"
            raise ApiError(400, f"the body is not UTF-8: {wrong}", "invalid_json") from None

    def _read(self, body: bytes) -> Any:
        if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:  # a millisecond for a megabyte
            message = f"a body may have {MOST_VALUES} commas and opening brackets: send less at once"
            raise ApiError(400, message, "too_many_values")
        value = json.loads(body)
        checked, errors = self.field.validate(value, {}, loc=("body",)) if self.field else (value, [])
        return value if errors else checked


class BodyRoute(APIRoute):
    """A route that gets its body by a `BodyRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls with a request."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            read = BodyRequest(request.scope, request.receive)
            read.field = self.body_field
            return await handle(read)

        return handler
