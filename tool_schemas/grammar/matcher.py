"""A compiled grammar and a place in a text under it, by llguidance."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from loraloop.tool_schemas.errors import InputError, LimitError
from loraloop.tool_schemas.grammar.closing import Closers, Closing
from loraloop.tool_schemas.grammar.effort import Effort
from loraloop.tool_schemas.grammar.prepare import reason_of
from loraloop.tool_schemas.grammar.splitting import Splitter

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from numpy.typing import NDArray

_DECIMALS = 20
"""Digits after a number's point: more than any reader of JSON tells apart, and than anybody writes."""
_LONG = re.compile(rb"(?:\A|[:,\[])-?[0-9]+\.[0-9]{%d,}\Z" % _DECIMALS)
_WORDS = re.compile(rb" ?[A-Za-z0-9]+")
_LIKED = 4.0  # in logits, for tokens of letters and digits: what a person can read
_ESCAPED = re.compile(rb"\\.")
_EIGHT = np.dtype((np.void, 32))  # eight float32 values that are moved together


@functools.cache
def _penalties() -> NDArray[Any]:
    """For each byte of a mask its eight penalties, [256] times eight float32: 0 where the bit is set, else -inf."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    table = np.where(bits, np.float32(0), np.float32(-np.inf))
    return np.ascontiguousarray(table, dtype=np.float32).view(_EIGHT).reshape(256)


class Masker:
    """The buffers for one mask of a vocabulary.

    Adding penalties from a table takes a tenth of the time of `masked_fill_` on a dense mask (measured: 10 against
    110 microseconds at 49 152 tokens). numpy does it on a CPU: torch would share so little work among its threads,
    which on busy cores wait for each other (measured: 10 against 570 microseconds on average).

    Args:
        vocab_size: Number of tokens.

    Attributes:
        address: Where the mask has to be written: bit t of the little-endian words is set if token t may follow.
        size: Size of the grammar in bytes.
    """

    __slots__ = ("_bytes", "_eights", "_penalty", "_vocab_size", "address", "size")

    def __init__(self, vocab_size: int) -> None:
        words = np.zeros((vocab_size + 31) // 32, dtype=np.int32)
        self._vocab_size = vocab_size
        self._bytes = words.view(np.uint8)
        self._eights = np.empty(self._bytes.size, dtype=_EIGHT)
        self._penalty = self._eights.view(np.float32)[:vocab_size]
        self.address: int = words.ctypes.data
        self.size = words.nbytes

    def apply_(self, logits: torch.Tensor) -> None:
        """Sets the logits of tokens that may not follow to minus infinity.

        Args:
            logits: [V] or longer, finite or minus infinity; what lies beyond the vocabulary is masked as well.
        """
        np.take(_penalties(), self._bytes, out=self._eights, mode="clip")
        if logits.shape[0] > self._vocab_size:
            logits[self._vocab_size :] = float("-inf")
            logits = logits[: self._vocab_size]
        if logits.device.type == "cpu" and logits.dtype == torch.float32:
            values = logits.detach().numpy()
            np.add(values, self._penalty, out=values)
        else:
            logits.add_(torch.from_numpy(self._penalty).to(logits))


class TextTokenizer(Protocol):
    """What grammars need of a tokenizer."""

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of the special tokens."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, none of them special."""

    def all_bytes(self) -> list[bytes]:
        """The bytes of each id, of a special one those of its name."""


class _TokenizerBridge:
    """A tokenizer as llguidance calls it; reading it anew from its JSON takes 0.9 s at 151 936 tokens, this 0.35."""

    bos_token_id = None

    def __init__(self, tokenizer: TextTokenizer, eos_id: int) -> None:
        self.eos_token_id, self.encode = eos_id, tokenizer.encode
        self.tokens, self.special_token_ids = tokenizer.all_bytes(), sorted(tokenizer.special_ids)

    def __call__(self, text: str) -> list[int]:
        return self.encode(text)


