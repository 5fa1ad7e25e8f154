"""Makes steps for the tools skill out of real dialogues.

    git clone https://github.com/google-research-datasets/dstc8-schema-guided-dialogue   # at e852981
    git clone https://github.com/RasaHQ/STAR                                              # at 3058975
    python dialogues.py --sgd dstc8-schema-guided-dialogue --star STAR --held-out DATA/tools --seed 7 --out dialogues.jsonl

The dialogues are SGD with the wordings of SGD-X (CC-BY-SA-4.0) and STAR (MIT); what is made of them is under CC-BY-SA-4.0, and is not part of
this repository. `dialogue_sgd.py` and `dialogue_star.py` say what a step is. Around the steps of a dialogue stand

- its services' tools among up to thirty others, in random order; a third of the lists has names that say nothing;
- for a tenth of the steps a list without the tool that they need: the step is then `[]`;
- instructions with the day on which the dialogue is held.

Steps of one dialogue share their list and their instructions, so that training computes these once. With `--held-out`, no
dialogue, name or description of a tool stands in the `*.eval.jsonl` files of that folder.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import dialogue_sgd as sgd
from dialogue_days import CannotMove, written
from dialogue_tools import ShownTool, mask, plain
from routes import write

from loraloop.adapters.training.data.example import estimate, system_content
from loraloop.adapters.training.data.frozen import read_records
from loraloop.adapters.training.data.overlap import Overlap

Json = dict[str, Any]
T = TypeVar("T")
SHARES = {"call": 0.41, "second": 0.18, "ask": 0.18, "result": 0.06, "talk": 0.07, "absent": 0.10}
"""Parts of the kinds of steps. `absent`: the tool that the step needs is not in the list."""
LONGEST = 1100
"""Tokens of a record, estimated."""
ROLES = (
    "You are a helpful assistant.", "You are a personal assistant that works with tools.", "You help people over chat.",
    "You are the assistant of {name}, a concierge service.", "You work for {name} and do small errands for members.",
    "You help travellers and locals to find and book things.", "You are {name}, a voice assistant.",
    "You assist the customers of {name}.", "Assistant of {name}.", "You take requests at the front desk of {name}.",
    "You are an assistant on a phone.", "You answer the messages that people send to {name}.",
)  # fmt: skip
NAMES = ("Juniper", "Halden", "Oriole", "Pellworm", "Kestrel & Co", "Marlow", "Tansy", "Veridian", "Nimbus Desk", "Corvo")
HABITS = (
    "Answer briefly.", "Be polite.", "Never guess.", "Use the tools where they help.", "Ask if something is missing.",
    "Be brief and friendly.", "Do only what was asked.", "Answer in one or two sentences.",
)  # fmt: skip
DAYS = ("Today is {}.", "Date: {}.", "It is {}.", "The current date is {}.", "Current date: {}.", "Today's date: {}.")


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


def instructions(day: date | None, rng: random.Random) -> str:
    """Who the assistant is and, if it is known, which day it is."""
    role = rng.choice(ROLES).format(name=rng.choice(NAMES))
    parts = [role, *rng.sample(HABITS, rng.choice((0, 0, 1, 1, 2)))]
    if day is not None:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(DAYS).format(written(day, rng)))
    return " ".join(parts)


class Lists:
    """Makes the tool lists of dialogues."""

    def __init__(self, held_out: HeldOut, rng: random.Random) -> None:
        self.held_out, self.rng = held_out, rng

    def named(self, tools: Sequence[ShownTool], others: Sequence[str], used: set[str]) -> bool:
        """Gives tools whose name is held out or taken another one; whether each has one now."""
        for tool, names in zip(tools, others, strict=True):
            free = [name for name in names if plain(name) not in self.held_out.names and plain(name) not in used]
            if plain(tool.name) in self.held_out.names or plain(tool.name) in used:
                if not free:
                    return False
                tool.name = self.rng.choice(free)
            used.add(plain(tool.name))
        return True


class SgdMaker:
    """Makes rows out of SGD's dialogues."""

    def __init__(self, folder: Path, held_out: HeldOut, rng: random.Random) -> None:
        self.held_out, self.rng, self.lost = held_out, rng, Counter[str]()
        self.dialogues = list(sgd.read_dialogues(folder))
        self.services = sgd.services_of(folder, self.dialogues)
        self.wordings = {
            name: sgd.wordings(self.services, name, held_out.descriptions)
            for name in self.services.schemas
            if name in self.services.own or 0 in sgd.wordings(self.services, name, held_out.descriptions)
        }

    def rows(self) -> Iterator[list[Json]]:
        """The rows of each dialogue, in random order."""
        self.rng.shuffle(self.dialogues)
        for dialogue in self.dialogues:
            try:
                yield self._rows(dialogue)
            except CannotMove:
                self.lost["days in other words"] += 1

    def _rows(self, dialogue: Json) -> list[Json]:
        if not all(self.wordings.get(service) for service in dialogue["services"]):
            self.lost["service held out"] += 1
            return []
        move = sgd.move_of(dialogue, self.rng)
        shown = self._tools(dialogue["services"])
        if shown is None:
            self.lost["names held out"] += 1
            return []
        own, more, look = shown
        told = sgd.Teller(self.services, own, move, self.rng).tell(dialogue)
        self.lost.update(told.lost)
        dated = any(argument.form == "YYYY-MM-DD" for tool in own for argument in tool.arguments.values())
        head = instructions(move.today if dated or self.rng.random() < 0.5 else None, self.rng)
        found = []
        tools = _shuffled([*own, *more], self.rng)
        for step in told.steps:
            found.append(_row(step.kind, head, told.messages[: step.at], [look(t) for t in tools], step.completion))
        if absent := self._absent(told, own, more):
            step, left = absent
            shuffled = [look(tool) for tool in _shuffled(left, self.rng)]
            found.append(_row("absent", head, told.messages[: step.at], shuffled, []))
        rows = [{"source": f"sgd {dialogue['dialogue_id']}", **row} for row in found if fits(row)]
        self.lost["too long"] += len(found) - len(rows)
        return rows

    def _tools(
        self, present: Sequence[str]
    ) -> tuple[list[ShownTool], list[ShownTool], Callable[[ShownTool], Json]] | None:
        """The tools of a dialogue's services, other tools, and how all are shown."""
        rng = self.rng
        style = rng.choice((("snake", "snake"), ("camel", "camel"), ("pascal", "snake"), ("snake", "snake")))
        masked = rng.random() < 1 / 3
        most = rng.choice((0, rng.randrange(1, 9), rng.randrange(4, 13), rng.randrange(8, 17), rng.randrange(16, 31)))
        described = rng.random() < 0.8 and most < 16
        masked = masked and (described or most < 16)
        defaults, dates = rng.random() < 0.5, rng.choice(("format", "description"))
        budget, used = rng.randrange(450, 950), set[str]()

        def look(tool: ShownTool) -> Json:
            return tool.schema(described, dates)

        def of(service: str) -> list[ShownTool] | None:
            tools = sgd.shown_tools(self.services, service, rng.choice(self.wordings[service]), *style, defaults)
            names = [sgd.worded_names(self.services, tool.key, style[0]) for tool in tools]
            return tools if Lists(self.held_out, rng).named(tools, names, used) else None

        own: list[ShownTool] = []
        for service in present:
            if (made := of(service)) is None:
                return None
            own += made
        more: list[ShownTool] = []
        spent = estimate(system_content("", [look(tool) for tool in own]))
        others = [name for name in sgd.strangers(self.services, present) if self.wordings.get(name)]
        kinds: set[str] = set()
        for service in _shuffled(others, rng):
            kind = service.split("_")[0]
            for tool in (of(service) or ()) if kind not in kinds else ():
                size = estimate(system_content("", [look(tool)])) - 30
                if len(own) + len(more) < most and spent + size < budget:
                    more.append(tool)
                    spent += size
            kinds.add(kind)
        if masked:
            names, arguments = rng.choice(((True, True), (True, False), (False, True))) if described else (True, False)
            mask([*own, *more], rng, names, arguments)
        return own, more, look

    def _absent(
        self, told: sgd.Conversation, own: Sequence[ShownTool], more: Sequence[ShownTool]
    ) -> tuple[sgd.Step, list[ShownTool]] | None:
        """A step whose tool is not in the list, and that list: nothing that was called before is missing from it."""
        choices = []
        called, wanted = set[str](), set[str]()
        for step in told.steps:
            if step.kind == "result":
                called.add(step.tool)
            if step.kind not in ("call", "second", "ask") or step.tool in wanted:
                continue
            wanted.add(step.tool)
            tool = next(tool for tool in own if tool.key == step.tool)
            service = tool.key.split(".")[0]
            before = any(key.split(".")[0] == service for key in called)
            gone = {tool.key} if before and not tool.searches else {t.key for t in own if t.key.split(".")[0] == service}
            left = [t for t in (*own, *more) if t.key not in gone]
            if not gone & called and left:
                choices.append((step, left))
        return self.rng.choice(choices) if choices else None


