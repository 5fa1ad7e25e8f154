"""The trunk-cached trainer: the context runs under no_grad on the bare base, the graph is on the branch only.

The objective is that of an activated LoRA (arXiv 2504.12397): next-token cross-entropy on the completion, with
the adapter active from the invocation on. The context's keys and values do not depend on the adapter, so no
gradient is lost by leaving them out of the graph.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base import Base, BranchCache, Row
from loraloop.adapters.base.cache import KVCache
from loraloop.adapters.base.decoder import Decoder, Layer
from loraloop.adapters.methods.context import BaseContext
from loraloop.adapters.methods.method import Method
from loraloop.adapters.methods.payload import PayloadAttached
from loraloop.adapters.training.encode import Encoded
from loraloop.kernels.nf4 import Nf4Weight, has_kernels
from loraloop.kernels.quantized import DenseWeight, Weight
from loraloop.tool_schemas.errors import InputError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps.
        batch: examples a step.
        learning_rate: peak, after a linear warm-up; a cosine takes it to a tenth.
        warmup: fraction of the steps that warm up.
        validate_every: steps between measurements of the validation loss (also checkpoints).
        seconds: stop after this much time, at a completed schedule position (None: no limit). The cosine then
            follows the larger of the two fractions done, so a run cut by time still anneals.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 2e-3
    warmup: float = 0.04
    weight_decay: float = 0.0
    clip: float = 1.0
    validate_every: int = 200
    seed: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.validate_every < 1:
            raise InputError("steps, batch and validate_every must be at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, not {self.learning_rate}")


def training_view(base: Base) -> Decoder:
    """The base's decoder with differentiable products of the values that it serves.

    On a GPU, NF4 stays as it is: its op has a gradient. All other weights become dense.
    """
    served = base.decoder

    def differentiable(weight: Weight) -> Weight:
        if isinstance(weight, Nf4Weight) and has_kernels(weight.codes.device):
            return weight
        return DenseWeight(weight.dequantize())

    layers = [
        Layer(
            layer.attention_norm,
            differentiable(layer.qkv),
            differentiable(layer.o),
            layer.mlp_norm,
            differentiable(layer.gate_up),
            differentiable(layer.down),
            layer.qkv_bias,
            layer.q_norm,
            layer.k_norm,
        )
        for layer in served.layers
    ]
    head = DenseWeight(served.head.dequantize())
    return Decoder(served.config, served.embedding, layers, served.norm, head, served.dtype, served.device)


class Trainer:
    """Trains one method's parameters on encoded examples.

    Args:
        base: the base that will serve the skill.
        method: turns parameters into the payload, here and when the skill is loaded.
        train: encoded examples, sampled without replacement epoch by epoch.
        valid: held-out examples that decide which checkpoint is kept.
        folder: checkpoints (`state.pt`, `best.pt`) and `log.jsonl`; a run killed at any time resumes from it, and a
            finished one goes on if it is given more steps or more time.
        start: parameters to begin from where `folder` holds no run: those of a skill of this method, or of a smaller
            rank with the same scaling.
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
    ) -> None:
        if not train or not valid:
            raise InputError("training needs at least one training and one validation example")
        self.base, self.method, self.config = base, method, config
        self.train_set, self.valid_set = list(train), list(valid)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.decoder = training_view(base)
        self.context = BaseContext(base, self.decoder)
        made = method.init(self.context, config.seed)
        if start is not None:
            _begin_from(start, made)
        self.parameters = {name: tensor.detach().to(base.device).requires_grad_() for name, tensor in made.items()}
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.step, self.best, self.spent = 0, math.inf, 0.0
        self._resume()

    def run(self) -> dict[str, Tensor]:
        """Trains to the end and returns the parameters with the lowest validation loss."""
        batches = self._batches()
        for _ in range(self.step):
            next(batches)
        began = time.monotonic() - self.spent
        while self.step < self.config.steps and not self._out_of_time():
            started = time.monotonic()
            loss = self._optimize(next(batches), began)
            self.step += 1
            self.spent = time.monotonic() - began
            self._write({"step": self.step, "loss": loss, "seconds": time.monotonic() - started})
            if self.step % self.config.validate_every == 0:
                self._checkpoint()
        if self.step % self.config.validate_every:
            self._checkpoint()
        best: dict[str, Tensor] = torch.load(self.folder / "best.pt", weights_only=True)
        return best

    def loss(self, examples: Sequence[Encoded], grad: bool) -> Tensor:
        """Mean cross-entropy a completion token over a batch."""
        branches = [
            Row(e.branch[:-1], BranchCache(trunk), 1) for e, trunk in zip(examples, self._trunks(examples), strict=True)
        ]
        with torch.set_grad_enabled(grad):
            payload = self.method.payload(self.parameters, self.context)
            hidden = self.decoder.forward(branches, PayloadAttached(payload, self.base.dtype)).hidden
            picked: list[Tensor] = []
            targets: list[int] = []
            offset = 0
            for example in examples:
                count = len(example.branch) - 1
                picked.append(hidden[offset + example.start - 1 : offset + count])
                targets += example.branch[example.start :]
                offset += count
            logits = self.decoder.logits(torch.cat(picked))
            return torch.nn.functional.cross_entropy(logits, torch.tensor(targets, device=logits.device))

    @torch.no_grad()
    def _trunks(self, examples: Sequence[Encoded]) -> list[KVCache]:
        """The caches of all trunks; a system message that several of them begin with is computed once."""
        begun: dict[tuple[int, ...], KVCache] = {}
        for example in examples:
            head = example.trunk[: example.shared]
            if head and head not in begun:
                begun[head] = self.decoder.new_cache(max(len(e.trunk) for e in examples if e.trunk[: e.shared] == head))
        if begun:
            self.decoder.forward([Row(head, cache) for head, cache in begun.items()])
        rows = []
        for example in examples:
            head = begun.get(example.trunk[: example.shared])
            cache = head.fork() if head else self.decoder.new_cache(len(example.trunk))
            rows.append(Row(example.trunk[example.shared :], cache))
        self.decoder.forward(rows)
        return [row.cache for row in rows]  # type: ignore[misc]

    def validate(self) -> float:
        """Mean loss over the validation set, weighted by completion tokens."""
        total, tokens = 0.0, 0
        ordered = sorted(self.valid_set, key=lambda e: e.length)
        for start in range(0, len(ordered), self.config.batch):
            batch = ordered[start : start + self.config.batch]
            count = sum(len(e.branch) - e.start for e in batch)
            total += float(self.loss(batch, grad=False)) * count
            tokens += count
        return total / tokens

    def _optimize(self, batch: Sequence[Encoded], began: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._schedule(began)
        loss = self.loss(batch, grad=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def _schedule(self, began: float) -> float:
        done = self.step / self.config.steps
        if self.config.seconds is not None:
            done = max(done, (time.monotonic() - began) / self.config.seconds)
        if self.step < (ramp := max(1, round(self.config.warmup * self.config.steps))):
            return (self.step + 1) / ramp
        return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, done)))

    def _out_of_time(self) -> bool:
        return self.config.seconds is not None and self.spent >= self.config.seconds

    def _batches(self) -> Iterator[list[Encoded]]:
        """Endless batches of similar length, in a seeded random order, each example once an epoch.

        Up to four examples with the same system message stay together, since they share its forward.
        """
        rng = random.Random(self.config.seed)
        size = self.config.batch
        while True:
            units: list[list[Encoded]] = []
            open_units: dict[tuple[int, ...], list[Encoded]] = {}
            for example in rng.sample(self.train_set, len(self.train_set)):
                head = example.trunk[: example.shared]
                unit = open_units.get(head)
                if head and unit is not None and len(unit) < min(4, size):
                    unit.append(example)
                    continue
                units.append([example])
                open_units[head] = units[-1]
            rng.shuffle(units)
            batches = []
            for start in range(0, len(units), size * 8):
                part = sorted(units[start : start + size * 8], key=lambda unit: max(e.length for e in unit))
                flat = [example for unit in part for example in unit]
                batches += [flat[i : i + size] for i in range(0, len(flat), size)]
            rng.shuffle(batches)
            yield from batches

    def _checkpoint(self) -> None:
        valid = self.validate()
        self._write({"step": self.step, "valid_loss": valid, "spent": self.spent})
        _log.info("step %d: validation loss %.4f", self.step, valid)
        plain = {name: tensor.detach().cpu() for name, tensor in self.parameters.items()}
        if valid < self.best:
            self.best = valid
            _save(plain, self.folder / "best.pt")
        state = {"parameters": plain, "optimizer": self.optimizer.state_dict(), "step": self.step, "best": self.best,
                 "spent": self.spent, "config": asdict(self.config)}  # fmt: skip
        _save(state, self.folder / "state.pt")

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if _lasting(state["config"]) != _lasting(asdict(self.config)):
            raise InputError(
                f"{self.folder} holds a run with other settings: give another folder, or the same settings"
            )
        for name, tensor in state["parameters"].items():
            self.parameters[name].data.copy_(tensor)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.spent = state["step"], state["best"], state["spent"]

    def _write(self, record: dict[str, Any]) -> None:
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _begin_from(start: Mapping[str, Tensor], made: dict[str, Tensor]) -> None:
    """Copies a skill's tensors into fresh ones of at least its rank; the rest keeps its start, so B's is 0."""
    for name, tensor in start.items():
        if name not in made or any(old > new for old, new in zip(tensor.shape, made[name].shape, strict=True)):
            raise InputError(f"cannot begin from {name}{list(tensor.shape)}: give a skill of this method and base")
        rows, columns = tensor.shape
        made[name].data[:rows, :columns] = tensor.float()


def _lasting(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that a resumed run must share; it may be given more steps or more time."""
    return {name: value for name, value in config.items() if name not in ("steps", "seconds")}


def _save(content: Any, path: Path) -> None:
    """Writes whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)
