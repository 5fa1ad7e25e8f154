"""Lists of tools around the steps of a dialogue, and the rows that are made of both."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from dialogue_days import ISO, written
from dialogue_tools import ShownTool, mask, plain

from loraloop.adapters.training.data.example import estimate, system_content
from loraloop.adapters.training.data.frozen import read_records
from loraloop.adapters.training.data.overlap import Overlap
from loraloop.agent.dates.resolve import date_note, resolve_dates

Json = dict[str, Any]
T = TypeVar("T")
LONGEST = 1100
"""Tokens of a record, estimated."""
LEAST = 30
"""Tokens that a tool takes at least, about."""
MOST_ASKED = 4
"""The most arguments that are asked for at once (`loraloop.tool_schemas.tools.calls`)."""
ROLES = (
    "You are a helpful assistant.", "You are a personal assistant that works with tools.", "You help people over chat.",
    "You are the assistant of {name}, a concierge service.", "You work for {name} and do small errands for members.",
    "You help travellers and locals to find and book things.", "You are {name}, a voice assistant.",
    "You assist the customers of {name}.", "Assistant of {name}.", "You take requests at the front desk of {name}.",
    "You are an assistant on a phone.", "You answer the messages that people send to {name}.",
)  # fmt: skip
NAMES = (
    "Juniper",
    "Halden",
    "Oriole",
    "Pellworm",
    "Kestrel & Co",
    "Marlow",
    "Tansy",
    "Veridian",
    "Nimbus Desk",
    "Corvo",
)
HABITS = (
    "Answer briefly.", "Be polite.", "Never guess.", "Use the tools where they help.", "Ask if something is missing.",
    "Be brief and friendly.", "Do only what was asked.", "Answer in one or two sentences.",
)  # fmt: skip
NOTED = 0.9
"""Share of the dialogues that have notes of what their days mean, as runs have them unless they are switched off."""
DAYS = ("Today is {}.", "Date: {}.", "It is {}.", "The current date is {}.", "Current date: {}.", "Today's date: {}.")


@dataclass(slots=True)
class Step:
    """A step of a dialogue.

    Attributes:
        kind: `call`, `second` (with a value of an earlier result), `ask`, `result` (after one) or `talk`.
        at: How many messages come before it.
        tool: The key of the tool that it is about, if it is about one.
        completion: The calls, or what is asked for.
    """

    kind: str
    at: int
    tool: str
    completion: Any


@dataclass(slots=True)
class Conversation:
    """A dialogue as messages, with its steps.

    Attributes:
        messages: Messages of the user, the assistant and the tools.
        steps: What the tools skill writes.
        today: The day on which it is held, if days matter.
    """

    messages: list[Json] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    today: date | None = None

    @property
    def text(self) -> str:
        """Everything that stands in the conversation, in lower case."""
        return "\n".join(message["content"] for message in self.messages).lower()


def noted(told: Conversation) -> Conversation:
    """A conversation with a note of the runtime before each message of the user that speaks of days.

    A step is left out if its call has a day that the conversation does not name although notes explain what the user
    said last: there the notes say something else.
    """
    if told.today is None:
        return told
    messages: list[Json] = []
    places = [0]
    for message in told.messages:
        if message["role"] == "user" and (note := date_note(resolve_dates(message["content"], told.today))):
            messages.append({"role": "system", "content": note})
        messages.append(message)
        places.append(len(messages))
    steps = [replace(step, at=places[step.at]) for step in told.steps]
    return Conversation(messages, [step for step in steps if _agrees(step, messages[: step.at])], told.today)


def _agrees(step: Step, before: Sequence[Json]) -> bool:
    days = set(ISO.findall(compact(step.completion)))
    users = [place for place, message in enumerate(before) if message["role"] == "user"][-2:]
    explained = any(place and before[place - 1]["role"] == "system" for place in users)
    return not explained or days <= set(ISO.findall("\n".join(message["content"] for message in before)))


@dataclass(slots=True)
class HeldOut:
    """What evaluation records show: names and descriptions of tools, without case and marks, and requests."""

    names: set[str] = field(default_factory=set)
    descriptions: set[str] = field(default_factory=set)
    requests: Overlap = field(default_factory=lambda: Overlap(()))

    @classmethod
    def read(cls, folder: Path | None) -> HeldOut:
        """Reads the evaluation files of a folder; nothing is held out without one."""
        found, texts = cls(), []
        for path in sorted(folder.rglob("*.eval.jsonl")) if folder else ():
            for row in read_records(path):
                for tool in row.get("tools") or ():
                    found.names.add(plain(tool["name"]))
                    found.descriptions.add(plain(tool.get("description") or ""))
                said = [m["content"] for m in row.get("messages") or () if m["role"] == "user"]
                texts.append("\n".join(said))
        found.descriptions.discard("")
        found.requests = Overlap(text for text in texts if text)
        return found


@dataclass(slots=True)
class Look:
    """How the tools of a list are shown.

    Attributes:
        styles: Styles of the names of tools and of arguments.
        most: How many tools there are at most, those that the dialogue needs not counted.
        budget: Tokens of the list, estimated.
        described: Whether arguments have descriptions.
        dates: Where the form of a day is told: `format` or `description`.
        defaults: Whether the schemas' defaults are shown.
        masked: Whether the names of tools, and whether those of arguments say nothing.
    """

    styles: tuple[str, str]
    most: int
    budget: int
    described: bool
    dates: str
    defaults: bool
    masked: tuple[bool, bool]

    @classmethod
    def drawn(cls, rng: random.Random) -> Look:
        """A random look: a third is masked; long lists and one in five of the others have no descriptions."""
        most = rng.choice((0, rng.randrange(1, 9), rng.randrange(4, 13), rng.randrange(8, 17), rng.randrange(16, 31)))
        described = rng.random() < 0.8 and most < 16
        masked = (False, False)
        if rng.random() < 1 / 3:
            masked = rng.choice(((True, True), (True, False), (False, True))) if described else (True, False)
        styles = rng.choice((("snake", "snake"), ("camel", "camel"), ("pascal", "snake"), ("snake", "snake")))
        dates = rng.choice(("format", "description"))
        return cls(styles, most, rng.randrange(450, 950), described, dates, rng.random() < 0.5, masked)

    def schema(self, tool: ShownTool) -> Json:
        """A tool as records hold it."""
        return tool.schema(self.described, self.dates)


Group = Callable[[Sequence[str], Look], list[tuple[ShownTool, list[str]]]]
"""Makes the tools of some services, each with its names in other wordings."""


class Lists:
    """Makes tool lists, and rows out of conversations.

    Attributes:
        held_out: What must not stand in rows.
        rng: Draws everything.
        too_long: How many rows were left out since they are longer than `LONGEST`.
    """

    def __init__(self, held_out: HeldOut, rng: random.Random) -> None:
        self.held_out, self.rng, self.too_long = held_out, rng, 0

    def tools(
        self,
        own: Sequence[tuple[ShownTool, list[str]]],
        strangers: Iterable[Sequence[tuple[ShownTool, list[str]]]],
        look: Look,
    ) -> tuple[list[ShownTool], list[ShownTool]] | None:
        """The tools of a dialogue and others beside them; None where all names of one are held out or taken.

        Args:
            own: The dialogue's tools, with their names in other wordings.
            strangers: Groups of others, of one kind each.
            look: How they are shown.
        """
        used: set[str] = set()
        if not all(self._named(tool, names, used) for tool, names in own):
            return None
        kept = [tool for tool, _ in own]
        more: list[ShownTool] = []
        spent = estimate(system_content("", [look.schema(tool) for tool in kept]))
        for tool, names in chain.from_iterable(strangers):
            if len(kept) + len(more) >= look.most or spent >= look.budget - LEAST:
                break
            size = estimate(system_content("", [look.schema(tool)])) - 30
            if spent + size < look.budget and self._named(tool, names, used):
                more.append(tool)
                spent += size
        mask([*kept, *more], self.rng, *look.masked)
        return kept, more

    def _named(self, tool: ShownTool, names: Sequence[str], used: set[str]) -> bool:
        """Gives a tool whose name is held out or taken another one; whether it has one now."""
        taken = self.held_out.names | used
        if plain(tool.name) in taken:
            free = [name for name in names if plain(name) not in taken]
            if not free:
                return False
            tool.name = self.rng.choice(free)
        used.add(plain(tool.name))
        return True

    def rows(
        self, source: str, told: Conversation, own: Sequence[ShownTool], more: Sequence[ShownTool], look: Look
    ) -> list[Json]:
        """The rows of a dialogue: its steps under one list, and a step whose tool is not in the list."""
        told = noted(told) if self.rng.random() < NOTED else told
        head = self._instructions(told.today)
        tools = [look.schema(tool) for tool in self._shuffled([*own, *more])]
        found = [_row(s.kind, head, told.messages[: s.at], tools, s.completion) for s in told.steps]
        if absent := self._absent(told, own, more):
            step, left = absent
            tools = [look.schema(tool) for tool in self._shuffled(left)]
            found.append(_row("absent", head, told.messages[: step.at], tools, []))
        rows = [{"source": source, **row} for row in found if fits(row)]
        self.too_long += len(found) - len(rows)
        return rows

    def _instructions(self, day: date | None) -> str:
        """Who the assistant is and, if it is known, which day it is."""
        rng = self.rng
        parts = [rng.choice(ROLES).format(name=rng.choice(NAMES)), *rng.sample(HABITS, rng.choice((0, 0, 1, 1, 2)))]
        if day is not None:
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(DAYS).format(written(day, rng)))
        return " ".join(parts)

    def _absent(
        self, told: Conversation, own: Sequence[ShownTool], more: Sequence[ShownTool]
    ) -> tuple[Step, list[ShownTool]] | None:
        """The first step of a tool, and a list without that tool: nothing that was called before is missing from it.

        Without a search the whole service is gone, since its other tools could be meant; without another tool the
        search stays where it was called before.
        """
        choices = []
        called, wanted = set[str](), set[str]()
        for step in told.steps:
            if step.kind == "result":
                called.add(step.tool)
            if step.kind not in ("call", "second", "ask") or step.tool in wanted:
                continue
            wanted.add(step.tool)
            tool = next(tool for tool in own if tool.key == step.tool)
            before = any(key.split(".")[0] == tool.service for key in called)
            gone = {tool.key} if before and not tool.searches else {t.key for t in own if t.service == tool.service}
            left = [t for t in (*own, *more) if t.key not in gone]
            if not gone & called and left:
                choices.append((step, left))
        return self.rng.choice(choices) if choices else None

    def _shuffled(self, items: Iterable[T]) -> list[T]:
        drawn = list(items)
        self.rng.shuffle(drawn)
        return drawn


def _row(kind: str, head: str, messages: Sequence[Json], tools: Sequence[Json], completion: Any) -> Json:
    system = [{"role": "system", "content": head}]
    return {"kind": kind, "messages": [*system, *messages], "tools": list(tools), "calls": completion}


def fits(row: Json) -> bool:
    """Whether a row is short enough to be trained on."""
    texts = [message["content"] for message in row["messages"][1:]]
    said = compact(row["calls"])
    return estimate(system_content(row["messages"][0]["content"], row["tools"]), *texts, said) <= LONGEST


def compact(value: Any) -> str:
    """JSON as transcripts hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
