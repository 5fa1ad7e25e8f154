"""Asks systems about cases and keeps what they wrote, so that a killed evaluation goes on and shows its errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from loraloop.adapters.training.improve.journal import Lines
from loraloop.tool_schemas.errors import file_errors

C = TypeVar("C")
Row = dict[str, Any]
"""What is kept of a system's output for a case: JSON values, with `system` and `id`."""


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
        with file_errors(f"cannot keep outputs in {path}"):
            self._rows = Lines(path, "system", "id", head=json.dumps(dict(facts), sort_keys=True, default=str))

    def get(self, system: str, identity: str) -> Row | None:
        """The row of a system's output for an example; None if there is none yet."""
        return self._rows.get((system, identity))

    def put(self, system: str, identity: str, **values: Any) -> Row:
        """Stores a system's output for an example; JSON values by name, such as `output` and `seconds`."""
        row = {"system": system, "id": identity, **values}
        self._rows.put(row)
        return row


def evaluate(
    cases: Iterable[C],
    systems: Sequence[str],
    ask: Callable[[C, Sequence[str]], Iterable[tuple[str, Mapping[str, Any]]]],
    cache: OutputCache,
    *,
    identity: Callable[[C, str], str],
    step: Callable[[], None],
) -> dict[str, list[Row]]:
    """The rows of each system, in the order of the cases; those that the cache holds are not asked for again.

    Args:
        cases: What is asked.
        systems: Names of the systems that are compared.
        ask: Given a case and the systems whose rows are missing; gives each one's name and the values of its row.
        cache: Holds the rows.
        identity: Key of a case in the cache, for a system.
        step: Called after each case.
    """
    rows: dict[str, list[Row]] = {name: [] for name in systems}
    for case in cases:
        keys = {name: identity(case, name) for name in systems}
        missing = [name for name in systems if cache.get(name, keys[name]) is None]
        for name, values in ask(case, missing) if missing else ():
            cache.put(name, keys[name], **values)
        for name in systems:
            row = cache.get(name, keys[name])
            assert row is not None  # `ask` gives one for each missing system
            rows[name].append(row)
        step()
    return rows
