"""A server under attack: how long those who work on it wait while others send what costs much work.

    python benchmarks/attacked.py --json benchmarks/results/attacked.json

`loraloop serve` runs as a process of its own, as for `serve.py`. So many clients work: text, calls, programs and
structured output in turn. First they are alone, then as many attackers send, without a pause and from a process of
their own: bodies of which every item is wrong, conversations of very many items, a schema whose texts have no end
that a search finds, hundreds of slow schemas, and hundreds of decisions; most of them leave before their answer. Each
client asks from an address of its own, and none has a key. What has to hold: the 99th percentile of those who work is
at most twice what it was, memory is bounded, and nobody gets a 500. The attackers' requests that are worked on take
turns and processor time like any others, so the figure is about what a refused or abandoned request may cost.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import httpx
from report import BenchmarkReport, finish, options
from serve import Round, Serving, clients, figures, server

HI = {"role": "user", "content": "Hi"}
LEAVING = 1.0
"""Seconds after which an attacker leaves."""


def chat(**fields: Any) -> tuple[str, dict[str, Any]]:
    """A chat request."""
    return "/v1/chat/completions", {"model": "base", "messages": [HI], "max_completion_tokens": 16, **fields}


def offered(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A tool that is offered, all of whose arguments are required."""
    parameters = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def slow_tools(rng: random.Random, many: int) -> list[dict[str, Any]]:
    """Tools whose schemas take long to be made ready, and which nobody has sent before."""
    deep: dict[str, Any] = {"type": "string", "pattern": "(?=a)b"}
    for _ in range(6):
        deep = {"anyOf": [deep, {"allOf": [deep]}]}
    return [offered(f"f{number}", {f"p{rng.random()}": deep}) for number in range(many)]


def attacks(rng: random.Random) -> dict[str, tuple[str, dict[str, Any]]]:
    """Requests that cost much work, by name."""
    wrong, few = [{"a": 1}] * 9_000, [{"a": 1}] * 300_000
    question = {"type": "predicate", "instructions": "It is a greeting."}
    users = [{"role": "user", "content": "Hi. " * 90}] * 9_000
    word = {"type": "string", "pattern": "\\b" + f"word{rng.randrange(10**6)}" + "\\b"}
    return {
        "wrong parts": ("/v1/decisions", {"model": "auto", "input": "x", "questions": [{"instructions": wrong}]}),
        "many wrong parts": ("/v1/responses", {"model": "auto", "input": [{"role": "user", "content": few}]}),
        "many keys": chat(**{f"k{number}": 1 for number in range(100_000)}),
        "many items": ("/v1/responses", {"model": "base", "input": [HI] * 100_000}),
        "many messages": chat(messages=users),
        "no end": chat(model="tools", tools=[offered("say", {"w": word})], tool_choice="required"),
        "slow schemas": chat(tools=slow_tools(rng, 200)),
        "decisions": ("/v1/decisions", {"model": "base", "input": f"Hi {rng.random()}", "questions": [question] * 400}),
    }


def attack(url: str, many: int) -> None:
    """Attacks until standard input ends; writes how many were answered with which status, by name.

    It leaves the processor to the server: attackers have machines of their own.
    """
    os.nice(19)
    over, told = threading.Event(), Counter[str]()

    def client(seed: int) -> None:
        rng = random.Random(seed)
        transport = httpx.HTTPTransport(verify=False, local_address=f"127.0.2.{seed + 1}")
        http = httpx.Client(base_url=url, timeout=LEAVING, transport=transport)
        while not over.is_set():
            for name, (path, body) in sorted(attacks(rng).items(), key=lambda _: rng.random()):
                content, headers = json.dumps(body), {"Content-Type": "application/json"}
                try:
                    status = str(http.post(path, content=content, headers=headers).status_code)
                except httpx.TimeoutException:
                    status = "left"
                except httpx.HTTPError as error:
                    status = type(error).__name__
                told[f"{name}: {status}"] += 1
                if over.is_set():
                    return

    with ThreadPoolExecutor(many) as pool:
        for seed in range(many):
            pool.submit(client, seed)
        sys.stdin.read()
        over.set()
    print(json.dumps(told))


@contextmanager
def attackers(url: str, many: int) -> Iterator[Counter[str]]:
    """Attackers, until the block ends; how their requests were answered, from then on."""
    command, told = [sys.executable, __file__, "--attack", url, "--clients", str(many)], Counter[str]()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield told
        finally:
            out, _ = process.communicate(timeout=120)
            told.update(json.loads(out))


class Memory:
    """Watches how much memory a server has.

    Attributes:
        most: Megabytes, the most that were seen.
    """

    def __init__(self, place: Serving) -> None:
        self._place, self._over = place, threading.Event()
        self.most = place.resident()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, self._place.resident())


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=20)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--clients", type=int, default=8, help="that work, and that attack")
    parser.add_argument("--rounds", type=int, default=3, help="alone and under attack, in turn")
    parser.add_argument("--attack", metavar="URL", help="only attack, until standard input ends")
    given = parser.parse_args()
    if given.attack:
        attack(given.attack, given.clients)
        return
    numbers, told = count(), Counter[str]()
    alone, attacked = Round(), Round()
    addresses = [f"127.0.1.{number + 1}" for number in range(given.clients)]

    def work(place: Serving, requests: int) -> Round:
        return asyncio.run(clients(place, given.clients, numbers, requests, addresses=addresses))

    with server(given.base) as place:
        work(place, 2 * given.clients)
        before = place.resident()
        with Memory(place) as memory:
            for _ in range(given.rounds):
                alone.add(work(place, given.limit * given.clients))
                with attackers(place.url, given.clients) as answered:
                    time.sleep(2)  # until they are at work
                    attacked.add(work(place, given.limit * given.clients))
                told.update(answered)
        after = place.resident()
    for name, times in sorted(told.items()):
        print(f"{times:6} {name}", file=sys.stderr)
    failures = sum(times for name, times in told.items() if name.endswith(": 500"))
    ours = {**figures("alone", alone), **figures("attacked", attacked)}
    ours |= {"attacks": float(sum(told.values())), "attacks_answered_500": float(failures)}
    ours |= {"rss_before_mb": before, "rss_most_mb": memory.most, "rss_after_mb": after}
    ratios = {"attacked_p99_over_alone": ours["attacked_p99_ms"] / ours["alone_p99_ms"]}
    finish(BenchmarkReport("attacked", len(alone.latencies) + len(attacked.latencies), ours, {}, ratios), given.json)


if __name__ == "__main__":
    main()
