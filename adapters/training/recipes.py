"""How each shipped skill is made: its method, its schedule, its share of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.trainer import TrainConfig
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
        _LORA,
        TrainConfig(steps=1400),
        examples=11_000,
        validation=128,
    ),
    "code": ShippedRecipe(
        "Writes one fenced block of Python that does what is asked.",
        _LORA,
        TrainConfig(steps=500, learning_rate=1e-3),
        examples=4_000,
    ),
    "retrieval": ShippedRecipe(
        "Answers from the passages shown, with citations, as JSON; or says that they do not hold the answer.",
        _LORA,
        TrainConfig(steps=700),
        examples=5_500,
    ),
    "safety": ShippedRecipe(
        "Judges the last message safe or unsafe, with a category, as JSON.",
        _LORA,
        TrainConfig(steps=500),
        examples=4_000,
    ),
}


def recipe(skill: str, *, steps: int | None = None, seconds: float | None = None, seed: int = 0) -> ShippedRecipe:
    """A shipped skill's recipe, with the schedule cut or reseeded.

    Raises:
        UnknownNameError: for a skill without a recipe.
    """
    if skill not in RECIPES:
        raise unknown("recipe", skill, RECIPES)
    found = RECIPES[skill]
    config = replace(found.config, steps=steps or found.config.steps, seconds=seconds, seed=seed)
    return replace(found, config=config)
