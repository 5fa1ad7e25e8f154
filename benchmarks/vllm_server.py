"""vLLM's HTTP server as a child process: started over a folder and adapters, asked with token ids and timed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx

START_LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class Streamed:
    """One answer: seconds to its first token, and seconds between its tokens on average."""

    first: float
    between: float


class VllmServer:
    """A running server. Thread-safe."""

    def __init__(self, url: str, base: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=600, trust_env=False)
        self._base = base

    def version(self) -> str:
        """As the server tells it."""
        return str(self._client.get("/version").json()["version"])

    def stream(self, prompt: Sequence[int], tokens: int, adapter: str | None = None) -> Streamed:
        """Generates `tokens` tokens greedily after a prompt of token ids.

        Raises:
            RuntimeError: the server refuses, or ends the answer early.
        """
        arrivals = self.arrivals(prompt, tokens, adapter)
        return Streamed(arrivals[0], (arrivals[-1] - arrivals[0]) / max(tokens - 1, 1))

    def arrivals(self, prompt: Sequence[int], tokens: int, adapter: str | None = None) -> list[float]:
        """When each piece of the answer came, in seconds.

        Raises:
            RuntimeError: the server refuses, or ends the answer early.
        """
        asked = {
            "model": adapter or self._base,
            "prompt": list(prompt),
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        arrivals: list[float] = []
        start = perf_counter()
        with self._client.stream("POST", "/v1/completions", json=asked) as answer:
            if answer.status_code != 200:
                raise RuntimeError(f"vLLM answers {answer.status_code}: {answer.read().decode()[:500]}")
            for line in answer.iter_lines():
                if line.startswith("data: {") and json.loads(line[6:]).get("choices"):
                    arrivals.append(perf_counter() - start)
        if len(arrivals) < min(tokens, 2):
            raise RuntimeError(f"vLLM sent {len(arrivals)} of {tokens} tokens")
        return arrivals


@contextmanager
def vllm_server(
    python: str,
    folder: Path,
    adapters: Mapping[str, Path],
    rank: int,
    threads: int,
    log: Path,
    cache_gb: int = 1,
) -> Iterator[VllmServer]:
    """A server for the length of a block, listening on this machine only.

    Args:
        python: an interpreter that has vLLM.
        folder: the model as transformers saves it.
        adapters: PEFT folders by name.
        rank: of the adapters.
        threads: of its workers.
        log: where its output goes.
        cache_gb: of its keys and values.

    Raises:
        RuntimeError: it does not come up; the message ends with its last lines.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        python, "-P", "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--dtype", "bfloat16",
        "--enable-lora", "--max-lora-rank", str(rank), "--max-loras", str(len(adapters)),
        "--lora-modules", *(f"{name}={path}" for name, path in adapters.items()),
        "--max-model-len", "4096", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=_environment(python, threads, cache_gb)
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, log)
            yield VllmServer(url, str(folder))
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(python: str, threads: int, cache_gb: int) -> dict[str, str]:
    """Its own defaults, and what its documentation asks for: Intel's OpenMP and tcmalloc, where they are installed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "PYTHON"))}
    preload = [str(path) for path in (Path(python).parent.parent / "lib" / "libiomp5.so",) if path.exists()]
    if allocator := find_library("tcmalloc_minimal"):
        preload.append(allocator)
    if preload:
        clean["LD_PRELOAD"] = ":".join(preload)
    if threads < len(os.sched_getaffinity(0)):
        clean["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{threads - 1}" if threads > 1 else "0"
    return {**clean, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": str(cache_gb), "VLLM_NO_USAGE_STATS": "1"}


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise RuntimeError("vLLM does not come up: " + " | ".join(last))
