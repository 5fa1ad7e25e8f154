"""What a server may write: how each kind of server is asked to enforce it, and how it is checked here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.grammar.grammar import Choice, JsonSchema, Lark, Regex, Term
from loraloop.tool_schemas.jsontext import dumps, loads_or
from loraloop.tool_schemas.schema.validation import check_value

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.grammar import Grammar, State

Kind = Literal["openai", "vllm", "sglang"]
KINDS: tuple[Kind, ...] = ("openai", "vllm", "sglang")
_BLOCK = re.compile(r"```(?:python)?\n(.*?)\n?```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RemoteGrammar:
    """The grammar of a text that a server writes, and its compiled form, which checks that text here.

    Attributes:
        term: What may be written.
        compiled: Compiled for the tokenizer of the router's base.
        encode: That tokenizer.
    """

    term: Term
    compiled: Grammar
    encode: Callable[[str], list[int]]

    def start(self) -> State:
        """The state before the first token."""
        return self.compiled.start()

    def fields(self, kind: Kind) -> dict[str, Any]:
        """The fields of a request that make a server of this kind enforce it; none where it cannot."""
        term = self.term
        if kind == "vllm":
            if isinstance(term, JsonSchema):
                return {"structured_outputs": {"json": term.schema}}
            if isinstance(term, Regex):
                return {"structured_outputs": {"regex": term.pattern}}
            return {"structured_outputs": {"choice": list(term.options)}} if isinstance(term, Choice) else {}
        if kind == "sglang" and isinstance(term, Regex | Choice):
            options = term.options if isinstance(term, Choice) else ()
            return {"regex": term.pattern if isinstance(term, Regex) else "|".join(map(re.escape, options))}
        if isinstance(term, JsonSchema | Choice):
            schema = term.schema if isinstance(term, JsonSchema) else {"type": "string", "enum": list(term.options)}
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}}
        return {}

    def read(self, text: str) -> str:
        """The text in our form.

        Raises:
            SchemaError: It is not what may be written.
        """
        term = self.term
        if isinstance(term, JsonSchema):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise SchemaError(f"is no JSON: {error}", "$") from None
            if isinstance(term.schema, dict):
                check_value(value, term.schema)
            return dumps(value)
        if isinstance(term, Choice) and (read := loads_or(text)) in term.options:
            text = str(read)
        if isinstance(term, Lark) and term.python:  # a model that nothing holds to a block talks around it, or has none
            block = _BLOCK.search(text)
            text = f"```python\n{block[1] if block else text.strip()}\n```"
        state = self.start()
        try:
            state.accept(self.encode(text))
        except InputError:
            raise SchemaError(f"{text[:60]!r} is not what may be written here") from None
        if not state.can_stop:
            raise SchemaError(f"{text[-60:]!r} ends too early")
        return text
