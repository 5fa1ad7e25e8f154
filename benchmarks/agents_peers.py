"""The peers of `agents.py`: servers that are asked by many clients at once, and PEFT in a loop."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import environment  # noqa: F401
import httpx
import torch

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.agent.engine.trunk import Trunk

START_LIMIT_S = 600
REQUESTS_OF_PEFT = 4

Ask = Callable[[Sequence[int], int, int], list[float]]
"""Prompt, tokens and the skill's number -> when each piece came, in seconds since it was asked."""


class Prompts(Protocol):
    """What is asked of `agents.Bench`."""

    base: Base
    skills: list[Skill]
    tokens: int

    def prompt(self, at: int, shared: bool) -> list[int]: ...


@dataclass
class AgentTimes:
    """The tokens that one agent wrote, and their times in seconds since all began.

    Attributes:
        times: Times of its tokens.
        tokens: Number of its tokens.
        ready: Time at which its prompt was read.
        first: Time at which it would have had its first token, had it not waited for the others' prompts.
        trunk: The trunk that it writes on.
    """

    times: list[float] = field(default_factory=list)
    tokens: int = 0
    ready: float = 0.0
    first: float = 0.0
    trunk: Trunk | None = None


def figures_of(done: Sequence[AgentTimes]) -> dict[str, float]:
    """What all agents did; there are two gaps between tokens at least."""
    gaps = [after - before for each in done for before, after in zip(each.times, each.times[1:], strict=False)]
    end, cut = max(each.times[-1] for each in done), quantiles(gaps, n=100, method="inclusive")
    written, ready = sum(each.tokens for each in done), max(each.ready for each in done)
    figures = {"tokens_per_s": written / (end - ready)} if ready else {}
    return figures | {
        "whole_per_s": written / end,
        "first_ms": 1e3 * mean(each.first for each in done),
        "gap_p50_ms": 1e3 * cut[49],
        "gap_p99_ms": 1e3 * cut[98],
    }


def add_options(parser: ArgumentParser) -> None:
    """Where the peers are."""
    parser.add_argument(
        "--llama-server", type=Path, metavar="FILE", help="llama.cpp's server, for which --gguf is needed"
    )
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="the base for llama.cpp")
    parser.add_argument("--vllm-python", metavar="PYTHON", help="interpreter with vLLM for the processor")


