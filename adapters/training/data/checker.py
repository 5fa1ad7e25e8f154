"""Checks records before anything is trained on them: every finding has a file and a line."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal

from loraloop.adapters.skill.contracts import calls_of
from loraloop.adapters.training.data.overlap import SHARE, Overlap, normal
from loraloop.adapters.training.data.readers import Broken
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.tool_schemas.errors import InputError, LoraloopError

ERRORS = (
    "broken JSON", "broken row", "overlong line", "wrong form", "wrong roles", "empty message", "empty completion",
    "invalid tool", "invalid call", "invalid answer", "invalid label", "invalid completion",
)  # fmt: skip
"""What makes a record unusable."""
WARNINGS = ("contradiction", "duplicate", "near duplicate", "overlong record", "leakage", "unused")
"""What else can be found: contradictions and near duplicates stay, the others are left out of training."""
NEAR = 0.8
"""Share of a text's n-grams that an earlier record holds, from which it is nearly a duplicate."""
WORDS = 5
"""Words of those n-grams."""
POSTINGS = 64
"""Records that are remembered for an n-gram: what more of them share is a frame and tells nothing apart."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one record."""

    kind: str
    place: RecordPlace
    message: str

    @property
    def severity(self) -> Literal["error", "warning"]:
        return "error" if self.kind in ERRORS else "warning"

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity,
            "file": self.place.file,
            "line": self.place.line,
            "message": self.message,
        }

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: {self.message}"


@dataclass(frozen=True, slots=True)
class CheckedRecords:
    """Records and what was found about them.

    Attributes:
        records: Those that can be used and are not left out, in their order.
        held_out: Evaluation records that can be used.
        findings: Everything, in the order of the files.
        read: Records that were read, broken ones among them.
    """

    records: tuple[Record, ...]
    held_out: tuple[Record, ...] = ()
    findings: tuple[Finding, ...] = ()
    read: int = 0

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind was found."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in (*ERRORS, *WARNINGS) if found[kind]}


