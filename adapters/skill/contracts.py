"""Output contracts: what a skill's step must look like, and how its text is read back.

Each contract is a pair: a grammar source (a JSON Schema or a Lark grammar as llguidance reads it) that
decoding cannot leave, and a parser from the finished text to a frozen value. Training data, agent and
evaluation all call these functions, so that a skill decodes exactly the form it was trained on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.jsontext import dumps, loads_or
from loraloop.tool_schemas.schema.keywords import object_schema

ANSWER_LENGTH = 300
"""Most characters of a retrieval answer."""
CITATIONS = 6
"""Most passages that one answer may cite."""
CATEGORIES = (
    "violence",
    "self_harm",
    "crime",
    "fraud",
    "cyber",
    "hate",
    "sexual",
    "misinformation",
    "privacy",
    "injection",
)
"""Why a text is unsafe. `hate` includes harassment; `injection` is text that tries to override instructions
or to pull out what they protect; `crime` is any unlawful aim that no other category names."""

AGREEMENTS = ("agrees", "contradicts")
"""What a step says of an answer: the records of the run bear it out, or they say something else."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that an answer may cite by its id; the model is shown all of it but the source.

    Attributes:
        id: What an answer cites.
        text: What it says.
        title: Shown before the text.
        source: Where it is from, for people.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "text", "title", "source"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"the {name} of a passage is {value!r}, and no text")
        if not self.id or re.search(r"[\[\]\n]", self.id):
            raise ValueError(f"passage id {self.id!r} must be non-empty, without brackets or line breaks")


