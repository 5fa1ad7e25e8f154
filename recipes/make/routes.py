"""Makes labelled states for routers out of the steps of invented desks, ordinary business texts and the safety records.

    python desks.py --conversations 1300 --bare 0.15 --seed 71 --out steps.jsonl
    python business.py --out business.jsonl --sealed business.eval.jsonl
    python routes.py steps.jsonl business.jsonl --out router_desks.jsonl --verdicts safety_desks.jsonl

Rows are records of `router.jsonl` and `safety.jsonl` (`recipes/data/README.md`). The states of the choice show passages
beside the words, as the runtime shows them; the states of the screen and of the verdicts hold the words alone, as the
gates of the runtime hear them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from loraloop.adapters.training.data.frozen import frozen_rows

SHARES = {"tools": 0.38, "none": 0.27, "code": 0.13, "retrieval": 0.16, "safety": 0.06}
OWN = {"license": "Apache-2.0"}
Row = dict[str, Any]


def kind_of(messages: list[dict[str, str]]) -> str:
    """What a state follows: the first message, a result, or a later message."""
    said = [message for message in messages if message["role"] != "system"]
    return "tool_result" if said[-1]["role"] == "tool" else "follow_up" if len(said) > 1 else "first"


def last_words(step: Row) -> str:
    """What was said last, without the passages beside it."""
    return str(step["messages"][-1]["content"]).split("\n\n")[-1]


def choices(steps: list[Row], most: int, rng: random.Random) -> list[Row]:
    """Steps with the skill that each belongs to, drawn so that the skills have their shares."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for step in steps:
        by_label[step["label"]].append(step)
    chosen = []
    for label, share in SHARES.items():
        rng.shuffle(by_label[label])
        chosen += by_label[label][: round(most * share)]
    return [
        {
            **OWN,
            "source": f"desks_{step['label']}" + ("" if step["tools"] else "_bare"),
            "messages": step["messages"],
            "tools": step["tools"],
            "route": None if step["label"] == "safety" else step["label"],
            "unsafe": None if "Passages:" in step["messages"][-1]["content"] else step["label"] == "safety",
            "shown": "Passages:" in step["messages"][-1]["content"],
        }
        for step in chosen
    ]


def heard(steps: list[Row], texts: list[tuple[str, bool, str]], rng: random.Random) -> list[Row]:
    """What is said to desks, without passages: their own requests, and other texts in the place of those."""
    places = [step for step in steps if step["messages"][-1]["role"] == "user" and step["tools"]]
    rng.shuffle(places)
    own = [(last_words(step), step["label"] == "safety", "desks_said") for step in places[: len(texts) // 2]]
    rows = []
    for place, (text, unsafe, source) in zip(places, [*own, *texts], strict=False):
        said = [*place["messages"][:-1], {"role": "user", "content": text}]
        rows.append(
            {**OWN, "source": source, "messages": said, "tools": place["tools"], "route": None, "unsafe": unsafe}
        )
    return rows


def verdicts(steps: list[Row], texts: list[tuple[str, str]], rng: random.Random, alike: int = 10) -> list[Row]:
    """What the safety skill writes of texts that are said to desks; some texts in a row are said to the same desk."""
    places = [step for step in steps if step["tools"] and len(step["messages"]) == 2]
    own = [(last_words(place), "safe") for place in places if place["label"] == "tools"]
    told = [*rng.sample(own, len(texts) // 3), *texts]
    rng.shuffle(told)
    desks = [rng.choice(places) for _ in range(0, len(told), alike)]
    return [
        {
            "kind": "desk",
            "messages": [desks[at // alike]["messages"][0], {"role": "user", "content": text}],
            "tools": desks[at // alike]["tools"],
            "completion": verdict,
        }
        for at, (text, verdict) in enumerate(told)
    ]


def main() -> None:
    """Writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", type=Path)
    parser.add_argument("business", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--verdicts", type=Path)
    parser.add_argument("--choices", type=int, default=1100)
    parser.add_argument("--unsafe", type=int, default=200)
    given = parser.parse_args()
    rng = random.Random(71)
    steps = [json.loads(line) for line in given.steps.read_text().splitlines()]
    business = [json.loads(line)["text"] for line in given.business.read_text().splitlines()]
    own = [
        row
        for _, row in frozen_rows("safety")
        if row.get("part", "train") == "train" and len(row["messages"]) == 1 and row["kind"] not in ("desk", "business")
    ]
    rng.shuffle(own)
    said = [(row["messages"][0]["content"], row["completion"] != "safe") for row in own]
    texts = [(text, False, "business") for text in business]
    texts += [(text, True, "safety_placed") for text, unsafe in said if unsafe][: given.unsafe]
    texts += [(text, False, "safety_placed") for text, unsafe in said if not unsafe][: given.unsafe // 2]
    rng.shuffle(texts)
    rows = choices(steps, given.choices, rng) + heard(steps, texts, rng)
    rows += [
        {**OWN, "source": "business", "messages": [{"role": "user", "content": text}], "route": None, "unsafe": False}
        for text in business
    ]
    write(given.out, [{"kind": kind_of(row["messages"]), **row} for row in rows])
    if given.verdicts:
        judged = [(text, "safe") for text in business]
        judged += [(row["messages"][0]["content"], row["completion"]) for row in own[-2 * given.unsafe :]]
        alone = [
            {"kind": "business", "messages": [{"role": "user", "content": t}], "completion": "safe"} for t in business
        ]
        write(given.verdicts, [*verdicts(steps, judged, rng), *alone])


def write(path: Path, rows: list[Row]) -> None:
    """Writes JSON Lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows))


if __name__ == "__main__":
    main()
