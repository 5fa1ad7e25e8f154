"""Files of training records that grow while runs go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from loraloop.improve.states import State
from loraloop.tool_schemas.jsontext import dumps


class RecordFile:
    """A new JSON Lines file to which the records of runs are added, each once.

    Args:
        path: The file; one that is there is replaced.
        contract: Which records are taken: `calls`, or `text`.

    Attributes:
        counts: Records by why they were taken.
    """

    def __init__(self, path: Path, contract: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
        self.path, self.contract = path, contract
        self.counts: Counter[str] = Counter()
        self._known: set[str] = set()

    def add(self, states: Iterable[State]) -> None:
        """Adds the records of a run's states that say something new."""
        rows = []
        for state in states:
            key = dumps({name: value for name, value in state.record.items() if name != "origin"})
            if state.contract == self.contract and key not in self._known:
                self._known.add(key)
                self.counts[state.why] += 1
                rows.append(dumps(state.record) + "\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(rows))
