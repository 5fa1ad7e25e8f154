"""vLLM for real (`make test-vllm`): skills pushed into it, and the same requests written there and here."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop import Agent, Limits, Policy, Runtime, Sessions
from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.peft.targets import export
from loraloop.adapters.skill.card import Fingerprints
from loraloop.adapters.skill.registry import known_skills
from loraloop.adapters.skill.skill import Skill
from loraloop.agent.events import TokenGenerated
from loraloop.agent.step import Step
from loraloop.cli.main import run_command
from loraloop.evals.desk.runner import agent_of, chosen
from loraloop.evals.desk.world import SHIPPED, DeskRequest, World, load_worlds
from loraloop.tool_schemas.errors import BaseModelError

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(4 * 3600)]
SKILLS = ("tools", "code", "retrieval", "safety")
EACH = int(os.environ.get("LORALOOP_EACH", "7"))
"""Requests of each of the six desks."""


class Vllm:
    """A vLLM server that can be killed, and started again at the same address.

    Attributes:
        url: Its API.
        model: The folder of its model.
    """

    def __init__(self, start: Callable[..., Any], model: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._start, self.model, self._log, self._open = start, model, log, ExitStack()

    def start(self) -> None:
        compact = json.dumps({"backend": "guidance", "disable_any_whitespace": True})  # JSON as the skills write it
        options = ["--served-model-name", "smollm2-135m", "--max-lora-rank", "16", "--max-loras", "4"]
        options += ["--structured-outputs-config", compact]
        python, threads = os.environ["VLLM_PYTHON"], min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
        server = self._start(python, self.model, threads, self._log, options, self._port, gigabytes=1)
        self.client, self._process = self._open.enter_context(server)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._open.close()

    def running(self) -> float:
        """Requests that it works on."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, base: Any) -> dict[str, Path]:
    """The shipped skills of the embedded base as plain LoRA, by skill."""
    folders, out = known_skills("smollm2-135m"), tmp_path_factory.mktemp("exported")
    return {name: export(Skill.load(folders[name]), "vllm", out, base.config).path for name in SKILLS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, benchmark: Any, base: Any) -> Iterator[Vllm]:
    if not os.environ.get("VLLM_PYTHON"):
        pytest.fail("VLLM_PYTHON names no interpreter that has vLLM: run make test-vllm")
    place = tmp_path_factory.mktemp("vllm")
    benchmark("transformers_peer").save_for_transformers(base, place / "model")
    os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    made = Vllm(benchmark("agents_peers").vllm_server, place / "model", place / "log")
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
        pieces += isinstance(event, TokenGenerated)
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


def without_thresholds(skill: Skill, **changes: Any) -> Skill:
    """The same skill, which decides by the likelier token as a server does."""
    return Skill(skill.card.model_copy(update={"threshold": None, "ask_threshold": None, **changes}), skill.tensors)


class Steps:
    """Writes the first step of desk requests with one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._agents = runtime, dict[str, Any]()

    def first(self, world: World, request: DeskRequest, skill: str | None = None) -> Step:
        if world.name not in self._agents:
            self._agents[world.name] = agent_of(self._runtime, world)
            self._agents[world.name].limits = Limits(max_steps=1, step_tokens=128)
        world.start(request)
        return self._agents[world.name].run_sync(request.turns[0].say, skill=skill).steps[-1]


def wrote(step: Step) -> Any:
    """What counts of a step: its calls, or that it calls nothing."""
    return [(call.name, call.arguments) for call in step.calls] or step.outcome


def test_the_same_requests_here_and_there(
    server: Vllm, exported: dict[str, Path], base: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Routes are the same. Calls are equal, or become equal when what the server lacks is taken away here too."""
    skills = [Skill.load(known_skills("smollm2-135m")[name]) for name in SKILLS]
    whole = {"activation": "full"}
    wide = Base.load(str(server.model), quantize="bf16", device="cpu")
    prints = Fingerprints(**{name: getattr(wide.fingerprints, name) for name in ("architecture", "weights")})
    local = Runtime.load(base)
    here = Steps(local)
    there = Steps(Runtime.connect(server.url, engine="vllm", base="smollm2-135m", skills=exported))
    lacking = {
        "thresholds": steps_of(local, base, [without_thresholds(each) for each in skills]),
        "the whole context": steps_of(local, base, [without_thresholds(each, **whole) for each in skills]),
        "arithmetic in bf16": steps_of(
            local, wide, [without_thresholds(each, fingerprints=prints, **whole) for each in skills]
        ),
    }
    count = Counter[str]()
    for world in load_worlds(SHIPPED):
        for request in chosen(world, limit=EACH):
            ours, theirs = here.first(world, request), there.first(world, request)
            assert (ours.routed, ours.skill) == (theirs.routed, theirs.skill), request.id
            assert theirs.outcome != "invalid", (request.id, theirs.error)
            how = "equal"
            if ours.skill != "none" and wrote(ours) != wrote(theirs):
                again = ((name, steps.first(world, request, ours.skill)) for name, steps in lacking.items())
                how = next((name for name, step in again if wrote(step) == wrote(theirs)), "unexplained")
            count[f"{ours.skill}, {how}"] += 1
            with capsys.disabled():
                difference = "" if how == "equal" else f"{wrote(ours)} here, {wrote(theirs)} there"
                print(f"{world.name}/{request.id}: {ours.skill}, {how}", difference, flush=True)
    with capsys.disabled():
        print(dict(count))
    assert sum(count.values()) == 6 * EACH and count["tools, equal"] > 0


def steps_of(local: Runtime, base: Base, skills: list[Skill]) -> Steps:
    """Steps of these skills on a base in this process, with the router of another runtime."""
    bank = Bank(base, slots=len(skills), rank=16)
    for each in skills:
        bank.add(each)
    return Steps(Runtime(base, bank, local.router))
