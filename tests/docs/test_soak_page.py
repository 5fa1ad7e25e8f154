"""The page on the soak says what the benchmark does."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "soak.md").read_text(encoding="utf-8")


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import soak  # type: ignore[import-not-found]

    return soak


def test_its_bounds_are_the_codes(soak: ModuleType) -> None:
    from soak_watch import STUCK  # type: ignore[import-not-found]

    assert f"nearer than {soak.TOLERANCE:g} on average" in TEXT
    assert f"more than {soak.RSS_GROWTH:.0%}".replace("%", " %") in TEXT
    assert pytest.approx(1 / 3) == soak.WARM and "After a third of the time" in TEXT
    assert STUCK == 120 and "Two minutes without an event" in TEXT


def test_its_commands_are_taken(soak: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []

    def run(self: object, concurrent: int, seconds: float) -> None:
        asked.append((concurrent, seconds))
        raise KeyboardInterrupt

    monkeypatch.setattr(soak, "embedded", lambda: None)
    monkeypatch.setattr(soak.Soak, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(soak.Soak, "run", run)
    for command in re.findall(r"^python benchmarks/soak.py([^#\n]*)", TEXT, re.MULTILINE):
        monkeypatch.setattr("sys.argv", ["soak.py", *command.split()])
        with pytest.raises(KeyboardInterrupt):
            soak.main()
    assert asked == [(64, 600.0), (16, 30.0)]
