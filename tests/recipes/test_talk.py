"""What people say when nothing is to be called: the worlds' `talk.yaml`, and the records that are made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.training.data.frozen import frozen_rows
from tests.recipes.test_questions import read

RECIPES = Path(__file__).parents[2] / "recipes"
WORLDS = sorted(path.parent for path in (RECIPES / "worlds").glob("*/world.yaml"))
KINDS = {"able": 3, "small": 6, "know": 6, "unknown": 6, "beyond": 4, "write": 5}
"""How many items of each kind a world has at least."""


@pytest.fixture(scope="module")
def made(made_by: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return made_by("talk")


@pytest.mark.parametrize("folder", WORLDS, ids=lambda folder: folder.name)
def test_each_world_has_talk_of_every_kind(folder: Path) -> None:
    written = read(folder / "talk.yaml")
    items = written["talk"]
    counts = Counter(item["kind"] for item in items)
    assert counts.keys() == KINDS.keys() and all(counts[kind] >= least for kind, least in KINDS.items())
    assert len({item["good"] for item in items}) == len(items)
    assert {"en"} < written["can"].keys() and len({frozenset(told) for told in written["can"].values()}) == 1
    for item in items:
        assert item.keys() == {"kind", "lang", "say", "good"} and len(item["say"]) >= 2, item
        assert ("{can}" in item["good"]) == (item["kind"] == "able"), item
        assert item["kind"] != "able" or item["lang"] in written["can"], item


def test_records_answer_what_was_said_last(made: list[dict[str, Any]]) -> None:
    wordings: dict[str, list[str]] = {}
    for folder in WORLDS:
        for item in read(folder / "talk.yaml")["talk"]:
            wordings.setdefault(item["good"], []).extend(item["say"])
    seen = Counter[str]()
    for row in made:
        last = row["messages"][-1]
        assert last["role"] == "user" and row["completion"] and "{can}" not in row["completion"]
        question = last["content"].rpartition("\n\n")[2] if last["content"].startswith("Passages:") else last["content"]
        if row["kind"] != "able":
            assert question in wordings[row["completion"]], question
        seen[row["kind"]] += 1
        seen["beside passages"] += question != last["content"]
        seen["later"] += any(message["role"] == "tool" for message in row["messages"])
        assert row["kind"] != "unknown" or question == last["content"], "what passages do not tell is told otherwise"
    assert all(seen[kind] >= 15 for kind in KINDS) and seen["beside passages"] >= 30 and seen["later"] >= 30


def test_an_assistant_says_that_it_can_do_only_what_its_tools_do(made: list[dict[str, Any]]) -> None:
    phrases: dict[str, set[str]] = {}
    for folder in WORLDS:
        for told in read(folder / "talk.yaml")["can"].values():
            for tool, phrase in told.items():
                phrases.setdefault(phrase, set()).add(tool)
    known, checked = set.union(*phrases.values()), 0
    for row in made:
        shown = {tool["name"] for tool in row["tools"]}
        if row["kind"] != "able" or not shown <= known:  # masked names say nothing
            continue
        rest = row["completion"]
        for phrase in sorted(phrases, key=len, reverse=True):
            if phrases[phrase] & shown:
                rest = rest.replace(phrase, "")
        assert rest != row["completion"] and not any(phrase in rest for phrase in phrases), row["completion"]
        checked += 1
    assert checked >= 5


def test_the_part_that_validates_has_worlds_of_its_own() -> None:
    heads = {"train": set[str](), "valid": set[str]()}
    for _, row in frozen_rows("worlds_talk"):
        heads[row.get("part", "train")].add(row["messages"][0]["content"][:60])
    assert len(heads["valid"]) == 3 and len(heads["train"]) == 27 and not heads["valid"] & heads["train"]
