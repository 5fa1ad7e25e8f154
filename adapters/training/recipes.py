"""How each shipped skill is made: its method, its schedule, its share of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loraloop.adapters.base.loading.catalog import DEFAULT
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.forward.view import Precision
from loraloop.adapters.training.trainer.train_config import TrainConfig, Trunks
from loraloop.tool_schemas.errors import unknown


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """How one shipped skill is made; a user's skill has a recipe file (`recipe_file`).

    Attributes:
        description: one sentence for the card.
        method: parametrization of the weights.
        config: schedule.
        examples: training examples drawn from the mixture.
        validation: examples of our own validation split that choose the checkpoint.
        longest: examples of more tokens than this are left out (a step's cost is linear in them).
    """

    description: str
    method: Lora
    config: TrainConfig
    examples: int
    validation: int = 96
    longest: int = 560


_LORA = Lora(rank=4, alpha=8)

RECIPES: dict[str, ShippedRecipe] = {
    "tools": ShippedRecipe(
        "Writes the JSON list of tool calls a request needs, or [] when no tool fits or something required is missing.",
        Lora(rank=16, alpha=32),
        TrainConfig(steps=3000, learning_rate=1.2e-3, precision="fp32", trunks="served"),
        examples=24_000,
        validation=256,
    ),
    "code": ShippedRecipe(
        "Writes one fenced block of Python that does what is asked.",
        _LORA,
        TrainConfig(steps=500, learning_rate=1e-3),
        examples=4_000,
    ),
    "retrieval": ShippedRecipe(
        "Answers from the passages shown, with citations, as JSON; or says that they do not hold the answer.",
        Lora(rank=8, alpha=16),
        TrainConfig(steps=700, learning_rate=1.5e-3, precision="fp32", trunks="served"),
        examples=5_500,
    ),
    "safety": ShippedRecipe(
        "Judges the last message safe or unsafe, with a category, as JSON.",
        Lora(rank=8, alpha=16),
        TrainConfig(steps=600, precision="fp32", trunks="served"),
        examples=5_000,
        validation=240,
    ),
}

LARGER: dict[str, dict[str, ShippedRecipe]] = {
    "qwen2.5-coder-1.5b": {
        "tools": replace(
            RECIPES["tools"],
            method=_LORA,
            config=TrainConfig(
                steps=1000, batch=8, learning_rate=5e-4, validate_every=100, precision="fp32", trunks="served"
            ),
            examples=8_000,
            validation=64,
        )
    }
}
"""Recipes of larger bases, where they differ: a step costs ten times as much, and fewer examples are needed."""


def recipe(
    skill: str,
    base: str = DEFAULT,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    rank: int | None = None,
    rate: float | None = None,
    seed: int = 0,
    batch: int | None = None,
    precision: Precision | None = None,
    trunks: Trunks | None = None,
) -> ShippedRecipe:
    """A shipped skill's recipe, with the schedule cut or reseeded, or for a base of another size.

    Args:
        skill: a name in `RECIPES`.
        base: what it is made for.
        steps: optimizer steps, in place of the recipe's.
        seconds: a time budget; see `TrainConfig`.
        rank: of the update, which keeps its scaling alpha / rank.
        rate: peak learning rate.
        seed: of the data and the training.
        batch: examples a step.
        precision: what the base computes in, and
        trunks: who computes contexts, where the recipe's are slow on a processor; see `TrainConfig`.

    Raises:
        UnknownNameError: for a skill without a recipe.
    """
    if skill not in RECIPES:
        raise unknown("recipe", skill, RECIPES)
    found = LARGER.get(base, {}).get(skill, RECIPES[skill])
    width = rank or found.method.rank
    method = replace(found.method, rank=width, alpha=found.method.alpha * width / found.method.rank)
    config = replace(
        found.config,
        steps=steps or found.config.steps,
        seconds=seconds,
        learning_rate=rate or found.config.learning_rate,
        seed=seed,
        batch=batch or found.config.batch,
        precision=precision or found.config.precision,
        trunks=trunks or found.config.trunks,
    )
    return replace(found, method=method, config=config)
