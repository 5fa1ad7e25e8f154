"""The records of the verdict skill come in pairs, and no wording gives a label away."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Set
from itertools import pairwise
from typing import Any

import pytest

from loraloop.adapters.skill.contracts import agreement_prompt
from loraloop.adapters.training.data.frozen import frozen_rows

KINDS = {
    "denied", "failed", "unread", "unread_as_nothing", "nothing", "partly", "value", "later_denied", "later_failed",
    "uncalled", "earlier", "extra", "talk",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row for _, row in frozen_rows("verdicts")]


def words(row: dict[str, Any]) -> Set[Any]:
    found = re.findall(r"\w+", row["extra_prompt"].casefold())
    return {*found, *pairwise(found)}


def test_each_transcript_has_a_true_and_a_false_answer(rows: list[dict[str, Any]]) -> None:
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    assert len(pairs) > 2000
    for true, false in pairs:
        assert (true["completion"], false["completion"]) == ("agrees", "contradicts")
        assert (true["messages"], true["tools"]) == (false["messages"], false["tools"])
        assert true["extra_prompt"] != false["extra_prompt"]
        assert true["extra_prompt"].startswith(agreement_prompt(""))
        assert any(message["role"] == "tool" for message in true["messages"])


@pytest.mark.parametrize("part", ["train", "valid"])
def test_every_kind_and_language_is_there(rows: list[dict[str, Any]], part: str) -> None:
    own = [row for row in rows if row["part"] == part]
    assert {row["kind"] for row in own} >= KINDS
    assert {row["lang"] for row in own} == {"en", "de", "fr", "es", "it", "nl"}


def test_the_parts_share_no_transcript(rows: list[dict[str, Any]]) -> None:
    transcripts = {part: {str(row["messages"]) for row in rows if row["part"] == part} for part in ("train", "valid")}
    assert transcripts["train"].isdisjoint(transcripts["valid"])


def test_the_words_of_an_answer_do_not_give_its_label_away(rows: list[dict[str, Any]]) -> None:
    counts: dict[str, Counter[Any]] = {"agrees": Counter(), "contradicts": Counter()}
    for row in rows:
        if row["part"] == "train":
            counts[row["completion"]].update(words(row))
    held_out = [row for row in rows if row["part"] == "valid"]
    weights = [
        sum(math.log((counts["contradicts"][word] + 1) / (counts["agrees"][word] + 1)) for word in words(row))
        for row in held_out
    ]
    pairs = zip(weights, held_out, strict=True)
    right = sum((weight > 0) == (row["completion"] == "contradicts") for weight, row in pairs)
    assert 0.4 < right / len(held_out) < 0.6
