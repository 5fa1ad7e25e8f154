"""Makes training records out of questions to the documents of worlds, and of what only looks like one.

    python questions.py --draws 4 --seed 7 --out questions.jsonl.zst

`questions.yaml` of a world lists questions in three wordings (`say`, `lang`) about a `document`: with the `answer`, or
without one where no document of the world tells it. Passages that hold no answer also stand beside requests that tools
are for, and beside what only `talk.yaml` answers (`unknown`, `beyond`). Two in five records come later in a
conversation. A record has `messages`, `passages`, `tools` and the `completion` of the skill that answers from passages.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.evals.desk.slots import DrawError
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

STRANGE = 0.15
"""How often a passage is of another world."""
MOST = 4
"""Passages."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a user says beside passages.

    Attributes:
        kind: `answered`, `near`, `tools` or `talk`.
        say: His message.
        document: Id of the document that it is about; empty for none.
        answer: Its answer; empty where the passages hold none.
    """

    kind: str
    say: str
    document: str = ""
    answer: str = ""


class Asked(Conversation):
    """A conversation that ends in a question beside passages."""

    def record(self, question: Question, others: Sequence[Mapping[str, Any]], part: str) -> dict[str, Any]:
        """The record of a question; `others` are documents of other worlds of the part."""
        rng, own = self.rng, list(self.world.documents)
        about = [each for each in own if each["id"] == question.document]
        spare = [each for each in own if each not in about]
        count = min(rng.choice((1, 2, 3, MOST)), len(own))
        chosen = about + rng.sample(spare, count - len(about))
        chosen += rng.sample(others, min(len(others), len(chosen) < MOST and rng.random() < STRANGE))
        rng.shuffle(chosen)
        first = rng.randint(1, 9)
        shown = [Passage(f"p{at}", each["text"], each["title"]) for at, each in enumerate(chosen, first)]
        text = user_content(question.say, shown)
        messages = [{"role": each["role"], "content": self._named(each)} for each in self.messages]
        completion: dict[str, Any] = {"answerable": False}
        if question.answer:
            cited = [each.id for each, document in zip(shown, chosen, strict=True) if document in about]
            completion = {"answerable": True, "answer": question.answer, "citations": cited}
        return {
            "kind": question.kind,
            "messages": [*messages, {"role": "user", "content": text}],
            "passages": [{"id": each.id, "title": each.title, "text": each.text} for each in shown],
            "tools": self.assistant.tools(set()),
            "completion": completion,
            **({"part": part} if part != "train" else {}),
        }


def questions_of(world: World, folder: Path, draws: int, rng: random.Random, seed: str) -> Iterator[Question]:
    """Everything that is said beside passages in a world; half as much for tools, and as nothing, as to documents.

    Args:
        world: The world.
        folder: Its files `questions.yaml` and `talk.yaml`.
        draws: Times that each question to a document is drawn.
        rng: Draws them.
        seed: Seed of the requests for tools.
    """
    for item in yaml.safe_load((folder / "questions.yaml").read_text("utf-8")):
        kind = "answered" if "answer" in item else "near"
        for say in rng.sample(item["say"] * 2, min(draws, 2 * len(item["say"]))):
            yield Question(kind, say, item["document"], item.get("answer", ""))
    for item in yaml.safe_load((folder / "talk.yaml").read_text("utf-8"))["talk"]:
        if item["kind"] in ("unknown", "beyond"):
            for say in rng.sample(item["say"], min(draws // 2 or 1, len(item["say"]))):
                yield Question("talk", say)
    toolbox = CarriedToolbox(world.toolbox.file)
    for place, template in enumerate(world.templates):
        if template.kind in ("retrieval", "no_tool", "missing"):
            continue
        toolbox.begin(f"{seed}/{place}")
        for number in range(draws // 2 or 1):
            try:
                yield Question("tools", template.draw(toolbox, f"{seed}/{place}/{number}", False).turns[0].say)
            except (DrawError, LookupError):
                continue


def main() -> None:
    """Writes the records."""
    parser = options(__doc__, draws=4)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    worlds, rows = load_worlds(given.worlds), list[dict[str, Any]]()
    for part, schemas in parts_of(worlds).items():
        here = [world for world in worlds if world.name in schemas]
        for world in here:
            rng = random.Random(f"{given.seed}/{world.name}/questions")
            others = [document for each in here if each is not world for document in each.documents]
            toolbox = CarriedToolbox(world.toolbox.file)
            own = replace(world, toolbox=toolbox, calls=[], turn=0)
            draws = given.draws if part == "train" else 1
            asked = list(questions_of(world, given.worlds / world.name, draws, rng, str(given.seed)))
            rng.shuffle(asked)
            for number, question in enumerate(asked):
                if number % ALIKE == 0:
                    assistant = Assistant(world, rng, schemas)
                talk = Asked(own, toolbox, assistant, {}, part == "valid")
                opened(talk, given.seed, "questions", number, documents=False)
                rows.append(talk.record(question, others, part))
    write(given.out, rows)


if __name__ == "__main__":
    main()
