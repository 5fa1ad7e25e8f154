"""Makes steps for the tools skill out of real dialogues.

    git clone https://github.com/google-research-datasets/dstc8-schema-guided-dialogue   # at e852981
    git clone https://github.com/RasaHQ/STAR                                              # at 3058975
    python dialogues.py --sgd dstc8-schema-guided-dialogue --star STAR --held-out DATA --seed 7 --out dialogues.jsonl

The dialogues are those of SGD, with the wordings of SGD-X (CC-BY-SA-4.0), and of STAR (MIT). What is made of them is
under CC-BY-SA-4.0 and no part of this repository. `dialogue_sgd.py` and `dialogue_star.py` say what a step is. Around
the steps of a dialogue stand

- its services' tools among up to thirty others, in random order; a third of the lists has names that say nothing;
- for a tenth of the steps a list without the tool that they need: the step is then `[]`;
- instructions with the day on which the dialogue is held, and the runtime's notes of what the user's days mean.

Steps of one dialogue share their list and their instructions, so that training computes these once. With `--held-out`,
no dialogue, name or description of a tool stands in the `*.eval.jsonl` files of that folder.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dialogue_sgd as sgd
import dialogue_star as star
from dialogue_days import CannotMove
from dialogue_lists import HeldOut, Lists, Look
from dialogue_tools import ShownTool
from routes import write

Json = dict[str, Any]
SHARES = {"call": 0.41, "second": 0.18, "ask": 0.18, "result": 0.06, "talk": 0.07, "absent": 0.10}
"""Parts of the kinds of steps. `absent`: the tool that the step needs is not in the list."""


class SgdMaker:
    """Makes rows out of SGD's dialogues."""

    def __init__(self, folder: Path, held_out: HeldOut, rng: random.Random) -> None:
        self.lists, self.rng, self.lost = Lists(held_out, rng), rng, Counter[str]()
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
        present = dialogue["services"]
        if not all(self.wordings.get(service) for service in present):
            self.lost["service held out"] += 1
            return []
        look, move = Look.drawn(self.rng), sgd.move_of(dialogue, self.rng)
        own = [pair for service in present for pair in self._worded(service, look)]
        drawn = self.lists.tools(own, self._strangers(present, look), look)
        if drawn is None:
            self.lost["names held out"] += 1
            return []
        teller = sgd.Teller(self.services, drawn[0], move, self.rng)
        told = teller.tell(dialogue)
        self.lost.update(teller.lost)
        if not any(argument.form == "YYYY-MM-DD" for tool in drawn[0] for argument in tool.arguments.values()):
            told.today = told.today if self.rng.random() < 0.5 else None
        return self.lists.rows(f"sgd {dialogue['dialogue_id']}", told, *drawn, look)

    def _worded(self, service: str, look: Look) -> list[tuple[ShownTool, list[str]]]:
        return sgd.shown_tools(self.services, service, self.rng.choice(self.wordings[service]), look)

    def _strangers(self, present: Sequence[str], look: Look) -> Iterator[list[tuple[ShownTool, list[str]]]]:
        """The tools of other services, one of each kind."""
        names = [name for name in sgd.strangers(self.services, present) if self.wordings.get(name)]
        self.rng.shuffle(names)
        for service in {name.split("_")[0]: name for name in names}.values():
            yield self._worded(service, look)


class StarMaker:
    """Makes rows out of STAR's dialogues."""

    def __init__(self, folder: Path, held_out: HeldOut, rng: random.Random) -> None:
        self.lists, self.rng, self.lost = Lists(held_out, rng), rng, Counter[str]()
        self.dialogues, self.tasks = list(star.read_dialogues(folder)), star.Tasks(folder)

    def rows(self) -> Iterator[list[Json]]:
        """The rows of each dialogue, in random order."""
        self.rng.shuffle(self.dialogues)
        for dialogue in self.dialogues:
            look, present = Look.drawn(self.rng), star.domains_of(dialogue)
            own = [pair for domain in present for pair in self._worded(domain, look)]
            others = star.strangers(self.tasks, present)
            self.rng.shuffle(others)
            drawn = self.lists.tools(own, (self._worded(domain, look) for domain in others), look)
            if drawn is None:
                self.lost["names held out"] += 1
                continue
            teller = star.Teller(self.tasks, drawn[0], look)
            told = teller.tell(dialogue)
            self.lost.update(teller.lost)
            yield self.lists.rows(f"star {dialogue['DialogueID']}", told, *drawn, look)

    def _worded(self, domain: str, look: Look) -> list[tuple[ShownTool, list[str]]]:
        """The tools of a domain, each under one of its names."""
        pairs = self.tasks.tools(domain, look)
        for tool, names in pairs:
            tool.name = self.rng.choice(names)
        return pairs


def chosen(groups: Iterable[list[Json]], count: int, held_out: HeldOut, rng: random.Random) -> list[list[Json]]:
    """Dialogues with the steps that are taken of each, so that the kinds have their shares of `count`."""
    left = {kind: round(count * share) for kind, share in SHARES.items()}
    found, heard = [], set[str]()
    for rows in groups:
        taken: list[Json] = []
        talk = [row for row in rows if row["kind"] in ("result", "talk")]
        spared = {id(row) for row in rng.sample(talk, max(0, len(talk) - 1))}
        for row in rows:
            if left[row["kind"]] > 0 and id(row) not in spared:
                said = "\n".join(message["content"] for message in row["messages"] if message["role"] == "user")
                alike = row["kind"] == "talk" and said in heard  # *Hello*
                if not alike and held_out.requests.near(said) is None:
                    heard.add(said)
                    taken.append(row)
                    left[row["kind"]] -= 1
        if taken:
            found.append(taken)
        if not any(left.values()):
            break
    return found


def parted(groups: list[list[Json]], valid: int, rng: random.Random) -> list[Json]:
    """The rows with their parts: whole dialogues are for validation."""
    rng.shuffle(groups)
    rows: list[Json] = []
    for group in groups:
        part = "valid" if len(rows) < valid else "train"
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
        print("left out:", dict(maker.lost), "too long:", maker.lists.too_long)
    if given.star:
        made = StarMaker(given.star, held_out, random.Random(f"star {given.seed}"))
        groups += chosen(made.rows(), given.steps[1], held_out, random.Random(f"star choice {given.seed}"))
        print("left out:", dict(made.lost), "too long:", made.lists.too_long)
    rows = parted(groups, given.valid, random.Random(f"parts {given.seed}"))
    write(given.out, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