class Vocabulary:
    """A tokenizer, and what is found in it once for all grammars.

    Args:
        tokenizer: The tokenizer.
        size: Number of logits.
        eos_id: The token, or tokens, that end a text.

    Raises:
        InputError: If llguidance cannot read it.
    """

    def __init__(self, tokenizer: TextTokenizer, size: int, eos_id: int | Sequence[int]) -> None:
        from llguidance import LLTokenizer, TokenizerWrapper

        self.ends = [eos_id] if isinstance(eos_id, int) else list(eos_id)
        self.size = size
        bridge = TokenizerWrapper(_TokenizerBridge(tokenizer, self.ends[0]))
        try:
            self.tokenizer = LLTokenizer(bridge, n_vocab=size, eos_token=self.ends)
        except ValueError as error:
            raise InputError(f"llguidance cannot read this tokenizer: {error}") from error
        self.splitter = Splitter(self.tokenizer)
        self._beginning: dict[str, torch.Tensor] = {}

    @cached_property
    def digits(self) -> torch.Tensor:
        """The tokens that begin with a digit, int64 [M]."""
        return torch.tensor([token for token in range(self.size) if self.bytes_of(token)[:1].isdigit()])

    @cached_property
    def liking(self) -> torch.Tensor:
        """Logits [V] that make texts drawn at random readable."""
        liked = [_WORDS.fullmatch(self.bytes_of(token)) is not None for token in range(self.size)]
        return torch.tensor(liked, dtype=torch.float32) * _LIKED

    def beginning(self, characters: str) -> torch.Tensor:
        """The tokens, int64 [M], that begin with one of these characters, white space aside."""
        if characters not in self._beginning:
            wanted = tuple(characters.encode())
            texts = (self.bytes_of(token).lstrip()[:1] for token in range(self.size))
            self._beginning[characters] = torch.tensor(
                [i for i, text in enumerate(texts) if text and text[0] in wanted]
            )
        return self._beginning[characters]

    @cached_property
    def closers(self) -> Closers:
        """The tokens that close values."""
        return Closers(self.tokenizer, self.splitter)

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token."""
        return self.tokenizer.decode_bytes([token])


class LlguidanceGrammar:
    """A compiled term.

    Args:
        vocabulary: The tokens.
        matcher: The place before the first one.
        json: Whether it is JSON.
        bounded: Whether numbers are bounded, which the engine does not do for the digits after their points.
        openers: Characters with which calls begin; see `Lark`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        matcher: LLMatcher,
        json: bool,
        bounded: bool = False,
        openers: str | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.json = json
        self.bounded = bounded
        self.openers = openers
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
        place = self._matcher
        sure = place.compute_ff_tokens()
        if sure:
            place = place.deep_copy()
            if place.try_consume_tokens(sure) < len(sure) or place.is_stopped():
                return sure
        return sure + self._grammar.vocabulary.splitter.split(place)

    def mask_(self, logits: torch.Tensor) -> None:
        """Sets the logits [V] of tokens that cannot follow to minus infinity, in place."""
        if self._masker is None:
            self._masker = Masker(self._grammar.vocabulary.size)
        first = self._grammar.openers is not None and not self._taken and self.can_stop
        before = logits.clone() if first else None
        self._matcher.unsafe_compute_mask_ptr(self._masker.address, self._masker.size)
        self._check()
        self._masker.apply_(logits)
        if before is not None:
            self._weigh_end_(logits, before)
        if self._grammar.bounded and self._ends_in_decimals():
            digits = self._grammar.vocabulary.digits
            likely = logits[digits]
            logits[digits] = float("-inf")
            if logits.isneginf().all():  # where the number has to go on to be one that fits
                logits[digits] = likely

    def _weigh_end_(self, logits: torch.Tensor, before: torch.Tensor) -> None:
        """Makes the end as likely as all that it stands for, and what may follow as all that begins like a call.

        A fence may hold either, and counts for neither.
        """
        vocabulary, openers = self._grammar.vocabulary, self._grammar.openers or ""
        logits[vocabulary.ends] = float("-inf")
        allowed = logits.isfinite()
        likewise = allowed.clone()
        likewise[vocabulary.beginning(openers)] = True
        others = ~likewise
        others[vocabulary.beginning("`")] = False
        logits[allowed] += before[likewise].logsumexp(0) - before[allowed].logsumexp(0)
        logits[vocabulary.ends[0]] = before[others].logsumexp(0)

    def accept(self, tokens: Sequence[int]) -> None:
        """Moves on by tokens, all or none of them."""
        wanted = list(tokens)
        count = self._matcher.try_consume_tokens(wanted)
        self._check()
        if count < len(wanted):
            if count:
                self._matcher.rollback(count)
            text = self._grammar.vocabulary.tokenizer.decode_str([wanted[count]])
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

    def closing(self, limit: int, effort: Effort | None = None) -> list[int] | None:
        """A short path of at most `limit` tokens to a place where `can_stop` holds; None if none was found."""
        if self.can_stop:
            return []
        grammar, vocabulary = self._grammar, self._grammar.vocabulary
        if not self._taken and grammar.shortest is not None and len(grammar.shortest) <= limit:
            return list(grammar.shortest)
        text = vocabulary.tokenizer.decode_bytes(self._taken)
        found = Closing(vocabulary.closers, grammar.json, limit, effort).find(self._matcher, text)
        if not self._taken and found is not None:
            grammar.shortest = list(found)
        return found

    def _ends_in_decimals(self) -> bool:
        """Whether the text ends in a number with as many digits after its point as one may have."""
        vocabulary, taken = self._grammar.vocabulary, self._taken
        if len(taken) < 4 or not vocabulary.bytes_of(taken[-1])[-1:].isdigit():
            return False
        if _LONG.search(vocabulary.tokenizer.decode_bytes(taken[-3 * _DECIMALS :])) is None:
            return False
        whole = vocabulary.tokenizer.decode_bytes(taken)
        return _ESCAPED.sub(b"", whole).count(b'"') % 2 == 0  # else it is a text that looks like that

    def _check(self) -> None:
        if self._matcher.is_error():
            raise LimitError(f"the grammar cannot be followed any further: {reason_of(self._matcher.get_error())}")
