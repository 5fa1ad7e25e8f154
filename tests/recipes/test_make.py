"""What the makers of training data write is true to the tools that it shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MAKE = Path(__file__).parents[2] / "recipes" / "make"


def made(script: str, *options: str) -> None:
    folder_is_searched = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, str(MAKE / script), *options]
    subprocess.run(command, check=True, capture_output=True, timeout=120, env=folder_is_searched)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("desks") / "desks.jsonl"
    made("desks.py", "--conversations", "120", "--seed", "4", "--out", str(path))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_calls_have_their_tools_arguments_in_order(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        tools = {tool["name"]: tool["parameters"] for tool in row["tools"]}
        written = json.loads(row["completion"])
        for call in written if isinstance(written, list) else ():
            parameters = tools[call["name"]]
            names = list(call["arguments"])
            assert names == [name for name in parameters["properties"] if name in names]
            assert set(parameters["required"]) <= set(names)


def test_what_is_asked_for_is_required_by_one_tool_and_was_not_said(rows: list[dict[str, Any]]) -> None:
    asked = [row for row in rows if row["completion"].startswith("{")]
    assert asked
    for row in asked:
        names = json.loads(row["completion"])["ask"]
        assert 1 <= len(names) <= 4
        assert any(set(names) <= set(tool["parameters"]["required"]) for tool in row["tools"])


def test_every_state_is_there(rows: list[dict[str, Any]]) -> None:
    assert {row["label"] for row in rows} == {"tools", "none", "code", "retrieval", "safety"}
    last = [row["messages"][-1] for row in rows]
    assert any('"error":' in message["content"] for message in last if message["role"] == "tool")
    assert any(message["content"].startswith("Passages:\n[p") for message in last)


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made("desks.py", "--conversations", "8", "--seed", "1", "--out", str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_half_of_the_business_texts_is_sealed(tmp_path: Path) -> None:
    made("business.py", "--out", str(tmp_path / "open"), "--sealed", str(tmp_path / "sealed"))
    halves = [
        {json.loads(line)["text"] for line in (tmp_path / n).read_text().splitlines()} for n in ("open", "sealed")
    ]
    assert len(halves[0]) == len(halves[1]) == 150 and not halves[0] & halves[1]
