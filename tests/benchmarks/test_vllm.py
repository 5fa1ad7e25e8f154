"""vLLM for real (`make test-vllm`): skills pushed into it, and the same requests written there and here."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from loraloop import Agent, Limits, Policy, Runtime, Sessions
from loraloop.agent.events import TokenGenerated
from loraloop.cli.main import run_command
from loraloop.evals.desk.runner import chosen
from loraloop.evals.desk.world import SHIPPED, load_worlds
from loraloop.tool_schemas.errors import BaseModelError

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(4 * 3600)]


@pytest.fixture(scope="module")
def parity(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("parity")


class Vllm:
    """A vLLM server that can be killed, and started again at the same address.

    Attributes:
        url: Its API.
        model: The folder of its model.
    """

    def __init__(self, start: Callable[..., Any], model: Path, log: Path, options: Sequence[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._start, self.model, self._log, self._options = start, model, log, options
        self._open = ExitStack()

    def start(self) -> None:
        python, threads = os.environ["VLLM_PYTHON"], min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
        server = self._start(python, self.model, threads, self._log, self._options, self._port, gigabytes=1)
        self.client, self._process = self._open.enter_context(server)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._open.close()

    def running(self) -> float:
        """Requests that it works on."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, base: Any, parity: ModuleType) -> dict[str, Path]:
    """The shipped skills of the embedded base as plain LoRA, by skill."""
    found: dict[str, Path] = parity.exported_skills(base, tmp_path_factory.mktemp("exported"))
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, benchmark: Any, base: Any, parity: ModuleType) -> Iterator[Vllm]:
    if not os.environ.get("VLLM_PYTHON"):
        pytest.fail("VLLM_PYTHON names no interpreter that has vLLM: run make test-vllm")
    place = tmp_path_factory.mktemp("vllm")
    benchmark("transformers_peer").save_for_transformers(base, place / "model")
    os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    made = Vllm(benchmark("agents_peers").vllm_server, place / "model", place / "log", parity.SERVER)
    made.start()
    yield made
    made.kill()


def test_skills_are_pushed_and_a_refusal_is_in_vllms_words(
    server: Vllm, exported: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], one_base: None
) -> None:
    assert run_command(["skills", "push", server.url, *map(str, exported.values())]) == 0
    listed = {each["id"]: each for each in server.client.get("/v1/models").json()["data"]}
    assert all(listed[folder.name]["parent"] == "smollm2-135m" for folder in exported.values())
    wide = tmp_path / "wide-0123456789ab"
    wide.mkdir()
    config = json.loads((exported["tools"] / "adapter_config.json").read_text())
    (wide / "adapter_config.json").write_text(json.dumps(config | {"r": 32}))
    (wide / "adapter_model.safetensors").write_bytes((exported["tools"] / "adapter_model.safetensors").read_bytes())
    capsys.readouterr()
    assert run_command(["skills", "push", server.url, str(wide)]) == 2
    assert "max_lora_rank 16" in capsys.readouterr().err


def test_free_text_is_streamed_and_a_cancelled_request_ends_there(server: Vllm, one_base: None) -> None:
    agent = Agent(Runtime.connect(server.url, engine="vllm"), limits=Limits(step_tokens=400))
    stream, pieces = agent.stream("Write a long story about a bridge.", skill="none"), 0
    for event in stream:
        if isinstance(event, TokenGenerated):
            pieces += 1
            if pieces == 3:
                assert server.running() == 1
                stream.cancel()
    assert pieces >= 3 and stream.result.stop_reason == "cancelled"
    end = time.monotonic() + 60
    while server.running():
        assert time.monotonic() < end, "vLLM writes on for nobody"
        time.sleep(0.2)


def test_a_run_goes_on_when_vllm_was_killed_and_started_again(
    server: Vllm, exported: dict[str, Path], tmp_path: Path, one_base: None
) -> None:
    """The server dies while a tool runs; started again, it has no adapters, and gets them from the run."""
    paid = []

    def pay(amount: int) -> str:
        """Pays an amount of money."""
        paid.append(amount)
        if len(paid) == 1:
            server.kill()
        return "paid"

    runtime = Runtime.connect(server.url, engine="vllm", skills=exported)
    limits, policy = Limits(step_tokens=64, max_steps=4), Policy(skills=("tools", "tools"))
    agent = Agent(runtime, [pay], limits=limits, policy=policy, sessions=Sessions(tmp_path / "s.db"))
    with pytest.raises(BaseModelError, match="does not answer"):
        agent.run_sync("Pay 20.", session="one", tool_choice="required")
    server.start()
    assert [each["id"] for each in server.client.get("/v1/models").json()["data"]] == ["smollm2-135m"]
    result = agent.run_sync(session="one")
    listed = {each["id"] for each in server.client.get("/v1/models").json()["data"]}
    assert listed > {folder.name for folder in exported.values()}
    assert result.steps[0].calls[0].arguments == {"amount": 20} and paid[0] == 20
    assert len(paid) == sum(len(step.calls) for step in result.steps), "a call that had ended ran again"


def test_the_same_requests_here_and_there(
    server: Vllm, exported: dict[str, Path], base: Any, parity: ModuleType
) -> None:
    """Routes are the same or differ by what is known, every step is valid there, and some calls are the same.

    A skill acts on the whole context there, so that a gate may withhold a document, without which retrieval cannot be
    chosen. `parity.py` measures how many are the same.
    """
    engines = parity.Parity(base, server.model, server.url, exported)
    found = [engines.compare(world, each) for world in load_worlds(SHIPPED) for each in chosen(world, limit=7)]
    assert len(found) == 42 and all(each.valid for each in found), found
    assert all(each.routed or each.reason in ("thresholds", "the whole context") for each in found), found
    assert sum(each.routed for each in found) >= 40, found
    assert any(each.skill == "tools" and not each.reason for each in found), found
