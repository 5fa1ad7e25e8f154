"""A run as a JSON document: what ran, under which settings, every step and event, and how it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.tracing import redact
from loraloop.agent.values.receipts import Receipt
from loraloop.agent.values.step import Compaction, GateRecord, Step, StopReason, plain
from loraloop.tool_schemas.errors import InputError, file_errors
from loraloop.tool_schemas.jsontext import adapter, dumps, levels
from loraloop.tool_schemas.schema.untitled import first_problem
from loraloop.tool_schemas.tools.calls import Call

K = TypeVar("K")
DEEPEST = 200
"""Levels of a document that is read; results of tools have at most 100."""
SCHEMA: Final = "loraloop.trace/2"
"""The `schema` of a trace: the format and its version. The version grows when a reader must know of a change."""


@dataclass(frozen=True, slots=True)
class BaseUsed:
    """The base of a run.

    Attributes:
        name: Name of the base in the catalog, or of its file or folder.
        form: The quantization that it was served in.
        architecture: Fingerprint of architecture, tokenizer and chat format.
        weights: Fingerprint of weights and quantization.
        context: Positions that a transcript may use.
        device: What it ran on.
    """

    name: str
    form: str
    architecture: str
    weights: str
    context: int
    device: str


@dataclass(frozen=True, slots=True)
class SkillUsed:
    """A skill that could be chosen.

    Attributes:
        name: What it is called.
        contract: What it writes.
        method: How its weights are made.
        activation: `branch` or `full`.
        sha256: Digest of its weights; empty if the skill was never saved.
    """

    name: str
    contract: str
    method: str
    activation: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RouterUsed:
    """The router of a run.

    Attributes:
        kind: Class of the router.
        sha256: Digest of its weights and thresholds; empty if it has none.
    """

    kind: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeUsed:
    """The base, skills, router and machine that a run used.

    Attributes:
        base: The base.
        skills: The skills that could be chosen.
        router: The router.
        versions: Versions of Python and of packages.
        machine: The machine.
        missing: What the engine could not do that a base in this process can.
    """

    base: BaseUsed
    skills: tuple[SkillUsed, ...]
    router: RouterUsed
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolUsed:
    """A tool that could be called.

    Attributes:
        name: The name by which the model calls it.
        description: The description that the model read.
        parameters: JSON Schema of the arguments.
        strict: Whether the arguments were decoded under that schema.
        on_unsupported: What was done about keywords that decoding cannot enforce.
        returns: JSON Schema of the result.
        retries: How often the tool may ask for another try; None means as often as the limits say.
        executable: Whether a call gives a result here.
        source: Where the tool comes from.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = True
    on_unsupported: Literal["refuse", "check"] = "refuse"
    returns: dict[str, Any] | None = None
    retries: int | None = None
    executable: bool = True
    source: str = ""


