"""Questions over passages: with the answer among them, or withheld."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import ANSWER_LENGTH, CITATIONS, Answer, Passage, answer_text, user_content
from loraloop.adapters.training.data.example import Example, Split, estimate, transcript
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.records import in_valid, read_records

FILES = ("nq_open", "entailmentbank")
EVAL_FILES = ("nq_open", "entailmentbank", "clapnq")
LONGEST = 500


def retrieval_records(data: Path, name: str, split: Split) -> list[dict[str, Any]]:
    """Records of one retrieval file; train and valid are parts of the train file."""
    if split == "eval":
        return list(read_records(data / "retrieval" / f"{name}.eval.jsonl"))
    records = read_records(data / "retrieval" / f"{name}.train.jsonl")
    return [r for r in records if in_valid(r["id"]) == (split == "valid") and len(r["citations"]) <= CITATIONS]


def retrieval_example(
    record: Mapping[str, Any],
    passages: Sequence[Passage],
    answer: Answer,
    kind: str,
    instructions: str = "",
) -> Example:
    """An example of a record, with passages and an answer of its own."""
    return Example(
        skill="retrieval",
        kind=kind,
        id=f"{record['id']}/{kind}",
        group=record["id"],
        messages=transcript([Message("user", user_content(record["question"], passages))], instructions),
        completion=answer_text(replace(answer, answer=_cut(answer.answer))),
        source=record["source"],
        license=record["license"],
        passages=tuple(passages),
        gold={
            "answerable": answer.answerable,
            "citations": answer.citations,
            "answers": tuple(a for a in record.get("answers") or [record["answer"]] if a),
            "question": record["question"],
        },
    )


def as_given(record: Mapping[str, Any]) -> Example:
    """The record as the data page gives it."""
    title = record.get("title", "")
    passages = [
        Passage(p["id"], p["text"], p.get("title") or (title if index == 0 else ""))
        for index, p in enumerate(record["passages"])
    ]
    answer = Answer(record["answerable"], tuple(record["citations"]), record["answer"])
    kind = record["id"].split("-")[0]
    return retrieval_example(record, passages, answer, kind)


def as_passages(record: Mapping[str, Any], rng: random.Random) -> Example:
    """The record with its passages in another order, under other ids, with or without titles."""
    passages = [dict(p) for p in record["passages"]]
    rng.shuffle(passages)
    passages = _short_enough(passages, record["citations"], rng)
    name = id_style(rng)
    ids = {p["id"]: name(index) for index, p in enumerate(passages)}
    titles = rng.random() < 0.6
    shown = [Passage(ids[p["id"]], p["text"], p.get("title", "") if titles else "") for p in passages]
    cited = tuple(ids[p["id"]] for p in passages if p["id"] in record["citations"])
    answer = Answer(record["answerable"], cited, record["answer"])
    source = record["id"].split("-")[0]
    kind = f"{source}_passages" if answer.answerable else f"{source}_unanswerable"
    return retrieval_example(record, shown, answer, kind, instructions_or_none(rng, 0.25))


def withheld(record: Mapping[str, Any], rng: random.Random) -> Example | None:
    """The record without its gold passages; None if nothing is left."""
    left = [p for p in record["passages"] if p["id"] not in record["citations"]]
    if not record["answerable"] or not left:
        return None
    gone = {**record, "passages": left, "citations": [], "answer": "", "answers": [], "answerable": False}
    return as_passages(gone, rng)


def id_style(rng: random.Random) -> Any:
    """A way to name passages: numbers, letters, prefixes, some with a random start."""
    start = rng.choice((1, 1, 1, 0, rng.randrange(2, 90)))
    form = rng.choice(("{}", "{}", "s{}", "s{}", "p{}", "doc-{}", "doc{}", "{}", "src{}", "P{}", "#{}"))
    return lambda index: form.format(start + index)


def _short_enough(passages: list[dict[str, Any]], gold: Sequence[str], rng: random.Random) -> list[dict[str, Any]]:
    """Drops distractors until the passages fit the budget; keeps at least one passage."""
    kept = list(passages)
    spare = [p for p in kept if p["id"] not in gold]
    rng.shuffle(spare)
    while len(kept) > 1 and spare and estimate(*(p["text"] for p in kept)) > LONGEST - 60:
        kept.remove(spare.pop())
    return kept


def _cut(answer: str) -> str:
    if len(answer) <= ANSWER_LENGTH:
        return answer
    return answer[:ANSWER_LENGTH].rsplit(" ", 1)[0].rstrip(" ,;")
