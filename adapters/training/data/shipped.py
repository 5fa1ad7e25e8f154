"""Examples of the four shipped skills: read from files, or drawn as a mixture that balances what a skill must know."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loraloop.adapters.training.data.example import SKILLS, Example, Split
from loraloop.adapters.training.data.overlap import Overlap
from loraloop.adapters.training.sources import code, retrieval, retrieval_documents, safety, tools_public
from loraloop.adapters.training.sources.records import endless, generator
from loraloop.adapters.training.sources.retrieval_made import FactMaker
from loraloop.adapters.training.sources.tools_mix import tools_parts
from loraloop.tool_schemas.errors import InputError, unknown

__all__ = ["Example", "Split", "counted_mixture", "eval_files", "load_examples"]

LONGEST = {"tools": 460, "code": 460, "retrieval": 540, "safety": 400}
"""Estimated tokens beyond which an example is left out: a training step's cost is linear in them."""
Draw = Callable[[], Example | None]
Part = tuple[float, Draw]


def eval_files(skill: str) -> tuple[str, ...]:
    """Names of a skill's evaluation files."""
    _known(skill)
    return {
        "tools": tools_public.EVAL_FILES,
        "code": code.EVAL_FILES,
        "retrieval": retrieval.EVAL_FILES,
        "safety": safety.EVAL_FILES,
    }[skill]


def load_examples(
    skill: str,
    data: Path | str,
    split: Split = "train",
    limit: int | None = None,
    seed: int = 0,
    files: Sequence[str] | None = None,
) -> list[Example]:
    """Examples of one split.

    Args:
        skill: One of `SKILLS`.
        data: Folder of the data page.
        split: `train` and `valid` are mixtures made of disjoint groups of the train files (and of disjoint made
            tools); `eval` is the evaluation files as they are.
        limit: Most examples; for `eval`, spread evenly over the files and fixed by the files' order.
        seed: Fixes the mixture.
        files: Evaluation files to read; all of the skill's if None.

    Raises:
        InputError: A data file is missing.
        UnknownNameError: There is no such skill or file.
    """
    _known(skill)
    if split != "eval":
        return _mixture(skill, Path(data), limit or (4000 if split == "train" else 400), seed, split, Counter())
    known = eval_files(skill)
    names = tuple(files or known)
    for name in names:
        if name not in known:
            raise unknown("evaluation file", name, known)
    found = [_eval_examples(skill, Path(data), name) for name in names]
    if limit is None:
        return [example for part in found for example in part]
    share = -(-limit // len(found))
    return [example for part in found for example in part[:share]][:limit]


def counted_mixture(skill: str, data: Path | str, n: int, seed: int = 0) -> tuple[list[Example], dict[str, int]]:
    """Training examples of one skill, balanced over the kinds its plan names, and how many drawn ones were left out.

    Args:
        skill: One of `SKILLS`.
        data: Folder of the data page.
        n: How many examples.
        seed: The same seed gives the same examples in the same order.

    Raises:
        InputError: A data file is missing, or nothing could be drawn.
    """
    _known(skill)
    counts: Counter[str] = Counter()
    return _mixture(skill, Path(data), n, seed, "train", counts), dict(counts)


def _known(skill: str) -> None:
    if skill not in SKILLS:
        raise unknown("skill", skill, SKILLS)


def _eval_examples(skill: str, data: Path, name: str) -> list[Example]:
    if skill == "tools":
        return [case.example() for case in tools_public.public_cases(data, name, "eval")]
    if skill == "code":
        return code.code_examples(data, name, "eval")
    if skill == "retrieval":
        return [retrieval.as_given(record) for record in retrieval.retrieval_records(data, name, "eval")]
    return safety.eval_examples(data, name)


def _mixture(skill: str, data: Path, n: int, seed: int, split: Split, counts: Counter[str]) -> list[Example]:
    rng = generator(seed, skill, split)
    overlap = Overlap.of(data, skill)
    parts = _parts(skill, data, split, rng)
    total = sum(share for share, _ in parts)
    chosen: list[Example] = []
    seen: set[tuple[str, str]] = set()
    for share, draw in parts:
        wanted = round(n * share / total)
        chosen += _drawn(draw, wanted, LONGEST[skill], seen, overlap, counts)
    rng.shuffle(chosen)
    if not chosen:
        raise InputError(f"no examples of {skill} could be drawn from {data}")
    return chosen[:n]


def _drawn(
    draw: Draw, wanted: int, longest: int, seen: set[tuple[str, str]], overlap: Overlap, counts: Counter[str]
) -> Iterator[Example]:
    """Distinct examples of one part; fewer than wanted where the part runs dry."""
    given = idle = 0
    while given < wanted and idle < 400:
        idle += 1
        try:
            example = draw()
        except StopIteration:  # the part's pool is empty
            return
        counts["drawn"] += 1
        if example is None or example.length > longest:
            counts["unfit"] += 1
            continue
        key = ("\x1f".join(m.content for m in example.messages), example.completion)
        if key in seen:
            counts["repeated"] += 1
            continue
        if overlap.hit(str(example.gold.get("question") or example.gold.get("text") or example.request)):
            counts["in an evaluation file"] += 1
            continue
        seen.add(key)
        given, idle = given + 1, 0
        counts["kept"] += 1
        yield example


def _parts(skill: str, data: Path, split: Split, rng: random.Random) -> list[Part]:
    if skill == "tools":
        return tools_parts(data, split, rng)
    if skill == "safety":
        return safety.safety_parts(data, split, rng)
    if skill == "code":
        shares = {"mbpp": 0.3, "thealgorithms": 0.35, "codegen_instruct": 0.35}
        drawn = {name: endless(code.code_examples(data, name, split), rng) for name in code.FILES}
        return [(shares[name], lambda name=name: next(drawn[name], None)) for name in code.FILES]  # type: ignore[misc]
    return _retrieval_parts(data, split, rng)


def _retrieval_parts(data: Path, split: Split, rng: random.Random) -> list[Part]:
    open_questions = retrieval.retrieval_records(data, "nq_open", split)
    nq = endless(open_questions, rng)
    answered = endless([r for r in open_questions if r["answerable"]], rng)
    unanswered = endless([r for r in open_questions if not r["answerable"]], rng)
    science = endless(retrieval.retrieval_records(data, "entailmentbank", split), rng)
    facts = FactMaker(split, rng)
    neighbours = retrieval_documents.Neighbours([r for r in open_questions if r["answerable"]])
    return [
        (0.22, lambda: retrieval.as_passages(next(answered), rng)),
        (0.06, lambda: retrieval.as_passages(next(unanswered), rng)),
        (0.06, lambda: retrieval.withheld(next(answered), rng)),
        (0.30, lambda: retrieval_documents.as_document(next(answered), rng, True)),
        (0.12, lambda: retrieval_documents.as_document(next(nq), rng, False)),
        (0.18, lambda: retrieval_documents.near_document(next(answered), neighbours, rng)),
        (0.11, lambda: retrieval.as_passages(next(science), rng)),
        (0.03, lambda: retrieval.withheld(next(science), rng)),
        (0.16, facts.passages),
        (0.08, facts.document),
        (0.06, facts.both),
        (0.05, facts.about),
    ]
