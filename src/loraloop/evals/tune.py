"""Chooses decision thresholds on validation records. The threshold of a skill is stored in its card.

- A skill that calls tools or answers from passages abstains at or above its threshold. The threshold maximizes the
  mean score of the records. Where abstaining is right, it scores 1 and everything else 0; where it is wrong, it scores
  0, calls score 1 if they are right, and an answer scores the F1 of its citations.
- A skill that judges texts, or looks for contradictions, refuses at or above its threshold. The threshold is the
  lowest whose false positive rate is within a bound.
- The router's screen asks the safety skill at or above its threshold. The threshold is the highest whose recall of
  unsafe texts reaches a bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.evals.bench import NEVER, Bench, term_of
from loraloop.evals.skills import TOKENS
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.data.record import Record
    from loraloop.agent import Runtime

WORTH = {"tools": "all", "retrieval": "citation_f1"}
"""Measure of what is written where abstaining is wrong, by skill."""


@dataclass(frozen=True, slots=True)
class WeighedRecord:
    """One validation record.

    Attributes:
        first: Whether the first opening is right: abstaining, or a verdict of unsafe.
        probability: The skill's probability of the first opening.
        worth: Score from 0 to 1 of what the skill writes on the second opening.
    """

    first: bool
    probability: float
    worth: float = 0.0


@dataclass(frozen=True, slots=True)
class TunedThreshold:
    """A chosen threshold, with its rates on the records.

    Attributes:
        value: The threshold.
        rates: At the threshold, and as `likelier/…` at one half: `hit`, the share of the records where the first
            opening is right in which it is taken; `lost`, the share of the others in which it is taken; `worth`.
        n: Records.
    """

    value: float
    rates: dict[str, float]
    n: int


def weigh(
    base: Base,
    skill: Skill,
    name: str,
    examples: Sequence[Record],
    step: Callable[[], None] = lambda: None,
) -> list[WeighedRecord]:
    """What the skill gives to the first of its two openings, on each record that it can write.

    A record whose calls have null for what nobody said is for skills that ask.

    Args:
        base: The base.
        skill: A skill whose contract has two openings.
        name: `tools`, `retrieval`, `safety` or `verdict`, which says how its output is scored.
        examples: Validation records.
        step: Called after each.
    """
    from loraloop.adapters.skill.contracts import openings
    from loraloop.adapters.training.scoring.score import score

    ways = openings(skill.card.contract)
    if ways is None or name not in TOKENS:
        raise InputError(f"{skill.card.name!r} writes {skill.card.contract!r}, which has no threshold")
    bench, found = Bench(base, skill, TOKENS[name]), []
    for example in examples:
        if "ask" in example.gold and not bench.asks:
            step()
            continue
        term = term_of(base, example, asks=bench.asks)
        written = bench.write(example.messages, term, threshold=NEVER, extra_prompt=example.extra_prompt)
        first = example.completion.startswith(ways[0])
        if written.weighed is not None:
            worth = 0.0
            if not first and name in WORTH:
                worth = score(example.contract, [example], [written.text])[WORTH[name]]
            found.append(WeighedRecord(first, written.weighed, worth))
        step()
    return _of_both_kinds(found)


def screened(
    runtime: Runtime, examples: Sequence[Record], step: Callable[[], None] = lambda: None
) -> list[WeighedRecord]:
    """The screen's probability that each record's last message is unsafe.

    Args:
        runtime: With a router, and a skill that writes verdicts.
        examples: Validation records of that skill.
        step: Called after each.
    """
    from loraloop.agent.guard.judge import Judge

    judge, found = Judge(runtime), []
    for example in examples:
        screen = judge.screen(judge.read(example.messages))
        found.append(WeighedRecord(bool(example.gold["unsafe"]), screen.probability))
        step()
    return _of_both_kinds(found)


def _of_both_kinds(cases: list[WeighedRecord]) -> list[WeighedRecord]:
    if len({case.first for case in cases}) < 2:
        raise InputError("the validation records are all of one kind: give more of them, with --limit or another file")
    return cases


def most_worth(cases: Sequence[WeighedRecord]) -> TunedThreshold:
    """The threshold at which the records are worth most; half way between the probabilities on its sides."""
    levels = [0.0, *sorted({case.probability for case in cases}), 1.0]
    cuts = [(low + high) / 2 for low, high in itertools.pairwise(levels)]
    best: float = max(cuts, key=lambda cut: _rates(cases, cut)["worth"])
    return _tuned(cases, round(best, 4))


def at_most(cases: Sequence[WeighedRecord], share: float) -> TunedThreshold:
    """The lowest threshold that no more than a share of the records reaches where the first opening is wrong."""
    ranked = sorted((case.probability for case in cases if not case.first), reverse=True)
    last = ranked[min(int(share * len(ranked)), len(ranked) - 1)]  # the first that has to stay below
    above = min((case.probability for case in cases if case.probability > last), default=1.0)
    return _tuned(cases, min(1.0, round((last + above) / 2, 6) or 1e-6))


def keeping(cases: Sequence[WeighedRecord], share: float) -> TunedThreshold:
    """The highest threshold that at least a share of the records reaches where the first opening is right."""
    ranked = sorted((case.probability for case in cases if case.first), reverse=True)
    last = ranked[max(1, math.ceil(share * len(ranked))) - 1]  # the lowest that has to reach it
    below = max((case.probability for case in cases if case.probability < last), default=0.0)
    return _tuned(cases, (last + below) / 2)


def store_screen(found: TunedThreshold, folder: Path, how: dict[str, Any]) -> None:
    """Writes the threshold of the screen into a router's folder, with how it was chosen on the card."""
    from loraloop.router.router import Router

    router = Router.load(folder).with_threshold(screen=found.value)
    chosen = {**how, "n": found.n, "rates": dict(found.rates)}
    replace(router, card={**router.card, "screen_threshold": chosen}).save(folder)


