"""The example that runs, rates and trains does better on held-out requests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "from_use_to_skill" / "use_and_learn.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rated_runs_make_a_better_skill(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("use_and_learn", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    before, after = example.main(tmp_path, used=40, held_out=10, steps=24)
    assert after >= before + 0.3
