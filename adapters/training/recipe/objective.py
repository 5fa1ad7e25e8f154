"""Objectives by the names that recipes give them, and how their records are encoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.training.data.encode import Encoded, encode, encode_pair
from loraloop.adapters.training.data.record import Record
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.adapters.training.recipe.recipe_file import Recipe
from loraloop.adapters.training.recipe.recipe_lines import refuse_unknown, unknown_key
from loraloop.tool_schemas.errors import InputError, LoraloopError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "sft": (),
    "dpo": ("beta", "smoothing", "anchor", "reference"),
    "kto": ("beta", "desirable", "undesirable", "reference"),
    "distill": ("teacher", "temperature", "share"),
}
"""The options of each objective. `reference` and `teacher` name a skill, registered, shipped or in a folder; a teacher
may also be a base with the same tokenizer. Without a reference, what is left is the bare base."""
PAIRS = ("dpo", "kto")
"""Objectives that learn from preference records."""


def make_objective(recipe: Recipe, base: Base) -> Objective:
    """The objective that a recipe names.

    Raises:
        InputError: an unknown name or option (with the nearest one), or an unusable value; with its line.
    """
    part = recipe.content.objective
    if part.name not in OPTIONS:
        problem = unknown_key(f"objective {part.name!r}", part.name, list(OPTIONS))
        raise InputError(f"{recipe.at('objective')}: {problem}")
    refuse_unknown(part.options, ["name", *OPTIONS[part.name]], recipe.lines, ("objective",))
    try:
        return _made(recipe, base, part.name, part.options)
    except (LoraloopError, TypeError) as error:
        raise InputError(f"{recipe.at('objective')}: {error}") from None


def encoded(base: Base, record: Record, objective: str = "sft") -> Encoded:
    """A record as the trainer takes it: a pair for the objectives that learn from preferences.

    Raises:
        InputError: there is no rejected completion where one is needed.
    """
    if objective in PAIRS:
        if record.rejected is None:
            raise InputError(f"{record.place}: {objective} learns from records with chosen and rejected")
        return encode_pair(base, record.messages, record.completion, record.rejected, record.extra_prompt)
    return encode(base, record.messages, record.completion, record.extra_prompt)


def find_skill(name: str, folder: Path, base: str) -> Skill:
    """A skill by its name, or by its folder relative to another.

    Args:
        name: Name of one of the user's skills or of one that ships for the base, or a folder.
        folder: What a relative folder starts from.
        base: The base's name.

    Raises:
        UnknownNameError, SkillError: there is none, or it is damaged.
    """
    from loraloop.adapters.skill.registry import known_skills
    from loraloop.adapters.skill.skill import Skill
    from loraloop.tool_schemas.errors import unknown

    known = known_skills(base)
    place = folder / Path(name).expanduser()
    if (place / "card.json").is_file():
        return Skill.load(place)
    if name not in known:
        raise unknown("skill", name, known)
    return Skill.load(known[name])


def _made(recipe: Recipe, base: Base, name: str, settings: Mapping[str, Any]) -> Objective:
    from loraloop.adapters.training.objectives.distill import Distill
    from loraloop.adapters.training.objectives.dpo import Dpo
    from loraloop.adapters.training.objectives.kto import Kto
    from loraloop.adapters.training.objectives.reference import Reference
    from loraloop.adapters.training.objectives.sft import Sft

    options = {key: value for key, value in settings.items() if key not in ("reference", "teacher")}
    if name == "sft":
        return Sft()
    if name == "distill":
        if not settings.get("teacher"):
            raise InputError("distill needs a teacher: the name or folder of a skill, or a base")
        return Distill(_teacher(str(settings["teacher"]), recipe.folder, base), **options)
    if reference := settings.get("reference"):
        options["reference"] = Reference.of_skill(find_skill(str(reference), recipe.folder, base.name), base.config)
    return Dpo(**options) if name == "dpo" else Kto(**options)


def _teacher(name: str, folder: Path, base: Base) -> Any:
    from loraloop.adapters.base import Base
    from loraloop.adapters.training.objectives.distill import BaseTeacher, SkillTeacher
    from loraloop.tool_schemas.errors import UnknownNameError

    try:
        skill = find_skill(name, folder, base.name)
    except UnknownNameError:
        return BaseTeacher(Base.load(name), base)
    return SkillTeacher(skill.payload(base.config), skill.card.sha256 or skill.card.name)
