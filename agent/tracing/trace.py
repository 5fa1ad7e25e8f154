"""A run as one JSON document: what ran, on what, under which settings, step by step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.result import Step, plain
from loraloop.agent.tracing.parts import BaseUsed, Ended, Happened, RouterUsed, SettingsUsed, SkillUsed, ToolUsed
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    import pydantic

SCHEMA: Final = "loraloop.trace/1"
"""What a trace's `schema` says: the format and its version, which grows with a change that a reader must know of."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A run as a document. A `Tracer` makes it.

    Attributes:
        schema: Format and version.
        run_id: The run.
        started: When, in UTC (ISO 8601).
        base: The base.
        skills: What could be chosen.
        router: What chose.
        tools: What could be called.
        settings: Limits, policy, sampling, form of the answer.
        prompt: What the user said.
        messages: What the run began with: system message, history, and the prompt with its passages.
        passages: What could be cited.
        steps: Every step, with its calls.
        events: What happened, in order, with times.
        end: How it ended; None for a run that failed or was given up.
        error: Why there is no end.
        content: `full`; `masked` where a function was let over the texts; `none` where texts, arguments and results
            were left out, and a replay is not possible.
        versions: Of Python and packages.
        machine: What it ran on.
    """

    schema: Literal["loraloop.trace/1"]
    run_id: str
    started: str
    base: BaseUsed
    skills: tuple[SkillUsed, ...]
    router: RouterUsed
    tools: tuple[ToolUsed, ...]
    settings: SettingsUsed
    prompt: str
    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    steps: tuple[Step, ...]
    events: tuple[Happened, ...]
    end: Ended | None
    error: str = ""
    content: Literal["full", "masked", "none"] = "full"
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON data, by the published schema."""
        return dict(plain(self))

    def to_json(self, indent: int | None = None) -> str:
        """The document; one line without `indent`."""
        compact = dumps(self.to_dict())
        return compact if indent is None else json.dumps(json.loads(compact), indent=indent, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Any) -> Trace:
        """Reads a document.

        Raises:
            InputError: It is none, or one of another version.
        """
        import pydantic

        said = data.get("schema") if isinstance(data, dict) else None
        if said != SCHEMA:
            if isinstance(said, str) and said.startswith(SCHEMA.rpartition("/")[0] + "/"):
                raise InputError(f"the trace says {said!r}, and this version of loraloop reads {SCHEMA!r}: update it")
            raise InputError(f"this is no trace: its schema is {said!r}, not {SCHEMA!r}")
        try:
            return trace_type().validate_python(data)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"the trace is damaged at {place}: {first['msg']}") from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Trace:
        """Reads a document's text; raises InputError as `from_dict` does."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InputError(f"this is no trace: it is no JSON ({error})") from None
        return cls.from_dict(data)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it, indented; the file is whole at any time. A folder gets a file named after the run."""
        target = Path(path)
        if target.is_dir():
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
            InputError: It cannot be read, or is no trace of this version.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the trace {os.fspath(path)}: {error}") from None
        try:
            return cls.from_json(text)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from None

    def masked(self, mask: Callable[[str], str]) -> Trace:
        """The same with `mask` let over every text of users, tools and the model."""
        from loraloop.agent.tracing.redact import masked

        return masked(self, mask)

    def without_contents(self) -> Trace:
        """The same without texts, arguments and results: counts, times, routes and names stay."""
        from loraloop.agent.tracing.redact import emptied

        return emptied(self)


@cache
def trace_type() -> pydantic.TypeAdapter[Trace]:
    """How documents are checked."""
    import pydantic

    return pydantic.TypeAdapter(Trace)
