"""A document's sentences as passages: with those that answer, without them, or of a near document."""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from loraloop.adapters.skill.contracts import ANSWER_LENGTH, Answer, Passage
from loraloop.adapters.training.data.example import Example
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.retrieval import LONGEST, id_style, retrieval_example

SPACED = 0.25
"""Share of the documents whose words and marks are parted by spaces."""
MOST_TOLD = 4
"""Most sentences of an answer."""
NEAR = 6.0
"""From which sum of its words' information (nats), which it shares with a question, a document is near it."""
NEAREST = 4
"""Of how many near documents one is drawn."""
_LEANS = re.compile(
    r"(He|She|It|They|This|These|That|Those|His|Her|Its|Their|However|Also|Instead|Thus|Therefore|Then|But|And|Both)\b"
)


class Neighbours:
    """Gold passages of other questions, by the rare words that they share with one.

    Args:
        records: Answerable records of the data page's retrieval form.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self._records = [record for record in records if gold_of(record)]
        self._holding: dict[str, list[int]] = defaultdict(list)
        for index, record in enumerate(self._records):
            for word in _words(f"{gold_of(record)['title']} {gold_of(record)['text']}"):
                self._holding[word].append(index)

    def near(self, record: Mapping[str, Any], rng: random.Random) -> Mapping[str, Any] | None:
        """A record near this one's question whose passage holds none of its answers; None if there is none."""
        weights: dict[int, float] = defaultdict(float)
        for word in _words(record["question"]):
            holding = self._holding.get(word, ())
            for index in holding:
                weights[index] += math.log(len(self._records) / len(holding))
        found = []
        for index, weight in sorted(weights.items(), key=lambda each: -each[1])[: 4 * NEAREST]:
            other = self._records[index]
            if weight > NEAR and other["id"] != record["id"] and not _holds(gold_of(other)["text"], _accepted(record)):
                found.append(other)
        return rng.choice(found[:NEAREST]) if found else None


def as_document(record: Mapping[str, Any], rng: random.Random, answerable: bool) -> Example | None:
    """The gold passage as sentences: cite those that answer and repeat them; or withhold the answer.

    An answer is the sentence that holds it with what belongs to it (`_told`), whole sentences as far as an answer may
    be long. Sentences of one text are near each other in topic, so the withheld form is a hard "not answerable".
    """
    gold = gold_of(record)
    if gold is None:
        return None
    sentences = split_sentences(gold["text"])
    accepted = _accepted(record)
    holding = [i for i, text in enumerate(sentences) if _holds(text, accepted)]
    if not 3 <= len(sentences) <= 14 or not holding or len(holding) > (2 if answerable else len(sentences) - 2):
        return None
    if not answerable:
        sentences = [text for i, text in enumerate(sentences) if i not in holding]
    told = _told(record["question"], sentences, holding[0]) if answerable else set()
    return _document(record, sentences, told, gold.get("title", ""), "document", rng)


def near_document(record: Mapping[str, Any], neighbours: Neighbours, rng: random.Random) -> Example | None:
    """A document that is near the question, and does not answer it; None if there is none."""
    other = neighbours.near(record, rng)
    sentences = split_sentences(gold_of(other)["text"]) if other else []
    if other is None or not 3 <= len(sentences) <= 14:
        return None
    unanswered = {**record, "answer": "", "answers": []}
    return _document(unanswered, sentences, set(), gold_of(other).get("title", ""), "near_document", rng)


def _document(
    record: Mapping[str, Any], sentences: list[str], told: set[int], title: str, kind: str, rng: random.Random
) -> Example | None:
    """An example of sentences, of which some are told; None if it is too long."""
    if rng.random() < SPACED:
        sentences = [spaced(text) for text in sentences]
    name = id_style(rng)
    head = title if rng.random() < 0.7 else ""
    shown = [Passage(name(i), text, head if i == 0 else "") for i, text in enumerate(sentences)]
    cited = sorted(told)
    answer = Answer(bool(cited), tuple(name(i) for i in cited), " ".join(sentences[i] for i in cited))
    kind = kind if cited else f"{kind}_unanswerable"
    made = retrieval_example(record, shown, answer, kind, instructions_or_none(rng, 0.2))
    return made if made.length <= LONGEST else None


def _told(question: str, sentences: Sequence[str], holding: int) -> set[int]:
    """The sentence that holds the answer, and what belongs to it, as far as an answer may be long.

    In this order: the one before if it leans on it; those after that lean on it; and of the others those that
    share at least two of the question's words, most first, nearest first: a long answer tells what was asked about.
    """
    joined = [holding]
    if holding > 0 and _LEANS.match(sentences[holding]):
        joined.append(holding - 1)
    for after in range(holding + 1, len(sentences)):
        if not _LEANS.match(sentences[after]):
            break
        joined.append(after)
    asked = _words(question)
    shared = {i: len(asked & _words(text)) for i, text in enumerate(sentences) if i not in joined}
    joined += sorted((i for i in shared if shared[i] >= 2), key=lambda i: (-shared[i], abs(i - holding)))
    told = set[int]()
    for i in joined[:MOST_TOLD]:
        if not told or sum(len(sentences[j]) + 1 for j in (*told, i)) <= ANSWER_LENGTH + 1:
            told.add(i)
    return told


def gold_of(record: Mapping[str, Any]) -> Any:
    """The first cited passage of a record; None without one."""
    return next((p for p in record["passages"] if p["id"] in record["citations"]), None)


def spaced(text: str) -> str:
    """A text as corpora have it that were parted into words: with spaces round marks, and ``quotes''."""
    text = re.sub(r'"([^"]*)"', r"`` \1 ''", text)
    text = re.sub(r"(?<!\d)([,:])|([,:])(?!\d)|([;?!()])", r" \1\2\3 ", text)
    text = re.sub(r"(\w)('s\b)", r"\1 \2", text)
    return re.sub(r" +", " ", re.sub(r"\.$", " .", text.strip())).strip()


def split_sentences(text: str) -> list[str]:
    """Sentences of a plain English text."""
    guarded = re.sub(r"\b(Mr|Mrs|Dr|St|Jr|Sr|No|vs|U\.S|c|ca|e\.g|i\.e|[A-Z])\. ", lambda match: match[1] + ".\0", text)
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'(])", guarded)
    return [part.replace("\0", " ").strip() for part in parts if part.strip()]


def _accepted(record: Mapping[str, Any]) -> list[str]:
    return [answer.lower() for answer in record.get("answers") or [record["answer"]] if answer]


def _holds(text: str, accepted: Sequence[str]) -> bool:
    return any(answer in text.lower() for answer in accepted)


def _words(text: str) -> set[str]:
    """The words of a text that may tell its topic."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}
