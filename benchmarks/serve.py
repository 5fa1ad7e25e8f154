"""A server under load: requests a second, latencies, errors and memory, beside the engine without a server.

    python benchmarks/serve.py --json benchmarks/results/serve.json
    python benchmarks/serve.py --clients 16 --minutes 30 --json benchmarks/results/serve_memory.json

`loraloop serve` runs as a process of its own on the loopback, on a real base. Clients ask one request after another:
text of the bare base, calls, programs and structured output in turn, half of them as streams. The peer is the engine:
the same requests to the same runtime in this process, by as many threads: checked, turned into a run and run with the
same options. Rounds of both take turns, so that both meet the same machine. The clients share that machine with the
server, while nobody shares it with the engine: so the processor time of a request is told for each of the three.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from statistics import linear_regression
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import httpx
from report import BenchmarkReport, finish, options, quantile

from loraloop.agent.runtime import Runtime
from loraloop.integrations.reply import Reply, Replying
from loraloop.server.settings import ServerLimits
from loraloop.server.wire import ChatRequest, chat_options, conversation_of, reply_request

TOKENS = 32
LIMITS = ServerLimits(concurrency=64, queue=512, per_key=512)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
    "required": ["name", "large"],
    "additionalProperties": False,
}


@dataclass(slots=True)
class Round:
    """What a round of requests came to.

    Attributes:
        seconds: How long it took.
        latencies: Milliseconds of each request.
        firsts: Milliseconds to the first text or call of each stream.
        errors: Requests that were not answered as they should.
        busy: Seconds of processor time of whoever answered.
        asking: Seconds of processor time of the clients.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    errors: int = 0
    busy: float = 0.0
    asking: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def add(self, other: Round) -> None:
        """Adds another round of the same clients."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def body(number: int) -> dict[str, Any]:
    """A request: its kind goes by its number, and no two are the same."""
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    kinds: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("base", f"Tell me about the number {number}.", {}),
        ("tools", f"What is the weather in Town {number}?", {"tools": [TOOL]}),
        ("code", f"Write a Python function that adds {number}.", {}),
        ("base", f"Town {number} is a large town.", {"response_format": form}),
    )
    model, text, more = kinds[number % 4]
    asked = {"model": model, "messages": [{"role": "user", "content": text}], "max_completion_tokens": TOKENS}
    return {**asked, "stream": number % 8 >= 4, **more}


@dataclass(frozen=True, slots=True)
class Serving:
    """A server's address and process, and the seconds from its start until it listened."""

    url: str
    pid: int
    listening: float

    def busy(self) -> float:
        """Seconds of processor time that it has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Megabytes that it has in memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def ask(http: httpx.AsyncClient, number: int, into: Round) -> None:
    """Sends a request and reads its answer to the end."""
    asked, start, wrong = body(number), time.perf_counter(), ""
    try:
        if asked["stream"]:
            async with http.stream("POST", "/v1/chat/completions", json=asked) as answer:
                lines = [line async for line in marked(answer, start, into)]
            failed = [line for line in lines if line.startswith('data: {"error"')]
            if failed or "data: [DONE]" not in lines:
                wrong = f"{answer.status_code} {failed or lines[-3:]}"
        else:
            answer = await http.post("/v1/chat/completions", json=asked)
            if answer.status_code != 200:
                wrong = f"{answer.status_code} {answer.text}"
    except httpx.HTTPError as error:
        wrong = repr(error)
    into.latencies.append(1e3 * (time.perf_counter() - start))
    if wrong:
        into.errors += 1
        print(f"request {number} to {asked['model']}: {wrong}", file=sys.stderr, flush=True)


async def marked(answer: httpx.Response, start: float, into: Round) -> Any:
    """The lines of a stream; the time of its first text or call is noted."""
    known = False
    async for line in answer.aiter_lines():
        if not known and ('"content": "' in line or '"tool_calls"' in line) and '"content": ""' not in line:
            into.firsts.append(1e3 * (time.perf_counter() - start))
            known = True
        yield line


async def clients(
    place: Serving,
    many: int,
    numbers: Iterator[int],
    requests: int,
    until: float = float("inf"),
    addresses: Sequence[str] = ("127.0.0.1",),
) -> Round:
    """So many clients, each of which asks one request after another, until all are asked or the time is over.

    They share out the addresses from which they ask.
    """
    into, start, asking, busy = Round(), time.perf_counter(), time.process_time(), place.busy()
    left = iter(range(requests))

    async def client(http: httpx.AsyncClient) -> None:
        for _ in left:
            if time.monotonic() >= until:
                return
            await ask(http, next(numbers), into)

    limits = httpx.Limits(max_connections=many)
    async with AsyncExitStack() as stack:
        asking_from = []
        for address in addresses:
            transport = httpx.AsyncHTTPTransport(verify=False, limits=limits, local_address=address)
            own = httpx.AsyncClient(base_url=place.url, timeout=600, transport=transport)
            asking_from.append(await stack.enter_async_context(own))
        await asyncio.gather(*(client(asking_from[number % len(asking_from)]) for number in range(many)))
    into.seconds, into.asking = time.perf_counter() - start, time.process_time() - asking
    into.busy = place.busy() - busy
    return into


def engine(runtime: Runtime, many: int, numbers: Iterator[int], requests: int) -> Round:
    """Sends the same requests to the engine without a server."""
    into, start, busy = Round(), time.perf_counter(), time.process_time()

    def one(number: int) -> None:
        begun, asked = time.perf_counter(), ChatRequest.model_validate(body(number))
        request = reply_request(runtime, LIMITS, conversation_of(asked.messages), chat_options(asked))
        pieces = list(Replying(runtime, request))
        into.errors += not isinstance(pieces[-1], Reply)
        into.latencies.append(1e3 * (time.perf_counter() - begun))

    with ThreadPoolExecutor(many) as pool:
        list(pool.map(one, (next(numbers) for _ in range(requests))))
    into.seconds, into.busy = time.perf_counter() - start, time.process_time() - busy
    return into


@contextmanager
def server(base: str) -> Iterator[Serving]:
    """A server, until the block ends."""
    bounds = [f"--{name}={getattr(LIMITS, name.replace('-', '_'))}" for name in ("concurrency", "queue", "per-key")]
    command = [sys.executable, "-m", "loraloop", "serve", "--port", "0", "--base", base, *bounds]
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        line = ""
        while "listening on" not in line:
            line = process.stderr.readline()
            if not line and process.poll() is not None:
                raise SystemExit("the server ended: try the command alone")
        listening = time.perf_counter() - start
        reader = ThreadPoolExecutor(1)
        reader.submit(lambda: [None for _ in process.stderr or ()])  # so that its log never fills the pipe
        try:
            yield Serving(line.split()[-1], process.pid, listening)
        finally:
            process.terminate()
            process.wait(60)
            reader.shutdown()


def figures(name: str, done: Round) -> dict[str, float]:
    """A round's figures."""
    found = {
        f"{name}_requests_per_s": done.rate,
        f"{name}_p50_ms": quantile(done.latencies, 0.5),
        f"{name}_p99_ms": quantile(done.latencies, 0.99),
        f"{name}_errors": float(done.errors),
        f"{name}_cpu_ms": 1e3 * done.busy / len(done.latencies),
    }
    if done.firsts:
        found |= {
            f"{name}_first_p50_ms": quantile(done.firsts, 0.5),
            f"{name}_client_cpu_ms": 1e3 * done.asking / len(done.latencies),
        }
    return found


