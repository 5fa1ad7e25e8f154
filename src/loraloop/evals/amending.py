"""Writes what was chosen for a skill onto its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def amend(folder: Path, notes: dict[str, Any] | None = None, **fields: Any) -> None:
    """Rewrites fields of the card of a skill's folder, whole or not at all; `notes` join its `training`.

    Raises:
        SkillError: the card cannot be read.
    """
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.training.trainer.whole import write_text

    path = folder / "card.json"
    card = Card.read(path)
    changed = card.model_copy(update={**fields, "training": {**card.training, **(notes or {})}})
    write_text(path, changed.to_json())
