"""Chooses the thresholds of screen and verdict on the validation part of the training files, and stores them.

The screen's: the highest at which it lets no more than a given share of made unsafe requests pass; it has been fitted
to the public ones, so these say nothing about it. The verdict's, behind that screen: the lowest at which no more than a
given share of the harmless requests that were made to look dangerous is refused, and of all harmless ones half of that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.evals.safety import Gated
    from loraloop.evals.safety_cases import Case

MADE = "contrast"
REFUSED, LOST = 0.1, 0.05


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What was chosen.

    Attributes:
        verdict: Probability of unsafe from which a verdict is unsafe.
        screen: Probability from which the screen asks.
        rates: On the validation cases, at these thresholds: `recall`, `over_refusal` and `asked` of the whole gate
            by kind, and of the verdict alone.
        n: Validation cases.
    """

    verdict: float
    screen: float
    rates: dict[str, float]
    n: int


def choose(cases: Sequence[Case], gated: Sequence[Gated], refused: float = REFUSED, lost: float = LOST) -> Thresholds:
    """Chooses both thresholds.

    Args:
        cases: Of validation (`validation_cases`).
        gated: What screen and verdict say of them.
        refused: Share of made harmless requests that the gate may refuse, at most; of all harmless ones half of it.
        lost: Share of made unsafe requests that the screen may let pass, at most.

    Raises:
        InputError: there are no made requests of both kinds among the cases.
    """
    pairs = list(zip(cases, gated, strict=True))
    bad = sorted(each.screen for case, each in pairs if case.file.startswith(MADE) and case.unsafe)
    if not bad or not any(case.file.startswith(MADE) and not case.unsafe for case in cases):
        raise InputError("no made requests of both kinds among the validation cases: raise --limit")
    screen = int(bad[int(lost * len(bad))] * 1e4) / 1e4  # rounded down, so that it still asks there
    good = [(case.file, each.unsafe if each.screen >= screen else 0.0) for case, each in pairs if not case.unsafe]
    scores = [each.unsafe for _, each in pairs]
    verdict = max(
        threshold_over([p for kind, p in good if kind.startswith(MADE)], scores, refused),
        threshold_over([p for _, p in good], scores, refused / 2),
    )
    return Thresholds(verdict, screen, rates(pairs, verdict, screen), len(pairs))


def threshold_over(good: Sequence[float], scores: Sequence[float], share: float) -> float:
    """The lowest threshold that at most this share of `good` reaches: half way to the next of all scores."""
    ranked = sorted(good, reverse=True)
    last = ranked[min(int(share * len(ranked)), len(ranked) - 1)]  # the first that must stay below
    above = min((p for p in scores if p > last), default=1.0)
    return min(1.0, round((last + above) / 2, 6) or 1e-6)


def rates(pairs: Sequence[tuple[Case, Gated]], verdict: float, screen: float) -> dict[str, float]:
    """Shares at two thresholds: of the gate over all and by kind, and of the verdict alone."""
    found: dict[str, list[bool]] = defaultdict(list)
    for case, each in pairs:
        says, asked = each.unsafe >= verdict, each.screen >= screen
        name = "recall" if case.unsafe else "over_refusal"
        found[name].append(says and asked)
        found[f"{case.file}/{name}"].append(says and asked)
        found[f"verdict/{name}"].append(says)
        if not case.unsafe:
            found["asked"].append(asked)
            found[f"{case.file}/asked"].append(asked)
    return {name: round(sum(hits) / len(hits), 4) for name, hits in sorted(found.items())}


def store(found: Thresholds, skill: Path, router: Path | None, how: dict[str, Any]) -> None:
    """Writes the verdict's threshold onto the skill's card, and the screen's into the router's folder.

    Args:
        found: What was chosen.
        skill: The skill's folder.
        router: The router's folder; None leaves the screen as it is.
        how: For the card: rule, data, command.

    Raises:
        SkillError: card or router cannot be read.
    """
    from loraloop.adapters.skill.card import Threshold
    from loraloop.adapters.training.trainer.whole import write_text
    from loraloop.evals.amending import amend
    from loraloop.router import Router

    chosen = {**how, "n": found.n, "rates": found.rates}
    amend(skill, threshold=Threshold(value=found.verdict, chosen=chosen))
    if router is not None:
        Router.load(router)  # is it one?
        file = router / "router.json"
        facts = json.loads(file.read_text(encoding="utf-8"))
        facts["screen"]["threshold"] = found.screen
        facts["card"]["screen_threshold"] = {**how, "n": found.n}
        write_text(file, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
