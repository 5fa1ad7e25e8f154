"""Questions to the documents of the training worlds, and the records that are made of them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

RECIPES = Path(__file__).parents[2] / "recipes"
WORLDS = sorted(path.parent for path in (RECIPES / "worlds").glob("*/world.yaml"))


@functools.cache
def read(file: Path) -> Any:
    return yaml.load(file.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@pytest.fixture(scope="module")
def made(made_by: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return made_by("questions")


@pytest.mark.parametrize("folder", WORLDS, ids=lambda folder: folder.name)
def test_each_document_is_asked_about(folder: Path) -> None:
    documents = {each["id"] for each in read(folder / "world.yaml")["documents"]}
    items = read(folder / "questions.yaml")
    counts = Counter((item["document"], "answer" in item) for item in items)
    assert {document for document, _ in counts} == documents
    assert all(counts[document, True] >= 4 and counts[document, False] >= 2 for document in documents)
    assert all(len(set(item["say"])) == 3 for item in items)
    assert sum(item["lang"] != "en" for item in items) >= len(documents)


def test_an_answer_cites_its_document_and_nothing_else_is_answered(made: list[dict[str, Any]]) -> None:
    texts, asked = dict[str, str](), dict[str, dict[str, Any]]()
    for folder in WORLDS:
        world = read(folder / "world.yaml")
        ids = {each["id"]: each["text"] for each in world["documents"]}
        for item in read(folder / "questions.yaml"):
            texts |= dict.fromkeys(item["say"], ids[item["document"]])
            asked |= dict.fromkeys(item["say"], item)
    seen = Counter[str]()
    for row in made:
        question = row["messages"][-1]["content"].rpartition("\n\n")[2]
        passages = {each["id"]: each["text"] for each in row["passages"]}
        assert 1 <= len(passages) == len(row["passages"]) <= 4
        completion = row["completion"]
        if row["kind"] == "answered":
            assert completion["answer"] == asked[question]["answer"]
            assert [passages[cited] for cited in completion["citations"]] == [texts[question]]
        else:
            assert completion == {"answerable": False} and "answer" not in asked.get(question, {})
        seen[row["kind"]] += 1
        seen["later"] += len(row["messages"]) > 3
    assert all(seen[kind] >= 30 for kind in ("answered", "near", "tools", "talk", "later"))
