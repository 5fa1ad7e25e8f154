"""How a model was trained to write calls: the text around them, their grammar, and reading them back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loraloop.tool_schemas.grammar.grammar import Lark
from loraloop.tool_schemas.grammar.prepare import embedded
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.single_flight import SingleFlight
from loraloop.tool_schemas.tools.tool import Tool

CALL_ID = "callnmbr0"
"""Stands for the id of a call in the parts of a `CallFormat`: nine letters or digits, as Mistral's models write it."""
_ID = "[a-zA-Z0-9]{9}"


@dataclass(frozen=True, slots=True)
class CallFormat:
    """The text of calls: `begin` NAME `middle` ARGUMENTS, then `between` and the same again, and `end` after the last.

    Each part may hold `CALL_ID`. The runtime keeps calls in one form whatever the model's is, the compact JSON of a
    list of `{"name", "arguments"}`: `write` and `read` translate.

    Attributes:
        begin: Before the name of the first call.
        middle: Between a name and its arguments, which are a JSON object.
        end: After the arguments of the last call.
        between: Between the arguments of a call and the name of the next; None where only one call can be written.
        item_separator: Between the items of the arguments' JSON.
        key_separator: Between a key and its value.
        special: The special tokens that the parts may hold, with their ids.
    """

    begin: str
    middle: str
    end: str
    between: str | None
    item_separator: str = ", "
    key_separator: str = ": "
    special: tuple[tuple[str, int], ...] = ()

    @property
    def parts(self) -> str:
        """All its text."""
        return "".join([self.begin, self.middle, self.end, self.between or ""])

    @property
    def openers(self) -> str:
        """Characters with which calls begin, in this format or as bare JSON, and answers in words do not."""
        first = self.begin.lstrip()[:1]
        return "[{" + ("" if first.isalnum() or first in "[{" else first)

    def write(self, calls: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool]]:
        """Pieces of text, and whether each is the format's own, in which special tokens are spelled.

        Args:
            calls: At least one `{"name", "arguments"}`. Where the format has no place for more than one call at a time,
                the others follow as if they were the first.
        """
        separators = self.item_separator, self.key_separator
        pieces: list[tuple[str, bool]] = []
        for index, call in enumerate(calls):
            before = self.begin if not index else self.end + self.begin if self.between is None else self.between
            arguments = json.dumps(call["arguments"], ensure_ascii=False, separators=separators)
            pieces += [(before, True), (self._named(call["name"]), False), (self.middle, True), (arguments, False)]
        return [*pieces, (self.end, True)]

    def read(self, text: str) -> str:
        """The calls in the form in which the runtime keeps them; a text that is no calls as it is."""
        if not text:
            return "[]"
        begin, middle, end = self._pattern(self.begin), self._pattern(self.middle), self._pattern(self.end)
        between = None if self.between is None else self._pattern(self.between)
        calls, at, match = [], 0, begin.match(text)
        try:
            while match is not None:
                at = match.end()
                after = middle.search(text, at)
                if after is None:
                    return text
                arguments, at = json.JSONDecoder().raw_decode(text, after.end())
                calls.append({"name": self._name(text[match.end() : after.start()]), "arguments": arguments})
                match = between.match(text, at) if between is not None else None
        except (ValueError, RecursionError):
            return text
        last = end.match(text, at) if calls else None
        return dumps(calls) if last is not None and last.end() == len(text) else text

    def term(self, tools: Sequence[Tool], least: int = 0) -> Lark:
        """The grammar source of a call, under the same schemas as `calls_term`.

        One call at a time, unless more are required: a model that was not trained on this format repeats itself, and
        one that was calls again after the result. Keywords that decoding cannot enforce are left out, where a tool asks
        for them to be checked: whoever reads the calls checks them.

        Args:
            tools: At least one, unless `least` is 0: then only the empty text fits.
            least: Calls that have to be written. Where it is 0, the empty text stands for any text that is no call.
        """
        key = self, *map(id, tools), least
        return _terms.get(key, lambda: (self._term(tools, least), tuple(tools)))[0]

    def _term(self, tools: Sequence[Tool], least: int) -> Lark:
        if not tools:
            return Lark('start: ""', openers="")
        options = {"item_separator": self.item_separator, "key_separator": self.key_separator}
        rules = []
        for index, tool in enumerate(tools):
            schema = embedded(tool.parameters if tool.strict else {"type": "object"}, tool.on_unsupported, options)
            name = dumps(self._named(tool.name))
            rules.append(f"t{index}: {name} {self._literal(self.middle)} a{index}")
            rules.append(f"a{index}: %json {json.dumps(schema)}")
        more = f"{self._literal(self.between)} call " * (least - 1) if self.between is not None else ""
        calls = f"calls: {self._literal(self.begin)} call {more}{self._literal(self.end)}"
        names = "call: " + " | ".join(f"t{index}" for index in range(len(tools)))
        start = "start: calls" if least else "start: calls?"
        return Lark("\n".join([start, calls, names, *rules]), openers=self.openers)

    def _literal(self, text: str) -> str:
        """A part as a grammar has it: special tokens by their ids."""
        special = dict(self.special)
        names = [re.escape(name) for name in sorted(special, key=len, reverse=True)]
        found = []
        for piece in re.split("(" + "|".join([*names, CALL_ID]) + ")", text):
            if piece in special:
                found.append(f"<[{special[piece]}]>")
            elif piece:
                found.append(f"/{_ID}/" if piece == CALL_ID else json.dumps(piece, ensure_ascii=False))
        return " ".join(found)

    @property
    def _quoted(self) -> bool:
        return self.begin.endswith('"')

    def _named(self, name: str) -> str:
        """A name as it stands in the text, which may be inside a JSON string."""
        return dumps(name)[1:-1] if self._quoted else name

    def _name(self, text: str) -> str:
        return str(json.loads(f'"{text}"')) if self._quoted else text

    def _pattern(self, text: str) -> re.Pattern[str]:
        return re.compile(_ID.join(map(re.escape, text.split(CALL_ID))))


# Holds the tools, so that their ids stay theirs.
_terms: SingleFlight[tuple[Lark, tuple[Tool, ...]]] = SingleFlight(64)
