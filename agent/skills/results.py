"""What skills give when they are called as functions: frozen, typed by contract, JSON by `data`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, overload

from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.values.result import T
from loraloop.agent.values.step import Tokens, plain
from loraloop.tool_schemas.tools.calls import Call


@dataclass(frozen=True, slots=True)
class SkillResult:
    """One step of a skill.

    Attributes:
        skill: Which one.
        text: What it wrote, in the form of its contract.
        tokens: Counts.
        ms: Milliseconds, with the prefill.
    """

    skill: str
    text: str
    tokens: Tokens
    ms: float

    def data(self) -> dict[str, Any]:
        """The result as JSON data, as the skill returns it when it is used as a tool."""
        return {"text": self.text}


@dataclass(frozen=True, slots=True)
class AnswerResult(SkillResult):
    """An answer from passages.

    Attributes:
        answerable: Whether the passages hold one; if not, the rest is empty.
        answer: The answer.
        citations: Ids of the passages that it cites.
        cited: These passages, in that order.
        no_answer: Probability that the passages hold none.
        no_answer_from: Threshold of `no_answer` from which the skill abstains; None where the likelier opening counted.
    """

    answerable: bool
    answer: str
    citations: tuple[str, ...]
    cited: tuple[Passage, ...]
    no_answer: float | None
    no_answer_from: float | None

    def __str__(self) -> str:
        return self.answer

    def data(self) -> dict[str, Any]:
        return {"answerable": self.answerable, "answer": self.answer, "citations": list(self.citations)}


@dataclass(frozen=True, slots=True)
class CallsResult(SkillResult, Sequence[Call]):
    """A sequence of calls, each valid under its tool's schema; empty where no tool fits or something is missing.

    Attributes:
        calls: The calls.
        no_call: Probability that none is called; None where a call was required.
        no_call_from: Threshold of `no_call` from which the skill calls nothing; None where the likelier opening
            counted.
    """

    calls: tuple[Call, ...]
    no_call: float | None
    no_call_from: float | None

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Call, ...]: ...
    def __getitem__(self, index: int | slice) -> Call | tuple[Call, ...]:
        return self.calls[index]

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def data(self) -> dict[str, Any]:
        return {"calls": plain(self.calls)}


@dataclass(frozen=True, slots=True)
class CodeResult(SkillResult):
    """A Python program.

    Attributes:
        code: It, without the fence; it parses. `run_python` runs it in the sandbox.
    """

    code: str

    def __str__(self) -> str:
        return self.code

    def data(self) -> dict[str, Any]:
        return {"code": self.code}


@dataclass(frozen=True, slots=True)
class VerdictResult(SkillResult):
    """Whether a text is unsafe.

    Attributes:
        unsafe: The verdict.
        category: Category of an unsafe text; empty where it is safe.
        probability: The skill's probability that the text is unsafe.
        threshold: Threshold of `probability` from which the text is judged unsafe; None where the likelier verdict
            counted.
    """

    unsafe: bool
    category: str
    probability: float
    threshold: float | None

    def data(self) -> dict[str, Any]:
        return {"unsafe": self.unsafe, "category": self.category, "probability": round(self.probability, 6)}


@dataclass(frozen=True, slots=True)
class TextResult(SkillResult, Generic[T]):
    """Text, or a value.

    Attributes:
        value: The text as a value of the `output_type` that was asked for; None without one.
        complete: Whether it ended by itself rather than at a limit.
    """

    value: T | None
    complete: bool

    def __str__(self) -> str:
        return self.text
