"""Fits what the calls that a search finds are compared by, on the validation part of the training files.

A conditional logit (McFadden 1974) over the texts of each case, of which several may be right, with a quadratic
penalty that draws the weights to those of the model alone, or to another skill's. What it is worth is measured on cases
that it was not fitted on: five folds, by groups of records.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loraloop.adapters.grounding import FEATURES
from loraloop.adapters.skill.card import MARGIN
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.data.example import Example

PENALTIES = (0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
FOLDS = 5
NAMES = tuple(FEATURES)
START = {"log_probability": 1.0, "none_log_odds": 1.0}
"""The model alone: its own probability of each text."""
Vector = Any  # an array of float64


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found for a validation case.

    Attributes:
        kind: Of the case.
        group: Records of one group are in one fold.
        none: Whether calling nothing is right.
        probability: Of calling nothing, by the model; None where it was not weighed.
        features: `[texts, features]`: of the lists of calls, likeliest first, and last of calling nothing.
        right: Of each.
    """

    kind: str
    group: str
    none: bool
    probability: float | None
    features: Vector
    right: Vector


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights by feature, and what they are worth on cases that they were not fitted on.

    Attributes:
        weights: Fitted on all cases.
        penalty: The one of `PENALTIES` under whose weights the right texts of other folds are likeliest.
        right: Share of cases: `likeliest` as without weights, `reranked`, and `best`, where any text was right.
        kinds: The same by kind of case.
        rates: Share of cases in which nothing is called: `abstained` of those in which that is right, `lost` of the
            others; and the same of the likeliest, as `likelier/…`.
        n: Cases.
    """

    weights: dict[str, float]
    penalty: float
    right: dict[str, float]
    kinds: dict[str, dict[str, float]]
    rates: dict[str, float]
    n: int


def search(
    base: Base,
    skill: Skill,
    data: Path,
    limit: int,
    seed: int = 0,
    beams: int | None = None,
    outputs: Path | None = None,
    step: Callable[[], None] = lambda: None,
    margin: float = MARGIN,
) -> list[Found]:
    """What searches under a skill find, on validation cases of the tools mixture.

    Args:
        base: The base.
        skill: A skill that calls tools.
        data: The data folder.
        limit: How many cases.
        seed: Of their draw.
        beams: Hypotheses; what is on the card where None, but at least two.
        outputs: Where what was found is kept; what stands there is not searched again.
        step: Called after each case.
        margin: By how many nats a list may be less likely than the likeliest.

    Raises:
        InputError: a training file is missing, the skill writes something else, or `outputs` belongs to another skill.
    """
    from loraloop.adapters.training.data.shipped import load_examples
    from loraloop.agent.engine.nbest import KEPT, MORE
    from loraloop.evals.asking import check_calls
    from loraloop.evals.kept import Kept
    from loraloop.skill_eval import Bench, Compared, System, term_of

    check_calls(skill)
    width = beams or max(2, skill.card.beams)
    bench = Bench(base, skill, 256, width)
    facts = {"evaluation": "reranking", "base": base.name, "skill": skill.card.sha256, "beams": width, "seed": seed}
    facts |= {"searched": [KEPT, MORE, margin], "known": [each.name for each in fields(Compared)]}
    kept, found = Kept(outputs, {**facts, "n": limit}), []
    for place, example in enumerate(load_examples("tools", data, "valid", limit, seed)):
        row = kept.get("skill", str(place))
        if row is None:
            asked = System("skill", example.messages, True, term_of(base, example), example.tools)
            probability, texts = bench.compared(asked, margin)
            listed = [[each.text, each.log_probability, each.entropy] for each in texts]
            row = kept.put("skill", str(place), probability=probability, texts=listed)
        found.append(_found(example, row))
        step()
    return found


def fit(cases: Sequence[Found], threshold: float = 0.5, start: Mapping[str, float] = START) -> Fitted:
    """The weights that choose best, by the penalty under which the right texts of other cases are likeliest.

    Args:
        cases: What was found.
        threshold: From which probability nothing is called without weights.
        start: The weights that others are drawn to; those of another skill say much where there are few cases.

    Raises:
        InputError: there are too few cases, or all are of one kind.
    """
    usable = [case for case in cases if len(case.right)]
    if sum(_telling(case) for case in usable) < 2 * FOLDS:
        raise InputError("in too few validation cases some text is right and another is not: raise --limit")
    drawn_to = np.array([start.get(name, 0.0) for name in NAMES])
    tried = {penalty: _held_out(usable, penalty, drawn_to) for penalty in PENALTIES}
    penalty = max(PENALTIES, key=lambda each: sum(_log_likelihood(case, w) for case, w in tried[each]))
    held_out = tried[penalty]
    weights = _weights(usable, penalty, drawn_to)
    taken = [(case, *_taken(case, each, threshold)) for case, each in held_out]
    rows = [(row[0].kind, _rights(*row)) for row in taken]
    by_kind = {kind: [row for name, row in rows if name == kind] for kind in sorted({name for name, _ in rows})}
    return Fitted(
        {name: round(float(weight), 4) for name, weight in zip(NAMES, weights, strict=True) if abs(weight) >= 5e-5},
        penalty,
        _means([row for _, row in rows]),
        {kind: _means(mine) for kind, mine in by_kind.items()},
        _rates(taken),
        len(usable),
    )


def weights_of(folder: Path) -> dict[str, float]:
    """The weights on the card of a skill's folder.

    Raises:
        InputError: it has none.
        SkillError: it cannot be read.
    """
    from loraloop.adapters.skill.card import Card

    reranking = Card.read(folder / "card.json").reranking
    if reranking is None:
        raise InputError(f"the skill in {folder} has no weights: fit some with `loraloop eval tools-reranking --write`")
    return reranking.weights


def store(fitted: Fitted, folder: Path, beams: int, how: dict[str, Any], margin: float = MARGIN) -> None:
    """Writes weights onto the card of a skill's folder, and the width and margin of the search they belong to.

    Raises:
        SkillError: the card cannot be read.
    """
    from loraloop.adapters.skill.card import Reranking
    from loraloop.evals.amending import amend

    facts: dict[str, Any] = {"n": fitted.n, "right": fitted.right, "rates": fitted.rates, "penalty": fitted.penalty}
    amend(
        folder,
        reranking=Reranking(weights=fitted.weights, margin=margin, chosen={**how, **facts}),
        beams=beams,
    )


def _found(example: Example, row: Mapping[str, Any]) -> Found:
    from loraloop.adapters.grounding import Said
    from loraloop.adapters.training.scoring.score import right
    from loraloop.agent.reranking import features, features_of_none

    said, probability = Said(example.messages, example.tools), row["probability"]
    rows = [features(said, *text) for text in row["texts"]]
    hits = [right("tools", example, text) for text, *_ in row["texts"]]
    none = not example.gold.get("calls")
    if probability is not None:
        odds = min(max(probability, 1e-6), 1 - 1e-6)
        rows.append(features_of_none(said, math.log(odds / (1 - odds))))
        hits.append(none)
    table = np.array([[row.get(name, 0.0) for name in NAMES] for row in rows], float).reshape(len(rows), len(NAMES))
    return Found(example.kind, example.group, none, probability, table, np.array(hits, bool))


def _telling(case: Found) -> bool:
    """Whether a case says which texts are better."""
    return bool(case.right.any()) and not case.right.all()


def _held_out(cases: Sequence[Found], penalty: float, start: Vector) -> list[tuple[Found, Vector]]:
    """Each case with weights that were fitted on the other folds."""
    folds = [zlib.crc32(case.group.encode()) % FOLDS for case in cases]
    by_fold = {
        fold: _weights([case for case, mine in zip(cases, folds, strict=True) if mine != fold], penalty, start)
        for fold in set(folds)
    }
    return [(case, by_fold[fold]) for case, fold in zip(cases, folds, strict=True)]


def _weights(cases: Sequence[Found], penalty: float, drawn_to: Vector) -> Vector:
    """The weights under which the right texts are likeliest, by L-BFGS."""
    import torch

    told = [case for case in cases if _telling(case)]
    start = torch.tensor(drawn_to, dtype=torch.float64)
    table = torch.tensor(np.concatenate([case.features for case in told]))
    right = torch.tensor(np.concatenate([case.right for case in told]))
    of = torch.tensor(np.concatenate([np.full(len(case.right), at) for at, case in enumerate(told)]))
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-10)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = table @ weights
        value = (_log_sums(scores, of, len(told)) - _log_sums(scores[right], of[right], len(told))).mean()
        value = value + penalty * ((weights - start) ** 2).sum()
        value.backward()
        return torch.as_tensor(value)

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach().numpy()


def _log_sums(scores: Any, of: Any, count: int) -> Any:
    """The logarithm of the sum of exponentials of each case's scores."""
    import torch

    top = torch.full((count,), -math.inf, dtype=scores.dtype).scatter_reduce(0, of, scores.detach(), "amax")
    return top + torch.zeros(count, dtype=scores.dtype).index_add(0, of, (scores - top[of]).exp()).log()


