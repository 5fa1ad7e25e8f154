"""The recipe with which a skill goes on learning: its own method, from its own tensors, with replay of old records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loraloop.adapters.atomic_write import write_text
from loraloop.adapters.skill.blank import is_blank
from loraloop.adapters.skill.card import Card, method_of
from loraloop.adapters.training.data.frozen import Row, frozen_rows
from loraloop.adapters.training.data.readers import is_among
from loraloop.adapters.training.recipe.gather import FROZEN_LICENSE, generator
from loraloop.tool_schemas.jsontext import dumps

OWN_SHARE = 0.5
"""Share of the new records in an epoch; the rest are records that the skill learned from before."""
EPOCHS = 3
"""How often the new records are seen at most."""
LONGEST = 2048
"""Tokens of a record: the states of long runs are the ones that are worth most."""
SLOWER = 0.5
"""Factor on the learning rate with which the skill was first trained."""
ALIKE = 2
"""Old records of one assistant that a source replays: training reads what stands before them once."""


def continued(
    card: Card,
    folder: Path | None,
    records: Path,
    count: int,
    recipe: Mapping[str, Any],
    *,
    base: Mapping[str, Any],
    seconds: float,
    output: Path,
    longest: int = LONGEST,
    seed: int = 0,
) -> dict[str, Any]:
    """A recipe that trains a skill further.

    Args:
        card: Card of the skill.
        folder: Where its tensors are; None, or a blank skill's, to begin from nothing.
        records: The new records, JSON Lines.
        count: Number of the new records.
        recipe: The recipe that this base's skills for calls are trained by: schedule, and the sources that are
            replayed.
        base: The recipe's `base`.
        seconds: Seconds of the training.
        output: The folder to write to.
        longest: Tokens of a record at most; longer ones are left out.
        seed: Seed of the order and the draws.
    """
    schedule = dict(recipe.get("schedule", {}))
    for name in ("steps", "epochs", "seconds", "validate_every", "save_every", "seed"):
        schedule.pop(name, None)
    own: dict[str, Any] = {"file": str(records), "license": "proprietary", "name": "own runs", "form": "calls"}
    replayed = _replayed(recipe, count, records.parent, seed)
    limit = count if not replayed else round(count / OWN_SHARE)
    data: dict[str, Any] = {"sources": [own], "longest": longest}
    if replayed:
        data |= {"sources": [{**own, "share": OWN_SHARE}, *replayed], "limit": limit}
        data |= {name: recipe["data"][name] for name in ("folder", "on_error") if recipe["data"].get(name)}
    batch = int(schedule.get("batch", 8))
    steps = max(2, math.ceil(EPOCHS * limit / batch))
    begins = folder is not None and not is_blank(card)
    method: Any = recipe.get("method", {"name": "lora", "rank": 8, "alpha": 16})
    if begins:
        options = asdict(method_of(card))  # type: ignore[call-overload]
        method = {"name": card.method, **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}}
        schedule["learning_rate"] = SLOWER * float(schedule.get("learning_rate", 1e-3))
    description = "" if begins else recipe.get("skill", {}).get("description")
    return {
        "base": dict(base),
        "skill": {
            "name": card.name,
            "contract": card.contract,
            "description": description or card.description,
        },
        "data": data,
        "method": method,
        **({"start": str(folder)} if begins else {}),
        "schedule": {
            **schedule,
            "steps": steps,
            "seconds": seconds,
            "validate_every": max(1, steps // 3),
            "save_every": 10,
            "seed": seed,
        },
        "evaluation": {"enabled": False},
        "router": {"enabled": False},
        "output": {"folder": str(output), "register": False},
    }


def replay(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sources of a recipe that can be replayed: frozen ones, and public ones where their folder is known."""
    data = recipe.get("data", {})
    usable = ("frozen", "public") if data.get("folder") else ("frozen",)
    return [dict(source) for source in data.get("sources", ()) if any(name in source for name in usable)]


def _replayed(recipe: Mapping[str, Any], count: int, folder: Path, seed: int) -> list[dict[str, Any]]:
    """The sources that are replayed beside a number of new records, with their shares.

    Only as many frozen records as one epoch uses are sampled and written to the folder, because reading all of them
    would take longer than the training.
    """
    sources = replay(recipe)
    total = sum(source.get("share", 1.0) for source in sources)
    for source in sources:
        source["share"] = (1 - OWN_SHARE) * source.get("share", 1.0) / total
        if frozen := source.pop("frozen", ""):
            name, where = source.get("name", frozen), source.pop("where", {})
            every = (row for _, row in frozen_rows(frozen) if row.get("part", "train") == "train")
            rows = [row for row in every if is_among(row, where)]
            path = folder / f"replay.{name}.jsonl"
            drawn = _drawn(rows, math.ceil(count * source["share"] / OWN_SHARE), f"{seed} {count}")
            write_text(path, "".join(dumps(row) + "\n" for row in drawn))
            source |= {"file": str(path), "license": FROZEN_LICENSE, "name": name}
    return sources


def _drawn(rows: Sequence[Row], wanted: int, seed: str) -> list[Row]:
    """So many rows of a source, `ALIKE` of each assistant; all sources take the assistants in the same order."""
    assistants: dict[str, list[Row]] = {}
    for row in rows:
        first = row["messages"][0]
        system = first["content"] if first["role"] == "system" else ""
        assistants.setdefault(dumps([system, [tool["name"] for tool in row["tools"]]]), []).append(row)
    order = sorted(assistants, key=lambda assistant: generator("replay", seed, assistant).random())
    rng = generator("replay", seed)
    mixed = [rng.sample(assistants[each], len(assistants[each])) for each in order]
    rounds = range(0, max(map(len, mixed), default=0), ALIKE)
    return [row for start in rounds for each in mixed for row in each[start : start + ALIKE]][:wanted]


def inherited(card: Card, before: Card) -> Card:
    """A trained card with the threshold of the skill that it began from, where that has one."""
    return card if before.threshold is None else card.model_copy(update={"threshold": before.threshold})
