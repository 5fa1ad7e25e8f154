"""Python tasks: descriptions with code that does what they ask."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import code_text
from loraloop.adapters.training.data.example import Example, Split, transcript
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.records import generator, in_valid, read_records

FILES = ("mbpp", "thealgorithms", "codegen_instruct")
EVAL_FILES = ("mbpp",)
LONGEST = 450


def code_examples(data: Path, name: str, split: Split, seed: int = 0) -> list[Example]:
    """Examples of one code file: Python that compiles, fits the contract and is not too long."""
    if split == "eval":
        return [code_example(record) for record in read_records(data / "code" / f"{name}.eval.jsonl")]
    found, seen = [], set[str]()
    for record in read_records(data / "code" / f"{name}.train.jsonl"):
        key = re.sub(r"\s+", "", record["completion"])
        if in_valid(record["id"]) != (split == "valid") or key in seen or not usable(record):
            continue
        seen.add(key)
        rng = generator(seed, record["id"])
        found.append(code_example(record, instructions_or_none(rng, 0.25)))
    return found


def code_example(record: Mapping[str, Any], instructions: str = "") -> Example:
    """A record in the data page's code form, as an example."""
    turns = [Message(m["role"], m["content"]) for m in record["messages"]]
    return Example(
        skill="code",
        kind=record["id"].split("-")[0],
        id=record["id"],
        group=record["id"],
        messages=transcript(turns, instructions),
        completion=code_text(tidy(record["completion"])),
        source=record["source"],
        license=record["license"],
        gold={"tests": record.get("tests", ""), "challenge_tests": record.get("challenge_tests", [])},
    )


def usable(record: Mapping[str, Any]) -> bool:
    """Whether a record is Python that compiles, defines or does something, and is of a length worth training on."""
    code = record["completion"]
    if record.get("language", "python") != "python" or record["n_tokens"] > LONGEST or not code.strip():
        return False
    if record.get("reference_passes") is False or re.search(r"^```", code, re.MULTILINE) or "input(" in code:
        return False
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return bool(tree.body) and len(code.splitlines()) <= 48


def tidy(code: str) -> str:
    """The code with Unix line ends, four spaces for tabs, and no trailing blanks."""
    lines = code.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    try:
        ast.parse(text)
    except SyntaxError:
        return code.strip("\n")
    return text
