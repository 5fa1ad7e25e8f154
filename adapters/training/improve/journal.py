"""What an improvement has done so far, on disk, so that one that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from time import monotonic
from typing import Any

from loraloop.adapters.atomic_write import write_text
from loraloop.tool_schemas.errors import InputError


class Lines(dict[Any, dict[str, Any]]):
    """Rows by their keys, appended to a JSON Lines file. A line that a kill cut short is dropped when it is read.

    Args:
        path: The file; its folder is made. Where None, the rows stay in memory.
        keys: Fields of a row that are its key; of several, their tuple is.
        head: The file's first line, which says what the rows depend on; none where empty.

    Raises:
        InputError: The file has another first line, or is damaged.
    """

    def __init__(self, path: Path | None, *keys: str, head: str = "") -> None:
        self._path, self._key = path, itemgetter(*(keys or ("id",)))
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        whole = data.split(b"\n")[:-1] or ([head.encode()] if head else [])
        if head and whole[0] != head.encode():
            raise InputError(f"{path} holds outputs of another evaluation: give another file, or remove it")
        for number, line in enumerate(whole[1 if head else 0 :], 2 if head else 1):
            try:
                row = json.loads(line)
                self[self._key(row)] = row
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}:{number} is damaged ({error}): remove that line, or the file") from None
        if (written := b"".join(line + b"\n" for line in whole)) != data:
            write_text(path, written.decode())

    def put(self, row: dict[str, Any]) -> None:
        """Adds a row, JSON data with the fields of the key."""
        self[self._key(row)] = row
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


class ImproveJournal:
    """The order of an improvement and its finished rounds, in `journal.json`.

    Args:
        folder: Where everything is written to.
        order: What is asked for. Another order in the same folder is refused, but for what `may_change`.

    Attributes:
        rounds: Finished rounds, JSON data.
        facts: What was measured before the first round.

    Raises:
        InputError: The folder is another improvement's, or its journal is damaged.
    """

    may_change = frozenset({"minutes"})

    def __init__(self, folder: Path, order: Mapping[str, Any]) -> None:
        self.folder, self.order = folder, json.loads(json.dumps(dict(order)))
        self.path = folder / "journal.json"
        self.rounds: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self._before, self._start = 0.0, monotonic()
        if self.path.exists():
            try:
                known = json.loads(self.path.read_text(encoding="utf-8"))
                before = dict(known["order"])
                self.rounds, self.facts, self._before = known["rounds"], known["facts"], known["seconds"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self.path} is damaged ({error}): remove {folder}, or give another --out") from None
            changed = [
                name
                for name in sorted({*self.order, *before} - self.may_change)
                if self.order.get(name) != before.get(name)
            ]
            if changed:
                other = " and ".join(changed)
                raise InputError(
                    f"{folder} holds an improvement with another {other}: remove it, or give another --out"
                )

    @property
    def seconds(self) -> float:
        """Spent so far, over all resumptions."""
        return self._before + monotonic() - self._start

    def write(self) -> None:
        """Writes it down; call it after each piece of work."""
        document = {"order": self.order, "seconds": round(self.seconds, 1), "facts": self.facts, "rounds": self.rounds}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
