"""How shipped skills are made: recipes by base, with rank, rate and length chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loraloop.adapters.base.loading.catalog import CATALOG, DEFAULT
from loraloop.adapters.training.__main__ import command, parser
from loraloop.adapters.training.recipes import LARGER, RECIPES, recipe
from loraloop.tool_schemas.errors import UnknownNameError

_SUITED = {"batch": 1, "precision": "base", "trunks": "served"}


def test_a_base_may_have_recipes_of_its_own() -> None:
    assert set(LARGER) <= set(CATALOG) - {DEFAULT}
    for base, own in LARGER.items():
        for skill in own:
            assert recipe(skill, base) == own[skill] != recipe(skill)
    assert recipe("code", "qwen2.5-coder-1.5b") == recipe("code")


@pytest.mark.parametrize("skill", RECIPES)
def test_another_rank_keeps_the_scaling(skill: str) -> None:
    plain, wide = recipe(skill), recipe(skill, rank=32, rate=1e-4, steps=7, seed=3)
    assert wide.method.rank == 32
    assert wide.method.alpha / 32 == pytest.approx(plain.method.alpha / plain.method.rank)
    assert (wide.config.learning_rate, wide.config.steps, wide.config.seed) == (1e-4, 7, 3)
    assert recipe(skill, rank=plain.method.rank) == plain


def test_what_suits_a_processor_may_be_chosen() -> None:
    made = recipe("tools", "qwen2.5-coder-1.5b", batch=3, precision="bf16", trunks="trained")
    assert (made.config.batch, made.config.precision, made.config.trunks) == (3, "bf16", "trained")
    assert replace(made.config, **_SUITED) == replace(recipe("tools", "qwen2.5-coder-1.5b").config, **_SUITED)


def test_the_command_on_a_card_names_every_choice(tmp_path: Path) -> None:
    choices = "--seconds 60 --rate 0.0001 --seed 3 --batch 4 --precision bf16 --trunks trained"
    given = parser().parse_args(f"--data {tmp_path} --skill tools {choices} --start {tmp_path}".split())
    assert command("tools", given) == (
        f"python -m loraloop.adapters.training --data DIR --skill tools {choices} --start DIR"
    )


def test_an_unknown_skill_is_named() -> None:
    with pytest.raises(UnknownNameError, match="tools"):
        recipe("tool")
