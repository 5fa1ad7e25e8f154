"""Several skills in one step, each with a weight."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank

CONTRACTS = ("calls", "code", "answer", "verdict", "text")
MOST = 4
"""Skills of a mixture at most: each one costs another pair of products at every site."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """A weighted sum of skills' updates: what `Policy.skills` takes as `{"code": 0.7, "tools": 0.3}`.

    Attributes:
        weights: (skill, weight), in the order of the names, so that equal mixtures give equal bits. Given as a mapping.
        contract: what the step writes; where empty, what the heaviest member does.

    Raises:
        InputError: no skill, too many, `none`, a name twice, a weight that is 0 or not finite.
        UnknownNameError: no such contract.
    """

    weights: tuple[tuple[str, float], ...]
    contract: str = ""

    def __init__(self, weights: Mapping[str, float] | Iterable[tuple[str, float]], contract: str = "") -> None:
        pairs = list(weights.items() if isinstance(weights, Mapping) else weights)
        names = [name for name, _ in pairs]
        if not 1 <= len(pairs) <= MOST:
            raise InputError(f"a mixture has 1 to {MOST} skills, not {len(pairs)}")
        if len(set(names)) != len(names):
            raise InputError(f"a mixture names each skill once, not {names}")
        for name, weight in pairs:
            if not isinstance(name, str):
                raise InputError(f"a mixture maps names of skills to weights, not {name!r}")
            if name == NONE:
                raise InputError("the base is in every mixture: leave 'none' out, and lower the weights instead")
            if type(weight) not in (int, float) or not math.isfinite(weight) or not weight:
                raise InputError(f"the weight of {name!r} is {weight!r}: give a finite number other than 0")
        if contract and contract not in CONTRACTS:
            raise unknown("contract", contract, CONTRACTS)
        object.__setattr__(self, "weights", tuple(sorted((name, float(weight)) for name, weight in pairs)))
        object.__setattr__(self, "contract", contract)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its skills."""
        return tuple(name for name, _ in self.weights)

    @property
    def heaviest(self) -> str:
        """The member with the largest weight; of equal ones the first by name."""
        return max(self.weights, key=lambda member: member[1])[0]

    def __str__(self) -> str:
        ranked = sorted(self.weights, key=lambda member: -member[1])
        return " + ".join(f"{weight:.3g} {name}" for name, weight in ranked)


def as_choice(choice: str | Mapping[str, float] | Mixture) -> str | Mixture:
    """A skill's name, or a mixture; one of a single skill of weight 1 is that skill."""
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, Mapping | Mixture):
        raise InputError(f"{choice!r} is not a skill: give the name of one, or a mapping of names to weights")
    made = choice if isinstance(choice, Mixture) else Mixture(choice)
    alone = len(made.weights) == 1 and made.weights[0][1] == 1 and not made.contract
    return made.weights[0][0] if alone else made


def names_of(choice: str | Mixture) -> tuple[str, ...]:
    """The skills of a choice."""
    return (choice,) if isinstance(choice, str) else choice.names


def check_choice(choice: str | Mixture, bank: Bank) -> None:
    """Checks that a bank has every skill of a choice, and that those of a mixture can be mixed.

    Raises:
        UnknownNameError: There is no such skill; the nearest is named.
        InputError: A skill of a mixture is no low-rank update.
    """
    for name in names_of(choice):
        if name != NONE and name not in bank:
            raise unknown("skill", name, (*bank.names, NONE))
        if isinstance(choice, Mixture) and not (card := bank.card(name)).blends:
            raise InputError(
                f"the mixture {choice} has the skill {name!r}, which is of the method {card.method!r}: a mixture is "
                "a weighted sum of low-rank updates; use that skill alone, or mix LoRA skills only"
            )


def contract_of(choice: str | Mixture, bank: Bank) -> str:
    """What a choice writes: `calls`, `code`, `answer`, `verdict` or `text`; a mixture as its heaviest member."""
    if isinstance(choice, Mixture):
        if choice.contract:
            return choice.contract
        choice = choice.heaviest
    return "text" if choice == NONE else str(bank.card(choice).contract)


def of_route(ranked: Sequence[tuple[str, float]], least: float, contract: str) -> Mixture | None:
    """The mixture of a route's top skills by their probabilities, weights adding up to 1; None if it has one skill.

    Args:
        ranked: (skill, probability), the chosen one first.
        least: probability that another skill needs to take part.
        contract: what the step writes.
    """
    taken = [ranked[0], *(item for item in ranked[1:] if item[1] >= least)][:MOST]
    total = sum(probability for _, probability in taken)
    if len(taken) < 2 or total <= 0:
        return None
    return Mixture([(name, probability / total) for name, probability in taken], contract)
