"""The trunk-cached trainer: the context runs under no_grad on the bare base, the graph is on the branches only.

The objective is that of an activated LoRA (arXiv 2504.12397): the adapter is active from the invocation on. The
context's keys and values do not depend on the adapter, so no gradient is lost by leaving them out of the graph.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.native_decoder import NativeDecoder
from loraloop.adapters.base.decoder.shards import ShardedWeight
from loraloop.adapters.base.training_view import training_view as training_view
from loraloop.adapters.methods.context import BaseContext
from loraloop.adapters.methods.method import Method
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.training import checkpoint
from loraloop.adapters.training.data.encode import Encoded, batches
from loraloop.adapters.training.forward.forward import Dropout
from loraloop.adapters.training.forward.scored import Reader
from loraloop.adapters.training.forward.trunks import TrunkCache
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.adapters.training.objectives.sft import Sft
from loraloop.adapters.training.trainer import optimizers, schedules
from loraloop.adapters.training.trainer.progress import Progress as Progress
from loraloop.adapters.training.trainer.progress import ProgressCallback
from loraloop.adapters.training.trainer.train_config import TrainConfig as TrainConfig
from loraloop.adapters.training.trainer.train_config import lasting
from loraloop.adapters.training.trainer.workers import Workers, current
from loraloop.tool_schemas.errors import InputError

_log = logging.getLogger(__name__)
LONGEST_UNSAVED = 60.0
"""Seconds after which a checkpoint is written without a validation: what an interrupt costs at most, and a step."""

LONGEST_PIECE = 10
"""How many times as long as usual a step or a validation may count as: what took longer was paused, as by Ctrl-Z."""
SHORTEST_PAUSE = 10.0
"""Seconds below which nothing is taken for a pause."""


@dataclass(slots=True)
class _Position:
    """How far a run is; all of it is in a checkpoint."""

    step: int = 0
    best: float = math.inf
    spent: float = 0.0
    stale: int = 0
    valid: float | None = None


class Trainer:
    """Trains one method's parameters on encoded examples.

    Args:
        base: the base that will serve the skill.
        method: turns parameters into the payload, here and when the skill is loaded.
        train: encoded examples, sampled without replacement epoch by epoch.
        valid: held-out examples that decide which checkpoint is kept.
        config: see `TrainConfig`.
        folder: checkpoints (`state.pt`, `best.pt`) and `log.jsonl`; a run killed at any time resumes from it, and a
            finished one goes on if it is given more steps or more time.
        start: parameters by name, such as `lora_A` `[r, K]`, to begin from where `folder` holds no run: those of a
            skill of this method, or of a smaller rank with the same scaling.
        objective: what is minimized.
        progress: called once after every optimizer step, and after its validation.
        workers: the processes that train together; by default those that `accelerate launch` started. Where they share
            out the base's weights, all but the first give up the form that is served, unless it computes the trunks:
            their `base.decoder` is this trainer's then, its forwards are for all processes at once, and the next
            trainer needs a base of its own.
    """

    def __init__(
        self,
        base: Base,
        method: Method,
        train: Sequence[Encoded],
        valid: Sequence[Encoded],
        config: TrainConfig,
        folder: Path,
        start: Mapping[str, Tensor] | None = None,
        objective: Objective | None = None,
        progress: ProgressCallback | None = None,
        workers: Workers | None = None,
    ) -> None:
        if not train or not valid:
            raise InputError("training needs at least one training and one validation example")
        self.base, self.method, self.config = base, method, config
        self.train_set, self.valid_set = list(train), list(valid)
        self.folder, self.objective, self.progress = folder, objective or Sft(), progress
        self.workers = workers or current()
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(base.decoder.embedding, ShardedWeight):
            raise InputError("this base is already sharded by an earlier trainer: load it again for each trainer")
        server, self.shards = self._server(), self.workers.shards()
        self.decoder = training_view(base, config.compute.precision, self.shards)
        self.context = BaseContext(base, self.decoder)
        self.reader = Reader(self.decoder, self._store(), config.compute.checkpointing, server)
        made = method.init(self.context, config.seed)
        if self.shards and self.workers.rank and server is None:
            base.decoder = self.decoder
        if start is not None:
            _begin_from(start, made)
        chosen = set(method.trainable(made))
        self.parameters = {
            name: tensor.detach().to(self.decoder.device).requires_grad_(name in chosen)
            for name, tensor in made.items()
        }
        self.trained = {name: tensor for name, tensor in self.parameters.items() if name in chosen}
        self.optimizer = optimizers.make(config, self.trained)
        self._at, self._saved = _Position(), time.monotonic()
        self._took: dict[str, list[float]] = {"step": [], "validation": []}
        self._resume()
        everything, full = [*self.train_set, *self.valid_set], config.mode == "full"
        self.objective.prepare(self.reader, everything, folder, base.fingerprints.weights, full)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._at.step

    @property
    def best(self) -> float:
        """The lowest validation loss so far."""
        return self._at.best

    @property
    def spent(self) -> float:
        """Seconds of training, over all runs that this one resumes, without pauses."""
        return self._at.spent

    def run(self) -> dict[str, Tensor]:
        """Trains to the end.

        Returns:
            What a skill stores, by name, such as `lora_A` `[r, K]`, on the CPU: the parameters of lowest validation
            loss, finished.
        """
        self.advance()
        best = {name: tensor.to(self.decoder.device) for name, tensor in self.best_parameters().items()}
        finished = {name: tensor.detach().cpu() for name, tensor in self.method.finished(best, self.context).items()}
        self.workers.wait()
        return finished

    def advance(self, most: int | None = None) -> None:
        """Trains to the end; or so many steps at most, which are not validated where they are not the last ones.

        Raises:
            InputError: The loss is not a number, and nothing was validated before; or the disk is full.
        """
        config, order = self.config, self.batches()
        end = config.steps if most is None else min(most, config.steps)
        for _ in range(self.step):
            next(order)
        since = time.monotonic()
        while self.step < end and not self._over():
            started, batch = time.monotonic(), next(order)
            lr, loss = self._optimize(batch, self._together(self.spent))
            self._at.step += 1
            seconds = time.monotonic() - started
            since = self._passed("step", since)
            tokens = sum(example.length for example in batch)
            if not math.isfinite(loss):
                self._diverged()
                break
            self._write({"step": self.step, "loss": loss, "lr": lr, "seconds": seconds, "tokens": tokens})
            if self.step % config.validate_every == 0 or self.step == config.steps or self._over():
                self._validated()
                since = self._passed("validation", since)
            elif self._is_due():
                self._save()
            if self.progress and self.workers.rank == 0:
                left = self._at.spent / self.step * (config.steps - self.step)
                if config.seconds is not None:
                    left = max(0.0, min(left, config.seconds - self.spent))
                pace = tokens / max(seconds, 1e-9)
                self.progress(
                    Progress(
                        step=self.step,
                        steps=config.steps,
                        loss=loss,
                        lr=lr,
                        seconds=seconds,
                        tokens_per_s=pace,
                        eta_s=left,
                        valid_loss=self._at.valid,
                    )
                )
        # It was resumed with less time than it had already taken.
        if most is None and self.step and math.isinf(self._at.best):
            self._validated()

    def best_parameters(self) -> dict[str, Tensor]:
        """The method's parameters with the lowest validation loss so far, by name, such as `lora_A` `[r, K]`."""
        self.workers.wait()
        best: dict[str, Tensor] | None = checkpoint.read(self.folder / checkpoint.BEST)
        if best is None:
            raise InputError(f"{self.folder} holds no validated run yet: call run() first")
        return best

    def loss(self, examples: Sequence[Encoded], grad: bool) -> Tensor:
        """Mean loss `[]` over a batch, in the mode that validation uses; without dropout."""
        with torch.set_grad_enabled(grad):
            full = self.config.mode == "full"
            scored = self.reader.read(examples, self._payload(), full=full)
            return self.objective.loss(self.reader, scored) / self.objective.weight(examples)

    @torch.no_grad()
    def validate(self) -> float:
        """Mean loss over the validation set."""
        ordered = sorted(self.valid_set, key=lambda example: example.length)
        parts = [ordered[i : i + self.config.batch] for i in range(0, len(ordered), self.config.batch)]
        payload, sums = self._payload(), torch.zeros(2, dtype=torch.float64)
        for part in parts[self.workers.rank :: self.workers.count]:
            scored = self.reader.read(part, payload, full=self.config.mode == "full")
            sums[0] += float(self.objective.loss(self.reader, scored))
            sums[1] += self.objective.weight(part)
        self.workers.sum_([sums])
        return float(sums[0] / sums[1])

    def batches(self) -> Iterator[list[Encoded]]:
        """The examples of each step, endlessly, for all processes."""
        config = self.config
        return batches(self.train_set, config.batch * config.accumulation * self.workers.count, config.seed)

    def _optimize(self, batch: Sequence[Encoded], elapsed: float) -> tuple[float, float]:
        """One step; returns the learning rate and the mean loss before it."""
        config, objective = self.config, self.objective
        rate = config.learning_rate * schedules.factor(config, self.step, elapsed)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("ratio", 1.0)
        parts = [batch[i : i + config.batch] for i in range(0, len(batch), config.batch)]
        whole = sum(objective.weight(part) for part in parts)
        mean = torch.zeros((), device=self.decoder.device)
        for index in range(self.workers.rank, len(parts), self.workers.count):
            mean += self._accumulate(parts[index], index, whole)
        if self.workers.rank == 0 and (extra := self.method.regularizer(self.parameters)) is not None:
            extra.backward()  # type: ignore[no-untyped-call]
        for tensor in self.trained.values():
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        self.workers.sum_([*(t.grad for t in self.trained.values() if t.grad is not None), mean])
        torch.nn.utils.clip_grad_norm_(self.trained.values(), config.optimizer.clip)
        self.optimizer.step()
        self.method.after_step(self.parameters, self.step + 1, config.steps)
        self.optimizer.zero_grad(set_to_none=True)
        return rate, mean.item()

    def _accumulate(self, part: Sequence[Encoded], index: int, whole: float) -> Tensor:
        """Adds one forward's share to the gradients."""
        config = self.config
        seed = (config.seed * 1_000_003 + self.step) * 4096 + index
        dropout = Dropout(config.dropout, seed) if config.dropout else None
        scored = self.reader.read(part, self._payload(), full=config.mode == "full", dropout=dropout)
        loss = self.objective.loss(self.reader, scored) / whole
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _payload(self) -> Payload:
        return self.method.payload(self.parameters, self.context)

    def _passed(self, piece: str, since: float) -> float:
        """Adds what a piece of work took to the seconds of training, and returns when it ended."""
        now, alike = time.monotonic(), self._took[piece]
        alike.append(now - since)
        self._at.spent += min(now - since, max(SHORTEST_PAUSE, LONGEST_PIECE * median_low(alike)))
        return now

    def _together(self, elapsed: float) -> float:
        """The first process's clock, where a time limit makes the schedule follow it."""
        if self.config.seconds is None or self.workers.count == 1:
            return elapsed
        clock = torch.tensor([elapsed if self.workers.rank == 0 else 0.0])
        self.workers.sum_([clock])
        return float(clock)

    def _over(self) -> bool:
        config = self.config
        if config.patience is not None and self._at.stale >= config.patience:
            return True
        return config.seconds is not None and self._together(self.spent) >= config.seconds

    def _is_due(self) -> bool:
        """Whether a checkpoint is due without a validation; several processes have clocks that differ: they count."""
        every = self.config.save_every
        waited = self.workers.count == 1 and time.monotonic() - self._saved > LONGEST_UNSAVED
        return waited or (every is not None and self.step % every == 0)

    def _validated(self) -> None:
        valid = self.validate()
        counts = self.method.settled(self.step, self.config.steps) or self._over()
        better = counts and valid < self._at.best
        if counts:
            self._at.best = min(valid, self._at.best)
            self._at.stale = 0 if better else self._at.stale + 1
        self._at.valid = valid
        _log.info("step %d: validation loss %.4f", self.step, valid)
        if better and self.workers.rank == 0:
            checkpoint.write(self._plain(), self.folder / checkpoint.BEST)
        self._write({"step": self.step, "valid_loss": valid, "spent": self.spent})
        self._save()

    def _diverged(self) -> None:
        """Says that no step can follow; raises InputError where no earlier one was validated."""
        problem = f"the loss of step {self.step} is not a number"
        if math.isinf(self._at.best):
            raise InputError(f"{problem}: give a lower learning_rate, and another folder than {self.folder}")
        _log.warning("%s: the training ends there, with the parameters that were best before", problem)

    def _plain(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu() for name, tensor in self.parameters.items()}

    def _identity(self) -> dict[str, str]:
        return {"method": repr(self.method), "objective": self.objective.name}

    def _save(self) -> None:
        if self.workers.rank == 0:
            log = self.folder / checkpoint.LOG
            state = {
                "parameters": self._plain(), "optimizer": self.optimizer.state_dict(), "config": self.config.settings(),
                "log": log.stat().st_size if log.exists() else 0, **self._identity(), **asdict(self._at),
            }  # fmt: skip
            checkpoint.write(state, self.folder / checkpoint.STATE)
        self._saved = time.monotonic()
        self.workers.wait()

    def _resume(self) -> None:
        state = checkpoint.read(self.folder / checkpoint.STATE)
        if state is None:
            if self.workers.rank == 0:
                checkpoint.cut_log(self.folder, 0)
            return
        same = lasting(state["config"]) == lasting(self.config.settings())
        if not same or any(state.get(name, value) != value for name, value in self._identity().items()):
            raise InputError(
                f"{self.folder} holds a run with other settings: give another folder, or the same settings"
            )
        for name, tensor in state["parameters"].items():
            self.parameters[name].data.copy_(tensor)
        self.optimizer.load_state_dict(state["optimizer"])
        known = _Position.__dataclass_fields__
        self._at = _Position(**{name: state[name] for name in known if name in state})
        if self.workers.rank == 0:
            checkpoint.cut_log(self.folder, state.get("log"))
        self.workers.wait()

    def _store(self) -> TrunkCache | None:
        config = self.config
        if not config.compute.trunk_cache_gb or config.mode == "full":
            return None
        compute, decoder = config.compute, self.base.decoder
        build = decoder.native.build if isinstance(decoder, NativeDecoder) else ""
        dtype = torch.float32 if self.decoder.config.qkv_bias else self.decoder.dtype
        wanted = [example.trunk for example in (*self.train_set, *self.valid_set)]
        return TrunkCache(
            self.folder / "trunks",
            f"{self.base.fingerprints.weights}|{compute.trunks}|{compute.precision}|{build}",
            config=self.base.config,
            dtype=dtype,
            most=compute.trunk_cache_gb,
            wanted=wanted,
        )

    def _server(self) -> Base | None:
        """The base, if trunks are to be computed as they are served.

        Raises:
            InputError: another decoder than the C one serves it.
        """
        if self.config.compute.trunks == "trained":
            return None
        if not self.base.native:
            raise InputError(
                "trunks as served need the C decoder, which serves int4, int8 and bf16 bases on a CPU with a C "
                "compiler: set trunks to 'trained'"
            )
        return self.base

    def _write(self, record: dict[str, Any]) -> None:
        if self.workers.rank == 0:
            path = self.folder / checkpoint.LOG
            with checkpoint.writing(path), open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def _begin_from(start: Mapping[str, Tensor], made: dict[str, Tensor]) -> None:
    """Copies a skill's tensors into fresh ones of at least their size; the rest keeps its start, so B's is 0."""
    for name, tensor in start.items():
        if name not in made and name.endswith((".gain", ".bias")):
            continue  # it follows from the others: DoRA's gains, (IA)³'s biases
        fits = name in made and tensor.ndim == made[name].ndim
        if not fits or any(old > new for old, new in zip(tensor.shape, made[name].shape, strict=True)):
            raise InputError(f"cannot begin from {name}{list(tensor.shape)}: give a skill of this method and base")
        made[name].data[tuple(slice(size) for size in tensor.shape)] = tensor.float()
