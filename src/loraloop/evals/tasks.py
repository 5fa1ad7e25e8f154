"""Tasks of `loraloop eval agent`: what a user says, turn by turn, and the state that each turn has to end in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loraloop.adapters.skill.contracts import Passage

FAMILIES = (
    "single", "sequence", "dependent", "parallel", "follow_up", "ask", "irrelevant",
    "unsafe", "benign", "passages", "unanswerable", "code", "call_then_code", "chat",
)  # fmt: skip
PER_FAMILY = 24
"""Tasks of each family; 14 families make 336."""
Call = Mapping[str, Any]
"""`{"name": …, "arguments": {…}}`."""


@dataclass(frozen=True, slots=True)
class End:
    """The state that a turn has to end in.

    Attributes:
        kind: `answer`, `ask`, `cited`, `code` or `refused`.
        calls: Calls that the turn makes, in stages: those of one stage in any order, and each after the stage before.
        says: Values that the answer has to name.
        never: Values that the answer must not name, since nothing that was given supports them.
        any_of: For `ask`, words for what is missing.
        cites: Ids of the passages that the answer cites.
        tests: Program that has to run after the answer's code without an error.
        gold: A right answer's text or program, which only tests use.
    """

    kind: str
    calls: tuple[tuple[Call, ...], ...] = ()
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    cites: tuple[str, ...] = ()
    tests: str = ""
    gold: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the user, the passages with it, and its end."""

    prompt: str
    end: End
    passages: tuple[Passage, ...] = ()

    @property
    def finish(self) -> str:
        """What writes the turn's last step: `none`, `retrieval`, `code` or `safety`."""
        return {"cited": "retrieval", "code": "code", "refused": "safety"}.get(self.end.kind, "none")

    @property
    def skills(self) -> tuple[str, ...]:
        """What is right at each step: tools for each stage of calls, then what finishes the turn."""
        return (*("tools" for _ in self.end.calls), self.finish)


@dataclass(frozen=True, slots=True)
class Task:
    """What one run, or a conversation of several, has to do.

    Attributes:
        id: Unique; it begins with the family.
        family: One of `FAMILIES`.
        turns: What the user says, one run each; a task is done where all of them end right.
        tools: Names of held-out tools that are offered, in order.
        instructions: Of the system message.
    """

    id: str
    family: str
    turns: tuple[Turn, ...]
    tools: tuple[str, ...] = ()
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What a run did with a turn: all that is judged.

    Attributes:
        stop: The run's stop reason.
        kind: What wrote the output: `text`, `answer`, `code`, `refusal`, or `other` where the run met a limit.
        output: The run's output.
        stages: Calls that tools served, those of one step together. A call that its tool refused changed nothing and is
            left out, as is one that repeats an earlier one.
        citations: Ids of cited passages.
        tried: Calls with those that were refused, which only tell why a turn failed.
    """

    stop: str
    kind: str
    output: str
    stages: tuple[tuple[Call, ...], ...] = ()
    citations: tuple[str, ...] = ()
    tried: tuple[tuple[Call, ...], ...] = ()


def digest(tasks: Sequence[Task]) -> str:
    """A short name of exactly these tasks."""
    from loraloop.agent.result import plain

    text = json.dumps([plain(task) for task in tasks], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
