"""A second engine: outlines_core, which compiles a regular expression into an index of states and tokens.

A mask is looked up rather than computed, after a compilation that takes longer; `Lark` is beyond it, and so is every
schema that is not a regular expression (see `outlines_core_schema`).
"""

from __future__ import annotations

import ctypes
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loraloop.tool_schemas.engines.outlines_core_schema import ENFORCED, Unsupported, schema_regex
from loraloop.tool_schemas.engines.outlines_core_worker import IndexWorker, TooCostly
from loraloop.tool_schemas.errors import InputError, LimitError, SchemaError
from loraloop.tool_schemas.grammar.checked import CheckedGrammar
from loraloop.tool_schemas.grammar.checks import Checks
from loraloop.tool_schemas.grammar.grammar import Choice, Grammar, JsonSchema, Lark, Regex, Term
from loraloop.tool_schemas.grammar.mask import Masker
from loraloop.tool_schemas.grammar.splitting import shared_tokens
from loraloop.tool_schemas.schema.keywords import relaxed
from loraloop.tool_schemas.schema.prepare import Prepared, sifted
from loraloop.tool_schemas.schema.validation import check_schema

if TYPE_CHECKING:
    import torch

# Marks around every text, tokens of their own; no real token that holds these bytes is in the vocabulary. outlines_core
# takes the first alternative that matches, so that without an end no longer one could follow, and it also builds the
# automaton of a search for the text from any place, which without a mark at the start can be exponentially large.
_START, _END = b"\x02", b"\x03"
_ROUNDS = 200  # keywords that one schema may leave to be checked
_LONGEST = 4096  # bytes that are forced at a time
_FEW_BYTES = 32  # bytes that can follow forced text for the tokens that do so to be tried
_LOOK_BACK = 32  # bytes of forced text in which a longer token may begin
_PREFERRED = b'"}]a0e '  # on the way out, where several bytes lead out equally fast


class OutlinesCoreEngine:
    """Compiles terms for one tokenizer; see `GrammarCompiler` for the arguments.

    Args:
        seconds: What compiling one term may take.
        megabytes: What it may use.
    """

    def __init__(
        self,
        tokenizer_json: str,
        vocab_size: int,
        eos_id: int | Sequence[int],
        *,
        seconds: float = 20.0,
        megabytes: int = 2048,
    ) -> None:
        from llguidance import LLTokenizer

        self.ends = [eos_id] if isinstance(eos_id, int) else list(eos_id)
        try:
            self.tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=self.ends)
        except ValueError as error:
            raise InputError(f"this tokenizer cannot be read: {error}") from error
        self.vocab_size = vocab_size
        self.start, self.end = vocab_size, vocab_size + 1
        tokens: dict[bytes, list[int]] = {_START: [self.start], _END: [self.end]}
        for token in range(vocab_size):
            special = token in self.ends or self.tokenizer.is_special_token(token)
            text = b"" if special else self.tokenizer.decode_bytes([token])
            if text and _START not in text and _END not in text:
                tokens.setdefault(text, []).append(token)
        bytewise = {text[0]: ids[0] for text, ids in tokens.items() if len(text) == 1 and ids[0] < vocab_size}
        self.single = [(byte, bytewise[byte]) for byte in sorted(bytewise, key=_rank)]
        self._tokens = tokens
        self._sorted = sorted(text for text, ids in tokens.items() if ids[0] < vocab_size)
        self.longest = min(max(map(len, self._sorted), default=1), _LOOK_BACK)
        self._worker = IndexWorker(vocab_size + 2, tokens, seconds, megabytes)

    def compile(self, term: Term) -> Grammar:
        """Compiles a term.

        Raises:
            SchemaError: With the JSON path, if the term cannot be enforced exactly, or compiling it costs too much.
        """
        if not isinstance(term, JsonSchema):
            return self._grammar(_regex(term))
        schema: Any = term.schema if isinstance(term.schema, dict) else {} if term.schema else {"not": {}}
        check_schema(schema)
        plan, regex = _planned(sifted(schema, term.on_unsupported, ENFORCED), term)
        grammar = self._grammar(regex)
        if not plan.findings:
            return grammar
        return CheckedGrammar(grammar, Checks(schema, plan), self.token_bytes, self.ends, self.vocab_size)

    def beginning(self, text: bytes) -> Iterator[int]:
        """The tokens that begin with a text and go on."""
        for place in range(bisect_right(self._sorted, text), len(self._sorted)):
            if not self._sorted[place].startswith(text):
                return
            yield from self._tokens[self._sorted[place]]

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token."""
        text: bytes = self.tokenizer.decode_bytes([token])
        return text

    def _grammar(self, regex: str) -> OutlinesCoreGrammar:
        try:
            return OutlinesCoreGrammar(self, self._worker.build(rf"\x02(?:{regex})\x03"))
        except TooCostly as error:
            reason = f"{error} with the engine 'outlines_core'; use 'llguidance', or a smaller term"
            raise SchemaError(reason, "$") from None
        except ValueError as error:
            raise SchemaError(f"cannot be decoded: {_reason(str(error))}", "$") from error


def _planned(plan: Prepared, term: JsonSchema) -> tuple[Prepared, str]:
    """The schema as a regular expression, without what that cannot say."""
    for _ in range(_ROUNDS):
        try:
            return plan, schema_regex(plan.schema, term.bounds)
        except Unsupported as error:
            found = error.finding
            if term.on_unsupported == "refuse":
                raise found.error() from None
            plan = Prepared(relaxed(plan.schema, [found]), plan.normal, (*plan.findings, found))
    raise SchemaError(
        f"has more than {_ROUNDS} keywords that the engine 'outlines_core' cannot enforce; simplify it", "$"
    )


def _regex(term: Regex | Choice | Lark) -> str:
    """The term as a regular expression in Rust's syntax."""
    if isinstance(term, Regex):
        return term.pattern
    if isinstance(term, Choice):
        if not term.options or not all(term.options):
            raise SchemaError("a choice needs at least one option, and none may be empty")
        return "|".join(map(re.escape, term.options))
    raise SchemaError(
        "a context-free grammar is no regular expression, and the engine 'outlines_core' compiles nothing else; "
        "use the engine 'llguidance'"
    )


