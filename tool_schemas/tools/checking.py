"""What becomes of a tool: which keywords are enforced, checked or refused, examples of calls, the time to compile."""

from __future__ import annotations

import json
import statistics
import zlib
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import LimitError, LoraloopError, SchemaError
from loraloop.tool_schemas.grammar.walks import random_walk, shortest
from loraloop.tool_schemas.schema.dialect import Bounds
from loraloop.tool_schemas.tools.calls import calls_term, parse_calls
from loraloop.tool_schemas.tools.survey import Note, Survey, survey
from loraloop.tool_schemas.tools.tool import PARAMETERS
from loraloop.tool_schemas.tools.tool_lists import ToolEntry, plain_form

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
    from loraloop.tool_schemas.schema.findings import OnUnsupported
    from loraloop.tool_schemas.tools.tool import Tool

_SHORT = Bounds(text=16, items=3, keys=3, key=12, number=1000)  # of examples
_REPEATS = 20
_SECONDS = 0.5  # for compiling again and again


@dataclass(frozen=True, slots=True)
class ToolReport:
    """The report of `loraloop tools check` on one tool.

    Attributes:
        name: The tool's name, as far as it has one.
        place: Where it was found.
        strict: Whether its arguments are decoded under their schema.
        on_unsupported: What happens with keywords that cannot be enforced.
        survey: What becomes of each keyword; the tool cannot be used if any is refused.
        shortest: A short call, decoded through the grammar.
        random: A call decoded from random logits through the grammar, and then validated.
        compile_ms_p50: Median milliseconds to compile its grammar.
        compiled: How many times it was compiled for that.
        problem: Why there are no examples, where a valid call is too rare to be found at random.
    """

    name: str
    place: str
    strict: bool = True
    on_unsupported: OnUnsupported = "refuse"
    survey: Survey = field(default_factory=Survey)
    shortest: dict[str, Any] | None = None
    random: dict[str, Any] | None = None
    compile_ms_p50: float | None = None
    compiled: int = 0
    problem: str = ""

    def also_refused(self, note: Note) -> ToolReport:
        """The report with one more reason why the tool cannot be used, before the others."""
        return replace(self, survey=replace(self.survey, refused=(note, *self.survey.refused)))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        document = asdict(self)
        survey = document.pop("survey")
        return document | {key: [each._asdict() for each in getattr(self.survey, key)] for key in survey}


class ToolChecker:
    """Checks tools against one tokenizer.

    Args:
        compiler: Compiles grammars for the tokenizer.
        seed: Seed of the random examples.
        on_unsupported: What to do about keywords that decoding cannot enforce, instead of what the tools say; None
            keeps that.
    """

    def __init__(self, compiler: GrammarCompiler, seed: int = 0, on_unsupported: OnUnsupported | None = None) -> None:
        self.compiler = compiler
        self.seed = seed
        self.on_unsupported = on_unsupported

    def entry(self, entry: ToolEntry, place: str) -> ToolReport:
        """Checks a tool of a list; what is wrong with it is in the report, all of it that can be told."""
        chosen = entry.mode(self.on_unsupported)
        try:
            tool = entry.tool(chosen)
        except LoraloopError as error:
            return self.refusal(entry.body, place, error, chosen)
        return self.tool(tool, place)

    def refusal(
        self, body: Any, place: str, error: LoraloopError, on_unsupported: OnUnsupported = "refuse"
    ) -> ToolReport:
        """The report of a tool that could not be made.

        Args:
            body: The JSON form of the tool, from which name and schema are read as far as they are there.
            place: Where it was found.
            error: Why it could not be made.
            on_unsupported: What was to be done about keywords that decoding cannot enforce.
        """
        name, schema = _parts(body)
        found = survey(schema, on_unsupported) if schema is not None else Survey()
        path = getattr(error, "path", "")
        reason = (error.reason if isinstance(error, SchemaError) else str(error)).removeprefix(f"tool {name!r}: ")
        report = ToolReport(name, place, on_unsupported=on_unsupported, survey=found)
        known = any(note.path == path for note in found.refused)
        return report if known else report.also_refused(Note(path, reason))

    def tool(self, tool: Tool, place: str) -> ToolReport:
        """Checks a tool that was found in a place."""
        chosen = self.on_unsupported or tool.on_unsupported
        if tool.strict and chosen != tool.on_unsupported:
            try:
                tool = replace(tool, on_unsupported=chosen)
            except SchemaError as error:
                body = {"name": tool.name, "parameters": tool.parameters}
                return self.refusal(body, place, error, chosen)
        found = survey(tool.parameters, chosen)
        if not tool.strict:
            found = replace(found, enforced=(), refused=())
        return self._with_examples(ToolReport(tool.name, place, tool.strict, chosen, found), tool)

    def _with_examples(self, report: ToolReport, tool: Tool) -> ToolReport:
        """The report with calls that were decoded, and the time to compile."""
        term = calls_term((tool,), 1, 1)
        try:
            times = self._times(term)
            grammar = self.compiler.compile(replace(term, bounds=_SHORT))
            short = _call(shortest(grammar, self.compiler.vocabulary), tool)
            seed = self.seed + zlib.crc32(tool.name.encode())
            drawn = _call(random_walk(grammar, self.compiler.vocabulary, seed), tool)
        except LimitError as error:
            return replace(report, problem=f"no call was found at random: {error}")
        except SchemaError as error:
            note = Note(error.path, f"a call was decoded that is not valid: {error.reason}")
            return report.also_refused(note)
        return replace(
            report,
            shortest=short,
            random=drawn,
            compile_ms_p50=round(statistics.median(times), 3),
            compiled=len(times),
        )

    def _times(self, term: Any) -> list[float]:
        """Milliseconds of compiling it afresh, several times."""
        times: list[float] = []
        end = perf_counter() + _SECONDS
        while len(times) < _REPEATS and (not times or perf_counter() < end):
            start = perf_counter()
            self.compiler.compile_anew(term)
            times.append((perf_counter() - start) * 1e3)
        return times


def _call(text: str, tool: Tool) -> dict[str, Any]:
    """The arguments of a decoded call, which has to be valid."""
    if not tool.strict:
        arguments: dict[str, Any] = json.loads(text)[0]["arguments"]
        return arguments
    return parse_calls(text, (tool,))[0].arguments


def _parts(body: Any) -> tuple[str, dict[str, Any] | None]:
    """The name and the schema of what may be no tool."""
    try:
        body = plain_form(body)
    except SchemaError:
        return str(body.get("name", "?")), None
    if isinstance(body, dict) and isinstance(body.get("function"), dict):
        body = body["function"]
    if not isinstance(body, dict):
        return "?", None
    schema = next((body[key] for key in PARAMETERS if isinstance(body.get(key), dict)), None)
    return str(body.get("name", "?")), schema
