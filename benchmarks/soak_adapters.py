"""Whether tokens were computed under the adapter that a step names: recomputed alone afterwards, under all of them.

A greedy step's picks are kept with their logits. Alone, and in a forward of another shape, the same tokens have nearly
the same logits under the same adapter, and others under others: the nearest adapter has to be the one named.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from loraloop.agent import Mixture, Runtime
from loraloop.agent.engine.kv_context import Computed
from loraloop.agent.engine.sampler import Sampler, Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.agent.engine.branch import Branch

CHUNK = 512
MIXTURES = {str(mixture): mixture for mixture in (Mixture({"code": 0.7, "tools": 0.3}),)}


@dataclass
class Kept:
    """Picks of one step.

    Attributes:
        skill: Which adapter the step names: a skill's, `none`, or a mixture's of `MIXTURES`.
        context: Tokens that the step stands on.
        branch: Tokens after them, invocation first.
        picks: How many of the branch's tokens were held, the token that was picked then, and its logit.
    """

    skill: str
    context: list[int]
    branch: list[int] = field(default_factory=list)
    picks: list[tuple[int, int, float]] = field(default_factory=list)


class _Noting(Sampler):
    """Greedy, and keeps what it picked."""

    __slots__ = ("_branch", "_kept")

    def __init__(self, branch: Branch, kept: Kept) -> None:
        super().__init__(Sampling())
        self._branch, self._kept = branch, kept

    def pick(self, logits: Tensor) -> int:
        token = super().pick(logits)
        held = self._branch.ids
        self._kept.branch = held
        self._kept.picks.append((len(held), token, float(logits[token])))
        return token


class Samples:
    """A share of all steps, with their picks.

    Args:
        share: Of the steps.
        most: How many are kept at most; later ones take the place of earlier ones by chance.
    """

    def __init__(self, share: float, most: int, seed: int = 0) -> None:
        self.kept: list[Kept] = []
        self.seen = 0
        self._share, self._most = share, most
        self._rng = random.Random(seed)
        self._lock = Lock()

    def watch(self, runtime: Runtime) -> None:
        """Keeps steps of a runtime from now on."""
        plain = runtime.generate

        def generate(
            branch: Branch, invocation: Sequence[int], sampler: Sampler, budget: Any, **how: Any
        ) -> Iterator[Any]:
            with self._lock:
                chosen = self._rng.random() < self._share
            if not chosen:
                yield from plain(branch, invocation, sampler, budget, **how)
                return
            kept = Kept(branch.author.skill or "none", list(branch.computed.ids[: branch.start]))
            last: Any = None
            how = {**how, "beams": 1}  # a search asks no sampler; the other steps search
            for last in plain(branch, invocation, _Noting(branch, kept), budget, **how):
                yield last
            if kept.picks and not getattr(last, "retried", 0):
                self._put(kept)

        runtime.generate = generate  # type: ignore[method-assign]

    def _put(self, kept: Kept) -> None:
        with self._lock:
            self.seen += 1
            if len(self.kept) < self._most:
                self.kept.append(kept)
            elif (at := self._rng.randrange(self.seen)) < self._most:
                self.kept[at] = kept


def logits_alone(runtime: Runtime, kept: Kept, choice: Any) -> list[float]:
    """The picked tokens' logits, computed by nobody else's side under an adapter or a mixture."""
    base = runtime.base
    with runtime.activate(choice) as active:
        author = active.author
        bare = runtime.trunk().author
        computed = Computed(base, runtime.lock, runtime.bank.attached)
        for at in range(0, len(kept.context), CHUNK):
            computed.feed(author if author.activation == "full" else bare, kept.context[at : at + CHUNK])
        out = computed.feed(author, kept.branch)
        rows = out.hidden[[held - 1 for held, _, _ in kept.picks]]
        values = base.logits(rows)
    return [float(values[at, token]) for at, (_, token, _) in enumerate(kept.picks)]


def difference(runtime: Runtime, kept: Kept, choice: Any) -> float:
    """Mean distance of the logits that a step's picks had from those that they have alone."""
    alone = logits_alone(runtime, kept, choice)
    return sum(abs(one - pick[2]) for one, pick in zip(alone, kept.picks, strict=True)) / len(alone)


@dataclass(frozen=True)
class Verdict:
    """Of all samples: mean distance under the named adapter and under the nearest other one, and what is wrong."""

    own: list[float]
    other: list[float]
    wrong: list[str]


def checked(runtime: Runtime, samples: Sequence[Kept], tolerance: float) -> Verdict:
    """Compares each sample with what every adapter makes of it.

    Args:
        tolerance: Mean distance of logits that two shapes of forward may have under one adapter.
    """
    own, other, wrong = [], [], []
    for kept in samples:
        mine = difference(runtime, kept, MIXTURES.get(kept.skill, kept.skill))
        rest = {name: difference(runtime, kept, name) for name in (*runtime.skills, "none") if name != kept.skill}
        nearest = min(rest, key=lambda name: rest[name])
        own.append(mine)
        other.append(rest[nearest])
        if mine > tolerance or rest[nearest] <= mine:
            wrong.append(f"a step names {kept.skill}, off by {mine:.3g}; {nearest} is off by {rest[nearest]:.3g}")
    return Verdict(own, other, wrong)
