"""What an improvement has done so far, on disk, so that one that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from loraloop.adapters.atomic_write import write_text
from loraloop.tool_schemas.errors import InputError


class Lines:
    """Rows by their ids, appended to a JSON Lines file. A line that a kill cut short is dropped when it is read.

    Args:
        path: The file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        for line in text.split("\n")[:-1]:
            row = json.loads(line)
            self._rows[row["id"]] = row
        if text and not text.endswith("\n"):
            write_text(path, text[: text.rfind("\n") + 1])

    def __contains__(self, identity: str) -> bool:
        return identity in self._rows

    def __getitem__(self, identity: str) -> dict[str, Any]:
        return self._rows[identity]

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, row: dict[str, Any]) -> None:
        """Adds a row, JSON data with an `id`."""
        self._rows[row["id"]] = row
        with self.path.open("a", encoding="utf-8") as file:
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
        InputError: The folder is another improvement's.
    """

    may_change = frozenset({"minutes"})

    def __init__(self, folder: Path, order: Mapping[str, Any]) -> None:
        self.folder, self.order = folder, json.loads(json.dumps(dict(order)))
        self.path = folder / "journal.json"
        self.rounds: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self._before, self._start = 0.0, monotonic()
        if self.path.exists():
            known = json.loads(self.path.read_text(encoding="utf-8"))
            changed = [
                name
                for name in sorted({*self.order, *known["order"]} - self.may_change)
                if self.order.get(name) != known["order"].get(name)
            ]
            if changed:
                other = " and ".join(changed)
                raise InputError(
                    f"{folder} holds an improvement with another {other}: remove it, or give another --out"
                )
            self.rounds, self.facts, self._before = known["rounds"], known["facts"], known["seconds"]
        folder.mkdir(parents=True, exist_ok=True)
        self.write()

    @property
    def seconds(self) -> float:
        """Spent so far, over all resumptions."""
        return self._before + monotonic() - self._start

    def write(self) -> None:
        """Writes it down; call it after each piece of work."""
        document = {"order": self.order, "seconds": round(self.seconds, 1), "facts": self.facts, "rounds": self.rounds}
        write_text(self.path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
