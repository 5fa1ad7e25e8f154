"""The safety skill's card carries the figures of the whole gate."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("docs_cards", ROOT / "docs" / "cards.py")
cards = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cards)


def test_gate_scores_name_their_system():
    figures = {"recall": 0.9, "recall_n": 10, "recall_low": 0.6, "recall_high": 0.98, "verdict_ms": 30.0}
    document = {"metrics": figures, "peers": {"verdict": {**figures, "recall": 0.8}}, "command": "a command"}
    found = cards.gate_scores(document, ("pipeline", "verdict"))
    assert found == {
        "pipeline/recall": {"value": 0.9, "interval": [0.6, 0.98], "n": 10},
        "verdict/recall": {"value": 0.8, "interval": [0.6, 0.98], "n": 10},
        "commands": ["a command"],
    }
