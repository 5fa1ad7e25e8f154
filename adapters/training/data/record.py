"""One record of a user's data: a transcript, the step that follows it, and the file and line it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill import contracts
from loraloop.adapters.skill.contracts import Passage, calls_of
from loraloop.adapters.training.data.example import Part, estimate
from loraloop.tool_schemas.errors import LoraloopError, SchemaError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.places import followed
from loraloop.tool_schemas.tools.calls import askable


@dataclass(frozen=True, slots=True, order=True)
class RecordPlace:
    """A file and a line of it, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class RecordError(LoraloopError):
    """A record cannot be used.

    Attributes:
        kind: What is wrong, in one of the checker's words.
        reason: The sentence that says so.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


@dataclass(frozen=True, slots=True)
class Record:
    """A step to learn.

    Attributes:
        messages: The transcript that the step follows.
        completion: The step's text, in the form of its contract.
        contract: What it writes.
        place: Where the record stands.
        source: Name of its source.
        license: Licence of the source.
        tools: Tools that the system message shows.
        passages: Passages that the last message shows.
        gold: What scoring needs beyond the completion.
        rejected: A worse completion, in preference data.
        extra_prompt: Text of the user's place that only this step sees, such as what was wrong with its first version.
        part: What the record is used for, if the data says so; empty where the recipe's shares decide.
        id: Unique among the records of an evaluation; what stands before its first hyphen names its source.
        kind: What it exercises, such as `single` or `none`; for scores by kind.
    """

    messages: tuple[Message, ...]
    completion: str
    contract: str
    place: RecordPlace
    source: str = ""
    license: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    passages: tuple[Passage, ...] = ()
    gold: Mapping[str, Any] = field(default_factory=dict)
    rejected: str | None = None
    extra_prompt: str = ""
    part: Part | Literal[""] = ""
    id: str = "record"
    kind: str = "record"

    @property
    def request(self) -> str:
        """The user's last message."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), self.messages[-1].content)

    @property
    def user_text(self) -> str:
        """All of the user's messages as one text, for comparing requests."""
        return "\n".join(m.content for m in self.messages if m.role == "user") or self.messages[-1].content

    @property
    def group(self) -> str:
        """The user's first message: records that share it, such as the turns of a dialogue, are never split."""
        return next((m.content for m in self.messages if m.role == "user"), self.messages[0].content)

    @property
    def key(self) -> str:
        """Everything that the step sees, for comparing."""
        return "\x1e".join([*(f"{m.role}\x1f{m.content}" for m in self.messages), self.extra_prompt])

    @property
    def length(self) -> int:
        """Tokens, estimated from the characters."""
        return estimate(*(message.content for message in self.messages), self.extra_prompt, self.completion)

    def inlined(self) -> Record:
        """The record with its extra prompt as the user's last message, for systems without a branch to read it in."""
        extra = (Message("user", self.extra_prompt),) if self.extra_prompt else ()
        return replace(self, messages=(*self.messages, *extra), extra_prompt="")


def completed(
    text: Any, contract: str, passages: tuple[Passage, ...] = (), tools: tuple[dict[str, Any], ...] = ()
) -> tuple[str, dict[str, Any]]:
    """A step's text under a contract, and what scoring needs of it.

    Args:
        text: The completion as a file has it: text, or what it stands for (a list of calls, a verdict, a label).
        contract: What the step writes.
        passages: What an answer may cite.
        tools: What calls may name; arguments are put into the order of their schemas, as decoding writes them.

    Raises:
        RecordError: it is empty, or not what the contract says.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        raise RecordError("empty completion", "the completion is empty: give the text that the skill should write")
    if contract == "calls":
        calls = calls_of(text if isinstance(text, str) else json.dumps(text))
        if calls is None:
            raise RecordError("invalid call", 'calls are a JSON list of {"name": …, "arguments": {…}}')
        calls = [in_order({"name": c["name"], "arguments": c["arguments"]}, tools) for c in calls]
        asked = list(dict.fromkeys(name for call in calls for name in _absent(call, tools)))
        return dumps(calls), {"calls": calls, **({"ask": asked} if asked else {})}
    if contract == "verdict":
        return _verdict(text)
    if contract == "agreement":
        return _agreement(text)
    if contract == "answer":
        return _answer(text, passages)
    if not isinstance(text, str):
        text = dumps(text)
    if contract == "code":
        return (text.strip() if text.lstrip().startswith("```") else contracts.code_text(text)), {}
    return text.strip(), {}


def in_order(call: Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The call with its arguments in the order of the tool's schema, as constrained decoding writes them."""
    schema: dict[str, Any] = next((t["parameters"] for t in tools if t["name"] == call["name"]), {})
    return {"name": call["name"], "arguments": ordered(call["arguments"], schema)}