def _row(kind: str, head: str, messages: Sequence[Json], tools: Sequence[Json], completion: Any) -> Json:
    system = [{"role": "system", "content": head}]
    return {"kind": kind, "messages": [*system, *messages], "tools": list(tools), "calls": completion}


def _shuffled(items: Iterable[T], rng: random.Random) -> list[T]:
    drawn = list(items)
    rng.shuffle(drawn)
    return drawn


def fits(row: Json) -> bool:
    """Whether a row is short enough to be trained on."""
    texts = [message["content"] for message in row["messages"][1:]]
    said = json.dumps(row["calls"], separators=(",", ":"))
    return estimate(system_content(row["messages"][0]["content"], row["tools"]), *texts, said) <= LONGEST


def chosen(groups: Iterable[list[Json]], count: int, held_out: HeldOut, rng: random.Random) -> list[list[Json]]:
    """Dialogues with the steps that are taken of each, so that the kinds have their shares of `count`."""
    left = {kind: round(count * share) for kind, share in SHARES.items()}
    found = []
    for rows in groups:
        taken: list[Json] = []
        talk = [row for row in rows if row["kind"] in ("result", "talk")]
        spared = {id(row) for row in rng.sample(talk, max(0, len(talk) - 1))}
        for row in rows:
            if left[row["kind"]] > 0 and id(row) not in spared:
                said = "\n".join(message["content"] for message in row["messages"] if message["role"] == "user")
                if held_out.requests.near(said) is None:
                    taken.append(row)
                    left[row["kind"]] -= 1
        if taken:
            found.append(taken)
        if not any(left.values()):
            break
    return found


