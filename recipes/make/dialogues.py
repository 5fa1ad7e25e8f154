"""Makes training records out of real dialogues: calls, and the questions that came before them.

    python dialogues.py --data DATA --out ../data/dialogues.public.jsonl.zst

From the SGD set (Schema-Guided Dialogue, arXiv 1909.05855), whose users talk as people do. Each dialogue ends where its
assistant calls a tool. Before that it asks for values; such a state becomes the later call without the values that
nobody has said until then, if the user's next message says one of them that the tool requires. Records hold no text of
the set: they name it as `loraloop.adapters.training.data.frozen` describes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard

from loraloop.adapters.training.data.frozen import nodes_of, read_records
from loraloop.adapters.training.data.overlap import Overlap
from loraloop.agent.grounding.evidence import Evidence
from loraloop.agent.grounding.grounding import Sources, ungrounded
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

SET = "tools/sgd.train"
VALID = 0.06
STRANGERS = (0, 0, 2, 4, 7)
"""How many tools of other dialogues stand beside a dialogue's own."""


def unsaid_in(texts: list[str], call: dict[str, Any], tool: dict[str, Any]) -> list[str]:
    """The arguments of a call whose values stand in none of some texts."""
    seen = Evidence.of(texts)
    checked = Tool(tool["name"], tool["description"], tool["parameters"])
    made = Call(call["name"], call["arguments"])
    nowhere = {value.argument for value in ungrounded(made, checked, Sources(tuple(texts)))}
    known = {
        name
        for name, value in call["arguments"].items()
        if seen.has_code(str(value)) or (name not in nowhere and "enum" not in tool["parameters"]["properties"][name])
    }
    return [name for name in call["arguments"] if name not in known]


def said_from(texts: list[str], at: int, call: dict[str, Any]) -> list[str]:
    """The arguments of a call whose text the user says after an assistant's question, and nobody before it.

    What the assistant alone repeats in other words, to have it confirmed, the user has said before.
    """
    before, after = (" ".join(part).casefold() for part in (texts[:at], texts[at + 1 :: 2]))
    values = {name: str(value).casefold() for name, value in call["arguments"].items() if not str(value).isdigit()}
    return [name for name, value in values.items() if value in after and value not in before]


def is_offer(question: str, before: list[str], tool: dict[str, Any]) -> bool:
    """Whether an assistant's question names something that neither the user nor the tool has named."""
    known = " ".join([*before, json.dumps(tool)])
    return any(name not in known for name in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", question))


def steps_of(record: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """The states of a dialogue from which a step is learnt: how many messages, and what nobody has said until then.

    The last state is that of the call, for which nothing is missing that the tool requires. Going back from it, a
    question counts as long as the answer to it says something of that kind.
    """
    call, messages = record["calls"][0], record["messages"]
    tool = next(each for each in record["tools"] if each["name"] == call["name"])
    texts = [message["content"] for message in messages]
    required = set(tool["parameters"].get("required", ()))
    missing = required.intersection(unsaid_in(texts, call, tool))
    if missing:
        return
    yield len(messages), []
    for at in range(len(messages) - 2, 0, -2):
        unsaid = unsaid_in(texts[:at], call, tool)
        unsaid += [name for name in said_from(texts, at, call) if name not in unsaid]
        before = required.intersection(unsaid)
        if before != missing and "?" in texts[at] and not is_offer(texts[at], texts[:at], tool):
            yield at, unsaid
        elif before:
            return
        missing = before


def named(record: dict[str, Any], wanted: Any, place: int = 0) -> dict[str, Any]:
    """What stands for a text, list or object of a public record: the record's place, and the number of the value."""
    return {"$": [[place, next(number for number, value in enumerate(nodes_of(record)) if value is wanted)]]}


def words_of(record: Mapping[str, Any]) -> str:
    """What the user says in a dialogue."""
    return "\n".join(message["content"] for message in record["messages"] if message["role"] == "user")


def rows_of(records: Sequence[dict[str, Any]], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Training records that name public ones.

    Args:
        records: Dialogues with one call.
        rng: Decides which tools of other dialogues stand beside a dialogue's own.
    """
    for record in records:
        sources = [record, *rng.sample(records, rng.choice(STRANGERS))]
        shown = {
            tool["name"]: (place, tool)
            for place, each in enumerate(sources)
            for tool in each["tools"][: 1 if place else None]
        }
        shown |= {tool["name"]: (0, tool) for tool in record["tools"]}
        tools = rng.sample(list(shown.values()), len(shown))
        arguments = list(record["calls"][0]["arguments"])
        valid = random.Random(record["id"].rpartition("-")[0]).random() < VALID  # all steps of a dialogue, or none
        for until, unsaid in steps_of(record):
            yield {
                "from": [f"{SET}#{each['id']}" for each in sources],
                "kind": "ask" if unsaid else "call",
                **({"part": "valid"} if valid else {}),
                "messages": [named(record, message) for message in record["messages"][:until]],
                "tools": [named(sources[place], tool, place) for place, tool in tools],
                "calls": named(record, record["calls"]),
                **({"unsaid": [arguments.index(name) for name in unsaid]} if unsaid else {}),
            }


def main() -> None:
    """Writes the records; those whose words nearly stand in an evaluation file are left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    held_out = Overlap(
        words_of(record) for file in given.data.glob("tools/*.eval.jsonl") for record in read_records(file)
    )
    read = read_records(given.data / f"{SET}.jsonl")
    records = [each for each in read if len(each["calls"]) == 1 and not held_out.near(words_of(each))]
    rows = list(rows_of(records, random.Random(given.seed)))
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()
    given.out.write_bytes(zstandard.ZstdCompressor(level=19).compress(text))
    print(f"{len(read)} records read, {len(records)} used, {len(rows)} written")


if __name__ == "__main__":
    main()