@dataclass(frozen=True, slots=True)
class SettingsUsed:
    """The settings of a run.

    Attributes:
        limits: The fields of `Limits`.
        policy: The fields of `Policy`; a function is given by its name.
        sampling: The fields of `Sampling`; the seed is the one that was drawn if none was given.
        guard: The fields of `Guard`; a function is given by its name.
        output: The form of the answer: its `kind` and the fields of that; None for any text.
        python: Whether the programs of code steps were run.
    """

    limits: dict[str, Any]
    policy: dict[str, Any]
    sampling: dict[str, Any]
    guard: dict[str, Any]
    output: dict[str, Any] | None = None
    python: bool = False


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of a run. It leaves out what the steps and the end say as well. Tokens are not listed.

    Attributes:
        at: Milliseconds since the run began.
        type: The event's class.
        step: The step; None for an event of the whole run.
        data: The other fields of the event.
    """

    at: float
    type: str
    step: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run; the fields are those of `RunResult`.

    Attributes:
        output: The answer, or what there was when a limit was met.
        stop_reason: Why it ended.
        messages: The transcript.
        calls: Calls that the caller had to run.
        citations: Ids of the passages that the answer cites.
        category: Why a request was refused.
        value: The answer as a value, as JSON data.
        compactions: What was done to keep the transcript within the context.
        ms: Wall time of the run.
        gates: What the guard's gates decided.
        planned: Tools with effects that the user's own words need, if the guard had that asked.
        receipts: What came of each call, in plain words.
    """

    output: str
    stop_reason: StopReason
    messages: tuple[Message, ...]
    calls: tuple[Call, ...] = ()
    citations: tuple[str, ...] = ()
    category: str = ""
    value: Any = None
    compactions: tuple[Compaction, ...] = ()
    ms: float = 0.0
    gates: tuple[GateRecord, ...] = ()
    planned: tuple[str, ...] | None = None
    receipts: tuple[Receipt, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A run as a document. A `Tracer` makes it.

    Attributes:
        schema: Format and version.
        run_id: The run.
        started: When it began, in UTC (ISO 8601).
        runtime: The base, the skills and the router, versions, and the machine.
        tools: The tools that could be called.
        settings: Limits, policy, sampling, guard, and the form of the answer.
        prompt: What the user said.
        messages: What the run began with: system message, history, and the prompt with its passages.
        passages: What could be cited.
        steps: Every step, with its calls.
        events: What happened, in order, with times.
        end: How the run ended; None if it failed or was given up.
        error: Why there is no end.
        content: `full`; `masked` if a function was let over the texts; `none` if texts, arguments and results were
            left out, so that a replay is not possible.
    """

    schema: Literal["loraloop.trace/2"]
    run_id: str
    started: str
    runtime: RuntimeUsed
    tools: tuple[ToolUsed, ...]
    settings: SettingsUsed
    prompt: str
    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    steps: tuple[Step, ...]
    events: tuple[EventRecord, ...]
    end: RunEnd | None
    error: str = ""
    content: Literal["full", "masked", "none"] = "full"

    @property
    def resumed(self) -> bool:
        """Whether the run went on after a pause: `messages` then hold what its steps before the pause left, too."""
        return any(event.type == "RunStarted" and event.data.get("resumed") for event in self.events)

    def to_dict(self) -> dict[str, Any]:
        """JSON data that fits the published schema."""
        return dict(plain(self))

    def to_json(self, indent: int | None = None) -> str:
        """The document; one line without `indent`."""
        compact = dumps(self.to_dict())
        return compact if indent is None else json.dumps(json.loads(compact), indent=indent, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Any) -> Trace:
        """Reads a document.

        Raises:
            InputError: It is no trace, or is of another version.
        """
        import pydantic

        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            if isinstance(schema, str) and schema.startswith(SCHEMA.rpartition("/")[0] + "/"):
                raise InputError(
                    f"the trace has the format {schema!r}, and this loraloop reads {SCHEMA!r}: use the loraloop that "
                    "wrote it"
                )
            raise InputError(f"not a trace: its schema is {schema!r}, not {SCHEMA!r}")
        if levels(data) > DEEPEST:
            raise InputError(f"the trace is nested more than {DEEPEST} levels deep: loraloop writes no such trace")
        try:
            return _with_new_names(adapter(Trace).validate_python(data))
        except pydantic.ValidationError as error:
            raise InputError(f"the trace is damaged at {': '.join(first_problem(error))}") from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Trace:
        """Reads a document's text; raises InputError as `from_dict` does."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not a trace: invalid JSON ({error})") from None
        return cls.from_dict(data)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it, indented; the file is whole at any time. A folder, or `name/`, gets a file named after the run."""
        target = Path(path)
        if target.is_dir() or os.fspath(path).endswith((os.sep, "/")):
            target = target / f"{self.run_id}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{self.run_id}")
        part.write_text(self.to_json(indent=1) + "\n", encoding="utf-8")
        part.replace(target)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Reads a file that `save` wrote.

        Raises:
            InputError: It cannot be read, or is no trace that this version reads.
        """
        with file_errors(f"cannot read the trace {os.fspath(path)}"):
            text = Path(path).read_text(encoding="utf-8")
        try:
            return cls.from_json(text)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from None

    def masked(self, mask: Callable[[str], str]) -> Trace:
        """A copy of the trace in which `mask` has replaced every text of users, tools and the model."""
        return Trace.from_dict(redact.masked(self.to_dict(), mask))

    def without_contents(self) -> Trace:
        """A copy of the trace without texts, arguments and results. Counts, times, routes and names stay."""
        return Trace.from_dict(redact.emptied(self.to_dict()))


def _with_new_names(trace: Trace) -> Trace:
    """The trace with the policy's fields called as they are now, without those that are gone.

    0.2 had one name for two things, and a threshold that decided whether a step asks the user.
    """
    policy = dict(trace.settings.policy)
    thresholds = policy.get("thresholds")
    if "ask" in policy:
        policy["needs_approval"] = policy.pop("ask")
    if isinstance(thresholds, dict):
        policy["thresholds"] = {name: value for name, value in thresholds.items() if name not in ("ask", "ask_user")}
    return replace(trace, settings=replace(trace.settings, policy=policy))


def taken(kind: type[K], source: Any, **other: Any) -> K:
    """A part of a trace: its fields are those of the same names of another object."""
    names = [each.name for each in fields(kind) if each.name not in other]  # type: ignore[arg-type]
    return kind(**{name: getattr(source, name) for name in names}, **other)
