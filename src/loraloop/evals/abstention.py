"""Chooses the threshold of calling nothing, or of finding no answer, on the validation part of the training files.

The threshold is the one at which the two mistakes are rarest, taken alike: Youden's index (Cancer 3:32, 1950) of
abstaining where it is right against abstaining where it is not. It does not depend on how many cases of either there
are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill import Skill

MIXTURES = {"calls": "tools", "answer": "retrieval"}
"""By contract, the mixture of training data whose validation part has its cases."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One validation case: its kind, whether abstaining is right, and the skill's probability of it."""

    kind: str
    none: bool
    probability: float


@dataclass(frozen=True, slots=True)
class Abstention:
    """What was chosen.

    Attributes:
        value: Probability of abstaining from which it abstains.
        rates: Shares at that threshold and, as `likelier/…`, without one: `abstained` of the cases in which that is
            right, `lost` of the others.
        n: Cases.
    """

    value: float
    rates: dict[str, float]
    n: int


def weigh(
    base: Base, skill: Skill, data: Path, limit: int, seed: int = 0, step: Callable[[], None] = lambda: None
) -> list[Weighed]:
    """What the skill gives to abstaining, on validation cases of its kind.

    Args:
        base: The base.
        skill: A skill that calls tools or answers from passages.
        data: The data folder.
        limit: How many cases.
        seed: Of their draw.
        step: Called after each.

    Raises:
        InputError: a training file is missing, or the skill writes something else.
    """
    from loraloop.adapters.contracts import openings
    from loraloop.adapters.training.data import load_examples
    from loraloop.skill_eval import Bench, term_of

    contract = skill.card.contract
    if contract not in MIXTURES:
        raise InputError(f"{skill.card.name!r} writes {contract!r}: give a skill that calls tools or answers questions")
    ways = openings(contract)
    bench, found = Bench(base, skill, 8), []
    for example in load_examples(MIXTURES[contract], data, "valid", limit, seed):
        term = term_of(base, example)
        assert term is not None and ways is not None
        probability = bench.weighed(example.messages, term)
        if probability is not None:
            found.append(Weighed(example.kind, example.completion.startswith(ways[0]), probability))
        step()
    return found


def choose(cases: Sequence[Weighed]) -> Abstention:
    """The threshold with the highest Youden's index; half way between the probabilities on its sides.

    Raises:
        InputError: abstaining is right in all cases, or in none.
    """
    rights = [case.probability for case in cases if case.none]
    wrongs = [case.probability for case in cases if not case.none]
    if not rights or not wrongs:
        raise InputError("the validation cases are all of one kind: raise --limit")
    levels = [0.0, *sorted({case.probability for case in cases}), 1.0]
    cuts = [(low + high) / 2 for low, high in itertools.pairwise(levels)]
    best = max(cuts, key=lambda cut: _share(rights, cut) - _share(wrongs, cut))
    value = round(best, 4)
    rates = {
        "abstained": _share(rights, value),
        "lost": _share(wrongs, value),
        "likelier/abstained": _share(rights, 0.5),
        "likelier/lost": _share(wrongs, 0.5),
    }
    return Abstention(value, {name: round(share, 4) for name, share in rates.items()}, len(cases))


def store(found: Abstention, folder: Path, how: dict[str, Any]) -> None:
    """Writes the threshold onto the card of a skill's folder.

    Raises:
        SkillError: the card cannot be read.
    """
    from loraloop.adapters.card import Threshold
    from loraloop.evals.amending import amend

    chosen = {**how, "n": found.n, "rates": found.rates}
    amend(folder, threshold=Threshold(value=found.value, chosen=chosen))


def _share(probabilities: Sequence[float], cut: float) -> float:
    return sum(each >= cut for each in probabilities) / len(probabilities)
