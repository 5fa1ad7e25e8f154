"""Readers: from the forms in which people keep data to records under an output contract.

| form | keys | contracts |
|---|---|---|
| `messages` | messages, completion (tools) | all |
| `calls` | messages or request, tools, calls | calls |
| `passages` | question, passages, answer, citations, or answerable: false | answer |
| `label` | text, label | text, verdict |
| `preference` | messages or prompt, chosen, rejected | all |
| `openai` | messages that end with the assistant (tools) | text, calls, code |
| `sharegpt` | conversations of from and value (system, tools) | text, calls, code |
| `alpaca` | instruction, input, output | text, code |
| `prompt` | prompt, completion or response (tools) | all |

`messages` and `calls` may also hold `extra_prompt`: text that only this step sees, in its branch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.adapters.training.data.dialogue import DialogueTurn, openai_turns, record_tools, sharegpt_turns, steps
from loraloop.adapters.training.data.example import Part, transcript
from loraloop.adapters.training.data.reading import TEXTS, read_rows
from loraloop.adapters.training.data.record import Record, RecordError, RecordPlace, completed
from loraloop.tool_schemas.errors import unknown
from loraloop.tool_schemas.jsontext import loads_or

FORMS = {
    "messages": ({"messages", "completion"},),
    "preference": ({"messages", "chosen", "rejected"}, {"prompt", "chosen", "rejected"}),
    "calls": ({"messages", "tools", "calls"}, {"request", "tools", "calls"}),
    "passages": ({"question", "passages"},),
    "label": ({"text", "label"},),
    "openai": ({"messages"},),
    "sharegpt": ({"conversations"},),
    "alpaca": ({"instruction", "output"},),
    "prompt": ({"prompt", "completion"}, {"prompt", "response"}),
}
"""The forms, in the order in which they are tried, with the keys that give them away."""
OF_FORM = {
    "calls": ("calls",),
    "passages": ("answer",),
    "label": ("text", "verdict"),
    "openai": ("text", "calls", "code"),
    "sharegpt": ("text", "calls", "code"),
    "alpaca": ("text", "code"),
}
"""The contracts that a form can give, where it cannot give all."""

UNWANTED = (
    "its label is false: an unwanted output (TRL's form for KTO), which would be learnt: give pairs of chosen and "
    """rejected to kto, or leave such records out by the source's `where: {label: ["true"]}`"""
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is read.

    Attributes:
        contract: What the records' steps write.
        form: One of `FORMS`, or `auto`.
        columns: The file's names for the form's keys.
        instructions: System message put in front of records that have none.
        where: Values of a row's keys, of which it has to have one; a row that has none gives no record.
        turns: `all` turns of a dialogue, or the `last` one.
        source: Name of the source.
        license: Licence of the source.
        shown: The file's name in places; its path by default.
        header: Stands above the tools of a transcript; see `Prompting.tools_header`.
    """

    contract: str = "text"
    form: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    instructions: str = ""
    where: Mapping[str, Collection[str]] = field(default_factory=dict)
    turns: str = "all"
    source: str = ""
    license: str = ""
    shown: str = ""
    header: str = CALLS_HEADER

    def __post_init__(self) -> None:
        if self.form != "auto" and self.form not in FORMS:
            raise unknown("form of records", self.form, (*FORMS, "auto"))


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that cannot be used."""

    place: RecordPlace
    kind: str
    reason: str


def read_file(path: Path, how: Reading) -> Iterator[Record | Broken]:
    """The records of a file, and what is broken in it, in its order.

    A dialogue gives one record for each of the assistant's turns that its contract covers.

    Raises:
        InputError: the file itself cannot be read.
    """
    for line, row in read_rows(path, [how.columns.get(name, name) for name in TEXTS]):
        place = RecordPlace(how.shown or str(path), line)
        if isinstance(row, RecordError):
            yield Broken(place, row.kind, row.reason)
            continue
        try:
            yield from list(records_of(row, how, place))
        except RecordError as error:
            yield Broken(place, error.kind, error.reason)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            yield Broken(place, "wrong form", f"the record does not have its form: {error!r}")


def form_of(row: Mapping[str, Any]) -> str:
    """The form that a record's keys give away.

    Raises:
        RecordError: none does.
    """
    for name, choices in FORMS.items():
        if any(keys <= row.keys() for keys in choices):
            return name
    known = "; ".join(f"{name}: {', '.join(sorted(keys[0]))}" for name, keys in FORMS.items())
    reason = f"the keys {', '.join(map(str, row))} are of no known form ({known})"
    raise RecordError("wrong form", f"{reason}: rename them, here or by the recipe's columns")


