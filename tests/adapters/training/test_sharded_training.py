"""The base shared out among two processes: the same trainings as alone, in half of the memory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.base.training_view import training_view
from loraloop.adapters.training.trainer.workers import current
from loraloop.kernels.quantized import DenseWeight
from loraloop.tool_schemas.errors import InputError

from .sharded_job import CASES, base_of, trainer_of

HERE = Path(__file__).parent
Process = subprocess.Popen[bytes]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def started(*command: str, **variables: str) -> Process:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", **variables}
    command = (sys.executable, *command)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def launched(job: str, *arguments: str) -> Process:
    """Two processes that share the base out, started as the documents say."""
    launcher = ("-m", "accelerate.commands.launch", "--use_fsdp", "--num_processes", "2")
    return started(*launcher, "--main_process_port", free_port(), str(HERE / job), *arguments)


def finish(*processes: Process) -> None:
    for process in processes:
        _, complaint = process.communicate(timeout=400)
        assert process.returncode == 0, complaint.decode()[-4000:]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`two(case)` is what each of the two processes found."""
    folder = tmp_path_factory.mktemp("shared")
    finish(launched("sharded_job.py", str(folder), *CASES))
    return lambda case: [torch.load(folder / f"{case}-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(900)
def test_two_processes_that_share_the_base_are_one(tmp_path: Path, two: Any, case: str) -> None:
    """Also where they go through the layers at different times, and for methods that read the weights."""
    both = two(case)
    alone = trainer_of(case, tmp_path, accumulation=2)
    finished = alone.run()
    loose = {"atol": 5e-3, "rtol": 5e-2} if case == "untied" else {"atol": 1e-4, "rtol": 1e-3}  # bf16
    for found in both:
        assert found["valid"] == pytest.approx(alone.best, rel=1e-3)
        for name, tensor in alone.parameters.items():
            torch.testing.assert_close(found["last"][name], tensor.detach(), **loose)
            assert torch.equal(found["last"][name], both[0]["last"][name])
        if case != "galore":  # the signs of singular vectors are anyone's choice
            for name, tensor in finished.items():
                torch.testing.assert_close(found["finished"][name], tensor, **loose)


@pytest.mark.parametrize("case", CASES)
def test_each_process_holds_its_half(two: Any, case: str) -> None:
    """And no more than one layer whole, a graph or not; only the first one still has what is served."""
    view = training_view(base_of(case), "bf16" if case == "untied" else "base")
    layers = [(layer.qkv, layer.o, layer.gate_up, layer.down) for layer in view.layers]
    tables = [view.embedding] if view.head is view.embedding else [view.embedding, view.head]
    sizes = [sum(size(weight) for weight in unit) for unit in (*layers, *((table,) for table in tables))]
    for rank, found in enumerate(two(case)):
        assert found["whole"] == 0 and found["parts"] == found["part"]
        assert found["part"] == pytest.approx(sum(sizes) / 2, rel=0.02)
        assert max(sizes) <= found["most"] < 1.01 * max(sizes)  # rows are padded to be parted
        assert (found["serves"], found["own"]) == ((True, False) if rank == 0 else (False, True))
        assert rank == 0 or "load it again" in found["again"]


def size(weight: Any) -> int:
    assert isinstance(weight, DenseWeight)
    return weight.values.nbytes


@pytest.mark.timeout(900)
def test_a_killed_process_ends_all_and_the_run_resumes_with_the_same_bits(tmp_path: Path) -> None:
    given = {"steps": 24, "batch": 2, "learning_rate": 1e-2, "validate_every": 12, "save_every": 3}
    given |= {"dropout": 0.1}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text(json.dumps(given))

    def job(name: str) -> tuple[str, str, str]:
        return str(HERE / "training_job.py"), str(tmp_path / name), str(tmp_path / name / "settings.json")

    def pair(name: str) -> list[Process]:
        """The two processes as the launcher starts them, without its own start."""
        given = {
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": free_port(),
            "ACCELERATE_USE_FSDP": "true",
        }
        return [started(*job(name), RANK=rank, LOCAL_RANK=rank, **given) for rank in ("0", "1")]

    process, log, until = launched(*job("cut")), tmp_path / "cut" / "log.jsonl", time.monotonic() + 200
    while not log.exists() or log.read_text().count("\n") < 6:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    os.kill(int((tmp_path / "cut" / "pid-1").read_text()), signal.SIGKILL)
    process.communicate(timeout=200)
    assert process.returncode != 0 and not (tmp_path / "cut" / "end.pt").exists()
    assert 0 < torch.load(tmp_path / "cut" / "state.pt", weights_only=True)["step"] < 24
    finish(*pair("cut"))
    finish(*pair("whole"))
    ends = [torch.load(tmp_path / name / "end.pt", weights_only=True) for name in ("whole", "cut")]
    for kind in ("last", "best"):
        assert all(torch.equal(tensor, ends[1][kind][name]) for name, tensor in ends[0][kind].items())
    assert ends[0]["workers"] == 2
    assert all((tmp_path / name / f"closed-{rank}").exists() for name in ("whole", "cut") for rank in (0, 1))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_process_ends_well_while_threads_of_gloo_still_drop_tensors() -> None:
    """One that needed the GIL after the interpreter had begun to go would abort the process."""
    finish(started(str(HERE / "leaving_job.py"), "12"))


@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({}, "--num_processes 2 or more"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "leave --fsdp_offload_params out"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "checkpointing: true"),
        ({"FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}, "FULL_SHARD"),
        ({"FSDP_RESHARD_AFTER_FORWARD": "false"}, "never stay whole"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], advice: str
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not current().shared
    for name, value in {"ACCELERATE_USE_FSDP": "true", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=advice):
        current()
