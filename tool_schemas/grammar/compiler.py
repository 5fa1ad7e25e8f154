"""Compiles terms against a tokenizer, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.checked import CheckedGrammar
from loraloop.tool_schemas.grammar.checks import Checks
from loraloop.tool_schemas.grammar.grammar import Grammar, JsonSchema, Lark, Term, term_of
from loraloop.tool_schemas.grammar.matcher import LlguidanceGrammar, Vocabulary
from loraloop.tool_schemas.grammar.prepare import json_source, prepared, reason_of, source_of
from loraloop.tool_schemas.grammar.python_block import PythonGrammar
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.dialect import Bounds
from loraloop.tool_schemas.schema.findings import sifted
from loraloop.tool_schemas.single_flight import SingleFlight

if TYPE_CHECKING:
    from llguidance import LLMatcher


class GrammarCompiler:
    """Compiles terms for one vocabulary and keeps the results."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._compiled: SingleFlight[Grammar] = SingleFlight(256)

    def compile(self, term: Any) -> Grammar:
        """Compiles a term, or returns what an earlier call made of the same one.

        Threads that ask for one term at the same time compile it once.

        Args:
            term: A `Term`, a JSON Schema as a dict, or what `term_of` takes.

        Raises:
            SchemaError: With the JSON path, if the term cannot be enforced exactly.
        """
        source = term_of(term)
        return self._compiled.get(_key(source), lambda: self.compile_anew(source))

    @property
    def kept(self) -> tuple[int, int]:
        """Grammars that are kept, and how many may be."""
        return len(self._compiled), self._compiled.limit

    def compiled(self, term: Any) -> bool:
        """Whether `compile` would return at once."""
        return self._compiled.ready(_key(term_of(term)))

    def compile_anew(self, term: Term) -> Grammar:
        """Compiles a term without keeping the result."""
        vocabulary = self.vocabulary
        if not isinstance(term, JsonSchema):
            openers = term.openers if isinstance(term, Lark) else None
            calls = openers is not None
            plain = LlguidanceGrammar(vocabulary, self._matcher(source_of(term)), calls, calls, openers)
            return PythonGrammar(plain, vocabulary.bytes_of) if isinstance(term, Lark) and term.python else plain
        if term.schema is False:
            raise SchemaError("nothing fits the schema 'false'; give one that something fits", "$")
        schema = {} if term.schema is True else term.schema
        try:
            plan = sifted(schema, term.on_unsupported)
            matcher = self._matcher_of(plan.schema, term.bounds)
        except (SchemaError, TypeError, ValueError, AttributeError, KeyError, RecursionError):
            plan = prepared(schema, term.on_unsupported)  # slow, so only where something is wrong: it says where
            matcher = self._matcher_of(plan.schema, term.bounds)
        grammar = LlguidanceGrammar(vocabulary, matcher, True, term.bounds is not None)
        return CheckedGrammar(grammar, Checks(schema, plan), vocabulary) if plan.findings else grammar

    def _matcher_of(self, schema: dict[str, Any], bounds: Bounds | None) -> LLMatcher:
        try:
            return self._matcher(json_source(schema, schema, bounds))
        except SchemaError as error:
            if bounds is None:
                raise SchemaError(f"{error.reason}; leave out bounds=None, within bounds it can", "$") from None
        # A bound can contradict the schema, such as a pattern that only fits long texts.
        return self._matcher(json_source(schema, schema, None))

    def _matcher(self, source: str) -> LLMatcher:
        from llguidance import LLMatcher

        matcher = LLMatcher(self.vocabulary.tokenizer, source, log_level=0)
        if matcher.is_error():
            raise SchemaError(f"cannot be decoded: {reason_of(matcher.get_error())}", "$")
        return matcher


def _key(term: Term) -> str:
    """Equal for terms that compile to the same grammar."""
    if isinstance(term, JsonSchema):
        return f"{term.on_unsupported}{term.bounds!r}{dumps(term.schema)}"
    return repr(term)