def is_among(row: Mapping[str, Any], where: Mapping[str, Collection[str]]) -> bool:
    """Whether each of these keys of a row has one of its values; see `where` of a recipe's source."""
    return all(key in row and _written(row[key]) in values for key, values in where.items())


def _written(value: Any) -> str:
    """A value as text: true, false and null as JSON has them."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def records_of(row: Mapping[str, Any], how: Reading, place: RecordPlace) -> Iterator[Record]:
    """The records that one row of a file stands for; none where it is not among those that are read.

    Raises:
        RecordError: it cannot be used, with the reason.
    """
    if not is_among(row, how.where):
        return
    named = {ours: row[theirs] for ours, theirs in how.columns.items() if theirs in row}
    row = {**{key: value for key, value in row.items() if key not in how.columns.values()}, **named}
    form = form_of(row) if how.form == "auto" else how.form
    wanted = FORMS[form]
    if not any(keys <= row.keys() for keys in wanted):
        missing = min((sorted(keys - row.keys()) for keys in wanted), key=len)
        raise RecordError("wrong form", f"a record of the form {form} needs {', '.join(missing)}")
    if how.contract not in OF_FORM.get(form, (how.contract,)):
        raise RecordError(
            "wrong form", f"the form {form} gives {' or '.join(OF_FORM[form])}, and the skill writes {how.contract}"
        )
    if form in ("openai", "sharegpt"):
        yield from _dialogue(form, row, how, place)
        return
    yield _single(form, row, how, place)


def _single(form: str, row: Mapping[str, Any], how: Reading, place: RecordPlace) -> Record:
    tools = record_tools(row.get("tools"))
    passages: tuple[Passage, ...] = ()
    rejected = None
    if form == "passages":
        passages = _passages(row["passages"])
        turns = [DialogueTurn("user", user_content(_text(row["question"], "question"), passages))]
        answer: Any = _answered(row)
    elif form == "label":
        turns, answer = [DialogueTurn("user", _text(row["text"], "text"))], row["label"]
    elif form == "alpaca":
        asked = _text(row["instruction"], "instruction")
        more = str(row.get("input") or "").strip()
        turns, answer = [DialogueTurn("user", f"{asked}\n\n{more}" if more else asked)], row["output"]
    else:
        if str(row.get("label")).lower() == "false":  # in a table it is a text
            raise RecordError("wrong form", UNWANTED)
        turns = _context(row)
        answer = _reply(row.get("completion", row.get("response")), turns)
        if form == "calls":
            answer = row["calls"]
        if form == "preference":
            answer, rejected = _reply(row["chosen"], turns), _reply(row["rejected"], turns)
    if not tools and how.contract == "calls":
        raise RecordError("invalid call", "a record of calls shows the tools that were offered: add tools")
    passages = passages or (_passages(row["passages"]) if how.contract == "answer" and row.get("passages") else ())
    completion, gold = completed(answer, how.contract, passages, tools)
    gold = {**gold, **{key: row[key] for key in ("accepts", "tests", "answers") if row.get(key)}}
    if isinstance(gold.get("answers"), str):
        gold["answers"] = [gold["answers"]]
    if rejected is not None:
        rejected = _worse(rejected, how.contract, passages, tools)
        if rejected == completion:
            raise RecordError("wrong form", "chosen and rejected are the same")
    return Record(
        messages=_shown(turns, how, tools, row.get("instructions")),
        completion=completion,
        contract=how.contract,
        place=place,
        source=_source(row, how),
        license=how.license,
        tools=tools,
        passages=passages,
        gold=gold,
        rejected=rejected,
        extra_prompt=str(row.get("extra_prompt") or ""),
        part=_part(row),
    )


def _source(row: Mapping[str, Any], how: Reading) -> str:
    """The name of the source; for a record of a real run (`loraloop data from-traces`) also why it was taken."""
    origin = row.get("origin")
    return f"{how.source} (runs, {origin['why']})" if isinstance(origin, dict) and "why" in origin else how.source


def _worse(rejected: Any, contract: str, passages: tuple[Passage, ...], tools: tuple[dict[str, Any], ...]) -> str:
    """A rejected completion; as text it may be anything, since what breaks the contract is worth rejecting."""
    try:
        return completed(rejected, contract, passages, tools)[0]
    except RecordError as error:
        if isinstance(rejected, str) and error.kind != "empty completion":
            return rejected.strip()
        raise


def _context(row: Mapping[str, Any]) -> list[DialogueTurn]:
    messages = row.get("messages", row.get("prompt", row.get("request")))
    if isinstance(messages, str) and _chat(loads_or(messages)) is None:
        return [DialogueTurn("user", _text(messages, "prompt"))]
    turns = openai_turns(messages)
    if turns[-1].role == "assistant":
        raise RecordError("wrong roles", "the messages end with the assistant, but the completion is its next turn")
    return turns


def _chat(value: Any) -> list[Any] | None:
    """A list of chat messages; None for anything else."""
    chat = isinstance(value, list) and all(
        isinstance(each, dict) and {"role", "content"} <= each.keys() for each in value
    )
    return value if chat and value else None


def _reply(completion: Any, context: Sequence[DialogueTurn]) -> Any:
    """A completion; where it is written as chat messages, what the assistant says or calls in the last of them."""
    chat = _chat(completion)
    if chat is None or chat[-1]["role"] != "assistant":
        return completion
    before = [DialogueTurn(turn.role, turn.content) for turn in openai_turns(chat[:-1])] if chat[1:] else []
    if before not in ([], [DialogueTurn(turn.role, turn.content) for turn in context]):
        raise RecordError("wrong form", "a completion is one message: what stands before it belongs into the messages")
    reply = openai_turns([*({"role": turn.role, "content": turn.content} for turn in context), chat[-1]])[-1]
    return reply.content if reply.calls is None else list(reply.calls)


def _dialogue(form: str, row: Mapping[str, Any], how: Reading, place: RecordPlace) -> Iterator[Record]:
    tools = record_tools(row.get("tools") or row.get("functions"))
    if form == "openai":
        turns = openai_turns(row["messages"])
    else:
        turns = sharegpt_turns(row["conversations"], str(row.get("system") or ""))
    found = list(steps(turns, how.contract, bool(tools)))
    if not found:
        raise RecordError("wrong roles", f"no turn of the assistant that a skill of {how.contract} could learn")
    for count, text in found if how.turns == "all" else found[-1:]:
        completion, gold = completed(text, how.contract, (), tools)
        shown = _shown(turns[:count], how, tools)
        yield Record(
            messages=shown,
            completion=completion,
            contract=how.contract,
            place=place,
            source=how.source,
            license=how.license,
            tools=tools,
            gold=gold,
            part=_part(row),
        )


def _part(row: Mapping[str, Any]) -> Part | Literal[""]:
    """The part that the record is used for, if it names one."""
    part: Part | Literal[""] = row.get("part") or ""
    if part and part not in get_args(Part):
        raise RecordError("wrong form", f"part is {part!r}: write {', '.join(get_args(Part))}, or leave it out")
    return part


def _shown(
    turns: Sequence[DialogueTurn], how: Reading, tools: tuple[dict[str, Any], ...], own: str | None = None
) -> tuple[Message, ...]:
    """The transcript as an agent would have it: instructions and tools make the system message.

    A first system message holds the instructions, but where the record has instructions of its own beside it (`own`,
    which may be empty): then it is a note that stands before the user's message.
    """
    instructions, rest = own or how.instructions, list(turns)
    if own is None and rest and rest[0].role == "system":
        instructions = rest.pop(0).content
    if not rest:
        raise RecordError("wrong roles", "the record has no messages before its completion")
    return transcript([Message(turn.role, turn.content) for turn in rest], instructions, tools, how.header)


def _passages(passages: Any) -> tuple[Passage, ...]:
    if isinstance(passages, str):
        passages = json.loads(passages)
    wrong = RecordError("wrong form", "passages are a list of at least one text, or of {id, text, title}")
    if not isinstance(passages, list) or not passages:
        raise wrong
    found = []
    for number, entry in enumerate(passages, 1):
        entry = {"text": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or entry.get("text") is None:
            raise wrong
        name = number if entry.get("id") is None else entry["id"]
        found.append(Passage(str(name), str(entry["text"]), str(entry.get("title") or "")))
    if len({passage.id for passage in found}) != len(found):
        raise RecordError("wrong form", "two passages share an id")
    return tuple(found)


def _answered(row: Mapping[str, Any]) -> dict[str, Any]:
    if str(row.get("answerable")).lower() == "false":  # in a table it is a text
        return {"answerable": False}
    cited = row.get("citations")
    listed = [cited] if isinstance(cited, str | int) else list(cited or ())
    return {"answerable": True, "citations": [str(c) for c in listed], "answer": _text(row.get("answer"), "answer")}


def _text(value: Any, name: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        kind = "empty completion" if name == "answer" else "empty message"
        raise RecordError(kind, f"{name} is empty")
    if not isinstance(value, str):
        raise RecordError("wrong form", f"{name} must be text, not {type(value).__name__}")
    return value