def soak(place: Serving, many: int, minutes: float) -> dict[str, float]:
    """Load for some minutes; memory at its beginning and end, and how it grows in the second half."""
    numbers, until, samples, into = count(10_000_000), time.monotonic() + 60 * minutes, [], Round()
    begun = time.monotonic()
    while time.monotonic() < until:
        into.add(asyncio.run(clients(place, many, numbers, 4 * many, until)))
        samples.append(((time.monotonic() - begun) / 60, place.resident()))
    later = samples[len(samples) // 2 :]
    growth = linear_regression(*zip(*later, strict=True)).slope if len(later) > 1 else 0.0
    return {
        "soak_minutes": minutes,
        "soak_requests": float(len(into.latencies)),
        "soak_errors": float(into.errors),
        "rss_first_mb": samples[0][1],
        "rss_middle_mb": later[0][1],
        "rss_last_mb": samples[-1][1],
        "rss_growth_mb_per_minute": growth,
    }


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=8)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--clients", default="1,4,16,64", help="numbers of clients, parted by commas")
    parser.add_argument("--rounds", type=int, default=3, help="of the server and of the engine, in turn")
    parser.add_argument("--minutes", type=float, default=0.0, help="load by the last number of clients; 0 for none")
    given = parser.parse_args()
    many = [int(word) for word in given.clients.split(",")]
    runtime = Runtime.load(given.base)
    ours: dict[str, float] = {}
    peer: dict[str, float] = {}
    ratios: dict[str, float] = {}
    numbers, total = count(), 0
    with server(given.base) as place:
        first = asyncio.run(clients(place, 1, numbers, 1))
        ours |= {"start_s": place.listening, "first_request_s": first.seconds}
        asyncio.run(clients(place, 4, numbers, 16))
        engine(runtime, 4, numbers, 16)
        for each in many:
            requests = given.limit * max(each, 4)
            served, direct = Round(), Round()
            for turn in range(given.rounds):
                begin = next(numbers)
                for own in (True, False) if turn % 2 else (False, True):
                    again = count(8 * (begin // 8 + 1))
                    if own:
                        served.add(asyncio.run(clients(place, each, again, requests)))
                    else:
                        direct.add(engine(runtime, each, again, requests))
                numbers = count(begin + requests + 16)
            ours |= figures(f"clients_{each}", served)
            peer |= figures(f"clients_{each}", direct)
            ratios[f"clients_{each}_share_of_engine"] = served.rate / direct.rate
            ratios[f"clients_{each}_cpu_share_of_engine"] = served.busy / direct.busy
            total += len(served.latencies)
        if given.minutes:
            ours |= soak(place, many[-1], given.minutes)
            total += int(ours["soak_requests"])
    finish(BenchmarkReport("serve", total, ours, {"engine": peer}, ratios), given.json)


if __name__ == "__main__":
    main()
