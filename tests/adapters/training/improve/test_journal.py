"""The journal of an improvement: what a kill leaves can be read, and other orders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loraloop.adapters.training.improve.journal import ImproveJournal, Lines
from loraloop.tool_schemas.errors import InputError


@given(st.integers(0, 400))
@example(46)  # within a character
@settings(max_examples=40, deadline=None)
def test_a_line_that_was_cut_short_is_dropped(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a" / "rows.jsonl"
        rows = Lines(path)
        for number in range(5):
            rows.put({"id": str(number), "text": "ä" * number})
        whole = path.read_bytes()
        path.write_bytes(whole[: min(cut, len(whole))])
        left = Lines(path)
        kept = [number for number in range(5) if str(number) in left]
        assert kept == list(range(len(left)))
        assert path.read_bytes() == b"".join(line + b"\n" for line in whole.split(b"\n")[: len(left)])
        left.put({"id": "new"})
        assert Lines(path)["new"] == {"id": "new"} and len(Lines(path)) == len(left)


def test_an_improvement_goes_on_with_its_own_order_alone(tmp_path: Path) -> None:
    journal = ImproveJournal(tmp_path / "out", {"base": "a", "seed": 1, "minutes": 5.0})
    journal.rounds.append({"round": 1})
    journal._before = 100.0
    journal.write()
    again = ImproveJournal(tmp_path / "out", {"base": "a", "seed": 1, "minutes": 9.0})
    assert again.rounds == [{"round": 1}] and 100 <= again.seconds < 160, "time adds up"
    with pytest.raises(InputError, match="another base and seed"):
        ImproveJournal(tmp_path / "out", {"base": "b", "seed": 2, "minutes": 9.0})


@pytest.mark.parametrize("left", ["", '{"order": {"ba', "[]", '{"order": {}}'])
def test_a_damaged_journal_is_said(tmp_path: Path, left: str) -> None:
    journal = ImproveJournal(tmp_path / "out", {"base": "a"})
    journal.write()
    journal.path.write_text(left, encoding="utf-8")
    with pytest.raises(InputError, match=r"journal\.json is damaged .*: remove .*out, or give another --out"):
        ImproveJournal(tmp_path / "out", {"base": "a"})


def test_damaged_rows_are_said(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"id": "1"}\n\0\0\0\n{"id": "3"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl:2 is damaged"):
        Lines(tmp_path / "rows.jsonl")
