"""Chooses the threshold of calling nothing, or of finding no answer, on the validation part of the training files.

The threshold is the one at which the cases are worth most. Abstaining is worth 1 where it is right, and 0 elsewhere;
where it is not right, calls are worth 1 if they are right, and an answer the F1 of its citations. So what the skill
would get wrong anyway is no reason not to abstain.
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
    from loraloop.adapters.skill.skill import Skill

MIXTURES = {"calls": "tools", "answer": "retrieval"}
"""By contract, the mixture of training data whose validation part has its cases."""
WORTH = {"tools": "all", "retrieval": "citation_f1"}
"""By mixture, the measure of what is written where abstaining is wrong."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One validation case.

    Attributes:
        kind: Of the case.
        none: Whether abstaining is right.
        probability: The skill's, of abstaining.
        worth: Of what it writes where it does not abstain, from 0 to 1.
    """

    kind: str
    none: bool
    probability: float
    worth: float


@dataclass(frozen=True, slots=True)
class Abstention:
    """What was chosen.

    Attributes:
        value: Probability of abstaining from which it abstains.
        rates: At that threshold and, as `likelier/…`, without one: `abstained`, the share of the cases in which that is
            right; `lost`, that of the others; `worth`, the mean of all.
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
    from loraloop.adapters.skill.contracts import openings
    from loraloop.adapters.training.data.shipped import load_examples
    from loraloop.adapters.training.scoring.score import score
    from loraloop.evals.asking import TOKENS
    from loraloop.skill_eval import Bench, term_of

    contract = skill.card.contract
    if contract not in MIXTURES:
        raise InputError(f"{skill.card.name!r} writes {contract!r}: give a skill that calls tools or answers questions")
    ways = openings(contract)
    name = MIXTURES[contract]
    bench, found = Bench(base, skill, TOKENS[name], beams=1), []
    for example in load_examples(name, data, "valid", limit, seed):
        term = term_of(base, example)
        assert term is not None and ways is not None
        probability, text = bench.weighed(example.messages, term)
        none = example.completion.startswith(ways[0])
        if probability is not None:
            worth = 0.0 if none else score(name, [example], [text])[WORTH[name]]
            found.append(Weighed(example.kind, none, probability, worth))
        step()
    return found


def choose(cases: Sequence[Weighed]) -> Abstention:
    """The threshold at which the cases are worth most; half way between the probabilities on its sides.

    Raises:
        InputError: abstaining is right in all cases, or in none.
    """
    if len({case.none for case in cases}) < 2:
        raise InputError("the validation cases are all of one kind: raise --limit")
    levels = [0.0, *sorted({case.probability for case in cases}), 1.0]
    cuts = [(low + high) / 2 for low, high in itertools.pairwise(levels)]
    best: float = max(cuts, key=lambda cut: _rates(cases, cut)["worth"])
    value = round(best, 4)
    rates = _rates(cases, value) | {f"likelier/{name}": rate for name, rate in _rates(cases, 0.5).items()}
    return Abstention(value, {name: round(share, 4) for name, share in rates.items()}, len(cases))


def store(found: Abstention, folder: Path, how: dict[str, Any]) -> None:
    """Writes the threshold onto the card of a skill's folder.

    Raises:
        SkillError: the card cannot be read.
    """
    from loraloop.adapters.skill.card import Threshold
    from loraloop.evals.amending import amend

    chosen = {**how, "n": found.n, "rates": found.rates}
    amend(folder, threshold=Threshold(value=found.value, chosen=chosen))


def _rates(cases: Sequence[Weighed], cut: float) -> dict[str, float]:
    """`Abstention.rates` at a threshold."""
    abstains = [(case, case.probability >= cut) for case in cases]
    of = {none: [taken for case, taken in abstains if case.none == none] for none in (True, False)}
    worth = sum(float(case.none) if taken else case.worth for case, taken in abstains)
    return {
        "abstained": sum(of[True]) / len(of[True]),
        "lost": sum(of[False]) / len(of[False]),
        "worth": worth / len(cases),
    }