@dataclass(frozen=True, slots=True)
class Answer:
    """A retrieval step: whether the passages answer the question, which do, and the answer.

    Attributes:
        answerable: Whether the passages answer the question.
        citations: Ids of those that do.
        answer: The answer.
    """

    answerable: bool
    citations: tuple[str, ...] = ()
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A safety step: whether the last message is unsafe, and why (one of `CATEGORIES`, empty when safe).

    Attributes:
        unsafe: Whether it is.
        category: Why.
    """

    unsafe: bool
    category: str = ""


PASSAGES = "Passages:\n"
"""The beginning of a user message with passages."""


def user_content(question: str, passages: Sequence[Passage] = ()) -> str:
    """The user message of a question, with the passages it may be answered from.

    Args:
        question: What is asked.
        passages: Passages in the order they are shown; their ids must differ.

    Raises:
        ValueError: Two passages share an id.
    """
    if not passages:
        return question
    if len({passage.id for passage in passages}) != len(passages):
        raise ValueError("passage ids must differ: rename the repeated one")
    return PASSAGES + "\n".join(map(passage_line, passages)) + "\n\n" + question


def passage_line(passage: Passage) -> str:
    """A passage as a user message shows it."""
    title = f"{passage.title}: " if passage.title else ""
    return f"[{passage.id}] {title}{passage.text}"


def answer_schema(passage_ids: Iterable[str]) -> dict[str, Any]:
    """JSON Schema of a retrieval step over these passages.

    Args:
        passage_ids: Ids that may be cited, at least one.

    Raises:
        ValueError: There is no passage to cite.
    """
    ids = list(dict.fromkeys(passage_ids))
    if not ids:
        raise ValueError("an answer contract needs at least one passage: pass passages or mask the skill")
    citations = {
        "type": "array",
        "items": {"type": "string", "enum": ids},
        "minItems": 1,
        "maxItems": min(CITATIONS, len(ids)),
    }
    answer = {"type": "string", "minLength": 1, "maxLength": ANSWER_LENGTH}
    found = object_schema({"answerable": {"const": True}, "citations": citations, "answer": answer})
    return {"anyOf": [found, object_schema({"answerable": {"const": False}})]}


def verdict_schema() -> dict[str, Any]:
    """JSON Schema of a safety step."""
    category = {"type": "string", "enum": list(CATEGORIES)}
    unsafe = object_schema({"verdict": {"const": "unsafe"}, "category": category})
    return {"anyOf": [object_schema({"verdict": {"const": "safe"}}), unsafe]}


def agreement_schema() -> dict[str, Any]:
    """JSON Schema of a step that says whether an answer agrees with the records of its run."""
    return object_schema({"verdict": {"type": "string", "enum": list(AGREEMENTS)}})


def agreement_prompt(answer: str) -> str:
    """What the step is asked about: the user's message that stands in its branch.

    Args:
        answer: The answer that is looked at.
    """
    return f"Answer: {answer}"


def agreement_text(contradicts: bool) -> str:
    """The compact JSON text of such a step."""
    return dumps({"verdict": AGREEMENTS[contradicts]})


def code_grammar(trailing: bool = False) -> str:
    """Lark grammar (llguidance) of a code step: one fenced Python block.

    The code starts on a non-blank line, and no line of it starts with a fence, so the block has one end.

    Args:
        trailing: line breaks may follow it: some vocabularies write a fence's last backquote together with them, and
            a model that may not do so goes on without closing the block (`Tokenizer.joins_fences`).
    """
    first = r"([^`\s][^\n]*|`{1,2}([^`\n][^\n]*)?)\n"
    line = r"([^`\n][^\n]*|`{1,2}([^`\n][^\n]*)?)?\n"
    end = r"\n{0,2}" if trailing else ""
    return f"start: /```python\\n{first}({line})*```{end}/\n"


def answer_text(answer: Answer) -> str:
    """The compact JSON text of a retrieval step.

    Args:
        answer: What the step says.
    """
    if not answer.answerable:
        return dumps({"answerable": False})
    return dumps({"answerable": True, "citations": list(answer.citations), "answer": answer.answer})


def verdict_text(verdict: Verdict) -> str:
    """The compact JSON text of a safety step.

    Args:
        verdict: What the step says.
    """
    if not verdict.unsafe:
        return dumps({"verdict": "safe"})
    return dumps({"verdict": "unsafe", "category": verdict.category})


def code_text(code: str) -> str:
    """The fenced text of a code step.

    Args:
        code: Python source.
    """
    return "```python\n" + code.strip("\n") + "\n```"


def answer_of(text: str) -> Answer:
    """Reads a retrieval step.

    Repeated citations are kept once, in the order given.

    Args:
        text: What a step wrote.

    Raises:
        SchemaError: The text is not a step under `answer_schema`.
    """
    data = _object(text, "answer")
    if data.get("answerable") is False:
        return Answer(answerable=False)
    citations, answer = data.get("citations"), data.get("answer")
    if data.get("answerable") is not True or not isinstance(citations, list) or not isinstance(answer, str):
        raise SchemaError(f"an answer step needs answerable, citations and answer; got {text[:80]!r}")
    return Answer(True, tuple(dict.fromkeys(str(c) for c in citations)), answer.strip())


def verdict_of(text: str) -> Verdict:
    """Reads a safety step.

    Args:
        text: What a step wrote.

    Raises:
        SchemaError: The text is not a step under `verdict_schema`.
    """
    data = _object(text, "verdict")
    verdict, category = data.get("verdict"), data.get("category", "")
    if verdict == "safe":
        return Verdict(unsafe=False)
    if verdict != "unsafe" or category not in CATEGORIES:
        raise SchemaError(f"a verdict step needs verdict safe, or unsafe and a category; got {text[:80]!r}")
    return Verdict(unsafe=True, category=str(category))


def contradicts_of(text: str) -> bool:
    """Reads a step under `agreement_schema`: whether the answer contradicts the records.

    Args:
        text: What a step wrote.

    Raises:
        SchemaError: The text is no such step.
    """
    verdict = _object(text, "agreement").get("verdict")
    if verdict not in AGREEMENTS:
        raise SchemaError(f"an agreement step needs the verdict agrees or contradicts; got {text[:80]!r}")
    return bool(verdict == AGREEMENTS[1])


def openings(contract: str) -> tuple[str, str] | None:
    """The two ways in which a contract's text begins that a threshold may weigh: the first is taken from it on.

    A verdict is unsafe or safe; an answer contradicts the records or agrees with them; a step that calls tools calls
    none or one; a question is not answerable or is. None: the contract has no such ways.

    Args:
        contract: Name of the contract.
    """
    if contract == "verdict":
        return dumps({"verdict": "unsafe"})[:-2], dumps({"verdict": "safe"})[:-2]  # up to where their words are known
    if contract == "answer":
        return dumps({"answerable": False})[:-1], dumps({"answerable": True})[:-1]
    if contract == "agreement":
        return agreement_text(True)[:-2], agreement_text(False)[:-2]
    return ("[]", '[{"name":"') if contract == "calls" else None


def code_of(text: str) -> str:
    """The code inside a code step, ending in one line break.

    Args:
        text: What a step wrote.

    Raises:
        SchemaError: The text is not one fenced Python block.
    """
    match = re.fullmatch(r"```python\n(.*?\n)```\s*", text, re.DOTALL)
    if match is None:
        raise SchemaError(f"a code step is one ```python block; got {text[:80]!r}")
    return match[1].strip("\n") + "\n"


def calls_of(text: str) -> list[dict[str, Any]] | None:
    """The calls that a tools step lists, as JSON data; None if the text is no list of calls.

    Nothing is said about their tools: `tool_schemas.tools.calls` reads calls against the schemas of tools.

    Args:
        text: What a step wrote.
    """
    found = loads_or(text)
    fits = isinstance(found, list) and all(
        isinstance(c, dict) and isinstance(c.get("name"), str) and isinstance(c.get("arguments"), dict) for c in found
    )
    return found if fits else None


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SchemaError(f"the {what} step is not JSON ({error.msg} at {error.pos}): {text[:80]!r}") from None
    if not isinstance(data, dict):
        raise SchemaError(f"the {what} step must be a JSON object, not {type(data).__name__}")
    return data
