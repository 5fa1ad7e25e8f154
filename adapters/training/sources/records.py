"""Reading source files, splitting them and drawing from them, the same way every time."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from loraloop.tool_schemas.errors import InputError

T = TypeVar("T")
VALID_PERCENT = 6
"""Share of the train files' groups that is kept out of training for validation."""


@lru_cache(maxsize=64)
def read_records(path: Path) -> tuple[dict[str, Any], ...]:
    """Records of a JSON-lines file, in file order.

    Raises:
        InputError: The file is not there.
    """
    if not path.is_file():
        raise InputError(f"no data file {path}: pass the folder that holds tools/, code/, retrieval/ and safety/")
    with path.open(encoding="utf-8") as lines:
        return tuple(json.loads(line) for line in lines if line.strip())


def in_valid(group: str, percent: int = VALID_PERCENT) -> bool:
    """Whether a group of records belongs to the validation part; depends on its name alone."""
    digest = hashlib.blake2b(group.encode(), digest_size=4).digest()
    return int.from_bytes(digest) % 100 < percent


def generator(*parts: object) -> random.Random:
    """A random generator that depends on these values alone."""
    text = "\x1f".join(str(part) for part in parts)
    return random.Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))


def endless(items: Sequence[T], rng: random.Random) -> Iterator[T]:
    """The items again and again, in a new order each time."""
    if not items:
        return
    order = list(items)
    while True:
        rng.shuffle(order)
        yield from order
