"""The page on evaluation: its records are read, and it names every measure and option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from loraloop.adapters.training.scoring.score import score, summary
from loraloop.cli.main import app
from loraloop.evals.reasons import why_wrong
from loraloop.evals.records import CATEGORIES, examples

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "evaluation.md"
TEXT = PAGE.read_text(encoding="utf-8")
RECORDS = re.findall(r"^```jsonl (\w+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_every_block_is_looked_at() -> None:
    kinds = re.findall(r"^```(\w+)", TEXT, re.MULTILINE)
    assert set(kinds) == {"sh", "jsonl"} and TEXT.count("```") == 2 * len(kinds)
    assert [about for about, _ in RECORDS] == ["tools", "retrieval", "code"]


@pytest.mark.parametrize(("about", "text"), RECORDS)
def test_records_are_read_and_their_measures_named(tmp_path: Path, about: str, text: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(text, encoding="utf-8")
    asked = examples(about, [file])
    assert len(asked) == len(text.splitlines())
    completions = [example.completion for example in asked]
    assert not any(
        why_wrong(example, output, lambda _: True) for example, output in zip(asked, completions, strict=True)
    )
    found = summary(score(asked[0].contract, asked, completions, lambda _: True))
    assert set(found.values()) == {1.0}
    own = {example.kind for example in asked} | {"mine"}
    assert not [name for name in found if f"`{name}`" not in TEXT and name not in own]


def test_it_names_categories_and_options() -> None:
    command = typer.main.get_command(app).commands["eval"].commands["tools"]  # type: ignore[attr-defined]
    options = [option for parameter in command.params for option in parameter.opts if option != "--help"]
    assert not [name for name in (*CATEGORIES, *options) if f"`{name}`" not in TEXT]
