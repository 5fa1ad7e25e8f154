"""Questions over passages: with the answer among them, with it withheld, as passages or as a document's sentences."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.contracts import ANSWER_LENGTH, CITATIONS, Answer, Passage, answer_text, user_content
from loraloop.adapters.training.example import Example, Split, estimate, transcript
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.records import in_valid, read_records

FILES = ("nq_open", "entailmentbank")
EVAL_FILES = ("nq_open", "entailmentbank", "clapnq")
LONGEST = 500
SPACED = 0.25
"""Share of the documents whose words and marks are parted by spaces."""
_PRONOUN = re.compile(r"(He|She|It|They|This|These|That|His|Her|Its|Their)\b")


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


def as_document(record: Mapping[str, Any], rng: random.Random, answerable: bool) -> Example | None:
    """The gold passage as sentences: cite those that answer and repeat them; or withhold the answer.

    An answer is the sentence that holds it with what belongs to it (`_told`), whole sentences as far as an answer may
    be long. Sentences of one text are near each other in topic, so the withheld form is a hard "not answerable".
    """
    gold = next((p for p in record["passages"] if p["id"] in record["citations"]), None)
    if gold is None:
        return None
    sentences = split_sentences(gold["text"])
    accepted = [answer.lower() for answer in record.get("answers") or [record["answer"]]]
    holding = [i for i, text in enumerate(sentences) if any(a in text.lower() for a in accepted)]
    if not 3 <= len(sentences) <= 14 or not holding or len(holding) > (1 if answerable else len(sentences) - 2):
        return None
    cited = _told(record["question"], sentences, holding[0]) if answerable else set()
    if not answerable:
        sentences = [text for i, text in enumerate(sentences) if i not in holding]
    if rng.random() < SPACED:
        sentences = [spaced(text) for text in sentences]
    name = id_style(rng)
    title = gold.get("title", "")
    head = title if rng.random() < 0.7 else ""
    shown = [Passage(name(i), text, head if i == 0 else "") for i, text in enumerate(sentences)]
    while len(cited) > 1 and sum(len(sentences[i]) + 1 for i in cited) > ANSWER_LENGTH + 1:
        cited.remove(max(cited, key=lambda i: abs(i - holding[0])))
    text = " ".join(sentences[i] for i in sorted(cited))
    answer = Answer(bool(cited), tuple(name(i) for i in sorted(cited)), text)
    kind = "document" if cited else "document_unanswerable"
    made = retrieval_example(record, shown, answer, kind, instructions_or_none(rng, 0.2))
    return made if made.length <= LONGEST else None


def _told(question: str, sentences: Sequence[str], holding: int) -> set[int]:
    """The sentence that holds the answer, the one before if it leans on it, and those that repeat what was asked.

    A long answer tells what was asked about as well: of the two sentences nearest to it, the one that shares most of
    the question's words joins, if it shares as many as two; and the one after, if it goes on with a pronoun.
    """
    told = {holding}
    if holding > 0 and _PRONOUN.match(sentences[holding]):
        told.add(holding - 1)
    if holding + 1 < len(sentences) and _PRONOUN.match(sentences[holding + 1]):
        told.add(holding + 1)
    asked = {word for word in re.findall(r"\w+", question.lower()) if len(word) > 3}
    shared = {
        i: len(asked & set(re.findall(r"\w+", sentences[i].lower())))
        for i in range(max(0, holding - 2), min(len(sentences), holding + 3))
        if i not in told
    }
    best = max(shared, key=lambda i: (shared[i], -abs(i - holding)), default=holding)
    if shared.get(best, 0) >= 2:
        told.add(best)
    return told


def spaced(text: str) -> str:
    """A text as corpora have it that were parted into words: with spaces round marks, and ``quotes''."""
    text = re.sub(r'"([^"]*)"', r"`` \1 ''", text)
    text = re.sub(r"(?<!\d)([,:])|([,:])(?!\d)|([;?!()])", r" \1\2\3 ", text)
    text = re.sub(r"(\w)('s\b)", r"\1 \2", text)
    return re.sub(r" +", " ", re.sub(r"\.$", " .", text.strip())).strip()


def id_style(rng: random.Random) -> Any:
    """A way to name passages: numbers, letters, prefixes, some with a random start."""
    start = rng.choice((1, 1, 1, 0, rng.randrange(2, 90)))
    form = rng.choice(("{}", "{}", "s{}", "s{}", "p{}", "doc-{}", "doc{}", "{}", "src{}", "P{}", "#{}"))
    return lambda index: form.format(start + index)


def split_sentences(text: str) -> list[str]:
    """Sentences of a plain English text."""
    guarded = re.sub(r"\b(Mr|Mrs|Dr|St|Jr|Sr|No|vs|U\.S|c|ca|e\.g|i\.e|[A-Z])\. ", lambda match: match[1] + ".\0", text)
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'(])", guarded)
    return [part.replace("\0", " ").strip() for part in parts if part.strip()]


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
