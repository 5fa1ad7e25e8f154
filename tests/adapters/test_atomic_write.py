"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loraloop.adapters.atomic_write import write_text


def test_a_text_is_on_the_disk_before_its_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_size, list(tmp_path.glob("a")))))
    write_text(tmp_path / "a", "text")
    assert synced == [(4, [])] and (tmp_path / "a").read_text() == "text"
