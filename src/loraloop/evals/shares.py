"""Chooses how much of a skill's update is kept, on the validation part of the training files.

The mean of a base and of what was trained from it is often better than either, most of all on data unlike the training
data (arXiv 2109.01903).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

_NONE = "give at least one share above 0"


@dataclass(frozen=True, slots=True)
class Share:
    """One share of the update, and how much of `n` validation cases it gets right, decoded token by token."""

    share: float
    right: float
    n: int


def of_share(skill: Skill, share: float) -> Skill:
    """The skill with this share of its update: its mean with the bare base; with all of it, the skill as it is.

    Raises:
        InputError: the share is not above 0 and at most 1, or the skill is no LoRA skill.
    """
    from loraloop.adapters.training.mean import mean

    if not 0 < share <= 1:
        raise InputError(f"a share of {share:g}: give numbers above 0, and at most 1")
    return skill if share == 1 else mean([skill], [share], 1 - share)


def compare(
    base: Base,
    skill: Skill,
    data: Path,
    shares: Sequence[float],
    limit: int,
    seed: int = 0,
    outputs: Path | None = None,
    step: Callable[[], None] = lambda: None,
) -> list[Share]:
    """What each share of its update is worth to a skill, on validation cases of the tools mixture.

    Args:
        base: The base.
        skill: A skill that calls tools.
        data: The data folder.
        shares: Of the update, each above 0 and at most 1; 0 is the bare base.
        limit: How many cases.
        seed: Of their draw.
        outputs: Where the texts are kept; what stands there is not asked again.
        step: Called after each case.

    Raises:
        InputError: a training file is missing, a share is none, none is above 0, the skill writes something else, or
            `outputs` belongs to another skill.
    """
    from loraloop.adapters.training.data.shipped import load_examples
    from loraloop.adapters.training.scoring.score import right
    from loraloop.evals.asking import check_calls
    from loraloop.evals.kept import Kept
    from loraloop.skill_eval import Bench, System, term_of

    check_calls(skill)
    names = {f"share_{at}": share for at, share in enumerate(shares)}
    variants = {name: of_share(skill, share) for name, share in names.items() if share}
    if not variants:
        raise InputError(_NONE)
    bench = Bench(base, skill, 256, 1, variants)
    facts = {"evaluation": "shares", "base": base.name, "skill": skill.card.sha256, "shares": list(shares)}
    kept = Kept(outputs, {**facts, "seed": seed, "n": limit})
    hits = dict.fromkeys(names, 0)
    examples = load_examples("tools", data, "valid", limit, seed)
    for place, example in enumerate(examples):
        row = kept.get("skill", str(place))
        if row is None:
            term = term_of(base, example)
            asked = [
                System(name, example.messages, name if share else False, term, example.tools)
                for name, share in names.items()
            ]
            row = kept.put("skill", str(place), texts={name: text for name, text, _ in bench.steps(asked)})
        for name in names:
            hits[name] += right("tools", example, row["texts"][name])
        step()
    return [Share(share, round(hits[name] / len(examples), 4), len(examples)) for name, share in names.items()]


def choose(shares: Sequence[Share]) -> Share:
    """The share that gets most right; of equal ones the smallest."""
    trained = [each for each in shares if each.share]
    if not trained:
        raise InputError(_NONE)
    return max(trained, key=lambda each: (each.right, -each.share))
