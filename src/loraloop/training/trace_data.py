"""Training records of real runs: from traces and sessions, with ratings and corrections of people."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loraloop.agent.tracing.redact import over_texts
from loraloop.agent.values.receipts import status_of
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.folders import files_of
from loraloop.tool_schemas.jsontext import adapter, dumps
from loraloop.tool_schemas.schema.untitled import first_problem

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.tracing.trace import Trace
    from loraloop.agent.values.step import Step

RATED = ".rating.json"
"""The ending of the file beside a trace that holds its rating."""
REDACTED = "[redacted]"
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)?[-_]?[A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bhf_[A-Za-z0-9]{20,}"
    r"|(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]{5,}"
    r"|(?<=Bearer )[\w.~+/=-]{8,}"
    r"|(?i:(?P<named>(?:password|passwd|secret|token|api[ _-]?key)[\"']?(?: ?[:=] ?| is )[\"']?))[^\s\"',;]{4,}",
    re.DOTALL,
)
_NAMED = re.compile("(?i).*(?:password|passwd|passphrase|secret|token|api_?key)")
"""Names of fields that hold secrets, whatever form these have."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A person's rating of a run.

    Attributes:
        rating: Whether the run did what was wanted.
        correct: What a step should have written: a list of calls, with null for what it should have asked for, or the
            text of the answer; None if nobody said.
        step: The step that `correct` is about; None for the first one that could call, or the last one for a text.
    """

    rating: Literal["good", "bad"]
    correct: Any = None
    step: int | None = None


@dataclass(slots=True)
class Harvest:
    """Records of runs.

    Attributes:
        records: In the form `calls`, or `messages` for texts.
        pairs: In the form `preference`: what a person put in the place of what the skill wrote.
        left_out: How many steps gave no record, by reason.
        secrets: What the runs' calls and results called a password, token, secret or key.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    secrets: set[str] = field(default_factory=set)

    def write(self, out: Path) -> tuple[Path, ...]:
        """Writes the records to `out` and the pairs, if any, to `NAME.pairs.jsonl` beside it; returns the files."""
        from loraloop.adapters.atomic_write import write_text

        written = []
        for path, rows in ((out, self.records), (out.with_suffix(".pairs.jsonl"), self.pairs)):
            if rows:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, "".join(dumps(row) + "\n" for row in rows))
                written.append(path)
        return tuple(written)


def rate(trace: Path, rating: Literal["good", "bad"], correct: str = "", step: int | None = None) -> Path:
    """Keeps what a person says of a run, in a file beside its trace; an earlier rating is replaced.

    Args:
        trace: The file of the trace.
        rating: Whether the run did what was wanted.
        correct: What should have been written: a JSON list of calls, with null in the place of each argument that the
            user should have been asked for, or the answer's text.
        step: The step that it is about; see `Rating`.

    Raises:
        InputError: The trace cannot be read, has no such step, or the calls do not fit its tools.
    """
    from loraloop.adapters.atomic_write import write_text
    from loraloop.agent.tracing.trace import Trace
    from loraloop.tool_schemas import Tool, parse_step

    loaded = Trace.load(trace)
    if step is not None and step not in range(len(loaded.steps)):
        raise InputError(f"the run has no step {step}: it has {len(loaded.steps)}, counted from 0")
    meant: Any = correct or None
    if re.match(r"\s*\[\s*[{\]]", correct):  # else an answer, which may begin with a citation
        tools = [Tool.from_schema(tool, on_unsupported="check") for tool in _tools(loaded)]
        parse_step(correct, tools)
        meant = json.loads(correct)
    path = trace.with_name(trace.name.removesuffix(".json") + RATED)
    write_text(path, dumps({"rating": rating, "correct": meant, "step": step}) + "\n")
    return path


def rating_of(trace: Path) -> Rating | None:
    """The rating beside a trace; None where there is none.

    Raises:
        InputError: It is damaged.
    """
    from pydantic import ValidationError

    path = trace.with_name(trace.name.removesuffix(".json") + RATED)
    try:
        found: Rating | None = adapter(Rating).validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError as error:
        why = ": ".join(first_problem(error))
        raise InputError(f"{path} is damaged ({why}): rate the run again (loraloop trace rate)") from None
    return found


