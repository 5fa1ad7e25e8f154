"""Pairs from what a skill writes wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloop.adapters.base import Message, random_base
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.training import corrections as module
from loraloop.adapters.training.corrections import corrections
from loraloop.adapters.training.data.example import Example
from loraloop.adapters.training.teacher.preferences import pairs
from loraloop.adapters.training.teacher.sampler import Sampler
from loraloop.tool_schemas.errors import InputError

BASE = random_base(0)
SKILL = blank_skill(BASE, "made", "calls")


def examples(count: int) -> list[Example]:
    return [
        Example("tools", "none", str(n), str(n), (Message("user", f"say {n}"),), "[]", source="made", license="CC0-1.0")
        for n in range(count)
    ]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two examples, texts of a few tokens: a random base never stops by itself."""
    monkeypatch.setattr(module, "_CHUNK", 2)
    monkeypatch.setattr(module, "Sampler", lambda *args, **named: Sampler(*args, longest=6, **named))


def test_the_gold_text_stands_before_each_wrong_one(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = corrections(BASE, SKILL, examples(5), tmp_path / "w.jsonl", done=lambda at, wrong: told.append((at, wrong)))
    assert [at for at, _ in told] == [2, 4, 5] and told[-1][1] == len(found) > 0
    assert all(judged.right == ("[]",) and "[]" not in judged.wrong for judged in found)
    made = pairs(BASE, found)
    assert len(made) == sum(len(judged.wrong[:2]) for judged in found)
    assert all([branch.desirable for branch in pair.branches] == [True, False] for pair in made)


@pytest.mark.parametrize("half", ["", '["ab'])
@pytest.mark.parametrize("lines", [0, 1, 2, 4])
def test_a_run_that_was_cut_writes_the_rest_and_no_more(tmp_path: Path, lines: int, half: str) -> None:
    """Also where it was cut within a chunk, or within a line."""
    kept = tmp_path / "w.jsonl"
    whole = corrections(BASE, SKILL, examples(5), kept)
    text = kept.read_text(encoding="utf-8")
    kept.write_text("".join(line + "\n" for line in text.splitlines()[:lines]) + half, encoding="utf-8")
    assert corrections(BASE, SKILL, examples(5), kept) == whole
    assert kept.read_text(encoding="utf-8") == text
    assert corrections(BASE, SKILL, examples(5), kept) == whole, "nothing is written again"
    assert kept.read_text(encoding="utf-8") == text


def test_what_another_skill_wrote_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "w.jsonl"
    corrections(BASE, SKILL, examples(2), kept)
    with pytest.raises(InputError, match="another"):
        corrections(BASE, SKILL, examples(2), kept, seed=1)
