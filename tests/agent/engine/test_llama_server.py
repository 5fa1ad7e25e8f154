"""llama.cpp's own server as a plain OpenAI server, for real: the embedded base writes there under grammars.

`make test-clients` installs the server, which is that of the package xllamacpp.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest

from loraloop import Agent, Limits, Runtime
from loraloop.adapters.base.loading.fetch import gguf_file
from loraloop.agent.events import TokenGenerated

SERVER = """
import sys
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], 2048, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.hostnames, params.port, params.endpoint_slots = ["127.0.0.1"], 0, True
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server of the embedded base's GGUF file."""
    pytest.importorskip("xllamacpp", reason="make test-clients installs it")
    words, pipe = [sys.executable, "-c", SERVER, str(gguf_file())], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line for line in process.stdout if line.startswith("listening on")).split()[-1]
        finally:
            process.kill()


@pytest.fixture
def runtime(url: str, one_base: None) -> Runtime:
    return Runtime.connect(f"{url}/v1", engine="openai")


def test_a_call_is_written_under_its_grammar_there(runtime: Runtime) -> None:
    carried = list[tuple[str, int]]()

    def carry(what: Literal["pear", "plum"], crates: Literal[2, 3]) -> str:
        """Carries crates of fruit."""
        carried.append((what, crates))
        return "carried"

    agent = Agent(runtime, [carry], limits=Limits(step_tokens=64, max_steps=2))
    result = agent.run_sync("Carry three crates of plums.", skill="tools", tool_choice="required")
    assert result.steps[0].skill == "tools" and result.steps[0].outcome == "calls", result.steps[0]
    assert carried and set(carried) <= {(what, crates) for what in ("pear", "plum") for crates in (2, 3)}
    assert runtime.engine.base.config.max_positions == 2048, "the server says it"


def test_a_form_is_written_under_its_grammar_there(runtime: Runtime) -> None:
    form = {"type": "object", "properties": {"size": {"enum": ["small", "large"]}}, "required": ["size"]}
    agent = Agent(runtime, output_type={**form, "additionalProperties": False})
    value = agent.run_sync("How large is an elephant?", skill="none").value
    assert value in ({"size": "small"}, {"size": "large"})


def test_free_text_is_streamed_and_what_it_has_read_is_reused_there(runtime: Runtime) -> None:
    agent, question = Agent(runtime, limits=Limits(step_tokens=24)), "Tell me about bridges."
    stream = agent.stream(question, skill="none")
    pieces = [event.text for event in stream if isinstance(event, TokenGenerated)]
    assert len(pieces) > 3 and "".join(pieces).strip() == stream.result.output.strip()
    (step,) = agent.run_sync(question, skill="none").steps
    assert step.tokens.reused > step.tokens.prefilled > 0


def test_a_cancelled_run_ends_there(runtime: Runtime, url: str) -> None:
    def working() -> bool:
        slots = httpx.get(f"{url}/slots", timeout=60).json()
        return any(slot["is_processing"] for slot in slots)

    stream = Agent(runtime, limits=Limits(step_tokens=1500)).stream("Write a long story about a bridge.", skill="none")
    pieces = 0
    for event in stream:
        if isinstance(event, TokenGenerated):
            pieces += 1
            if pieces == 3:
                assert working()
                stream.cancel()
    assert pieces >= 3 and stream.result.stop_reason == "cancelled"
    end = time.monotonic() + 20
    while working():
        assert time.monotonic() < end, "the server writes on for nobody"
        time.sleep(0.1)