def from_traces(place: Path, contract: Literal["calls", "text"] = "calls", tools: Sequence[Any] = ()) -> Harvest:
    """Makes training records from the traces of runs.

    For `calls`, a step becomes a record if all its calls succeeded, none was denied and none needed a repair; repeated
    calls are left out. A step without calls becomes one only if its run was rated good. For `text`, the answer of a
    run that was rated good becomes a record. A run that was rated bad contributes its corrections alone. Edited calls
    and corrections also become preference pairs. Secrets are redacted, and duplicates are removed.

    Args:
        place: A folder of traces, one trace, or a file of sessions.
        contract: What the records are for.
        tools: Schemas of the tools that the agent had; needed for sessions, which do not store them.

    Raises:
        InputError: There is nothing to read, or a file is damaged.
    """
    found = Harvest()
    if place.suffix == ".db":
        _of_sessions(found, place, contract, list(tools))
    else:
        paths = [
            file
            for file in sorted(files_of(place))
            if file == place or (file.suffix == ".json" and not file.name.endswith(RATED))
        ]
        if not paths:
            raise InputError(f"{place} holds no traces: name a folder that `loraloop run --trace` writes to")
        for path in paths:
            _of_trace(found, path, contract)
    found.secrets.update(_secrets([found.records, found.pairs]))
    named = "|".join(map(re.escape, sorted(found.secrets, key=len, reverse=True)))
    known = re.compile(rf"(?<!\w)(?:{named})(?!\w)" if named else r"(?!)")
    for rows in (found.records, found.pairs):
        rows[:] = distinct(over_texts(row, lambda text: redacted(known.sub(REDACTED, text))) for row in rows)
    return found


def redacted(text: str) -> str:
    """The text without keys, tokens, passwords and private keys that give themselves away by their form."""
    return _SECRETS.sub(lambda match: (match["named"] or "") + REDACTED, text)


def _secrets(value: Any, key: str = "") -> Iterator[str]:
    """What fields with secret names hold, also in texts that are JSON, as transcripts have calls and results."""
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else ((key, item) for item in value):
            yield from _secrets(item, name)
    elif isinstance(value, str) and _NAMED.fullmatch(key) and len(value) > 4:
        yield value
    elif isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(ValueError, RecursionError):
            yield from _secrets(json.loads(value))


def _of_trace(found: Harvest, path: Path, contract: str) -> None:
    from loraloop.agent.tracing.trace import Trace

    trace = Trace.load(path)
    start, end = len(trace.messages), trace.end
    if end is None or trace.content == "none" or end.compactions or end.messages[:start] != trace.messages:
        found.left_out["a run without an end, without texts, or compacted"] += 1
        return
    messages = end.messages
    if trace.resumed:  # its first messages hold what its steps before the pause left
        start = max((at for at in range(start) if not _of_step(messages[at])), default=-1) + 1
    writer = _Writer(found, _tools(trace), trace.run_id, rating_of(path))
    writer.run(trace.steps, messages, start, contract)


def _of_sessions(found: Harvest, path: Path, contract: str, tools: list[Any]) -> None:
    from loraloop.agent.sessions.sessions import Sessions

    if not path.is_file():
        raise InputError(f"there is no file of sessions {path}")
    if contract == "calls" and not tools:
        raise InputError(
            "sessions do not keep the schemas of tools: name the tools that the agent had "
            "(--tools of `loraloop data from-traces`), or give traces"
        )
    with Sessions(path) as store:
        for info in store.list():
            session, at = store[info.id], 0
            messages = session.messages
            for turn in session.turns:
                while at < len(messages) and not (_of_step(messages[at]) and messages[at].role == "assistant"):
                    at += 1
                at = _Writer(found, tools, turn.run_id, None).run(turn.steps, messages, at, contract)


def _of_step(message: Message) -> bool:
    """Whether a step left a message in the transcript: what a skill wrote, or the result of a call."""
    return message.origin is not None and message.origin.kind != "guard" and message.origin.step is not None


def _tools(trace: Trace) -> list[dict[str, Any]]:
    return [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in trace.tools]


