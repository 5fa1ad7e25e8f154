"""What the policy of DPO and KTO is compared with: the bare base or a given skill, its log-probabilities kept."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.training import checkpoint
from loraloop.adapters.training.data.encode import Encoded
from loraloop.adapters.training.forward.scored import Reader, Scored
from loraloop.adapters.training.objectives.head import log_probs

_BATCH = 8


@dataclass(slots=True)
class Reference:
    """The reference policy.

    Attributes:
        payload: of a skill; None: the bare base.
        identity: what tells it from others, such as the skill's sha256.
    """

    payload: Payload | None = field(default=None, repr=False)
    identity: str = "base"
    _kept: dict[str, list[float]] = field(init=False, default_factory=dict, repr=False)

    @classmethod
    def of_skill(cls, skill: Any, config: Any) -> Reference:
        """A skill of the base with these dimensions."""
        return cls(skill.payload(config), skill.card.sha256 or skill.card.name)

    def prepare(self, reader: Reader, examples: Sequence[Encoded], folder: Path, fingerprint: str, full: bool) -> None:
        """Computes the log-probabilities of all examples' branches, once, always in the same batches."""
        path = folder / "reference.pt"
        key = hashlib.sha256(f"{fingerprint}|{self.identity}|{full}|{reader.decoder.dtype}".encode()).hexdigest()
        held = checkpoint.read(path) or {}
        self._kept = held["sums"] if held.get("key") == key else {}
        missing = {name: example for example in examples if (name := digest(example)) not in self._kept}
        ordered = sorted(missing.items(), key=lambda item: (item[1].length, item[0]))
        for start in range(0, len(ordered), _BATCH):
            part = ordered[start : start + _BATCH]
            sums = iter(self.sums(reader, [example for _, example in part], full).tolist())
            for name, example in part:
                self._kept[name] = [next(sums) for _ in example.branches]
        if ordered:
            checkpoint.write({"key": key, "sums": self._kept}, path)

    @torch.no_grad()
    def sums(self, reader: Reader, examples: Sequence[Encoded], full: bool = False, past: Any = None) -> Tensor:
        """Log-probability `[branches]`, fp32, of each branch's completion, computed now and without a graph.

        Args:
            reader: Reads with the base that trains.
            examples: The batch.
            full: Whether the skill computes whole contexts; means nothing where the reference is the bare base.
            past: The examples' trunks (`Scored.past`) where they are computed already; None computes them.
        """
        scored = reader.read(examples, self.payload, full=full and self.payload is not None, past=past)
        return scored.sums(log_probs(reader.decoder, scored.states, scored.targets))

    def of(self, scored: Scored) -> Tensor:
        """The kept log-probabilities `[branches]` of a batch that `prepare` has seen."""
        kept = [value for example in scored.examples for value in self._kept[digest(example)]]
        return torch.tensor(kept, device=scored.states.device)


def digest(example: Encoded) -> str:
    """Names an example by its tokens."""
    made = hashlib.sha256(array("q", example.trunk).tobytes())
    for branch in example.branches:
        at = len(example.trunk) if branch.at is None else branch.at
        made.update(array("q", (-1, branch.start, at, *branch.tokens)).tobytes())
    return made.hexdigest()
