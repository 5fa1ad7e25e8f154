"""Replicas under Ray Serve: requests a second of one and of two, and the tokens that conversations reuse there.

    make bench-replicas

`loraloop serve --ray` runs on the embedded base and on a temporary cluster of PostgreSQL (apt-get install postgresql).
Clients ask one request after another, as those of `serve.py`. Conversations of three turns are held one by one, with
the header that keeps each of them at one replica, and without it. Replicas, Ray, database and clients share the cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "many_machines"))
import httpx
from report import BenchmarkReport, finish, options, quantile

TURNS = 3  # of a conversation
_CHECKS = ("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S")
PATIENT = {
    **dict.fromkeys(_CHECKS, "120"),
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",
}
"""Environment of a Ray that starts and stays where others take the memory and the processor of its machine.

It ends nothing for want of memory or within two minutes, and its workers yield no more than other processes do.
"""


@contextmanager
def replicas(many: int, sessions: str, *more: str) -> Iterator[tuple[str, int]]:
    """The address of so many replicas, and the process id of the command that started them."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    words = [sys.executable, "-m", "loraloop", "serve", "--ray", str(many), "--port", port, "--sessions", sessions]
    environment = {**os.environ, **PATIENT}
    with subprocess.Popen([*words, *more], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines = list[str]()
        try:
            for line in process.stderr:
                lines.append(line)
                if line.startswith("listening on "):
                    break
            else:
                raise RuntimeError("".join(lines))
            threading.Thread(target=process.stderr.read, daemon=True).start()  # so that its log never fills the pipe
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            ended = process.wait(60)
        assert ended == 0, f"the command ended with {ended}"


def ask(url: str, session: str, affine: bool, skill: str, text: str) -> dict[str, Any]:
    """The result of a run in a session, which `affine` keeps at one replica."""
    headers, body = {"x-session-id": session} if affine else {}, {"input": text, "session": session, "skill": skill}
    answer = httpx.post(f"{url}/v1/agents/assistant/runs", json=body, headers=headers, timeout=300)
    *_, last = (json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: "))
    assert answer.status_code == 200 and last["type"] == "RunFinished", answer.text
    result: dict[str, Any] = last["result"]
    return result


def share_reused(url: str, affine: bool, conversations: int) -> float:
    """The share of the tokens of conversations that were not read again."""
    reused = read = 0
    for session in (f"{affine} {number}" for number in range(conversations)):
        for turn in range(TURNS):
            (step,) = ask(url, session, affine, "none", f"{session}: what is {turn} + {turn}?")["steps"]
            reused, read = reused + step["tokens"]["reused"], read + step["tokens"]["prefilled"]
    return reused / (reused + read)


def measured(many: int, clients: int, requests: int, conversations: int) -> dict[str, float]:
    """The figures of so many replicas."""
    import serve
    from two_servers import database

    column = "1 replica" if many == 1 else f"{many} replicas"
    with database() as sessions, replicas(many, sessions, "--max-steps", "1", "--max-tokens", "24") as (url, pid):
        place = serve.Serving(url, pid, 0.0)
        asyncio.run(serve.clients(place, clients, count(10_000), 2 * clients))
        done = asyncio.run(serve.clients(place, clients, count(), requests))
        assert not done.errors, f"{done.errors} requests were not answered"
        return {
            f"requests a second/{column}": done.rate,
            f"p50 ms/{column}": quantile(done.latencies, 0.5),
            f"p99 ms/{column}": quantile(done.latencies, 0.99),
            f"reused with, %/{column}": 100 * share_reused(url, True, conversations),
            f"reused without, %/{column}": 100 * share_reused(url, False, conversations),
        }


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__.splitlines()[0], limit=12)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--conversations", type=int, default=16, help="with the header, and without")
    given = parser.parse_args(argv)
    requests, figures = given.limit * given.clients, dict[str, float]()
    for many in (1, 2):
        figures |= measured(many, given.clients, requests, given.conversations)
    finish(BenchmarkReport("replicas", requests, figures, {}, {}), given.json)


if __name__ == "__main__":
    main()
