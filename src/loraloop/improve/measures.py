"""What a skill is measured by: requests of worlds that were held out, and old records that were held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.training.data.frozen import frozen_rows
from loraloop.adapters.training.data.readers import Reading, records_of
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.adapters.training.improve.document import replay
from loraloop.adapters.training.improve.journal import Lines
from loraloop.adapters.training.improve.keep import Change
from loraloop.adapters.training.recipe.gather import generator
from loraloop.improve.agents import RequestInWorld, WorldRun, ask_all

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.agent import Runtime

MOST_TOKENS = 384
"""Most tokens of one step that is measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured results of a skill.

    Attributes:
        held_out: Whether each held-out case came right, by its id.
        others: Whether each record of the other sources came right, by source.
        kinds: The kind of each held-out case.
    """

    held_out: Mapping[str, bool]
    others: Mapping[str, Mapping[str, bool]]
    kinds: Mapping[str, str] = field(default_factory=dict)


def frozen_records(recipe: Mapping[str, Any], contract: str, count: int, header: str) -> dict[str, list[Record]]:
    """Validation records of the frozen sources of a recipe, so many of each, by the source's name.

    Args:
        recipe: The recipe whose sources are read.
        contract: What the steps write.
        count: Records of each source.
        header: Stands above the tools of a transcript; see `Prompting.tools_header`.
    """
    found: dict[str, list[Record]] = {}
    for name in dict.fromkeys(source["frozen"] for source in replay(recipe) if "frozen" in source):
        rows = [(line, row) for line, row in frozen_rows(name) if row.get("part") == "valid"]
        rows = generator("measured", name).sample(rows, min(count, len(rows)))
        how = Reading(contract, source=name, header=header)
        if rows:
            found[f"{name} records"] = [
                record for line, row in rows for record in records_of(row, how, RecordPlace(name, line))
            ]
    return found


def measure_requests(
    runtime: Runtime, requests: Sequence[RequestInWorld], done: Lines, *, documents: bool, each: Callable[[], None]
) -> dict[str, dict[str, Any]]:
    """Asks requests greedily, but for those that were asked before; rows by id.

    Args:
        runtime: Base, skills and router; the skill that is measured is among them.
        requests: Worlds and held-out requests.
        done: Rows of the requests that were asked before; the new ones are added as they end.
        documents: Whether the assistant has the worlds' documents.
        each: Called after each request that was asked.
    """
    left = [(world, request) for world, request in requests if f"{world.name}/{request.id}" not in done]

    def keep(run: WorldRun) -> None:
        done.put({name: run.row[name] for name in ("id", "kind", "right", "why", "seconds")})
        each()

    ask_all(runtime, left, documents=documents, each=keep)
    return {f"{world.name}/{request.id}": done[f"{world.name}/{request.id}"] for world, request in requests}


def by_world(requests: Sequence[RequestInWorld], before: Mapping[str, bool], after: Mapping[str, bool]) -> list[Change]:
    """How a skill changed in each world, where there are several: one may fall while all of them together rise.

    Args:
        requests: Worlds and held-out requests.
        before: Whether each request came right with the old skill, by id.
        after: The same with the new skill.
    """
    worlds: dict[str, list[str]] = {}
    for world, request in requests:
        worlds.setdefault(world.name, []).append(f"{world.name}/{request.id}")
    if len(worlds) < 2:
        return []
    return [
        Change.of(f"world {name}", [before[key] for key in keys], [after[key] for key in keys])
        for name, keys in worlds.items()
    ]


def measure_records(
    base: Base, skill: Skill | Path, records: Sequence[Record], done: Lines, *, each: Callable[[], None]
) -> dict[str, bool]:
    """Whether the skill writes the right step after each record's messages; those that were measured are not again.

    Args:
        base: The base that serves the skill.
        skill: The skill, or its folder.
        records: Held-out records; each has the step that is right.
        done: Rows of the records that were measured before; the new ones are added as they end.
        each: Called after each record that was measured.

    Returns:
        By the place of each record, whether the step was right.
    """
    from loraloop.adapters.training.scoring.score import right
    from loraloop.evals.bench import Bench, term_of

    bench = None
    for record in records:
        if str(record.place) in done:
            continue
        bench = bench or Bench(base, skill, MOST_TOKENS)
        term = term_of(base, record, asks=bench.asks)
        text = bench.write(record.messages, term, extra_prompt=record.extra_prompt).text
        done.put({"id": str(record.place), "right": right(record, text)})
        each()
    return {str(record.place): done[str(record.place)]["right"] for record in records}
