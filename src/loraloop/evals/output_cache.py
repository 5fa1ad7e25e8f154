"""The outputs of evaluated systems in a file, so that a killed evaluation goes on and its errors can be looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraloop.tool_schemas.errors import InputError


class OutputCache:
    """Outputs by system and example, appended to a JSON Lines file; without a file they stay in memory.

    Args:
        path: The file; what it holds already is read. A line that a kill cut short is dropped.
        facts: What the outputs depend on (base, skill's sha256, files …): the file's first line. A file of other facts
            is refused, since its outputs would be taken for this run's.

    Raises:
        InputError: the file belongs to another evaluation, or cannot be read.
    """

    def __init__(self, path: Path | None, facts: Mapping[str, Any]) -> None:
        self._found: dict[tuple[str, str], dict[str, Any]] = {}
        self._path = path
        if path is None:
            return
        head = json.dumps(dict(facts), sort_keys=True, default=str)
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(head + "\n", encoding="utf-8")
                return
            first, *lines = path.read_text(encoding="utf-8").split("\n")
        except OSError as error:
            raise InputError(f"cannot keep outputs in {path}: {error.strerror or error}") from None
        if not lines:  # killed before the first line was whole
            first, lines = head, ["cut"]
        if first != head:
            raise InputError(f"{path} holds outputs of another evaluation: give another file, or remove it")
        whole = lines[:-1]  # what follows the last line break was cut short
        for line in whole:
            row = json.loads(line)
            self._found[row["system"], row["id"]] = row
        if lines[-1:] != [""]:
            path.write_text("".join(line + "\n" for line in [first, *whole]), encoding="utf-8")

    def get(self, system: str, identity: str) -> dict[str, Any] | None:
        """The row of a system's output for an example; None if there is none yet."""
        return self._found.get((system, identity))

    def put(self, system: str, identity: str, **values: Any) -> dict[str, Any]:
        """Stores a system's output for an example; JSON values by name, such as `output` and `seconds`."""
        row = {"system": system, "id": identity, **values}
        self._found[system, identity] = row
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return row
