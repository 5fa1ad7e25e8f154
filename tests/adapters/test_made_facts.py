"""Passages made from templates of facts."""

from __future__ import annotations

import random
import re

import pytest

from loraloop.adapters.skill.contracts import answer_of
from loraloop.adapters.training.sources.retrieval_documents import spaced
from loraloop.adapters.training.sources.retrieval_made import FactMaker, things
from loraloop.evals.task_texts import FACTS


def test_every_question_asks_for_a_slot_of_its_sentence() -> None:
    assert len(things()) >= 25
    for thing in things():
        assert thing.names and len(thing.facts) >= 3, thing.kind
        assert any(fact.named for fact in thing.facts), thing.kind
        for fact in thing.facts:
            slots = set(re.findall(r"\{(\w+)\}", fact.sentence))
            assert fact.questions and {slot for slot, _ in fact.questions} <= slots - {"it", "It"}, fact.sentence
            assert all("{it}" in question and question.endswith("?") for _, question in fact.questions), fact.sentence


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("way", ["passages", "document"])
def test_the_cited_passage_holds_the_answer_and_only_it_is_of_the_thing_asked_for(split: str, way: str) -> None:
    maker, kinds = FactMaker(split, random.Random(2)), set[bool]()
    for _ in range(150):
        example = getattr(maker, way)()
        answer = answer_of(example.completion)
        kinds.add(answer.answerable)
        assert len({passage.id for passage in example.passages}) == len(example.passages) >= 1
        assert bool(answer.citations) == answer.answerable
        if not answer.answerable:
            continue
        ((cited,), (value,)) = answer.citations, example.gold["answers"]
        (passage,) = (passage for passage in example.passages if passage.id == cited)
        assert value in passage.text or spaced(value) in passage.text
        assert answer.answer == (value if way == "passages" else passage.text)
    assert kinds == {True, False}


@pytest.mark.parametrize("split", ["train", "valid"])
def test_two_questions_are_answered_by_two_sentences(split: str) -> None:
    maker = FactMaker(split, random.Random(3))
    for _ in range(150):
        example = maker.both()
        answer, texts = answer_of(example.completion), {passage.id: passage.text for passage in example.passages}
        assert len(answer.citations) == 2 and " and " in example.gold["question"]
        assert answer.answer == " ".join(texts[each] for each in answer.citations)
        assert list(answer.citations) == [each for each in texts if each in answer.citations]


@pytest.mark.parametrize("split", ["train", "valid"])
def test_what_is_said_of_a_thing_is_all_its_sentences_and_no_others(split: str) -> None:
    maker, kinds = FactMaker(split, random.Random(4)), set[bool]()
    for _ in range(150):
        example = maker.about()
        answer, texts = answer_of(example.completion), {passage.id: passage.text for passage in example.passages}
        kinds.add(answer.answerable)
        if not answer.answerable:
            continue
        cited = [list(texts).index(each) for each in answer.citations]
        assert cited == list(range(cited[0], cited[-1] + 1)) and len(cited) < len(texts)  # the other thing's are left
        assert answer.answer == " ".join(texts[each] for each in answer.citations)
    assert kinds == {True, False}


def test_texts_are_parted_into_words() -> None:
    text = 'It has 1,200 rooms, a bar (closed), and "Luna\'s" sign.'
    assert spaced(text) == "It has 1,200 rooms , a bar ( closed ) , and `` Luna 's '' sign ."
    assert spaced(spaced(text)) == spaced(text) and spaced("at 12:30") == "at 12:30"


def test_kinds_are_split_and_examples_are_reproducible() -> None:
    train, valid = ({thing.kind for thing in FactMaker(split, random.Random(0)).things} for split in ("train", "valid"))
    assert len(train) >= 20 and len(valid) >= 3 and not train & valid
    first, again = (FactMaker("train", random.Random(5)) for _ in range(2))
    assert [first.passages() for _ in range(5)] == [again.passages() for _ in range(5)]


def test_no_fact_is_one_of_the_agents_evaluation() -> None:
    def words(text: str) -> set[str]:
        return set(re.findall(r"[a-z]{4,}", re.sub(r"\{\w+\}", "", text.lower())))

    theirs = [words(f"{sentence} {question}") for sentence, question, _ in FACTS]
    for thing in things():
        for fact in thing.facts:
            mine = words(fact.sentence)
            assert all(len(mine & other) <= 3 for other in theirs), fact.sentence
