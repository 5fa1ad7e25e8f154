"""The episode that every system goes through: a fixed transcript and, at ten places in it, a step to generate.

The transcript is teacher-forced: what stands before a step is the same for everybody, token by token, whatever they
generated before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage, answer_schema, code_grammar, user_content, verdict_schema
from loraloop.tool_schemas import Tool, calls_schema, render_tools
from loraloop.tool_schemas.grammar.grammar import JsonSchema, Lark, Term

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

SCRIPT = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Addition:
    """A message and its tokens."""

    message: Message
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """One step.

    Attributes:
        before: What the transcript gains before it.
        skill: Which skill generates it; "none" is the bare base.
        term: What it may write; None is free text.
        reply: What stays of it in the transcript, from the generation prompt to the closing tokens; None if nothing.
        context: Length of the transcript before the generation prompt.
        prompt: All tokens that stand before what is generated.
    """

    before: tuple[Addition, ...]
    skill: str
    term: Term | None
    reply: Addition | None
    context: int
    prompt: tuple[int, ...]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the prompt."""
        return fingerprint(self.prompt)


@dataclass(frozen=True, slots=True)
class Episode:
    """The steps, and what is the same in all of them."""

    steps: tuple[ScriptStep, ...]
    invocation: tuple[int, ...]
    stop_ids: frozenset[int]
    tokens: int

    @property
    def skills(self) -> tuple[str, ...]:
        """Names of the skills in use, without "none"."""
        return tuple(dict.fromkeys(step.skill for step in self.steps if step.skill != "none"))


@dataclass(slots=True)
class Record:
    """What one step cost one system.

    Attributes:
        skill: Which skill generated it.
        prompt: Fingerprint of the tokens that stood before what was generated.
        prefilled: Tokens of the prompt that were computed for this step.
        generated: Tokens of the output, without the one that ends it.
        forwards: Forward passes of the model.
        seconds: Wall time, all told.
        text: The output.
        compiling: Seconds of it in which a peer built a logits processor.
    """

    skill: str
    prompt: str
    prefilled: int
    generated: int
    forwards: int
    seconds: float
    text: str
    compiling: float = 0.0


def fingerprint(ids: tuple[int, ...] | list[int]) -> str:
    """A short name of a sequence of tokens."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]


def read_episode(base: Base, limit: int | None = None, tokens: int = 96, path: Path = SCRIPT) -> Episode:
    """Reads the script.

    Args:
        base: The base whose chat template makes the tokens.
        limit: Steps at most.
        tokens: Tokens that a step may generate.
        path: The script.
    """
    script = json.loads(path.read_text(encoding="utf-8"))
    tools = [Tool.from_schema(tool) for tool in script["tools"]]
    passages = [Passage(**passage) for passage in script["passages"]]
    terms: dict[str, Term | None] = {
        "tools": JsonSchema(calls_schema(tools)),
        "retrieval": JsonSchema(answer_schema(passage.id for passage in passages)),
        "safety": JsonSchema(verdict_schema()),
        "code": Lark(code_grammar()),
        "none": None,
    }
    system = Message("system", script["instructions"] + "\n\n" + render_tools(tools))
    opening = [system, *(Message(**message) for message in script["history"])]
    steps = tuple(_steps(base, script["steps"][:limit], opening, passages, terms))
    return Episode(steps, base.chat.generation_prompt, base.end_ids, tokens)


def _steps(
    base: Base, listed: list[Any], opening: list[Message], passages: list[Passage], terms: dict[str, Term | None]
) -> Iterator[ScriptStep]:
    def addition(message: Message) -> Addition:
        return Addition(message, tuple(base.chat.message(message.role, message.content)))

    ids: list[int] = []
    added = opening
    for step in listed:
        for entry in step["before"]:
            content = user_content(entry["content"], passages) if entry.get("passages") else entry["content"]
            added = [*added, Message(entry["role"], content)]
        before = tuple(map(addition, added))
        for each in before:
            ids += each.ids
        reply = addition(Message("assistant", step["reply"])) if step["stays"] else None
        prompt = (*ids, *base.chat.generation_prompt)
        yield ScriptStep(before, step["skill"], terms[step["skill"]], reply, len(ids), prompt)
        if reply is not None:
            ids += reply.ids
        added = []
