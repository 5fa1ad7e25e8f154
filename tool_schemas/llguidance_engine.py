"""The default engine: llguidance, which computes masks in microseconds from an Earley parser and lazy regexes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.dialect import Bounds, Dialect
from loraloop.tool_schemas.errors import InputError, LimitError, SchemaError
from loraloop.tool_schemas.grammar import Choice, JsonSchema, Regex, Term
from loraloop.tool_schemas.keywords import check_enforceable, places
from loraloop.tool_schemas.mask import Masker
from loraloop.tool_schemas.validation import check_schema

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher

    from loraloop.tool_schemas.closing import Closers

_OPTIONS = {
    "whitespace_flexible": False,
    # Without \u escapes no key can be spelled a second way, and no half of a surrogate pair appears.
    "json_allowed_escapes": 'nrbtf\\"',
}


class LlguidanceEngine:
    """Compiles terms for one tokenizer; see `GrammarCompiler` for the arguments."""

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_id: int | Sequence[int]) -> None:
        from llguidance import LLTokenizer

        ends = [eos_id] if isinstance(eos_id, int) else list(eos_id)
        try:
            self.tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=ends)
        except ValueError as error:
            raise InputError(f"llguidance cannot read this tokenizer: {error}") from error
        self.vocab_size = vocab_size
        self._closers: Closers | None = None

    def closers(self) -> Closers:
        """The vocabulary's closers, found at the first call."""
        if self._closers is None:
            from loraloop.tool_schemas.closing import Closers

            self._closers = Closers(self.tokenizer)
        return self._closers

    def compile(self, term: Term) -> LlguidanceGrammar:
        """Compiles a term.

        Raises:
            SchemaError: With the JSON path, if the term cannot be enforced exactly.
        """
        from llguidance import LLMatcher

        if isinstance(term, JsonSchema) and isinstance(term.schema, dict):
            try:
                check_enforceable(term.schema)
            except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
                check_schema(term.schema)  # slow, so only where something is wrong: it says where
                raise SchemaError(f"is no valid JSON Schema: {error}", "$") from error
        source = _source(term)
        matcher = LLMatcher(self.tokenizer, source, log_level=0)
        if matcher.is_error() and isinstance(term, JsonSchema) and term.bounds is not None:
            # A bound can contradict the schema, such as a pattern that only fits long texts.
            matcher = LLMatcher(self.tokenizer, _source(JsonSchema(term.schema, None)), log_level=0)
        if matcher.is_error():
            if isinstance(term, JsonSchema) and isinstance(term.schema, dict):
                check_schema(term.schema)
                _locate(term.schema)
            raise SchemaError(f"cannot be decoded: {_reason(matcher.get_error())}", "$")
        return LlguidanceGrammar(self, matcher, isinstance(term, JsonSchema))


def check_decodable(schema: dict[str, Any]) -> None:
    """Checks, without a tokenizer, that the engine takes a schema.

    Args:
        schema: A schema that passed `check_enforceable`.

    Raises:
        SchemaError: With the JSON path of the smallest sub-schema that it does not take.
    """
    if _problem(schema):
        _locate(schema)
        raise SchemaError(f"cannot be decoded: {_problem(schema)}", "$")


def _problem(schema: dict[str, Any]) -> str:
    """Why the engine takes a schema neither within bounds nor exactly; empty if it takes it."""
    from llguidance import LLMatcher

    for bounds in (Bounds(), None):
        failed, messages = LLMatcher.validate_grammar_with_warnings(_source(JsonSchema(schema, bounds)))
        if not failed:
            return ""
    return _reason(messages[0])


def _locate(schema: dict[str, Any]) -> None:
    """Raises for the smallest sub-schema that fails by itself, if one does."""
    found = None
    for path, place in places(schema):
        if isinstance(place, dict) and path != "$":
            alone = {**{key: schema[key] for key in ("$defs", "definitions") if key in schema}, **place}
            if all(not _outside(value) for value in _references(place)):
                problem = _problem(alone)
                if problem and (found is None or len(path) > len(found[0])):
                    found = (path, problem)
    if found is not None:
        raise SchemaError(f"cannot be decoded: {found[1]}", found[0])


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [each for value in schema.values() for each in _references(value)]
    return [each for value in schema for each in _references(value)] if isinstance(schema, list) else []


