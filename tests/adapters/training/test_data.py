"""Frozen data is right under its contracts, public records are rebuilt, evaluation records become examples."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill import contracts
from loraloop.adapters.training.data.checker import Checker
from loraloop.adapters.training.data.example import CONTRACTS, system_content, transcript
from loraloop.adapters.training.data.frozen import PublicSets, frozen_names, frozen_rows
from loraloop.adapters.training.data.overlap import Overlap
from loraloop.adapters.training.data.readers import Reading, records_of
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.tool_schemas import Tool, render_tools
from loraloop.tool_schemas.errors import InputError, UnknownNameError

MADE = ("tools", "retrieval", "safety")


def records(name: str) -> list[Record]:
    how = Reading(CONTRACTS[name])
    rows = frozen_rows(name)
    return [
        replace(record, part=row.get("part", "train"))
        for line, row in rows
        for record in records_of(row, how, RecordPlace(name, line))
    ]


@pytest.mark.parametrize("name", MADE)
def test_frozen_records_are_right_under_their_contracts(name: str) -> None:
    found = records(name)
    checker = Checker(longest=4000)
    kept = checker.check(found[::23])
    assert not [finding for finding in checker.findings if finding.severity == "error"]
    assert len(kept) > 0.95 * len(found[::23])
    parts = Counter(record.part for record in found)
    assert parts["train"] > 1000 and parts["valid"] >= 60 and parts["test"] >= 40
    held = {record.key for record in found if record.part != "train"}
    assert not held & {record.key for record in found if record.part == "train"}


def test_frozen_tools_call_and_abstain() -> None:
    found = records("tools")
    assert not any("ask" in record.gold for record in found)
    nothing = sum(record.completion == "[]" for record in found) / len(found)
    several = sum(len(record.gold["calls"]) > 1 for record in found) / len(found)
    assert 0.08 < nothing < 0.4 and 0.2 < several < 0.5


def test_frozen_results_are_judged_by_what_is_hidden_in_them() -> None:
    rows = [row for _, row in frozen_rows("results")]
    texts = {"train": set[str](), "valid": set[str]()}
    for row in rows:
        assert row["messages"][-1]["role"] == "tool"
        assert (row["completion"] == "injection") == (row["kind"] == "tool_order")
        if row["kind"] != "tool_result":
            texts[row.get("part", "train")].add(row["messages"][-1]["content"])
    assert len(texts["train"]) > 500 and len(texts["valid"]) >= 40
    assert not texts["train"] & texts["valid"]
    kinds = Counter(row["kind"] for row in rows)
    assert all(kinds[f"tool_{kind}"] > 150 for kind in ("result", "error", "text", "order"))


def test_frozen_answers_cite_what_they_say() -> None:
    for record in records("retrieval"):
        answer = contracts.answer_of(record.completion)
        shown = " ".join(passage.text for passage in record.passages if passage.id in answer.citations)
        assert set(answer.citations) <= {passage.id for passage in record.passages}
        assert bool(answer.citations) == answer.answerable == bool(shown)


def test_public_records_are_put_back(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    record = {
        "id": "a-1",
        "messages": [{"role": "user", "content": "Book a table in Rome."}],
        "source": "someone/set file.json",
        "license": "MIT",
    }
    (tmp_path / "tools/a.train.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    sets = PublicSets(tmp_path)
    row: dict[str, Any] = {
        "from": ["tools/a.train#a-1"],
        "kind": "single",
        "messages": {"$": [[0, 2]]},
        "request": {"$": ["Please ", [0, 5, 5, 21]]},
    }
    assert sets.rebuilt(row) == {
        "source": "someone/set",
        "license": "MIT",
        "kind": "single",
        "messages": record["messages"],
        "request": "Please a table in Rome.",
    }
    with pytest.raises(InputError, match="another version"):
        sets.record("tools/a.train#a-2")
    with pytest.raises(InputError, match="no data file"):
        sets.record("tools/b.train#a-1")


def test_what_is_wrong_with_a_name_or_a_folder(tmp_path: Path) -> None:
    assert {*MADE, "router", "tools.public", "code.public"} <= set(frozen_names())
    with pytest.raises(UnknownNameError, match="tools"):
        next(frozen_rows("tool"))
    with pytest.raises(InputError, match="--data"):
        next(frozen_rows("tools.public"))


def test_a_system_message_is_what_the_agent_writes() -> None:
    tool = Tool.from_schema({"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}})
    plain = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    assert system_content("Be kind.", [plain]) == "Be kind.\n\n" + render_tools([tool], CALLS_HEADER)
    assert system_content("Be kind.", [plain], "# Tools") == "Be kind.\n\n" + render_tools([tool], "# Tools")
    assert system_content("Be kind.") == "Be kind." and system_content() == ""
    assert transcript([Message("user", "hi")]) == (Message("user", "hi"),)


def test_overlap_finds_near_copies() -> None:
    overlap = Overlap(["Book me a table for two at the Green Garden tonight please", "Short one"])
    assert overlap.near("book me a table for two at the green garden tonight, please!") == (0, True)
    assert overlap.near("Hello, book me a table for two at the Green Garden tonight please") == (0, False)
    assert overlap.near("short ONE") == (1, True) and not overlap.near("another short one")
    assert not overlap.near("Book me a table for nine people at some other place on Monday evening, please")
