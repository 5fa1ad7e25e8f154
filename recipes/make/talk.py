"""Makes training records out of what people say to an assistant when nothing is to be called, the worlds' `talk.yaml`.

    python talk.py --draws 4 --seed 7 --out talk.jsonl.zst

`can` says what each tool does, as a phrase that follows "I can" in its language. `talk` lists items with `kind`,
`lang`, wordings (`say`) and the answer that fits all of them (`good`; `{can}` stands for what some of the shown tools
do). Two in five conversations begin with a request of the world that calls a tool, and each has one to three items. A
record holds its answers in the form of closing texts: `at`, `kind`, `completion`, `lang`; and `calls`, which are none,
for a skill of calls (`form: calls`). Questions that nothing tells
(`unknown`) have no passages beside them; the others have some as often as requests do.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from loraloop.evals.desk.request import DeskTurn
from loraloop.evals.desk.world import World, load_worlds
from loraloop.recipes.make.worlds import (
    ALIKE,
    Assistant,
    CarriedToolbox,
    Conversation,
    opened,
    options,
    parts_of,
    write,
)

FILE = "talk.yaml"
NAMED = 4
"""What an assistant says that it can do, at most."""
AND = {"en": "and", "de": "und", "fr": "et", "es": "y", "it": "e", "nl": "en"}
Phrases = Mapping[str, Mapping[str, str]]


class Talk(Conversation):
    """A conversation in which nothing is to be called; it is never finished before its tools are known."""

    def say(self, item: Mapping[str, Any]) -> None:
        """Adds what the user says and what the assistant answers."""
        beside, self.with_documents = self.with_documents, self.with_documents and item["kind"] != "unknown"
        turn = DeskTurn(self.rng.choice(item["say"]), item["good"], talk=True)
        self._user(turn, False)
        self.with_documents = beside
        self._answer(turn, item["lang"], item["kind"])

    def record(self, part: str, phrases: Phrases) -> list[dict[str, Any]]:
        """The conversation with its answers; nothing where one says what it can do and has no tool to tell of."""
        shown = self.assistant.tools(set())
        plain = {masked: name for name, masked in self.assistant.names.tools.items()}
        for answer in self.answers:
            if "{can}" not in answer["completion"]:
                continue
            known = phrases.get(answer["lang"], {})
            names = [plain[tool["name"]] for tool in shown]
            can = [known[name] for name in names if name in known][:NAMED]
            if not can:
                return []
            listed = ", ".join(can[:-1]) + f" {AND[answer['lang']]} {can[-1]}" if len(can) > 1 else can[0]
            answer["completion"] = answer["completion"].replace("{can}", listed)
            self.messages[answer["at"]]["content"] = answer["completion"]
        return [{**row, "calls": []} for row in self.records(part)[1]]


def talks(
    world: World,
    items: Sequence[Mapping[str, Any]],
    schemas: Mapping[str, Sequence[dict[str, Any]]],
    draws: int,
    seed: int,
    held_out: bool,
) -> list[Talk]:
    """Conversations in which each item of a world is drawn so many times.

    Args:
        world: The world.
        items: What is said in it.
        schemas: Schemas of the tools of each world.
        draws: Times that each item is drawn.
        seed: Seed of the draws.
        held_out: Whether values and wordings are those of held-out requests.
    """
    rng = random.Random(f"{seed}/{world.name}/talk/{held_out}")
    toolbox = CarriedToolbox(world.toolbox.file)
    own = replace(world, toolbox=toolbox, calls=[], turn=0)
    pool = [item for item in items for _ in range(draws)]
    rng.shuffle(pool)
    found = list[Talk]()
    while pool:
        if len(found) % ALIKE == 0:
            assistant = Assistant(world, rng, schemas)
        talk = opened(Talk(own, toolbox, assistant, {}, held_out), seed, "talk", len(pool))
        talk.answers.clear()
        for _ in range(min(rng.choice((1, 1, 2, 3)), len(pool))):
            talk.say(pool.pop())
        found.append(talk)
    return found


def main() -> None:
    """Writes the records."""
    parser = options(__doc__, draws=4)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    worlds = load_worlds(given.worlds)
    written = {world.name: yaml.safe_load((given.worlds / world.name / FILE).read_text("utf-8")) for world in worlds}
    rows: list[dict[str, Any]] = []
    for part, schemas in parts_of(worlds).items():
        own = {name: written[name] for name in schemas}
        phrases = {
            lang: {tool: phrase for each in own.values() for tool, phrase in each["can"].get(lang, {}).items()}
            for lang in AND
        }
        for world in (each for each in worlds if each.name in schemas):
            draws = given.draws if part == "train" else 1
            mine = {lang: shared | own[world.name]["can"].get(lang, {}) for lang, shared in phrases.items()}
            for talk in talks(world, own[world.name]["talk"], schemas, draws, given.seed, part == "valid"):
                rows += talk.record(part, mine)
    write(given.out, rows)


if __name__ == "__main__":
    main()
