"""Whole trainings: killed and resumed, accumulated, on several processes, in other modes and by other optimizers."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loraloop.adapters.base import random_base
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training import checkpoint
from loraloop.adapters.training.forward.past import Past
from loraloop.adapters.training.forward.trunks import TrunkCache
from loraloop.adapters.training.trainer import schedules
from loraloop.adapters.training.trainer.galore_optimizer import GaLoreAdamW, leading, projected, restored
from loraloop.adapters.training.trainer.progress import Progress
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.tool_schemas.errors import InputError, UnknownNameError

from .training_job import examples

JOB = Path(__file__).with_name("training_job.py")


def settings(**given: Any) -> dict[str, Any]:
    return {"steps": 12, "batch": 4, "learning_rate": 1e-2, "validate_every": 4, **given}


def trainer(folder: Path, **given: Any) -> Trainer:
    config = TrainConfig.of(**settings(**given))
    return Trainer(random_base(0), Lora(4, 8), examples(48), examples(12, 1), config, folder)


def started(folder: Path, config: dict[str, Any], *launcher: str, **variables: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(config))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", **variables}
    command = [sys.executable, *launcher, str(JOB), str(folder), str(folder / "settings.json")]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, complaint = process.communicate(timeout=200)
    assert process.returncode == 0, complaint.decode()[-3000:]


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_checkpoint_that_does_not_fit_the_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*state.pt: .*make room and begin again"):
            checkpoint.write({"weights": torch.ones(1000, 1000)}, tmp_path / "state.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_run_killed_with_sigkill_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Dropout, accumulation and a time between checkpoints: all of it resumes."""
    given = settings(steps=80, validate_every=20, save_every=10, dropout=0.1, accumulation=2, patience=99)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = started(cut, given)
    until = time.monotonic() + 200
    while not (cut / "log.jsonl").exists() or (cut / "log.jsonl").read_text().count("\n") < 25:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not (cut / "end.pt").exists()
    at = torch.load(cut / "state.pt", weights_only=True)["step"]
    assert 0 < at < 80
    finish(started(cut, given))
    finish(started(whole, given))
    ends = [torch.load(folder / "end.pt", weights_only=True) for folder in (whole, cut)]
    assert equal(ends[0]["last"], ends[1]["last"]) and equal(ends[0]["best"], ends[1]["best"])
    logs = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (whole, cut)]
    told = [[(r["step"], r.get("loss"), r.get("valid_loss")) for r in log] for log in logs]
    assert told[0] == told[1]


def test_a_pause_is_no_time_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def told(at: Progress) -> None:
        nonlocal now
        now += 3600.0 if at.step == 5 else 1.0

    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("loraloop.adapters.training.trainer.trainer.time", clock)
    paused = trainer(tmp_path, steps=100, seconds=30.0)
    paused.progress = told
    paused.advance()
    assert 20 <= paused.step <= 31, "steps of a second each, and an hour's pause"


def test_accumulated_gradients_are_those_of_one_large_batch(tmp_path: Path) -> None:
    runs = [trainer(tmp_path / str(n), batch=8 // n, accumulation=n) for n in (1, 2, 8)]
    batch = next(runs[0].batches())
    assert len({example.counted for example in batch}) > 1
    assert [next(run.batches()) for run in runs] == [batch] * 3
    found = []
    for run in runs:
        run.optimizer.step = lambda: None  # type: ignore[assignment,method-assign]
        run.optimizer.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
        run._optimize(batch, 0.0)
        found.append(torch.cat([t.grad.flatten() for t in run.parameters.values() if t.grad is not None]))
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0], atol=1e-6, rtol=1e-5)


