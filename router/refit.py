"""Adds a skill to a fitted router and calibrates it, so that the skills it knows keep their decisions.

The router's own weights stay as they are. The new outcome's weights are fitted against the stored examples; its
penalty, and the slope and offset that calibrate its logit, are chosen on examples that were left out (five folds).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.frozen import frozen_rows
from loraloop.router.calibration import expected_calibration_error, mean_cross_entropy, minimise
from loraloop.router.choice import ChoiceModel, taken
from loraloop.router.decision import NONE
from loraloop.router.explain import ExampleMemory
from loraloop.router.features import extract, select
from loraloop.router.router import Router
from loraloop.router.states import state_of
from loraloop.tool_schemas.errors import InputError, SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

LEAST = 10
"""Requests that a new skill needs."""
FOLDS = 5
PENALTIES = (2e-4, 2e-3, 1e-2)
LOST = 0.02
"""Share of the stored examples that may lose their outcome before `Refit.warning` says so."""
HEADS, LONGEST_HEAD = 300, 900
"""How many frozen system messages a new skill's requests are also read under, and their most characters."""
Transcript = Sequence[Message]


@dataclass(frozen=True, slots=True)
class Refit:
    """A router with one more skill, and how it decides.

    Attributes:
        router: The new one.
        skill: What was added.
        scores: `known_before` and `known_after`: accuracy on the stored examples of the other outcomes; `new_held_out`:
            share of the new skill's requests that it gets when they are left out of the fit; `not_new`: the same of
            requests that it should not get; `new_test`: of requests that no fit saw; `ece_before` and `ece_after`:
            calibration errors; `n_…`: how many of each.
    """

    router: Router
    skill: str
    scores: dict[str, float]

    @property
    def warning(self) -> str:
        """What is worth saying aloud; empty if nothing is."""
        lost = self.scores["known_before"] - self.scores["known_after"]
        if lost > LOST:
            return (
                f"{self.skill} takes {lost:.1%} of the requests of other skills: give examples that tell them apart, "
                "and some that it should not get (router.not_examples)"
            )
        reached = min(self.scores[name] for name in ("new_held_out", "new_test") if name in self.scores)
        if reached < 0.7:
            return f"only {reached:.0%} of {self.skill}'s requests reach it: give more examples, of all that it is for"
        return ""


def without_skill(router: Router, name: str) -> Router:
    """The router without one of its skills and its stored examples; as it is where it does not know the skill."""
    if name == NONE or name not in router.choice.names:
        return router
    keep = [i for i, known in enumerate(router.choice.names) if known != name]
    choice = replace(
        router.choice,
        names=tuple(router.choice.names[i] for i in keep),
        weight=router.choice.weight[keep],
        bias=router.choice.bias[keep],
    )
    rows = [i for i, label in enumerate(router.memory.labels) if label != name]
    memory = ExampleMemory(
        tuple(router.memory.examples[i] for i in rows), router.memory.codes[rows], router.memory.scale[rows]
    )
    return replace(router, choice=choice, memory=memory)


