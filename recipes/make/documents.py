"""Makes questions to the documents of invented desks, half of which the passages beside them do not answer.

    python documents.py --questions 150 --seed 5 --out documents.jsonl

They choose the probability from which a skill says that the passages hold no answer (`loraloop eval tune retrieval`);
no skill learns from them. A row has `messages`, `tools`, `passages` and `completion`, in the form of a run of an agent.
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

from loraloop.adapters.skill.contracts import Passage, user_content


def without_answer(text: str, question: str) -> str:
    """A document without the sentence that answers the question; empty where it is not clear which one does."""
    words = set(re.findall(r"[a-z]{4,}", question.lower()))
    sentences = re.split(r"(?<=\.) ", text)
    shared = [len(words & set(re.findall(r"[a-z]{4,}", sentence.lower()))) for sentence in sentences]
    if len(sentences) != 2 or shared[0] == shared[1]:
        return ""
    return sentences[shared.index(min(shared))] if min(shared) == 0 else ""


def rows(questions: int, seed: int) -> list[dict[str, Any]]:
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
            shown = rng.sample([*shown, [title, text, ""]], len(shown) + 1)
        elif (rest := without_answer(text, question)) and rng.random() < 0.6:
            shown, kind = rng.sample([*shown, [title, rest]], len(shown) + 1), "another sentence"
        elif rng.random() < 0.4:
            question, kind = rng.choice(TEXTS["topic"]["en"]).split(" | ")[0], "no document"
        else:
            kind = "another document"
        passages = [{"id": str(at), "title": name, "text": said} for at, (name, said, *_) in enumerate(shown, 1)]
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
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.write_text("".join(dumps(row) + "\n" for row in rows(given.questions, given.seed)), encoding="utf-8")


if __name__ == "__main__":
    main()
