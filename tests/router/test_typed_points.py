"""Points round made tools: several requests share a list, and only what was asked decides."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter

import pytest

from loraloop.adapters.skill.contracts import Passage
from loraloop.router.runs import Point
from loraloop.router.states import INSTRUCTIONS, Pool
from loraloop.router.typed_points import LONGEST, typed_lists, typed_points
from loraloop.tool_schemas import render_tools

AROUND = Pool((), ((Passage("1", "Oslo is the capital of Norway."),),), INSTRUCTIONS)
FREE = "Who wrote this song?"


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return list(typed_points(itertools.repeat(FREE), 300, random.Random(3), AROUND))


def test_labels_of_all_kinds_occur_and_tools_are_always_listed(points: list[Point]) -> None:
    counts = Counter((point.label, point.kind) for point in points)
    assert min(counts["tools", "first"], counts["none", "first"]) > 40
    assert counts["tools", "tool_result"] and counts["none", "tool_result"] and counts["tools", "follow_up"]
    for point in points:
        assert point.tools and point.messages[0].role == "system"
        assert render_tools(point.tools) in point.messages[0].content and len(render_tools(point.tools)) <= LONGEST


def test_requests_that_need_no_tool_are_none_and_get_no_passages(points: list[Point]) -> None:
    free = [point for point in points if point.text == FREE and point.kind == "first"]
    assert free and all(point.label == "none" and not point.passages for point in free)


def test_a_list_is_shared_by_requests_with_different_routes(points: list[Point]) -> None:
    labels: dict[str, set[str | None]] = {}
    for point in points:
        if point.kind == "first":
            labels.setdefault(point.messages[0].content, set()).add(point.label)
    assert sum(len(found) == 2 for found in labels.values()) > 10


def test_after_a_result_every_call_made_was_of_a_listed_tool(points: list[Point]) -> None:
    for point in points:
        names = {tool.name for tool in point.tools}
        for message in point.messages:
            if message.role == "assistant" and message.content.startswith("["):
                assert {call["name"] for call in json.loads(message.content)} <= names


def test_the_same_seed_makes_the_same_points() -> None:
    one, two = (list(typed_points(itertools.repeat(FREE), 40, random.Random(5), AROUND)) for _ in range(2))
    assert [point.messages for point in one] == [point.messages for point in two]
    assert typed_lists(random.Random(1), 4) == typed_lists(random.Random(1), 4)
