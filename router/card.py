"""The router's card: what it chooses among, what it reads, its data and licences, scores and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loraloop.adapters.base.loading.catalog import DEFAULT
from loraloop.tool_schemas.errors import SkillError

FILES = ("router.json", "router.safetensors")
SHIPPED = Path(__file__).parent / "weights"
WEIGHTS = SHIPPED / DEFAULT
"""The folder of the embedded base's router."""


def shipped_routers() -> dict[str, Path]:
    """Folders of the routers that ship with the package, by the name of their base."""
    return {folder.name: folder for folder in sorted(SHIPPED.iterdir()) if (folder / FILES[0]).is_file()}


def card_of(folder: str | Path = WEIGHTS) -> dict[str, Any]:
    """The card of a stored router, for people; by default the shipped one.

    Raises:
        SkillError: There is none, or it cannot be read.
    """
    path = Path(folder)
    try:
        facts = json.loads((path / FILES[0]).read_text(encoding="utf-8"))
        size = sum((path / name).stat().st_size for name in FILES)
        card, choice, screen = dict(facts["card"]), facts["choice"], facts["screen"]
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise SkillError(f"no readable router card in {path} ({error}): fetch or fit the router again") from error
    return {
        "name": "router",
        "description": "Reads the base's states before each step: is the last message unsafe, and which skill is next?",
        "base": card.pop("base"),
        "outcomes": facts["names"],
        "bytes": size,
        "choice": {
            "reads": [f"{pooling}@{layer}" for layer, pooling in choice["parts"]],
            "threshold": choice["threshold"],
            "temperature": round(choice["temperature"], 3),
            "distance_limit": round(choice["distance_limit"], 2),
        },
        "screen": {
            "reads": [f"{pooling}@{layer}" for layer, pooling in screen["parts"]],
            "threshold": round(screen["threshold"], 3),
        },
        "examples": len(facts["examples"]),
        **{name: card.pop(name) for name in ("data", "measured", "scores", "overlaps", "limits") if name in card},
        **{name: value for name, value in card.items() if name not in ("closing", "extracted_layers")},
    }