class _Writer:
    """Writes the records of one run."""

    def __init__(self, found: Harvest, tools: list[Any], run: str, rating: Rating | None) -> None:
        self.found, self.tools, self.id, self.rating = found, tools, run, rating

    def run(self, steps: Sequence[Step], messages: Sequence[Message], at: int, contract: str) -> int:
        """Goes through the steps of a run, whose first one follows `messages[:at]`; returns where the run ends."""
        self.found.secrets.update(_secrets([message.content for message in messages]))
        corrected = self._corrected(steps, contract)
        for place, step in enumerate(steps):
            if at > len(messages):
                self.found.left_out["a transcript that was changed"] += 1
                break
            follows = steps[place + 1].decided_by if place + 1 < len(steps) else ""
            if step.written_by and place != corrected:
                self.found.left_out["a step that the fallback wrote"] += 1
            elif contract == "calls" and (step.outcome in ("calls", "no_call", "ask") or place == corrected):
                self._calls(step, messages[:at], follows, place == corrected)
            elif contract == "text" and step.outcome == "text":
                self._text(step, messages[:at], place == corrected)
            at = after_step(step, messages, at)
        return at

    def _corrected(self, steps: Sequence[Step], contract: str) -> int | None:
        """The step that the rating corrects, if it corrects one of this contract."""
        if self.rating is None or self.rating.correct is None:
            return None
        if (contract == "calls") == isinstance(self.rating.correct, str):
            return None
        if self.rating.step is not None:
            return self.rating.step
        wanted = ("calls", "no_call", "ask") if contract == "calls" else ("text",)
        places = [place for place, step in enumerate(steps) if step.outcome in wanted]
        if contract == "calls":
            return places[0] if places else 0  # a run that answered where it should have called
        return places[-1] if places else None

    def _calls(self, step: Step, context: Sequence[Message], follows: str, corrected: bool) -> None:
        once = [call for call in step.calls if not call.repeated]
        written = [{"name": c.name, "arguments": c.arguments if c.wanted is None else c.wanted} for c in once]
        done = [{"name": call.name, "arguments": call.arguments} for call in once]
        if corrected and self.rating is not None:
            completion = step.text if step.outcome in ("calls", "no_call", "ask") else "[]"
            self._record(context, "corrected", calls=self.rating.correct)
            self._pair(context, self.rating.correct, completion)
            return
        if self.rating is not None and self.rating.rating == "bad":
            self.found.left_out["a run rated bad"] += 1
        elif step.outcome == "calls" and not step.calls:
            self.found.left_out["calls that still wait for approval"] += 1
        elif any(call.approval == "denied" for call in step.calls):
            self.found.left_out["a denied call"] += 1
        elif any(status_of(call) in ("failed", "unknown") or call.retry for call in step.calls):
            self.found.left_out["a call that failed"] += 1
        elif step.decided_by == "repair" or follows == "repair":
            self.found.left_out["a step that needed repair"] += 1
        elif step.outcome != "calls" and self.rating is None:
            self.found.left_out["nothing called, and the run not rated"] += 1
        elif step.outcome == "ask":
            self._record(context, "rated good", calls=json.loads(step.text))
        else:
            why = "rated good" if self.rating else "approved" if any(c.approval for c in step.calls) else "worked"
            self._record(context, why, calls=done)
            if written != done:
                self._pair(context, done, written)

    def _text(self, step: Step, context: Sequence[Message], corrected: bool) -> None:
        if corrected and self.rating is not None:
            self._record(context, "corrected", completion=self.rating.correct)
            self._pair(context, self.rating.correct, step.text)
        elif self.rating is not None and self.rating.rating == "good":
            self._record(context, "rated good", completion=step.text)
        else:
            self.found.left_out["an answer that was not rated good"] += 1

    def _record(self, context: Sequence[Message], why: str, **fields: Any) -> None:
        self.found.records.append({**shown(context, self.tools), **fields, "origin": {"run": self.id, "why": why}})

    def _pair(self, context: Sequence[Message], chosen: Any, rejected: Any) -> None:
        texts = [value if isinstance(value, str) else dumps(value) for value in (chosen, rejected)]
        if texts[0] != texts[1]:
            pair = {"chosen": texts[0], "rejected": texts[1], "origin": {"run": self.id, "why": "corrected"}}
            self.found.pairs.append({**shown(context, self.tools), **pair})


def after_step(step: Step, messages: Sequence[Message], at: int) -> int:
    """How many messages a transcript has after a step that follows `messages[:at]`."""
    if step.kept:
        at += 1
        while at < len(messages) and messages[at].role == "tool":
            at += 1
    return at


def shown(context: Sequence[Message], tools: Sequence[Any]) -> dict[str, Any]:
    """A transcript as a record has it: instructions without the list of tools, which stands beside them.

    Where a note stands before the user's first message, the instructions are there even if they are empty.
    """
    from loraloop.adapters.training.data.example import instructions_of
    from loraloop.agent.messages import is_date_note

    turns = [{"role": message.role, "content": message.content} for message in context]
    begun = bool(context) and context[0].role == "system" and not is_date_note(context[0])
    head = turns.pop(0)["content"] if begun else ""
    instructions = instructions_of(head) if tools else head
    noted = bool(turns) and turns[0]["role"] == "system"
    found: dict[str, Any] = {"instructions": instructions} if instructions or noted else {}
    return {**found, "messages": turns, **({"tools": list(tools)} if tools else {})}


def distinct(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without those that say the same as an earlier one."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(dumps({name: value for name, value in row.items() if name != "origin"}), row)
    return list(found.values())
