"""Made cases in the middle of a run, and how figures are said."""

from __future__ import annotations

import json
import random
import re

import pytest

from loraloop.adapters.training.sources.typed import chains, draw, parse
from loraloop.adapters.training.sources.typed_runs import RunMaker as Maker


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_tool_that_needs_a_result_is_called_once_it_is_there(split):
    """First the one that finds it, then the one that takes it with what was found, then none; all is said or found."""
    maker, seen = Maker(split, random.Random(4)), set[int]()
    for _ in range(60):
        case = maker.dependent()
        done = [turn for turn in case.turns if turn.role == "tool"]
        seen.add(len(done))
        assert len(case.calls) == (len(done) < 2)
        told = " ".join(turn.content for turn in case.turns if turn.role in ("user", "tool"))
        for call in case.calls:
            assert call["name"] not in [json.loads(turn.content)["name"] for turn in done]
            for value in call["arguments"].values():
                assert isinstance(value, (bool, int, float)) or value in told
    assert seen == {0, 1, 2}


def test_chains_are_split_as_their_tools_are():
    train, valid = (set(Maker(split, random.Random(0)).chains) for split in ("train", "valid"))
    assert train and valid and not train & valid and train | valid == set(chains())
    trained = {spec.words for spec in Maker("train", random.Random(0)).specs}
    for first, second in train:
        assert {first.words, second.words} <= trained
    for first, second in chains():
        names = {a.name for a in (*first.arguments, *second.arguments[1:])}
        for request in second.chained:
            assert set(re.findall(r"\{(\w+)", request)) <= names


def test_a_failed_call_is_mended_or_given_up():
    maker, mended = Maker("train", random.Random(6)), set[bool]()
    for _ in range(60):
        case = maker.failed()
        if len(case.turns) != 3:
            continue
        tried = json.loads(case.turns[1].content)
        mended.add(bool(case.calls))
        if case.calls:
            assert case.calls[0] != tried[0] and case.calls[0]["name"] == tried[0]["name"]
    assert mended == {True, False}


def test_round_figures_are_said_in_words_or_short():
    (spec,) = parse("@ x\ny | Z.\n n: int(0,9000,100) | N\n> {n}")
    said = {draw(spec.arguments[0].kind, random.Random(seed)).words for seed in range(5000)}
    assert {"500", "five hundred", "4k", "four thousand"} <= said and not {"2k", "two thousand"} & said