@dataclass(slots=True)
class Checker:
    """Checks records one after another and remembers them.

    Attributes:
        longest: Tokens beyond which a record is left out.
        count: How many tokens a record has; an estimate from its characters by default.
        schema: JSON Schema of what text records complete to.
    """

    longest: int = 1024
    count: Callable[[Record], int] = lambda record: record.length
    schema: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    read: int = 0
    _seen: dict[str, tuple[RecordPlace, str, str | None]] = field(default_factory=dict)
    _places: list[RecordPlace] = field(default_factory=list)
    _grams: dict[tuple[str, ...], list[int]] = field(default_factory=lambda: defaultdict(list))

    def beside(self) -> Checker:
        """A checker with its own memory that reports into the same list."""
        return Checker(self.longest, self.count, self.schema, self.findings)

    def check(self, found: Iterable[Record | Broken]) -> list[Record]:
        """The records that can be used; duplicates and overlong ones are left out."""
        kept: list[Record] = []
        for _, entries in groupby(found, key=lambda entry: entry.place):  # a dialogue stands or falls as a whole
            kept += self._row(list(entries))
        return kept

    def fitting(self, found: Iterable[Record]) -> list[Record]:
        """The records that are not overlong, of data that has been checked before."""
        kept = []
        for record in found:
            self.read += 1
            if not self._overlong(record):
                kept.append(record)
        return kept

    def leaking(self, records: Sequence[Record], held_out: Sequence[Record]) -> list[Record]:
        """The records whose request no evaluation record nearly holds (n-grams; see `overlap`)."""
        if not held_out:
            return list(records)
        overlap = Overlap(record.user_text for record in held_out)
        kept = []
        for record in records:
            near = overlap.near(record.user_text)
            if near is None:
                kept.append(record)
                continue
            place = held_out[near[0]].place
            which = f"is that of {place}" if near[1] else f"shares {SHARE:.0%} of its 8-grams with {place}"
            self._add("leakage", record.place, f"its request {which}, which is for evaluation: left out of training")
        return kept

    def unused(self, records: Sequence[Record]) -> None:
        """Says of records for evaluation that they are not measured, since the recipe names files for that."""
        for record in records:
            how = "add its file to evaluation.sources, with where: {part: [test]}"
            self._add("unused", record.place, f"its part is test, but the recipe names evaluation files: {how}")

    def _row(self, entries: Sequence[Record | Broken]) -> list[Record]:
        self.read += 1
        for entry in entries:
            if isinstance(entry, Broken):
                self._add(entry.kind if entry.kind in ERRORS else "wrong form", entry.place, entry.reason)
                return []
            if wrong := self._wrong(entry):
                self._add(*wrong)
                return []
        records = [entry for entry in entries if isinstance(entry, Record)]
        return [record for record in records if not self._overlong(record) and self._new(record)]

    def _overlong(self, record: Record) -> bool:
        if (tokens := self.count(record)) <= self.longest:
            return False
        self._add("overlong record", record.place, f"{tokens:,} tokens; the limit is {self.longest:,}: left out")
        return True

    def _wrong(self, record: Record) -> tuple[str, RecordPlace, str] | None:
        from loraloop.tool_schemas.tools.calls import parse_step

        tools: tuple[Any, ...] = ()
        try:
            if record.tools:
                tools = _tools(_frozen(record.tools))
        except LoraloopError as error:
            return "invalid tool", record.place, str(error)
        try:
            texts = [record.completion] if record.contract == "calls" else []
            if tools:
                texts += [m.content for m in record.messages if m.role == "assistant" and calls_of(m.content)]
            for text in texts:
                parse_step(text, tools)
        except LoraloopError as error:
            return "invalid call", record.place, str(error)
        if record.contract == "code" and len(re.findall("^```", record.completion, re.MULTILINE)) > 2:
            reason = "text stands around a block of code: give the code alone, or one ```python block"
            return "invalid completion", record.place, reason
        try:
            if self.schema is not None and record.contract == "text":
                value_under(record.completion, self.schema)
        except LoraloopError as error:
            return "invalid completion", record.place, str(error)
        return None

    def _new(self, record: Record) -> bool:
        """Whether no earlier record is the same; says so too if one is nearly."""
        known = self._seen.get(record.key)
        completion, rejected = record.completion, record.rejected
        if known is not None:
            place, *other = known
            if other == [completion, rejected]:
                self._add("duplicate", record.place, f"the same as {place}: left out")
                return False
            if rejected is None or rejected == other[0] or completion == other[1]:  # pairs may differ otherwise
                self._add("contradiction", record.place, f"the same transcript as {place}, with another completion")
            return True
        self._seen[record.key] = record.place, completion, rejected
        if near := self._nearest(record):
            self._add("near duplicate", record.place, f"{near[1]:.0%} of its request stands in {near[0]} already")
        return True

    def _nearest(self, record: Record) -> tuple[RecordPlace, float] | None:
        """The earlier record of another line that holds most of this one's request, and how much of it."""
        words = normal(record.user_text)
        grams = {tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}
        shared: Counter[int] = Counter()
        for gram in grams:
            shared.update(self._grams.get(gram, ()))
        index = len(self._places)
        self._places.append(record.place)
        for gram in grams:
            if len(postings := self._grams[gram]) < POSTINGS:
                postings.append(index)
        for best, hits in shared.most_common(8):
            if hits < NEAR * len(grams):
                break
            if self._places[best] != record.place:
                return self._places[best], hits / len(grams)
        return None

    def _add(self, kind: str, place: RecordPlace, message: str) -> None:
        finding = Finding(kind, place, message)
        if finding not in self.findings[-1:]:  # the turns of one dialogue say the same of themselves
            self.findings.append(finding)


def value_under(text: str, schema: dict[str, Any]) -> Any:
    """The JSON value of a completion under a schema; a text that fits as it is, such as a label, is a string.

    Raises:
        InputError: It is no JSON, or does not match the schema.
    """
    import json

    from loraloop.tool_schemas.schema.validation import check_value

    try:
        check_value(value := json.loads(text), schema)
        return value
    except LoraloopError as error:
        why = f"the completion does not match the schema: {error}"
    except (ValueError, RecursionError) as error:
        why = f"the completion is no JSON: {error}"
    try:
        check_value(text, schema)
    except LoraloopError:
        raise InputError(why) from None
    return text


def _frozen(tools: Sequence[dict[str, Any]]) -> str:
    import json

    return json.dumps(list(tools), sort_keys=True)


@lru_cache(maxsize=1024)
def _tools(frozen: str) -> tuple[Any, ...]:
    """Tools of a record; the same list is shown by many."""
    import json

    from loraloop.tool_schemas.tools.tool import check_names

    tools = tuple(_tool(json.dumps(tool, sort_keys=True)) for tool in json.loads(frozen))
    check_names(tools)
    return tools


@lru_cache(maxsize=16384)
def _tool(frozen: str) -> Any:
    """One tool, checked once for all lists that show it."""
    import json

    from loraloop.tool_schemas import Tool

    return Tool.from_schema(json.loads(frozen), on_unsupported="check")