def _log_likelihood(case: Found, weights: Vector) -> float:
    """Of a right text of a case, where that tells something."""
    if not _telling(case):
        return 0.0
    scores = case.features @ weights
    return float(np.logaddexp.reduce(scores[case.right]) - np.logaddexp.reduce(scores))


def _best(case: Found, weights: Vector) -> int:
    return int((case.features @ weights).argmax())


def _taken(case: Found, weights: Vector, threshold: float) -> tuple[int | None, int | None]:
    """Places of the texts that are taken: the likeliest one, and the one that weighs most; None: nothing is called."""
    calls = len(case.right) if case.probability is None else len(case.right) - 1
    none = case.probability is not None and case.probability >= threshold
    likeliest = None if none or not calls else 0
    if not calls:
        return likeliest, None
    best = _best(case, weights)
    return likeliest, best if best < calls else None


def _rights(case: Found, likeliest: int | None, chosen: int | None) -> dict[str, float]:
    """Whether a case is right: as the model alone has it, reranked, and if any text is."""
    of = {"likeliest": likeliest, "reranked": chosen}
    found = {name: float(case.none if place is None else case.right[place]) for name, place in of.items()}
    return found | {"best": float(case.right.any())}


def _rates(rows: Sequence[tuple[Found, int | None, int | None]]) -> dict[str, float]:
    """How often nothing is called where that is right, and where it is not."""
    rates = {}
    for prefix, at in (("", 2), ("likelier/", 1)):
        for name, none in (("abstained", True), ("lost", False)):
            taken = [row[at] is None for row in rows if row[0].none == none]
            rates[f"{prefix}{name}"] = round(sum(taken) / max(1, len(taken)), 4)
    return rates


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names: Iterator[str] = iter(rows[0])
    return {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in names} | {"n": len(rows)}
