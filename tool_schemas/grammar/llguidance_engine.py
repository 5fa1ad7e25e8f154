"""The default engine: llguidance, which computes masks in microseconds from an Earley parser and lazy regexes."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError, LimitError, SchemaError
from loraloop.tool_schemas.grammar.checked import CheckedGrammar
from loraloop.tool_schemas.grammar.checks import Checks
from loraloop.tool_schemas.grammar.grammar import Choice, Grammar, JsonSchema, Lark, Regex, Term
from loraloop.tool_schemas.grammar.mask import Masker
from loraloop.tool_schemas.grammar.python_block import PythonGrammar
from loraloop.tool_schemas.grammar.splitting import Splitter
from loraloop.tool_schemas.schema.dialect import Bounds, Dialect
from loraloop.tool_schemas.schema.prepare import prepared, sifted

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher, LLTokenizer

    from loraloop.tool_schemas.grammar.closing import Closers

_OPTIONS = {
    "whitespace_flexible": False,
    # Without \u escapes no key can be spelled a second way, and no half of a surrogate pair appears.
    "json_allowed_escapes": 'nrbtf\\"',
}

_PROBE = 256  # bytes that are tried when a tool is registered


class LlguidanceEngine:
    """Compiles terms for one tokenizer; see `GrammarCompiler` for the arguments."""

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_id: int | Sequence[int]) -> None:
        from llguidance import LLTokenizer

        self.ends = [eos_id] if isinstance(eos_id, int) else list(eos_id)
        try:
            self.tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=self.ends)
        except ValueError as error:
            raise InputError(f"llguidance cannot read this tokenizer: {error}") from error
        self.vocab_size = vocab_size
        self.splitter = Splitter(self.tokenizer)
        self._closers: Closers | None = None

    def closers(self) -> Closers:
        """The vocabulary's closers, found at the first call."""
        if self._closers is None:
            from loraloop.tool_schemas.grammar.closing import Closers

            self._closers = Closers(self.tokenizer)
        return self._closers

    def compile(self, term: Term) -> Grammar:
        """Compiles a term.

        Raises:
            SchemaError: With the JSON path, if the term cannot be enforced exactly.
        """
        if not isinstance(term, JsonSchema):
            plain = LlguidanceGrammar(self, self._matcher(_source(term)), False)
            return PythonGrammar(plain, self._bytes) if isinstance(term, Lark) and term.python else plain
        schema = _as_object(term.schema)
        try:
            plan = sifted(schema, term.on_unsupported)
            matcher = self._matcher_of(plan.schema, term.bounds)
        except (SchemaError, TypeError, ValueError, AttributeError, KeyError, RecursionError):
            plan = prepared(schema, term.on_unsupported)  # slow, so only where something is wrong: it says where
            matcher = self._matcher_of(plan.schema, term.bounds)
        grammar = LlguidanceGrammar(self, matcher, True)
        if not plan.findings:
            return grammar
        return CheckedGrammar(grammar, Checks(schema, plan), self._bytes, self.ends, self.vocab_size)

    def _bytes(self, token: int) -> bytes:
        return self.tokenizer.decode_bytes([token])

    def _matcher_of(self, schema: dict[str, Any], bounds: Bounds | None) -> LLMatcher:
        try:
            return self._matcher(_json_source(schema, schema, bounds))
        except SchemaError:
            if bounds is None:
                raise
        # A bound can contradict the schema, such as a pattern that only fits long texts.
        return self._matcher(_json_source(schema, schema, None))

    def _matcher(self, source: str) -> LLMatcher:
        from llguidance import LLMatcher

        matcher = LLMatcher(self.tokenizer, source, log_level=0)
        if matcher.is_error():
            raise SchemaError(f"cannot be decoded: {_reason(matcher.get_error())}", "$")
        return matcher


def problem_of(root: dict[str, Any], place: dict[str, Any]) -> str:
    """Why the engine takes a schema object neither within bounds nor exactly; empty if it takes it.

    Args:
        root: A normalised schema.
        place: A schema object in it, or one made of one.
    """
    from llguidance import LLMatcher

    problem = ""
    for bounds in (Bounds(), None):
        try:
            failed, messages = LLMatcher.validate_grammar_with_warnings(_json_source(root, place, bounds))
        except SchemaError as error:
            return error.reason
        if not failed:
            return ""
        problem = problem or _reason(messages[0])
    return problem


def costs_of(root: dict[str, Any]) -> str:
    """Why a schema that compiles cannot be followed to an end: the engine bounds what one token may cost."""
    from llguidance import LLMatcher

    from loraloop.tool_schemas.grammar.closing import Closing

    tokenizer, closers = _bytes()
    matcher = LLMatcher(tokenizer, _json_source(root, root, Bounds()), log_level=0)
    walk = Closing(closers, True, _PROBE)
    walk.find(matcher, b"", attempts=1)
    return _reason(walk.error) if walk.error else ""


@functools.cache
def _bytes() -> tuple[LLTokenizer, Closers]:
    """A tokenizer of single bytes."""
    from llguidance import LLTokenizer

    from loraloop.tool_schemas.grammar.closing import Closers

    tokenizer = LLTokenizer("byte")
    return tokenizer, Closers(tokenizer)


def _reason(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if lines and lines[0].endswith(":") and len(lines) > 1:
        return f"{lines[0]} {lines[-1]}"[:300]
    return lines[0][:300] if lines else "unknown error"


def _as_object(schema: dict[str, Any] | bool) -> dict[str, Any]:
    if schema is False:
        raise SchemaError("nothing fits the schema 'false'; give one that something fits", "$")
    return {} if schema is True else schema


def _json_source(root: dict[str, Any], place: dict[str, Any], bounds: Bounds | None) -> str:
    """A schema object in llguidance's own form."""
    from llguidance import LLMatcher

    schema = Dialect(root, bounds).schema(place)
    if schema is False:
        raise SchemaError("nothing fits the schema; give one that something fits", "$")
    text = json.dumps({} if schema is True else schema)
    try:
        return LLMatcher.grammar_from_json_schema(text, overrides=_OPTIONS)  # type: ignore[arg-type]
    except ValueError as error:
        raise SchemaError(f"cannot be decoded: {error}", "$") from error


def _source(term: Regex | Choice | Lark) -> str:
    """Any other term in llguidance's own form."""
    from llguidance import LLMatcher

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
        self.shortest: list[int] | None = None  # a way from the start to the end, once one was looked for

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
        calls tried, the model's own tokenizer would have drawn the next character into the last of them. Where it is
        not sure, the ways to go on are tried.
        """
        if self._matcher.is_stopped():
            return []
        sure, place = list(self._matcher.compute_ff_tokens()), self._matcher
        if sure:
            place = place.deep_copy()
            if place.try_consume_tokens(sure) < len(sure) or place.is_stopped():
                return sure
        return sure + self._grammar.engine.splitter.split(place)

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
        from loraloop.tool_schemas.grammar.closing import Closing

        grammar, engine = self._grammar, self._grammar.engine
        if not self._taken and grammar.shortest is not None and len(grammar.shortest) <= limit:
            return list(grammar.shortest)
        text = engine.tokenizer.decode_bytes(self._taken)
        found = Closing(engine.closers(), grammar.json, limit).find(self._matcher, text)
        if not self._taken and found is not None:
            grammar.shortest = list(found)
        return found

    def _check(self) -> None:
        if self._matcher.is_error():
            raise LimitError(f"the grammar cannot be followed any further: {_reason(self._matcher.get_error())}")
