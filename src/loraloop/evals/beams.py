"""Chooses how many hypotheses the search for tool calls keeps, on the validation part of the training files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

NEAR = 0.005
"""A share right that is lower by no more than this is as good: fewer hypotheses cost less."""


@dataclass(frozen=True, slots=True)
class Width:
    """One number of hypotheses: the share of validation cases that it gets right, and its milliseconds a step."""

    beams: int
    right: float
    ms: float


def compare(
    base: Base,
    skill: Skill,
    data: Path,
    widths: Sequence[int],
    limit: int,
    seed: int = 0,
    step: Callable[[], None] = lambda: None,
) -> list[Width]:
    """What each number of hypotheses is worth to a skill, on validation cases of the tools mixture.

    Args:
        base: The base.
        skill: A skill that calls tools.
        data: The data folder.
        widths: Numbers of hypotheses; 1 decodes token by token.
        limit: How many cases.
        seed: Of their draw.
        step: Called after each case.

    Raises:
        InputError: a training file is missing, or the skill writes something else.
    """
    from loraloop.adapters.training.data.shipped import load_examples
    from loraloop.adapters.training.scoring.score import right
    from loraloop.evals.asking import check_calls
    from loraloop.skill_eval import Bench, System, term_of

    check_calls(skill)
    benches = {beams: Bench(base, skill, 256, beams) for beams in widths}
    hits, seconds = dict.fromkeys(widths, 0), dict.fromkeys(widths, 0.0)
    examples = load_examples("tools", data, "valid", limit, seed)
    for example in examples:
        term = term_of(base, example)
        for beams, bench in benches.items():
            started = time.perf_counter()
            ((_, text, _),) = bench.steps([System("skill", example.messages, True, term, example.tools)])
            seconds[beams] += time.perf_counter() - started
            hits[beams] += right("tools", example, text)
        step()
    n = len(examples)
    return [Width(beams, round(hits[beams] / n, 4), round(1e3 * seconds[beams] / n, 1)) for beams in widths]


def choose(widths: Sequence[Width]) -> Width:
    """The fewest hypotheses that are as good as the best."""
    best = max(width.right for width in widths)
    return min((width for width in widths if width.right >= best - NEAR), key=lambda width: width.beams)


def store(beams: int, folder: Path, how: dict[str, Any]) -> None:
    """Writes the number onto the card of a skill's folder, and into its `training` how it was chosen.

    Raises:
        SkillError: the card cannot be read.
    """
    from loraloop.evals.amending import amend

    amend(folder, {"beams_chosen": how}, beams=beams)
