"""Preference data from a skill's own outputs: those that a check finds right, and those that it finds wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from loraloop.adapters.base import Base, Message
from loraloop.adapters.training.encode import Encoded, branch_of, encode, encode_pair
from loraloop.adapters.training.example import Example
from loraloop.adapters.training.sampler import Sampler
from loraloop.adapters.training.score import Runs, right


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


def judged(
    sampler: Sampler,
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
    found = []
    for example, texts in zip(examples, written, strict=True):
        kept = list(dict.fromkeys(texts))
        good = [passes(example, text) for text in kept]
        found.append(
            Judged(
                tuple(example.messages),
                tuple(text for text, hit in zip(kept, good, strict=True) if hit),
                tuple(text for text, hit in zip(kept, good, strict=True) if not hit),
                example.completion,
            )
        )
    return found


def pairs(base: Base, outputs: Iterable[Judged], most: int = 2) -> list[Encoded]:
    """Pairs for DPO: a right and a wrong output of one transcript, at most `most` of each.

    Where nothing sampled was right, the gold text stands for it; where nothing was wrong, there is nothing to learn.
    """
    made = []
    for found in outputs:
        good = found.right or ((found.gold,) if found.gold is not None else ())
        for index, bad in enumerate(found.wrong[:most] if good else ()):
            made.append(encode_pair(base, found.messages, good[index % len(good)], bad))
    return made


def verdicts(base: Base, outputs: Iterable[Judged], gold: bool = True) -> list[Encoded]:
    """Single outputs for KTO, desirable or not; with `gold`, the known right text where no output was right."""
    made = []
    for found in outputs:
        good = found.right or ((found.gold,) if gold and found.gold is not None else ())
        trunk = encode(base, found.messages, "")
        branches = [
            *(branch_of(base, text) for text in good),
            *(branch_of(base, text, desirable=False) for text in found.wrong),
        ]
        made += [Encoded.of(trunk.trunk, [branch], trunk.shared) for branch in branches]
    return made
