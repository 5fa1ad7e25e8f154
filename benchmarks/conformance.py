"""How exactly an engine enforces schemas: what it accepts of instances that are known to be valid or invalid."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from loraloop.tool_schemas.errors import InputError, LoraloopError, SchemaError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import JsonSchema
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.findings import OnUnsupported

CASES = Path(__file__).with_name("conformance_cases.json")
"""Cases of our own."""


@dataclass(frozen=True, slots=True)
class ConformanceCase:
    """A schema and instances of it.

    Attributes:
        id: Name of the schema.
        schema: The JSON Schema.
        tests: Instances, and whether each is valid.
    """

    id: str
    schema: dict[str, Any] | bool
    tests: tuple[tuple[Any, bool], ...]


class SchemaJudge(Protocol):
    """An engine, asked as its users would ask it."""

    name: str

    def compile(self, schema: dict[str, Any] | bool) -> Callable[[Any], bool]:
        """Compiles a schema; what comes back says whether an instance can be decoded.

        Raises:
            SchemaError: If the engine refuses the schema.
        """


@dataclass(slots=True)
class Score:
    """What came of one engine on a set of schemas.

    Attributes:
        schemas: How many there are.
        passed: Schemas whose instances were all judged rightly.
        refused: Schemas that were not compiled, by keyword (or by the first words of the reason).
        crashed: Schemas that made the engine raise something else, by what it raised.
        invalid_accepted: Invalid instances that can be decoded.
        valid_rejected: Valid instances that cannot.
        wrong: The schemas of those, with an instance each.
        compile_ms: Milliseconds of each schema that was compiled.
    """

    schemas: int = 0
    passed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    crashed: Counter[str] = field(default_factory=Counter)
    invalid_accepted: int = 0
    valid_rejected: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    compile_ms: list[float] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """The figures by name: counts, rates from 0 to 1, milliseconds."""
        ordered = sorted(self.compile_ms) or [0.0]
        return {
            "pass_rate": self.passed / max(self.schemas, 1),
            "passed": self.passed,
            "refused": self.refused.total(),
            "crashed": self.crashed.total(),
            "invalid_accepted": self.invalid_accepted,
            "valid_rejected": self.valid_rejected,
            "compile_ms_p50": ordered[len(ordered) // 2],
            "compile_ms_p99": ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)],
        }


class OurJudge:
    """Our own engine, decoding exactly the schema, without bounds.

    Args:
        compiler: For any tokenizer.
        on_unsupported: See `JsonSchema`.
    """

    def __init__(self, compiler: GrammarCompiler, on_unsupported: OnUnsupported) -> None:
        self.name = "loraloop" if on_unsupported == "check" else f"loraloop, {on_unsupported}"
        self._compiler = compiler
        self._on_unsupported: OnUnsupported = on_unsupported

    def compile(self, schema: dict[str, Any] | bool) -> Callable[[Any], bool]:
        grammar = self._compiler.compile(JsonSchema(schema, None, self._on_unsupported))

        def accepts(instance: Any) -> bool:
            state = grammar.start()
            try:
                state.accept(self._compiler.vocabulary.tokenizer.tokenize_str(dumps(instance)))
            except LoraloopError:
                return False
            return state.can_stop

        return accepts


def score(judge: SchemaJudge, cases: Iterable[ConformanceCase], step: Callable[[], None] = lambda: None) -> Score:
    """Asks an engine about every instance of every case.

    Args:
        judge: The engine.
        cases: The cases.
        step: Called after each case.
    """
    out = Score()
    for case in cases:
        out.schemas += 1
        start = perf_counter()
        try:
            accepts = judge.compile(case.schema)
        except SchemaError as error:
            out.refused[keyword_of(error)] += 1
        except Exception as error:  # a crash is counted, and the rest is still measured
            out.crashed[type(error).__name__] += 1
        else:
            out.compile_ms.append((perf_counter() - start) * 1e3)
            wrong = [(instance, valid) for instance, valid in case.tests if accepts(instance) != valid]
            out.invalid_accepted += sum(not valid for _, valid in wrong)
            out.valid_rejected += sum(valid for _, valid in wrong)
            out.passed += not wrong
            if wrong:
                out.wrong.append((case.id, dumps(wrong[0][0])[:200]))
        step()
    return out


def keyword_of(error: SchemaError) -> str:
    """The keyword that a refusal is about; the beginning of its reason if its path names none."""
    found = re.search(r"[.\]](\$?[A-Za-z]+)$", error.path)
    return found[1] if found else error.reason.split(";")[0].split(":")[0][:48]


def read_cases(path: str | Path) -> Iterator[ConformanceCase]:
    """Reads cases from a JSON list or from JSON Lines.

    Each is ``{"schema": …, "tests": [{"valid": true, "data": …}, …]}``, with an ``"id"`` or not; instead of
    ``"tests"`` there may be ``"valid"`` and ``"invalid"`` lists of instances.

    Raises:
        InputError: With the file and the line, or the entry, that is wrong.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the cases in {file}: {error}") from error
    try:
        if text.lstrip().startswith("["):
            entries = [(f"entry {at}", entry) for at, entry in enumerate(json.loads(text))]
        else:
            lines = enumerate(text.split("\n"), start=1)
            entries = [(f"line {at}", json.loads(line)) for at, line in lines if line.strip()]
    except ValueError as error:
        raise InputError(f"{file} is no JSON list and no JSON Lines: {error}") from error
    for place, entry in entries:
        schema = entry.get("schema") if isinstance(entry, dict) else None
        if not isinstance(schema, dict | bool):
            raise InputError(f"{file}, {place}: give an object with a 'schema' and 'tests'")
        try:
            tests = [(each["data"], each["valid"]) for each in entry.get("tests", ())]
            tests += [
                (data, valid) for valid in (True, False) for data in entry.get("valid" if valid else "invalid", ())
            ]
        except (TypeError, KeyError) as error:
            raise InputError(f"{file}, {place}: each test needs 'data' and 'valid' ({error!r})") from error
        yield ConformanceCase(str(entry.get("id", place)), schema, tuple(tests))