def refit(
    base: Base,
    router: Router,
    name: str,
    requests: Sequence[Transcript],
    others: Sequence[Transcript] = (),
    test: Sequence[Transcript] = (),
    seed: int = 0,
) -> Refit:
    """A router that also knows a skill; one that it knew by that name is replaced.

    Args:
        base: The base whose hidden states are read.
        router: The router that the skill is added to.
        name: The skill.
        requests: Ten or more transcripts that it should serve; each is also read among tools and instructions, so
            that the router learns the request and not its surroundings.
        others: Transcripts on its topic that it should not serve.
        test: Transcripts that it should serve, only for the scores.
        seed: Seed of the surroundings and the folds.

    Raises:
        InputError: Fewer than ten requests.
        SkillError: The router was fitted on another base, or the skill is called `none`.
    """
    router.check(base)
    if name == NONE:
        raise SkillError(f"a skill cannot be called {name!r}")
    router = without_skill(router, name)
    if len(requests) < LEAST:
        raise InputError(f"{len(requests)} examples of requests for {name}: give {LEAST} or more (router.examples)")
    rng = random.Random(seed)
    new, negative, held = (_features(base, router, texts, rng) for texts in (requests, others, test))
    known = router.memory.features()
    labels = torch.tensor([router.choice.names.index(label) for label in router.memory.labels])
    if len(others):
        known = torch.cat([known, negative])
        labels = torch.cat([labels, torch.zeros(len(negative), dtype=torch.long)])
    fitted, left_out, target = _calibrated(router.choice, name, new, known=known, labels=labels, rng=rng)
    words = [texts[-1].content[:90] for texts in requests]
    memory = router.memory.extended(new, name, [text for text in words for _ in range(len(new) // len(words))])
    scores = _scores(router, fitted, left_out, target, negatives=len(negative), test=held)
    made = replace(router, choice=fitted, memory=memory, card=_card(router, name, len(requests), scores))
    return Refit(made, name, scores)


def _card(router: Router, name: str, count: int, scores: dict[str, float]) -> dict[str, object]:
    added = {k: v for k, v in dict(router.card.get("added", {})).items() if k in router.choice.names}
    rounded = {key: round(value, 4) for key, value in scores.items()}
    return {**router.card, "added": {**added, name: {"examples": count, "scores": rounded}}}


def _features(base: Base, router: Router, texts: Sequence[Transcript], rng: random.Random) -> Tensor:
    """Standardised features of transcripts as they are and among other surroundings: `[2N, F]`."""
    if not texts:
        return torch.zeros(0, router.choice.weight.shape[1])
    heads = _heads(base)
    placed = [variant for messages in texts for variant in (tuple(messages), _surrounded(messages, heads, rng))]
    layers = tuple(sorted({part.layer for part in router.choice.parts}))
    return router.choice.scaler(select(extract(base, placed, layers), router.choice.parts, layers))


def _heads(base: Base) -> list[Message]:
    """Short system messages of the frozen states: instructions, tools, or both."""
    header = base.prompting.tools_header
    rows = (row for _, row in frozen_rows("router") if "tools" in row or "instructions" in row)
    states = islice((state for row in rows if (state := state_of(row, header)).kind == "first"), HEADS)
    return [state.messages[0] for state in states if len(state.messages[0].content) < LONGEST_HEAD]


def _surrounded(messages: Transcript, heads: Sequence[Message], rng: random.Random) -> tuple[Message, ...]:
    """The transcript with a system message in front; as it is where it has one."""
    return tuple(messages) if messages[0].role == "system" else (rng.choice(heads), *messages)


def _calibrated(
    choice: ChoiceModel, name: str, new: Tensor, known: Tensor, labels: Tensor, rng: random.Random
) -> tuple[ChoiceModel, Tensor, Tensor]:
    """The choice with the new outcome, held-out logits `[N, C + 1]` of all examples, and their outcomes `[N]`."""
    count = len(choice.names)
    x = torch.cat([known, new])
    target = torch.cat([labels, torch.full((len(new),), count)])
    weights = torch.ones(len(x))
    weights[len(known) :] = max(1.0, len(known) / (count * len(new)))
    # Both readings of a request are in one fold.
    folds = torch.tensor([rng.randrange(FOLDS) for _ in range(len(known))] + [k // 2 % FOLDS for k in range(len(new))])
    fixed = x @ choice.weight.T + choice.bias
    best: tuple[float, float, Tensor] | None = None
    for l2 in PENALTIES:
        row = torch.zeros(len(x))
        for fold in range(FOLDS):
            out = folds == fold
            old, fresh = ~out[: len(known)], ~out[len(known) :]
            made = choice.with_skill(name, new[fresh], known[old], labels[old], l2)
            row[out] = x[out] @ made.weight[-1] + made.bias[-1]
        loss = mean_cross_entropy(torch.cat([fixed, row[:, None]], 1) / choice.temperature, target, weights)
        if best is None or float(loss) < best[0]:
            best = float(loss), l2, row
    assert best is not None
    _, l2, row = best
    slope, offset = _fit_line(fixed, row, choice.temperature, target, weights)
    made = choice.with_skill(name, new, known, labels, l2)
    weight, bias = made.weight.clone(), made.bias.clone()
    weight[-1], bias[-1] = weight[-1] * slope, bias[-1] * slope + offset
    left_out = torch.cat([fixed, (row * slope + offset)[:, None]], 1) / choice.temperature
    return replace(made, weight=weight, bias=bias), left_out, target


def _fit_line(fixed: Tensor, row: Tensor, temperature: float, target: Tensor, weights: Tensor) -> tuple[float, float]:
    """Slope and offset of the new outcome's held-out logit; the others stay, so this is convex in the two."""
    slope, offset = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)

    def loss() -> Tensor:
        logits = torch.cat([fixed, (row * slope + offset)[:, None]], 1) / temperature
        return mean_cross_entropy(logits, target, weights) + 1e-3 * (slope - 1).square()

    minimise(loss, [slope, offset])
    return max(float(slope.detach()), 0.05), float(offset.detach())


def _scores(
    router: Router, fitted: ChoiceModel, left_out: Tensor, target: Tensor, negatives: int, test: Tensor
) -> dict[str, float]:
    """Shares that come out right, thresholds applied; the stored examples' states are not masked."""
    old, stored = router.choice, len(router.memory.examples)
    new = target == len(old.names)
    p = left_out.softmax(1)
    before = old.logits(router.memory.features(), torch.zeros(stored, len(old.names), dtype=torch.bool)).softmax(1)
    known = target[:stored]

    def right(probabilities: Tensor, wanted: Tensor) -> Tensor:
        return taken(probabilities, old.threshold) == wanted

    def share(hits: Tensor) -> float:
        return float(hits.float().mean()) if len(hits) else 0.0

    scores = {
        "known_before": share(right(before, known)),
        "known_after": share(right(p[:stored], known)),
        "n_known": float(stored),
        "new_held_out": share(right(p[new], target[new])),
        "n_new": float(int(new.sum())),
        "ece_before": expected_calibration_error(before.max(1).values, before.max(1).indices == known),
        "ece_after": expected_calibration_error(p.max(1).values, p.max(1).indices == target),
    }
    if negatives:
        scores |= {"not_new": share(right(p[stored : stored + negatives], target[stored : stored + negatives]))}
        scores["n_not_new"] = float(negatives)
    if len(test):
        q = fitted.logits(test, torch.zeros(len(test), len(fitted.names), dtype=torch.bool)).softmax(1)
        hits = right(q, torch.full((len(test),), len(old.names)))
        near = fitted.region.distance(test) <= fitted.region.limit
        scores |= {"new_test": share(hits & near), "n_new_test": float(len(test))}
    return scores