def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """Started as the documents say for CPUs: accelerate over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    finish(started(tmp_path / "two", settings(), *launcher))
    finish(started(tmp_path / "one", settings(batch=8)))
    two, one = (torch.load(tmp_path / name / "end.pt", weights_only=True) for name in ("two", "one"))
    assert (two["workers"], one["workers"]) == (2, 1)
    for name, tensor in one["last"].items():
        torch.testing.assert_close(two["last"][name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("mode", ["branch", "full"])
def test_modes_learn(tmp_path: Path, mode: str) -> None:
    made = trainer(tmp_path, mode=mode, steps=30, validate_every=10)
    before = made.validate()
    made.run()
    assert made.best < 0.8 * before


def test_a_run_resumed_with_less_than_it_has_had_is_validated_and_ends(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=100, validate_every=1000, save_every=2)

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    made.progress = stop
    with pytest.raises(KeyboardInterrupt):
        made.run()
    again = trainer(tmp_path, steps=3, validate_every=1000, save_every=2)
    assert again.step == 4
    assert again.run() and again.step == 4 and again.best > 0


def test_early_stopping_and_progress(tmp_path: Path) -> None:
    told: list[Progress] = []
    made = trainer(tmp_path, steps=100, patience=2, validate_every=2, learning_rate=1.0)
    made.progress = told.append
    made.run()
    assert made.step < 100
    assert [progress.step for progress in told] == list(range(1, made.step + 1))
    assert told[0].valid_loss is None and told[-1].valid_loss is not None
    assert all(progress.tokens_per_s > 0 and progress.eta_s >= 0 and progress.lr > 0 for progress in told)
    again = trainer(tmp_path, steps=100, patience=2, validate_every=2, learning_rate=1.0)
    assert again.step == made.step
    again.run()
    assert again.step == made.step


def test_schedules() -> None:
    def curve(**given: Any) -> list[float]:
        config = TrainConfig(steps=10, warmup=0.2, **given)
        return [schedules.factor(config, step) for step in range(10)]

    assert curve(schedule="constant") == [0.5, *[1.0] * 9]
    assert curve(schedule="linear", floor=0.0)[2:] == pytest.approx([1 - step / 10 for step in range(2, 10)])
    cosine = curve()
    assert cosine[1] == 1 and cosine[2:] == sorted(cosine[2:], reverse=True) and cosine[-1] > 0.1
    assert schedules.factor(TrainConfig(steps=10, seconds=100), 1, elapsed=100) == pytest.approx(0.1)
    timed = TrainConfig(steps=1000, warmup=0.1, seconds=100)  # the clock ends it at step 20: the warm-up follows it too
    assert [schedules.factor(timed, step, 5 * step) for step in (0, 1)] == pytest.approx([0.01, 0.5])
    assert schedules.factor(timed, 2, 10) > 0.95


def test_lora_plus_moves_b_faster(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=1, lr_ratio=16.0, schedule="constant", warmup=0.0)
    before = {name: tensor.detach().clone() for name, tensor in made.parameters.items()}
    made.run()
    moved = {
        factor: max(
            float((tensor.detach() - before[name]).abs().max())
            for name, tensor in made.parameters.items()
            if name.endswith(factor)
        )
        for factor in ("lora_A", "lora_B")
    }
    assert moved["lora_B"] == pytest.approx(0.16, rel=0.01)
    assert moved["lora_A"] <= 0.011


@pytest.mark.parametrize(("optimizer", "cached"), [("adamw", 0.0), ("galore", 0.0), ("adamw", 1e-4)])
def test_optimizers_learn_and_resume(tmp_path: Path, optimizer: str, cached: float) -> None:
    """Also with a cache of trunks that holds a part of them."""
    given: dict[str, Any] = {"optimizer": optimizer, "galore_rank": 2, "galore_every": 3, "galore_scale": 1.0}
    given["trunk_cache_gb"] = cached
    before = trainer(tmp_path / "fresh", steps=24, **given).validate()
    made = trainer(tmp_path / "whole", steps=24, **given)
    whole = made.run()
    assert made.best < 0.8 * before
    trainer(tmp_path / "cut", steps=24, **given, save_every=1)._save()
    cut = trainer(tmp_path / "cut", steps=24, **given)
    cut.progress = lambda progress: (_ for _ in ()).throw(KeyboardInterrupt) if progress.step == 14 else None
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = trainer(tmp_path / "cut", steps=24, **given)
    assert resumed.step == 12
    assert equal(resumed.run(), whole)


def test_galore_is_adamw_where_nothing_is_lost() -> None:
    """At full rank and scale 1 the projection is a rotation; a vector is plain AdamW."""
    draw = torch.Generator().manual_seed(0)
    vector = torch.randn(6, generator=draw)
    ours, plain = vector.clone().requires_grad_(), vector.clone().requires_grad_()
    mine = GaLoreAdamW([ours], lr=0.1, betas=(0.9, 0.99), weight_decay=0.1, rank=2)
    theirs = torch.optim.AdamW([plain], lr=0.1, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(6, generator=draw)
        for tensor, optimizer in ((ours, mine), (plain, theirs)):
            tensor.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, plain)
    for shape in ((7, 4), (4, 7)):
        low = torch.randn(shape[0], 2, generator=draw) @ torch.randn(2, shape[1], generator=draw)
        space = leading(low, 2)
        back = restored(projected(low, space), space, tall=shape[0] >= shape[1])
        torch.testing.assert_close(back, low, atol=1e-5, rtol=1e-4)
        assert min(projected(low, space).shape) == 2


def test_eight_bit_optimizers_run_or_say_why_not(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is installed on Linux only")
    made = trainer(tmp_path / "eight", optimizer="adamw8bit", steps=20, validate_every=10)
    before = made.validate()
    made.run()
    assert made.best < 0.9 * before
    with pytest.raises(InputError, match="adamw8bit or adamw"):
        trainer(tmp_path / "paged", optimizer="paged_adamw8bit")


def test_trunks_on_disk_change_nothing_but_the_work(tmp_path: Path) -> None:
    plain = trainer(tmp_path / "plain").run()
    made = trainer(tmp_path / "kept", trunk_cache_gb=0.1)
    store = made.reader.store
    assert store is not None
    for name, tensor in made.run().items():
        torch.testing.assert_close(tensor, plain[name], atol=1e-4, rtol=1e-3)
    trunks = {example.trunk for example in (*made.train_set, *made.valid_set)}
    assert len(list(store.folder.glob("*.kv"))) <= len(trunks)
    assert store.hits > store.misses > 0


def test_the_trunk_store_is_bounded_and_knows_its_base(tmp_path: Path) -> None:
    config = random_base(0).config
    data = torch.randn(config.layers, 2, config.kv_heads, 5, config.head_dim)
    most = 2.5 * data.nbytes / (1 << 30)

    def store(weights: str = "w", wanted: tuple[tuple[int, ...], ...] = ()) -> TrunkCache:
        return TrunkCache(tmp_path, weights, config, torch.float32, most, wanted)

    for name in ("gone.kv", "gone.kv.1.part"):
        (tmp_path / name).symlink_to(tmp_path / "nothing")  # another process removes it at the same time
    first = store()
    assert first.get((1, 2, 3, 4, 5)) is None
    assert first.put([((number, 2, 3, 4, 5), data + number) for number in range(3)]) == 2
    again = store()
    found = [again.get((number, 2, 3, 4, 5)) for number in range(3)]
    assert found[2] is None and found[1] is not None and torch.equal(found[1], data + 1)
    assert torch.equal(Past.of([found[1]]).row(0), data + 1)
    assert store("other weights").get((1, 2, 3, 4, 5)) is None
    later = store(wanted=((1, 2, 3, 4, 5), (9, 9, 9, 9, 9)))
    assert later.put([((9, 9, 9, 9, 9), data)]) == 1 and later.get((0, 2, 3, 4, 5)) is None
    assert later.get((1, 2, 3, 4, 5)) is not None
    (file,) = [file for file in tmp_path.glob("*.kv") if later._name((9,) * 5) == file.name]
    file.write_bytes(b"cut")
    assert store().get((9, 9, 9, 9, 9)) is None


def test_a_full_disk_ends_a_training_that_then_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = trainer(tmp_path / "cut"), "No space left on device; make room and begin again"

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    made.advance(4)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=rf"cannot write .*\.pt: {told}"):
            made.run()
    again = trainer(tmp_path / "cut")
    assert again.step == 4 and equal(again.run(), trainer(tmp_path / "whole").run())


def test_a_training_whose_loss_is_no_number_ends_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = trainer(tmp_path / "high", learning_rate=1e20)
    with pytest.raises(InputError, match="not a number: give a lower learning_rate"):
        made.run()
    assert made.step < 4
    late = trainer(tmp_path / "late")
    late.advance(6)
    before = late.best_parameters()
    monkeypatch.setattr(late, "_optimize", lambda batch, elapsed: (1e-2, math.nan))
    assert equal(late.run(), late.method.finished(before, late.context)) and late.step == 7
    assert "the loss of step 7 is not a number" in caplog.text


def test_a_checkpoint_is_never_older_than_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tmp_path / "cut", validate_every=100)
    made.advance(3)
    monkeypatch.setattr("loraloop.adapters.training.trainer.trainer.LONGEST_UNSAVED", 0.0)
    made.advance(5)
    assert trainer(tmp_path / "cut", validate_every=100).step == 5
    monkeypatch.undo()
    made.advance(7)
    assert trainer(tmp_path / "cut", validate_every=100).step == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that takes nothing")
def test_a_full_disk_leaves_no_half_of_a_batch_of_trunks(tmp_path: Path) -> None:
    config = random_base(0).config
    store, trunks = TrunkCache(tmp_path, "w", config, torch.float32, 1.0), ((1, 2, 3), (4, 5, 6))
    (tmp_path / f"{store._name(trunks[1])}.{os.getpid()}.part").symlink_to("/dev/full")
    data = torch.ones(config.layers, 2, config.kv_heads, 3, config.head_dim)
    with pytest.raises(InputError, match="make room and begin again"):
        store.put([(trunk, data) for trunk in trunks])
    assert not list(tmp_path.iterdir())


def test_settings_are_checked() -> None:
    assert TrainConfig.of(**TrainConfig(steps=1).settings()) == TrainConfig(steps=1)
    with pytest.raises(UnknownNameError, match="adamw"):
        TrainConfig.of(steps=1, optimizer="adam")  # type: ignore[arg-type]
    for wrong in ({"dropout": 1.0}, {"patience": 0}, {"lr_ratio": 0.0}, {"trunk_cache_gb": -1.0}, {"accumulation": 0}):
        with pytest.raises(InputError):
            TrainConfig.of(steps=1, **wrong)  # type: ignore[arg-type]