def ordered(value: Any, schema: Any, root: dict[str, Any] | None = None) -> Any:
    """A value with the keys of its objects in the order of its schema.

    Args:
        value: JSON data.
        schema: Its schema. Of alternatives, the first one counts that names the most of an object's keys.
        root: Where references lead; the schema itself if None.
    """
    root = schema if root is None else root
    schema = followed(root, schema)
    if not isinstance(schema, dict):  # true, which says nothing
        return value
    if isinstance(value, dict):
        members = [followed(root, each) for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key, ())]
        named = [each.get("properties", {}) for each in (schema, *members) if isinstance(each, dict)]
        properties: dict[str, Any] = max(named, key=lambda each: len(each.keys() & value.keys()), default={})
        names = [name for name in properties if name in value] + [name for name in value if name not in properties]
        other = schema.get("additionalProperties")
        return {name: ordered(value[name], properties.get(name, other), root) for name in names}
    if isinstance(value, list):
        return [ordered(item, schema.get("items"), root) for item in value]
    return value


def _absent(call: Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> list[str]:
    """The required arguments of a call that have null in their place."""
    absent = [name for name, value in call["arguments"].items() if value is None]
    if not absent:
        return []
    schema: dict[str, Any] = next((t["parameters"] for t in tools if t["name"] == call["name"]), {})
    try:
        missing = askable(schema)
    except SchemaError:  # the tool is wrong, which the checker says
        return []
    return [name for name in absent if name in missing]


def _verdict(text: Any) -> tuple[str, dict[str, Any]]:
    try:
        if isinstance(text, str) and not text.lstrip().startswith("{"):
            label = text.strip().lower()
            if label != "safe" and label not in contracts.CATEGORIES:
                known = ", ".join(("safe", *contracts.CATEGORIES))
                raise RecordError("invalid label", f"the label {text!r} is not a verdict: use one of {known}")
            verdict = contracts.Verdict(label != "safe", "" if label == "safe" else label)
        else:
            verdict = contracts.verdict_of(text if isinstance(text, str) else dumps(text))
    except LoraloopError as error:
        raise error if isinstance(error, RecordError) else RecordError("invalid label", str(error)) from None
    return contracts.verdict_text(verdict), {"unsafe": verdict.unsafe, "category": verdict.category}


def _agreement(text: Any) -> tuple[str, dict[str, Any]]:
    try:
        if isinstance(text, str) and text in contracts.AGREEMENTS:
            contradicts = text == contracts.AGREEMENTS[1]
        else:
            contradicts = contracts.contradicts_of(text if isinstance(text, str) else dumps(text))
    except LoraloopError as error:
        raise RecordError("invalid label", str(error)) from None
    return contracts.agreement_text(contradicts), {"contradicts": contradicts}


def _answer(text: Any, passages: tuple[Passage, ...]) -> tuple[str, dict[str, Any]]:
    try:
        answer = contracts.answer_of(text if isinstance(text, str) else dumps(text))
    except LoraloopError as error:
        raise RecordError("invalid answer", str(error)) from None
    known = [passage.id for passage in passages]
    if answer.answerable and not answer.answer:
        raise RecordError("empty completion", "the answer is empty: give it, or say that it is not answerable")
    if answer.answerable and not answer.citations:
        raise RecordError("invalid answer", "an answer cites at least one passage: give its id")
    if len(answer.answer) > contracts.ANSWER_LENGTH:
        raise RecordError("invalid answer", f"the answer has more than {contracts.ANSWER_LENGTH} characters")
    for citation in answer.citations:
        if citation not in known:
            raise RecordError("invalid answer", f"it cites {citation!r}; the passages are {', '.join(known) or 'none'}")
    gold = {"answerable": answer.answerable, "citations": list(answer.citations), "answers": [answer.answer]}
    return contracts.answer_text(answer), gold