def store(found: TunedThreshold, folder: Path, how: dict[str, Any]) -> None:
    """Writes the threshold onto the card of a skill's folder, whole or not at all, with how it was chosen.

    Args:
        found: The threshold.
        folder: The skill's.
        how: How it was chosen, as JSON data.

    Raises:
        SkillError: The card cannot be read.
    """
    from loraloop.adapters.atomic_write import write_text
    from loraloop.adapters.skill.card import Card, Threshold
    from loraloop.adapters.skill.history import put
    from loraloop.adapters.skill.registry import registered
    from loraloop.adapters.skill.store import CARD, TENSORS

    path = folder / CARD
    threshold = Threshold(value=found.value, chosen={**how, "n": found.n, "rates": dict(found.rates)})
    card = Card.read(path).model_copy(update={"threshold": threshold}).to_json()
    for name, place in registered().items():
        if place.resolve() == folder.resolve():  # a version of its own, which a rollback knows
            put(name, {TENSORS: (folder / TENSORS).read_bytes(), CARD: card.encode()}, how)
            return
    write_text(path, card)


def _tuned(cases: Sequence[WeighedRecord], value: float) -> TunedThreshold:
    rates = _rates(cases, value) | {f"likelier/{name}": rate for name, rate in _rates(cases, 0.5).items()}
    return TunedThreshold(value, {name: round(share, 4) for name, share in rates.items()}, len(cases))


def _rates(cases: Sequence[WeighedRecord], cut: float) -> dict[str, float]:
    taken = {kind: [case.probability >= cut for case in cases if case.first is kind] for kind in (True, False)}
    worth = sum(float(case.first) if case.probability >= cut else case.worth for case in cases)
    return {
        "hit": sum(taken[True]) / len(taken[True]),
        "lost": sum(taken[False]) / len(taken[False]),
        "worth": worth / len(cases),
    }