def _outside(reference: str) -> bool:
    return not reference.startswith(("#/$defs/", "#/definitions/"))


def _reason(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if lines and lines[0].endswith(":") and len(lines) > 1:
        return f"{lines[0]} {lines[-1]}"[:300]
    return lines[0][:300] if lines else "unknown error"


def _source(term: Term) -> str:
    """The term in llguidance's own form."""
    from llguidance import LLMatcher

    if isinstance(term, JsonSchema):
        schema = Dialect(term.schema, term.bounds).schema() if isinstance(term.schema, dict) else term.schema
        if isinstance(schema, bool):
            if not schema:
                raise SchemaError("nothing fits the schema 'false'; give one that something fits", "$")
            schema = Dialect({}, term.bounds or Bounds()).schema()
        return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_OPTIONS)  # type: ignore[arg-type]
    if isinstance(term, Regex):
        return LLMatcher.grammar_from_regex(term.pattern)
    if isinstance(term, Choice):
        if not term.options or not all(term.options):
            raise SchemaError("a choice needs at least one option, and none may be empty")
        return LLMatcher.grammar_from_lark("start: " + " | ".join(json.dumps(each) for each in term.options))
    return LLMatcher.grammar_from_lark(term.grammar)


class LlguidanceGrammar:
    """A compiled term."""

    def __init__(self, engine: LlguidanceEngine, matcher: LLMatcher, json: bool) -> None:
        self.engine = engine
        self.json = json
        self._matcher = matcher

    def start(self) -> LlguidanceState:
        """The state before the first token."""
        return LlguidanceState(self, self._matcher.deep_copy(), [])


class LlguidanceState:
    """A place in a text; see `State`."""

    __slots__ = ("_grammar", "_masker", "_matcher", "_taken")

    def __init__(self, grammar: LlguidanceGrammar, matcher: LLMatcher, taken: list[int]) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._taken = taken
        self._masker: Masker | None = None

    @property
    def done(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    @property
    def can_stop(self) -> bool:
        """Whether the text is complete as it stands."""
        return self._matcher.is_accepting()

    def forced(self) -> list[int]:
        """The tokens about which there is no choice from here.

        llguidance forces bytes and gives back the tokens that they are sure to be split into; in 7 of 1 325 compact
        calls tried, the model's own tokenizer would have drawn the next character into the last of them.
        """
        return [] if self._matcher.is_stopped() else list(self._matcher.compute_ff_tokens())

    def mask_(self, logits: torch.Tensor) -> None:
        """Sets the logits [V] of tokens that cannot follow to minus infinity, in place."""
        if self._masker is None:
            self._masker = Masker(self._grammar.engine.vocab_size)
        self._matcher.unsafe_compute_mask_ptr(self._masker.address, self._masker.size)
        self._check()
        self._masker.apply_(logits)

    def accept(self, tokens: Sequence[int]) -> None:
        """Moves on by tokens, all or none of them."""
        wanted = list(tokens)
        count = self._matcher.try_consume_tokens(wanted)
        self._check()
        if count < len(wanted):
            if count:
                self._matcher.rollback(count)
            text = self._grammar.engine.tokenizer.decode_str([wanted[count]])
            raise InputError(f"token {wanted[count]} ({text!r}) cannot follow here under the grammar")
        self._taken += wanted

    def rollback(self, n: int) -> None:
        """Takes back the last `n` accepted tokens."""
        if not 0 <= n <= len(self._taken):
            raise InputError(f"cannot take back {n} tokens of {len(self._taken)}")
        if n:
            self._matcher.rollback(n)
            del self._taken[len(self._taken) - n :]

    def fork(self) -> LlguidanceState:
        """An independent copy of this place."""
        return LlguidanceState(self._grammar, self._matcher.deep_copy(), list(self._taken))

    def closing(self, limit: int) -> list[int] | None:
        """A short path of at most `limit` tokens to a place where `can_stop` holds; None if none was found."""
        if self.can_stop:
            return []
        from loraloop.tool_schemas.closing import Closing

        engine = self._grammar.engine
        text = engine.tokenizer.decode_bytes(self._taken)
        return Closing(engine.closers(), self._grammar.json, limit).find(self._matcher, text)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise LimitError(f"the grammar cannot be followed any further: {_reason(self._matcher.get_error())}")
