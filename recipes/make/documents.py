"""Makes questions to documents, about half of which the passages beside them do not answer.

    python documents.py --questions 150 --draws 40 --seed 5 --out documents.jsonl

A retrieval skill learns from questions to the documents of worlds (`recipes/worlds`, without those that are held back).
Questions to the documents of invented desks are for validation: they choose the probability from which the skill says
that the passages hold no answer (`loraloop eval tune retrieval`). A row has `messages`, `tools`, `passages` and
`completion`, in the form of a run of an agent.
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path
from typing import Any

from answer_words import TEXTS
from desk_said import SAID, dumps
from desk_world import World, read_desks
from desks import instructions_of
from worlds import WORLDS

from loraloop.adapters.skill.contracts import ANSWER_LENGTH, Passage, user_content
from loraloop.evals.desk.world import load_worlds
from loraloop.tool_schemas.tools.tool import Tool

HELD_BACK = ("cloud", "meters", "school_it")
"""Worlds that no skill learns from."""


def without_answer(text: str, question: str) -> str:
    """A document without the sentence that answers the question; empty where it is not clear which one does."""
    words = set(re.findall(r"[a-z]{4,}", question.lower()))
    sentences = re.split(r"(?<=\.) ", text)
    shared = [len(words & set(re.findall(r"[a-z]{4,}", sentence.lower()))) for sentence in sentences]
    if len(sentences) != 2 or shared[0] == shared[1]:
        return ""
    return sentences[shared.index(min(shared))] if min(shared) == 0 else ""


def numbered(shown: list[Any], rng: random.Random) -> list[dict[str, str]]:
    """Documents as passages, in any order, mostly with the ids that an agent's documents have."""
    form, first = ("p{}", rng.randint(1, 9)) if rng.random() < 0.7 else ("{}", 1)
    mixed = rng.sample(shown, len(shown))
    return [{"id": form.format(at), "title": name, "text": text} for at, (name, text, *_) in enumerate(mixed, first)]


def of_worlds(draws: int, seed: int) -> list[dict[str, Any]]:
    """Questions to the documents of worlds, each several times with and without the document that answers it."""
    rng, made = random.Random(seed), []
    for world in load_worlds(WORLDS):
        if world.name in HELD_BACK:
            continue
        documents = {each["id"]: (each["title"], each["text"]) for each in world.documents}
        tools = [Tool.from_function(each) for each in world.tools]
        listed = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools]
        seen: set[str] = set()
        for request in world.draw(draws * len(world.templates), seed):
            turn = request.turns[0]
            if request.kind != "retrieval" or len(request.turns) > 1 or turn.say in seen:
                continue
            seen.add(turn.say)
            for answered in (True, True, True, False, False) if turn.cites else (False, False):
                others = [each for name, each in documents.items() if name != turn.cites]
                shown = rng.sample(others, min(len(others), rng.choice((1, 2, 3, 3))))
                if answered:
                    shown.append(documents[turn.cites])
                passages = numbered(shown, rng)
                cited = [each["id"] for each in passages if answered and each["title"] == documents[turn.cites][0]]
                answer = {"answerable": True, "citations": cited, "answer": turn.good[:ANSWER_LENGTH]}
                content = user_content(turn.say, [Passage(**passage) for passage in passages])
                told = [{"role": "system", "content": world.instructions}, {"role": "user", "content": content}]
                row = {"kind": "answered" if answered else "another document", "messages": told, "passages": passages}
                row["tools"] = rng.sample(listed, rng.choice((0, 0, 2, 4)))
                made.append({**row, "completion": answer if answered else {"answerable": False}})
    rng.shuffle(made)
    return made


def of_desks(questions: int, seed: int) -> list[dict[str, Any]]:
    """The questions, the answered ones about other documents than the unanswered ones as far as there are enough."""
    rng, desks = random.Random(seed), read_desks()
    general = [line.split(" | ") for line in SAID["doc"]]
    asked = [(desk, doc) for desk in desks for doc in desk.docs]
    rng.shuffle(asked)
    made = []
    for number in range(questions):
        desk, (title, text, question) = asked[number % len(asked)]
        answered, kind = number % 2 == 0, "answered"
        beside = [doc for doc in (*desk.docs, *general) if doc[0] != title]
        shown = rng.sample(beside, rng.choice((1, 2, 2, 3)))
        if answered:
            shown.append([title, text, ""])
        elif (rest := without_answer(text, question)) and rng.random() < 0.6:
            shown, kind = [*shown, [title, rest]], "another sentence"
        elif rng.random() < 0.4:
            question, kind = rng.choice(TEXTS["topic"]["en"]).split(" | ")[0], "no document"
        else:
            kind = "another document"
        passages = numbered(shown, rng)
        cited = [passage["id"] for passage in passages if passage["text"] == text]
        answer = {"answerable": True, "citations": cited, "answer": text} if answered else {"answerable": False}
        while True:
            try:
                world = World(desk, rng)
                break
            except (LookupError, ValueError):  # two tools of one name
                continue
        asks = rng.choice(SAID["docask"]).replace("{question}", question)
        content = user_content(asks, [Passage(**passage) for passage in passages])
        told = [{"role": "system", "content": instructions_of(world, rng)}, {"role": "user", "content": content}]
        tools = world.tools()[:4] if rng.random() < 0.6 else []
        row = {"part": "valid", "kind": kind, "messages": told, "tools": tools, "passages": passages}
        made.append({**row, "completion": answer})
    return made


def main() -> None:
    """Writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--draws", type=int, default=40, help="draws of each request of a world")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [*of_worlds(given.draws, given.seed), *of_desks(given.questions, given.seed)]
    given.out.write_text("".join(dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
