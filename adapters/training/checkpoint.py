"""What a killed run goes on from: written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from loraloop.adapters.atomic_write import atomic_path
from loraloop.tool_schemas.errors import InputError

STATE, BEST, LOG = "state.pt", "best.pt", "log.jsonl"


def write(content: Any, path: Path) -> None:
    """Writes whole or not at all, and on the disk before the name is taken.

    Raises:
        InputError: The disk is full, or cannot be written to.
    """
    try:
        with atomic_path(path) as part, open(part, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # of a full disk torch may say only "unexpected pos"
        raise InputError(f"cannot write {path} ({error}): make room, and give the same command again") from error


def read(path: Path) -> Any:
    """Reads what `write` wrote; None if there is nothing.

    Raises:
        InputError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise InputError(f"{path} is damaged ({error}): delete its folder, or give another one") from error


def cut_log(folder: Path, size: int | None) -> None:
    """Forgets what the log says after a checkpoint, since those steps are done again."""
    path = folder / LOG
    if size is not None and path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
