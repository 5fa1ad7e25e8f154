"""What a killed run goes on from: written whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from loraloop.adapters.atomic_write import atomic_path, remove_parts
from loraloop.tool_schemas.errors import InputError, file_errors

STATE, BEST, LOG = "state.pt", "best.pt", "log.jsonl"


def writing(path: Path) -> AbstractContextManager[None]:
    """Turns what the system says, a full disk, into an InputError that says how to go on."""
    return file_errors(f"cannot write {path}", "; make room and begin again: it goes on from the last checkpoint")


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Has a folder for one training. The lock is the process's: it ends with it, however that ends.

    Raises:
        InputError: Another training has it.
    """
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a file system without locks
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                how = "wait for its end, or give another output.folder"
                raise InputError(f"{folder}: another process trains there: {how}") from None
        yield
    finally:
        os.close(held)


def write(content: Any, path: Path) -> None:
    """Writes whole or not at all, and on the disk before the name is taken; removes what killed runs left half written.

    Raises:
        InputError: if the disk does not take it.
    """
    remove_parts(path.parent, ".*.part")
    with writing(path), atomic_path(path) as part, open(part, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # of a full disk torch may say only "unexpected pos"
            raise OSError(str(error)) from error
        file.flush()
        os.fsync(file.fileno())


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
