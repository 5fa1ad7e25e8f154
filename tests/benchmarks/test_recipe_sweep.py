"""The sweep of a recipe's choices: each row changes one thing, trains, and is scored; a killed run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from loraloop.adapters.training.recipes import recipe


@pytest.fixture(scope="module")
def sweep(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("recipe_sweep")


def test_a_row_changes_one_thing_and_keeps_the_scaling(sweep: ModuleType) -> None:
    given = sweep.parsed(["--data", ".", "--steps", "7"])
    plain, wide, slow, made = (
        sweep.changed(sweep.ROWS[name], "tools", given) for name in ("recipe", "twice_rank", "third_rate", "made")
    )
    assert plain == made and plain.method == recipe("tools").method and plain.config.steps == 7
    assert wide.method.rank == 2 * plain.method.rank and wide.config == plain.config
    assert wide.method.alpha / wide.method.rank == plain.method.alpha / plain.method.rank
    assert slow.config.learning_rate == plain.config.learning_rate / 3 and slow.method == plain.method


def test_rows_are_trained_scored_and_kept(
    sweep: ModuleType, tools_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", str(tools_data), "--steps", "1", "--limit", "6", "--work", str(tmp_path / "work")]
    asked += ["--rows", "recipe,public", "--json", str(tmp_path / "recipe_sweep.json")]
    other = tmp_path / "work" / "tools-2-6-0-None-None" / "recipe"  # what a sweep of more steps kept
    other.mkdir(parents=True)
    assert sweep.main(asked) == 0
    assert list((tmp_path / "work").iterdir()) == [other.parent]
    document = json.loads((tmp_path / "recipe_sweep.json").read_text())
    metrics = document["metrics"]
    assert metrics["recipe/examples"] == metrics["public/examples"] == 8 and 0 < document["n"] <= 6
    assert 0 < metrics["recipe/loss"] != metrics["public/loss"] > 0
    assert all(0 <= metrics[f"{row}/right"] <= 1 for row in ("recipe", "public"))
    assert document["details"] == {"skill": "tools", "steps": 1}
    with pytest.raises(SystemExit):
        sweep.main([*asked[:-4], "--rows", "wider"])
    assert "twice_rank" in capsys.readouterr().err
