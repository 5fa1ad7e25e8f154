"""What a scripted model writes, step by step."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loraloop.adapters.skill.contracts import Answer, Verdict, answer_text, code_text, verdict_text
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, LoraloopError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call


class ScriptError(LoraloopError, AssertionError):
    """A run and its script do not agree; a test that does not expect it fails with what is different."""


@dataclass(frozen=True, slots=True)
class Written:
    """One step of a script.

    Attributes:
        skill: The skill that writes it: the scripted router chooses it, and a step on another one is an error. None:
            any skill may write it, and the router chooses the base.
        text: What it writes, in the skill's form.
        unsafe: Whether the screen is to find the last message unsafe, which is what activates the safety skill.
        enforced: Whether the step's grammar has to allow the text. A real step cannot write what it forbids.
    """

    skill: str | None
    text: str
    unsafe: bool = False
    enforced: bool = True

    @property
    def route(self) -> str:
        """What the router is to choose."""
        return self.skill or NONE


Entry = str | Call | Answer | Verdict | Written | Sequence[Call]
"""What can stand in a script: a plain text is the base's."""


def text(content: str, skill: str = NONE, *, enforced: bool = True) -> Written:
    """A text as it is, written by the base or by a skill.

    Args:
        content: The text.
        skill: The skill that writes it.
        enforced: Whether the step's grammar has to allow it.
    """
    return Written(skill, content, enforced=enforced)


def calls(*made: Call | tuple[str, Mapping[str, Any]], skill: str = "tools", **by_name: Mapping[str, Any]) -> Written:
    """A step that calls tools: ``calls(add={"a": 1, "b": 2})``; without arguments, one that finds no tool fit.

    Args:
        made: Calls, or pairs of a tool's name and its arguments: for several calls of one tool.
        skill: The skill that calls.
        by_name: Arguments by the tool's name.
    """
    listed = [each if isinstance(each, Call) else Call(each[0], dict(each[1])) for each in made]
    listed += [Call(name, dict(arguments)) for name, arguments in by_name.items()]
    return Written(skill, dumps([{"name": call.name, "arguments": call.arguments} for call in listed]))


def answer(content: str = "", citations: Iterable[str] = ("1",), *, skill: str = "retrieval") -> Written:
    """A step that answers from passages; without a text, one that finds no answer in them.

    Args:
        content: The answer.
        citations: Ids of the passages that it cites.
        skill: The skill that answers.
    """
    return Written(skill, answer_text(Answer(bool(content), tuple(citations) if content else (), content)))


def code(program: str, *, skill: str = "code") -> Written:
    """A step that writes a program.

    Args:
        program: Python source.
        skill: The skill that writes it.
    """
    return Written(skill, code_text(program))


def verdict(category: str = "", *, skill: str = "safety") -> Written:
    """A positive screen and the verdict on it: unsafe for the category (see `CATEGORIES`), or safe without one.

    Args:
        category: Why it is unsafe.
        skill: The skill whose verdict it is.
    """
    return Written(skill, verdict_text(Verdict(bool(category), category)), unsafe=True)


def written(entry: Entry) -> Written:
    """A script's entry as a step.

    Raises:
        InputError: If it is none.
    """
    if isinstance(entry, Written):
        return entry
    if isinstance(entry, str):
        return Written(None, entry)
    if isinstance(entry, Call):
        return calls(entry)
    if isinstance(entry, Answer):
        return answer(entry.answer if entry.answerable else "", entry.citations)
    if isinstance(entry, Verdict):
        return verdict(entry.category if entry.unsafe else "")
    if isinstance(entry, list | tuple) and all(isinstance(each, Call) for each in entry):
        return calls(*entry)
    raise InputError(
        f"{entry!r} is not a step of a script: give a text, a Call or several, or calls(…), answer(…), code(…)"
    )


class Script:
    """The steps that are still to be written. Shared by the runtime and its router; safe between threads."""

    def __init__(self, steps: Iterable[Entry]) -> None:
        self._lock = threading.Lock()
        self._steps = [written(each) for each in steps]
        self._at = 0

    def extend(self, steps: Iterable[Entry]) -> None:
        """Adds steps at the end."""
        more = [written(each) for each in steps]
        with self._lock:
            self._steps += more

    @property
    def next(self) -> Written | None:
        """The step that comes next; None after the last one."""
        with self._lock:
            return self._steps[self._at] if self._at < len(self._steps) else None

    @property
    def left(self) -> tuple[Written, ...]:
        """Steps that were not written yet."""
        with self._lock:
            return tuple(self._steps[self._at :])

    @property
    def place(self) -> str:
        """Which step comes next, for messages."""
        return f"step {self._at + 1} of the script ({len(self._steps)} in all)"

    def take(self) -> Written:
        """The next step, which is written now."""
        with self._lock:
            if self._at == len(self._steps):
                raise self.over()
            self._at += 1
            return self._steps[self._at - 1]

    def over(self, doing: str = "writes") -> ScriptError:
        """The error for a run that goes on where the script does not."""
        return ScriptError(
            f"the script has {len(self._steps)} steps, and the run {doing} one more: add what it is to write"
        )