def measured(bench: Prompts, counts: Sequence[int], given: Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Each peer's name and figures, as they are known; peers that are not here are left out, and that is said."""
    threads = given.threads or torch.get_num_threads()
    yield "PEFT", {"one after the other, whole_per_s": peft(bench, REQUESTS_OF_PEFT)}
    with tempfile.TemporaryDirectory() as folder:
        if given.llama_server and given.gguf:
            for count in counts:
                with llama_server(bench, given, count, threads, Path(folder)) as ask:
                    yield "llama-server", clients(bench, ask, count)
        else:
            print("llama-server is left out: give --llama-server FILE and --gguf FILE", file=sys.stderr)
        if given.vllm_python:
            with vllm(bench, given.vllm_python, threads, Path(folder)) as ask:
                for count in counts:
                    yield "vLLM", clients(bench, ask, count)
        else:
            print("vLLM is left out: give --vllm-python PYTHON", file=sys.stderr)


def clients(bench: Prompts, ask: Ask, count: int) -> dict[str, float]:
    """What so many clients see who ask at once; the same prompts were never asked before."""
    found: dict[str, float] = {}
    for way in ("same", "mixed"):
        for name, shared in ((f"free, {way}", False), (f"free, {way}, shared prefix", True)):
            done = [AgentTimes(tokens=bench.tokens) for _ in range(count)]
            base = 1000 * (1 + len(found))  # numbers of prompts that no other way has

            def write(
                at: int, done: list[AgentTimes] = done, way: str = way, shared: bool = shared, base: int = base
            ) -> None:
                skill = at % len(bench.skills) if way == "mixed" else 0
                done[at].times = ask(bench.prompt(base + at, shared), bench.tokens, skill)
                done[at].first = done[at].times[0]

            threads = [threading.Thread(target=write, args=(at,)) for at in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if any(len(each.times) < 2 for each in done):
                raise RuntimeError(f"{name}: a client got no answer; what went wrong is above")
            found |= {f"{name}, {count}, {figure}": value for figure, value in figures_of(done).items()}
    return found


def streamed(client: httpx.Client, path: str, asked: dict[str, Any]) -> list[float]:
    """When each event of an answer came that has text or a token in it.

    Raises:
        RuntimeError: The server refuses.
    """
    times: list[float] = []
    start = perf_counter()
    with client.stream("POST", path, json=asked) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answers {answer.status_code}: {answer.read().decode()[:500]}")
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                if event.get("choices") or event.get("tokens") or event.get("content"):
                    times.append(perf_counter() - start)
    return times


@contextmanager
def served(
    command: Sequence[str], log: Path, env: dict[str, str] | None = None, port: int = 0
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """A server that listens on this machine alone, for the length of a block: its client, and its process.

    The process leads a group of its own, in which those that it starts are too.

    Args:
        command: What starts it, without its address.
        log: Where its output goes.
        env: Environment of the process; this process's own where None.
        port: Where it listens; a free one where 0.

    Raises:
        RuntimeError: It does not come up; the message ends with its last lines.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = port or free.getsockname()[1]
    limits = httpx.Limits(max_connections=None)
    with (
        open(log, "wb") as out,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=900, trust_env=False, limits=limits) as client,
    ):
        try:
            _wait(client, process, log)
            yield client, process
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if client.get("/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise RuntimeError("the server does not come up: " + " | ".join(last))


@contextmanager
def llama_server(bench: Prompts, given: Namespace, count: int, threads: int, folder: Path) -> Iterator[Ask]:
    """llama.cpp's server with as many slots, which has all skills as adapters and applies those of each request."""
    from llama_peer import write_lora

    loras = [folder / f"{skill.card.name}.gguf" for skill in bench.skills]
    for skill, path in zip(bench.skills, loras, strict=True):
        if not path.exists():
            write_lora(bench.base, skill, path)
    room = len(bench.prompt(0, True)) + bench.tokens + 64
    command = [
        str(given.llama_server), "-m", str(given.gguf), "--lora-init-without-apply",
        *(word for path in loras for word in ("--lora", str(path))),
        "-np", str(count), "-c", str(count * room), "-t", str(threads), "-tb", str(threads),
    ]  # fmt: skip
    with served(command, folder / "llama-server.log") as (client, _):

        def ask(prompt: Sequence[int], tokens: int, skill: int) -> list[float]:
            fields = {"n_predict": tokens, "temperature": 0, "ignore_eos": True, "return_tokens": True}
            lora = [{"id": skill, "scale": 1.0}]
            asked = {"prompt": list(prompt), "stream": True, "cache_prompt": True, "lora": lora, **fields}
            return streamed(client, "/completion", asked)

        yield ask


@contextmanager
def vllm_server(
    python: str, model: Path, threads: int, log: Path, options: Sequence[str], port: int = 0, gigabytes: int = 4
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """vLLM on the processor, for the length of a block; see `served`. It has its own defaults, and what its
    documentation asks for: Intel's OpenMP and tcmalloc, where they are installed.

    Args:
        python: The interpreter that has it.
        model: A folder as transformers reads it.
        threads: How many it computes with.
        log: Where its output goes.
        options: More of its options.
        port: Where it listens; a free one where 0.
        gigabytes: Size of the server's cache.
    """
    command = [
        python, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
        "--dtype", "bfloat16", "--enable-lora", "--max-model-len", "4096", *options,
    ]  # fmt: skip
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "PYTHON"))}
    env |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": str(gigabytes), "VLLM_NO_USAGE_STATS": "1"}
    openmp, allocator = Path(python).parent.parent / "lib" / "libiomp5.so", find_library("tcmalloc_minimal")
    if preload := [*([str(openmp)] if openmp.exists() else []), *([allocator] if allocator else [])]:
        env["LD_PRELOAD"] = ":".join(preload)
    allowed = sorted(os.sched_getaffinity(0))
    if threads < (os.cpu_count() or 1):
        env["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, allowed[:threads]))
    with served(command, log, env, port) as server:
        yield server


@contextmanager
def vllm(bench: Prompts, python: str, threads: int, folder: Path) -> Iterator[Ask]:
    """vLLM's server with all skills as LoRAs."""
    from transformers_peer import save_for_peft, save_for_transformers

    save_for_transformers(bench.base, folder / "model")
    names = [skill.card.name for skill in bench.skills]
    adapters = {s.card.name: save_for_peft(s, folder / s.card.name, "full") for s in bench.skills}
    options = [
        "--max-lora-rank", str(bench.skills[0].card.rank), "--max-loras", str(len(names)),
        "--lora-modules", *(f"{name}={path}" for name, path in adapters.items()),
    ]  # fmt: skip
    with vllm_server(python, folder / "model", threads, folder / "vllm.log", options) as (client, _):

        def ask(prompt: Sequence[int], tokens: int, skill: int) -> list[float]:
            fields = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
            return streamed(client, "/v1/completions", {"model": names[skill], "prompt": list(prompt), **fields})

        yield ask


def peft(bench: Prompts, count: int) -> float:
    """Tokens a second of PEFT: one request after the other, each with its own adapter set."""
    from transformers_peer import transformers_model, with_adapters

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        model = with_adapters(transformers_model(bench.base), bench.skills[:count], Path(folder), "full")
        seconds, told = 0.0, {"max_new_tokens": bench.tokens, "min_new_tokens": bench.tokens, "do_sample": False}
        for at, skill in enumerate(bench.skills[:count]):
            model.set_adapter(f"full-{skill.card.name}")
            ids = torch.tensor([bench.prompt(at, False)])
            start = perf_counter()
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **told)
            seconds += perf_counter() - start
    return count * bench.tokens / seconds
