"""Documents as passages: what of them is told, and documents that are near a question without answering it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from loraloop.adapters.skill.contracts import ANSWER_LENGTH, answer_of
from loraloop.adapters.training.sources.retrieval_documents import (
    MOST_TOLD,
    Neighbours,
    as_document,
    near_document,
    spaced,
)

BRIDGE = (
    "The Arnsby bridge crosses the river Velm near the market. It was opened in 1931 by the mayor. "
    "However, the first cars passed only in 1932. Painters like its arches. The river Velm is rarely frozen."
)
MILL = "The Corwick mill grinds barley. Its sails were opened to visitors in 1960. A baker owns the Corwick mill."


def record(name: str, question: str, answer: str, text: str) -> dict[str, Any]:
    return {
        "id": f"nq-{name}",
        "question": question,
        "passages": [{"id": "1", "title": name, "text": text}, {"id": "2", "title": "Other", "text": "Else."}],
        "answer": answer,
        "answers": [answer],
        "citations": ["1"],
        "answerable": True,
        "source": "a test",
        "license": "CC0-1.0",
    }


def said(example: Any) -> list[str]:
    texts = {passage.id: passage.text for passage in example.passages}
    return [texts[each] for each in answer_of(example.completion).citations]


@pytest.mark.parametrize("seed", range(12))
def test_what_leans_on_the_answers_sentence_is_told_with_it(seed: int) -> None:
    made = as_document(record("Arnsby", "when was the arnsby bridge opened", "1931", BRIDGE), random.Random(seed), True)
    assert made is not None and made.kind == "document"
    wanted = ["The Arnsby bridge crosses", "It was opened in 1931", "However"]
    assert [text[: len(start)] for text, start in zip(said(made), wanted, strict=True)] == wanted
    assert answer_of(made.completion).answer == " ".join(said(made))


def test_no_more_is_told_than_an_answer_holds() -> None:
    tail = " ".join(f"It is a long sentence about the number {n} of the great towns of that land." for n in range(9))
    made = as_document(record("Towns", "what was first", "Arnsby", f"Arnsby was first. {tail}"), random.Random(0), True)
    assert made is not None and 1 < len(said(made)) <= MOST_TOLD
    assert len(answer_of(made.completion).answer) <= ANSWER_LENGTH


@pytest.mark.parametrize("seed", range(6))
def test_a_withheld_sentence_leaves_no_answer(seed: int) -> None:
    made = as_document(record("Arnsby", "when was the bridge opened", "1931", BRIDGE), random.Random(seed), False)
    assert made is not None and made.kind == "document_unanswerable" and not answer_of(made.completion).answerable
    assert not any("1931" in passage.text for passage in made.passages) and len(made.passages) == 4


def test_texts_of_one_or_two_sentences_and_answers_said_all_over_are_no_documents() -> None:
    short = record("Arnsby", "when", "1931", "It opened in 1931. It is red.")
    often = record("Arnsby", "when", "1931", "In 1931. And in 1931. Also in 1931. Then it closed.")
    for each in (short, often):
        assert as_document(each, random.Random(0), True) is None


@pytest.mark.parametrize("seed", range(8))
def test_a_near_document_shares_words_and_holds_no_answer(seed: int) -> None:
    mine = record("Arnsby", "when was the mill of corwick opened to visitors", "1955", BRIDGE)
    mill = record("Corwick", "what does the mill grind", "barley", MILL)
    told = record("Told", "mill of corwick visitors opened", "x", f"{MILL} In 1955 it was sold.")  # it holds the answer
    others = [record(f"Far {n}", "who", "nobody", f"Nothing is said here. Number {n}. It ends.") for n in range(300)]
    made = near_document(mine, Neighbours([mine, mill, told, *others]), random.Random(seed))
    assert made is not None and made.kind == "near_document_unanswerable"
    assert not answer_of(made.completion).answerable and made.gold["answers"] == ()
    assert {passage.text for passage in made.passages} <= {f(each) for f in (str, spaced) for each in MILL_SENTENCES}


MILL_SENTENCES = [f"{part.strip('. ')}." for part in MILL.split(". ")]


def test_where_nothing_is_near_there_is_none() -> None:
    mine = record("Arnsby", "when was it opened", "1931", BRIDGE)
    assert near_document(mine, Neighbours([mine]), random.Random(0)) is None