def _rank(byte: int) -> tuple[int, int]:
    place = _PREFERRED.find(bytes((byte,)))
    return (place if place >= 0 else len(_PREFERRED), byte)


def _reason(message: str) -> str:
    return message.splitlines()[0][:300] if message else "unknown error"


class OutlinesCoreGrammar:
    """A compiled term."""

    def __init__(self, engine: OutlinesCoreEngine, index: Any) -> None:
        self.engine = engine
        self.index = index
        self.initial: int = index.get_next_state(index.get_initial_state(), engine.start)
        self._masks: dict[int, NDArray[np.int32]] = {}
        self._after: dict[int, dict[int, int]] = {}
        self._forced: dict[int, list[int]] = {}
        self._ways: dict[int, bytes] = {}

    def start(self) -> OutlinesCoreState:
        """The state before the first token."""
        return OutlinesCoreState(self, [self.initial], [])

    def mask(self, state: int, taken: Sequence[int]) -> NDArray[np.int32]:
        """The mask of a state, made when the state is first seen; `taken` are the tokens that led there."""
        mask = self._masks.get(state)
        if mask is None:
            from outlines_core import Guide

            guide = Guide(self.index)
            for token in (self.engine.start, *taken):
                guide.advance(token, False)
            mask = np.zeros((self.engine.vocab_size + 31) // 32, dtype=np.int32)
            guide.write_mask_into(mask.ctypes.data, mask.size, mask.itemsize)
            if self.final(state):
                for end in self.engine.ends:
                    mask.view(np.uint8)[end >> 3] |= 1 << (end & 7)
            self._masks[state] = mask
        return mask

    def final(self, state: int) -> bool:
        """Whether a text is complete here: the end mark, which is no real token, leads to a final state."""
        after = self.index.get_next_state(state, self.engine.end)
        return after is not None and bool(self.index.is_final_state(after))

    def after(self, state: int) -> dict[int, int]:
        """The bytes that can follow a state, each with the state behind it; first those that lead out soonest."""
        known = self._after.get(state)
        if known is None:
            step: Any = self.index.get_next_state
            known = self._after[state] = {
                byte: there for byte, token in self.engine.single if (there := step(state, token)) is not None
            }
        return known

    def forced(self, state: int) -> list[int]:
        """The tokens that have to follow a state, as far as they are sure to be split like that."""
        known = self._forced.get(state)
        if known is None:
            known = self._forced[state] = self._look_ahead(state)
        return known

    def _look_ahead(self, state: int) -> list[int]:
        places, text = [state], bytearray()
        while len(after := self.after(places[-1])) == 1 and len(text) < _LONGEST and not self.final(places[-1]):
            (byte, there), *_ = after.items()
            text.append(byte)
            places.append(there)
        sure = len(text)
        if after:  # a token that may follow could begin within the text and draw what comes next into itself
            for place in range(max(len(text) - self.engine.longest, 0), len(text)):
                if any(self._follows(places[place], each) for each in self.engine.beginning(bytes(text[place:]))):
                    sure = place
                    break
        tokenizer = self.engine.tokenizer
        tokens = self._within(state, tokenizer.tokenize_bytes(bytes(text)), sure) if text else []
        if sure < len(text) and len(after) < _FEW_BYTES:
            following = [each for each in self.index.get_allowed_tokens(places[-1]) if each < self.engine.vocab_size]
            shared = shared_tokens(tokenizer, bytes(text), following, self.final(places[-1]))
            tokens = max(tokens, self._within(state, shared, len(text)), key=len)
        return tokens

    def _within(self, state: int, tokens: Sequence[int], size: int) -> list[int]:
        """The first of some tokens, as far as they can follow a state within so many bytes."""
        taken: list[int] = []
        for token in tokens:
            size -= len(self.engine.token_bytes(token))
            if size < 0 or not self._follows(state, token):
                break
            state = self.index.get_next_state(state, token)
            taken.append(token)
        return taken

    def _follows(self, state: int, token: int) -> bool:
        return self.index.get_next_state(state, token) is not None

    def way(self, state: int) -> bytes | None:
        """A text that completes what stands before a state: a shortest one, if no other was looked for before."""
        back: dict[int, tuple[int, int]] = {state: (state, -1)}
        queue = deque((state,))
        while queue:
            here = queue.popleft()
            rest = b"" if self.final(here) else self._ways.get(here)
            if rest is not None:
                while here != state:
                    self._ways[here] = rest
                    here, byte = back[here]
                    rest = bytes((byte,)) + rest
                self._ways[state] = rest
                return rest
            for byte, there in self.after(here).items():
                if there not in back:
                    back[there] = (here, byte)
                    queue.append(there)
        return None


class OutlinesCoreState:
    """A place in a text; see `State`."""

    __slots__ = ("_grammar", "_masker", "_states", "_taken")

    def __init__(self, grammar: OutlinesCoreGrammar, states: list[int], taken: list[int]) -> None:
        self._grammar = grammar
        self._states = states
        self._taken = taken
        self._masker: Masker | None = None

    @property
    def done(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return self.can_stop and not self._grammar.after(self._states[-1])

    @property
    def can_stop(self) -> bool:
        """Whether the text is complete as it stands."""
        return self._grammar.final(self._states[-1])

    def forced(self) -> list[int]:
        """The tokens about which there is no choice from here."""
        return list(self._grammar.forced(self._states[-1]))

    def mask_(self, logits: torch.Tensor) -> None:
        """Sets the logits [V] of tokens that cannot follow to minus infinity, in place."""
        if self._masker is None:
            self._masker = Masker(self._grammar.engine.vocab_size)
        mask = self._grammar.mask(self._states[-1], self._taken)
        ctypes.memmove(self._masker.address, mask.ctypes.data, self._masker.size)
        self._masker.apply_(logits)

    def accept(self, tokens: Sequence[int]) -> None:
        """Moves on by tokens, all or none of them."""
        step, states = self._grammar.index.get_next_state, [self._states[-1]]
        for token in tokens:
            there = step(states[-1], token) if token < self._grammar.engine.vocab_size else None
            if there is None:
                text = self._grammar.engine.tokenizer.decode_str([token])
                raise InputError(f"token {token} ({text!r}) cannot follow here under the grammar")
            states.append(there)
        self._states += states[1:]
        self._taken += tokens

    def rollback(self, n: int) -> None:
        """Takes back the last `n` accepted tokens."""
        if not 0 <= n <= len(self._taken):
            raise InputError(f"cannot take back {n} tokens of {len(self._taken)}")
        if n:
            del self._taken[-n:]
            del self._states[-n:]

    def fork(self) -> OutlinesCoreState:
        """An independent copy of this place."""
        return OutlinesCoreState(self._grammar, list(self._states), list(self._taken))

    def closing(self, limit: int) -> list[int] | None:
        """A short path of at most `limit` tokens to a place where `can_stop` holds; None if none was found."""
        text = self._grammar.way(self._states[-1])
        if text is None:
            raise LimitError("the grammar cannot be completed from here; report it")
        if not text:
            return []
        engine = self._grammar.engine
        tokens = list(engine.tokenizer.tokenize_bytes(text))
        if self._follow(tokens, self._states[-1]) < len(tokens):
            bytewise = dict(engine.single)
            tokens = [bytewise[byte] for byte in text]
        return tokens if len(tokens) <= limit else None

    def _follow(self, tokens: Sequence[int], state: int) -> int:
        """How many of some tokens can follow one after another."""
        step: Any = self._grammar.index.get_next_state
        for count, token in enumerate(tokens):
            there = step(state, token)
            if there is None:
                return count
            state = there
        return len(tokens)
