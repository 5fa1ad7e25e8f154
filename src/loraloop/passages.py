"""Passages from a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.skill.contracts import Passage


def read_passages(file: Path | None) -> list[Passage]:
    """The passages of a JSON file; none where there is no file.

    Raises:
        InputError: The file cannot be read or holds something else; the message names the place.
    """
    from loraloop.adapters.skill.contracts import Passage

    if file is None:
        return []
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the passages file {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"the passages file {file} is no valid JSON: {error}") from error
    wanted = 'give a JSON list of {"id": …, "text": …, "title": …}, the title optional'
    if not isinstance(entries, list):
        raise InputError(f"{file}: {wanted}")
    listed = []
    for index, entry in enumerate(entries):
        try:
            listed.append(Passage(**{key: str(value) for key, value in dict(entry).items()}))
        except (TypeError, ValueError) as error:
            raise InputError(f"{file}, passage {index}: {error}; {wanted}") from error
    return listed
