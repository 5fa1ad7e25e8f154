"""Preference data from a skill's own outputs: those that a check finds right, and those that it finds wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from loraloop.adapters.base import Base, Message
from loraloop.adapters.training.data.encode import Encoded, branch_of, encode, encode_pair
from loraloop.adapters.training.data.example import Example
from loraloop.adapters.training.scoring.score import Runs, right
from loraloop.adapters.training.teacher.sampler import SkillSampler


@dataclass(frozen=True, slots=True)
class Judged:
    """One transcript's outputs, sorted by a check.

    Attributes:
        messages: the transcript up to the step.
        right: outputs that passed, each once.
        wrong: outputs that did not, each once.
        gold: the known right text.
    """

    messages: tuple[Message, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    gold: str | None = None

    @classmethod
    def of(
        cls, messages: Sequence[Message], texts: Iterable[str], passes: Callable[[str], bool], gold: str | None
    ) -> Judged:
        """The outputs of a transcript, each judged once."""
        hits = {text: passes(text) for text in dict.fromkeys(texts)}
        right = tuple(text for text, hit in hits.items() if hit)
        return cls(tuple(messages), right, tuple(text for text, hit in hits.items() if not hit), gold)

    @property
    def good(self) -> tuple[str, ...]:
        """The right outputs, or the known right text where there is none."""
        return self.right or ((self.gold,) if self.gold is not None else ())

    def pairs(self, most: int = 2) -> list[tuple[str, str]]:
        """A right and a wrong text, at most `most` times; none where nothing was wrong."""
        good = self.good
        return [(good[index % len(good)], bad) for index, bad in enumerate(self.wrong[:most] if good else ())]


def judged(
    sampler: SkillSampler,
    examples: Sequence[Example],
    samples: int = 4,
    *,
    check: Callable[[Example, str], bool] | None = None,
    runs: Runs | None = None,
    done: Callable[[int], None] | None = None,
) -> list[Judged]:
    """Samples a skill on examples whose answers can be checked.

    Args:
        sampler: of the skill whose preferences are made; its temperature should be above 0.
        examples: with gold.
        samples: of each.
        check: whether an output is right; by default the rule of the example's skill (`score.right`).
        runs: how programs are run, for examples of code.
        done: called with the number of examples sampled so far.
    """
    passes = check or (lambda example, text: right(example.skill, example, text, runs))
    written = sampler.write([example.messages for example in examples], samples, done)
    return [
        Judged.of(example.messages, texts, partial(passes, example), example.completion)
        for example, texts in zip(examples, written, strict=True)
    ]


def pairs(base: Base, outputs: Iterable[Judged], most: int = 2) -> list[Encoded]:
    """Pairs for DPO: a right and a wrong output of one transcript, at most `most` of each.

    Where nothing sampled was right, the gold text stands for it; where nothing was wrong, there is nothing to learn.
    """
    return [encode_pair(base, found.messages, good, bad) for found in outputs for good, bad in found.pairs(most)]


def verdicts(base: Base, outputs: Iterable[Judged], gold: bool = True) -> list[Encoded]:
    """Single outputs for KTO, desirable or not; with `gold`, the known right text where no output was right."""
    made = []
    for found in outputs:
        good = found.good if gold else found.right
        trunk = encode(base, found.messages, "")
        branches = [
            *(branch_of(base, text) for text in good),
            *(branch_of(base, text, desirable=False) for text in found.wrong),
        ]
        made += [Encoded.of(trunk.trunk, [branch], trunk.shared) for branch in branches]
    return made