def parted(groups: list[list[Json]], valid: int, rng: random.Random) -> list[Json]:
    """The rows with their parts: whole dialogues for validation, and no first request in both parts."""
    rng.shuffle(groups)
    rows: list[Json] = []
    firsts: dict[str, str] = {}
    for group in groups:
        first = next(m["content"] for m in group[0]["messages"] if m["role"] == "user")
        part = firsts.setdefault(first, "valid" if valid > 0 else "train")
        valid -= len(group) if part == "valid" else 0
        rows += [{**row, "part": part} for row in group]
    return rows


def table(rows: Sequence[Json]) -> str:
    """How many steps of each kind there are, by source."""
    counts = defaultdict[str, Counter[str]](Counter)
    for row in rows:
        counts[row["kind"]][row["source"].split()[0]] += 1
    lines = ["| kind | SGD | STAR |", "|---|--:|--:|"]
    lines += [f"| {kind} | {counts[kind]['sgd']:,} | {counts[kind]['star']:,} |" for kind in SHARES]
    return "\n".join(lines)


def main() -> None:
    """Writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sgd", type=Path)
    parser.add_argument("--star", type=Path)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, nargs=2, default=(12000, 5000), help="of SGD and of STAR")
    parser.add_argument("--valid", type=int, default=300)
    given = parser.parse_args()
    held_out, groups = HeldOut.read(given.held_out), []
    if given.sgd:
        maker = SgdMaker(given.sgd, held_out, random.Random(f"sgd {given.seed}"))
        groups += chosen(maker.rows(), given.steps[0], held_out, random.Random(f"choice {given.seed}"))
        print("left out:", dict(maker.lost))
    rows = parted(groups, given.valid, random.Random(f"parts {given.seed}"))
    write(given.out, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
