"""The shortest way out: a few tokens that complete a half-written text under its grammar."""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loraloop.tool_schemas.grammar.effort import Effort
from loraloop.tool_schemas.grammar.splitting import Splitter

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_TRIALS = 4000  # tokens that one attempt tries before it gives up; each takes some ten microseconds
_FEW = 48  # so many allowed tokens are all tried


class JsonPosition(NamedTuple):
    """Where a piece of JSON text stands.

    Attributes:
        quoted: Inside a string.
        escaped: Behind a backslash in it.
        depth: Number of open brackets.
    """

    quoted: bool = False
    escaped: bool = False
    depth: int = 0

    def after(self, text: bytes) -> JsonPosition:
        """The place behind some more text."""
        quoted, escaped, depth = self
        for byte in text:
            if escaped:
                escaped = False
            elif quoted:
                escaped = byte == 0x5C
                quoted = byte != 0x22
            elif byte == 0x22:
                quoted = True
            elif byte in b"[{":
                depth += 1
            elif byte in b"]}":
                depth -= 1
        return JsonPosition(quoted, escaped, depth)


_WORDS = (
    "internationalization recommendations responsibilities communications international "
    "information description application different example number value data the of a"
)
_SINGLES = b"a0 A@.:/-_1\n`\"')]}>;," + bytes(byte for byte in (9, 10, *range(32, 127)))


class Closers:
    """The tokens that are tried first; found once for each tokenizer, which takes well under a millisecond.

    Attributes:
        text: The bytes of a token, kept once they were asked for.
        quoted: Tokens of a quotation mark and closing brackets, longest first.
        brackets: Tokens of closing brackets alone, longest first.
        values: Tokens that begin, go on with, or part JSON values, in the order of preference; ``,`` is the first.
        fences: Tokens that end a fenced block of code.
        singles: Tokens of one ASCII character.
        fillers: Tokens of letters alone, longest first.
    """

    def __init__(self, tokenizer: LLTokenizer, splitter: Splitter) -> None:
        self.size = tokenizer.vocab_size
        self.splitter = splitter
        self._tokenizer = tokenizer
        self.text: Callable[[int], bytes] = functools.cache(lambda token: tokenizer.decode_bytes([token]))
        ends = ["".join(each) for n in range(5) for each in itertools.product("}]", repeat=n)]
        ends.sort(key=len, reverse=True)
        self.quoted = self._tokens('"' + end for end in ends)
        self.brackets = self._tokens(ends)
        wanted = [",", "null", "n", *"1502346789", "-", ".", "true", "false", "t", "f", '"', "[", "{", *":eE+"]
        self.values = self._tokens(wanted)
        self.fences = self._tokens(["\n```", "```", "\n"])
        self.singles = self._tokens(map(chr, _SINGLES))
        self.fillers = self._tokens(sorted(_WORDS.split(), key=len, reverse=True))

    def _tokens(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """The single tokens among some texts, in their order; of a longer word, its longest token."""
        found: dict[int, None] = {}
        for text in texts:
            tokens = self._tokenizer.greedy_tokenize(text) if text else []
            if len(tokens) == 1 or len(text) > 5:
                found.setdefault(max(tokens, key=lambda token: len(self.text(token))))
        return np.array(list(found), dtype=np.int64)


class Closing:
    """One search for a way to complete a text.

    Args:
        closers: The vocabulary's closers.
        json: Whether the text is JSON, so that its brackets and quotation marks lead the search.
        limit: The largest number of tokens.
        effort: What the search may take; None for that of one search.

    Attributes:
        error: Why the engine cannot follow the grammar; empty if it can.
    """

    def __init__(self, closers: Closers, json: bool, limit: int, effort: Effort | None = None) -> None:
        self.closers = closers
        self.json = json
        self.limit = limit
        self._mask = np.empty((closers.size + 31) // 32, dtype=np.int32)
        self._bits = self._mask.view(np.uint8)
        self._trials = 0
        self._effort = effort or Effort()
        self.error = ""

    def find(self, matcher: LLMatcher, text: bytes, attempts: int = 4) -> list[int] | None:
        """Looks for a path.

        Args:
            matcher: The grammar's place; it is not changed.
            text: What has been written so far.
            attempts: Ways of looking that are tried, the quickest first.

        Returns:
            The tokens, or None.
        """
        place = JsonPosition().after(text) if self.json else JsonPosition()
        ways = [(self._walk, False), (self._search, True), (self._walk, True), (self._search, False)]
        if not self.json:
            ways[:2] = ways[1::-1]
        for way, option in ways[:attempts]:
            path = way(matcher.deep_copy(), place, option)
            if path is not None:
                return path
            if self.error or self._effort.over:
                break
        return None

    def _allowed(self, matcher: LLMatcher) -> NDArray[np.bool_]:
        self._effort.take()
        matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if matcher.is_error():
            self.error = self.error or matcher.get_error()
            self._mask.fill(0)
        bits = np.unpackbits(self._bits, bitorder="little")
        return bits[: self.closers.size].view(np.bool_)

    def _forced(self, matcher: LLMatcher, place: JsonPosition, path: list[int]) -> JsonPosition:
        """Follows the forced tokens."""
        forced = [] if matcher.is_stopped() else matcher.compute_ff_tokens()
        taken = forced[: matcher.try_consume_tokens(forced)] if forced else []
        path += taken
        for token in taken:
            place = place.after(self.closers.text(token))
        return place

    def _options(self, matcher: LLMatcher, place: JsonPosition) -> tuple[list[int], bool]:
        """The tokens to try from a place, best first, and whether the first is known to lead out."""
        closers = self.closers
        allowed = self._allowed(matcher)
        if self.json and not place.escaped:
            ends = closers.quoted if place.quoted else closers.brackets
            ends = ends[allowed[ends]]
            values = [] if place.quoted else closers.values[allowed[closers.values]].tolist()
            if len(ends):
                return [*ends.tolist(), *values], True
            if values:
                return values, closers.text(values[0]) in (b",", b"null", b"true", b":")
        count = int(np.count_nonzero(allowed))
        first = int(np.argmax(allowed))
        if count and closers.text(first)[:1] and 0x80 <= closers.text(first)[0] < 0xC0:
            return [first], True  # inside a character of several bytes: any way out of it
        if count <= _FEW:
            return np.flatnonzero(allowed).tolist(), False
        singles = closers.singles[allowed[closers.singles]]
        fillers = closers.fillers[allowed[closers.fillers]][:8]
        fences = closers.fences[allowed[closers.fences]] if not self.json else singles[:0]
        found = list(dict.fromkeys([*fences.tolist(), *singles.tolist(), *fillers.tolist()]))
        return found or np.flatnonzero(allowed)[:_FEW].tolist(), False

    def _leads_out(self, matcher: LLMatcher, place: JsonPosition) -> tuple[bool, bytes]:
        """Whether the text is complete here or a closer may follow, and the mask."""
        if matcher.is_accepting():
            return True, b""
        if matcher.is_stopped():
            return False, b""
        allowed = self._allowed(matcher)
        out = False
        if self.json and not place.escaped:
            ends = self.closers.quoted if place.quoted else self.closers.brackets
            out = bool(allowed[ends].any()) or (not place.quoted and bool(allowed[self.closers.values[0]]))
        return out, self._mask.tobytes()

    def _walk(self, matcher: LLMatcher, place: JsonPosition, eager: bool) -> list[int] | None:
        """Goes straight on, by the best token at each place.

        Args:
            matcher: Moved along.
            place: Where the text stands.
            eager: Where no token leads out, take the longest; otherwise one that leads to an unseen mask.
        """
        path: list[int] = []
        seen: set[bytes] = set()
        known: tuple[bytes, int] | None = None  # a mask at which no token was better than another, and the longest one
        self._trials = 0
        while self._trials <= (_TRIALS if eager else _TRIALS // 2) and not self._effort.over:
            place = self._forced(matcher, place, path)
            if matcher.is_accepting():
                return path if len(path) <= self.limit else None
            if len(path) >= self.limit or matcher.is_stopped():
                return None
            options, sure = self._options(matcher, place)
            if not options:
                return None
            chosen = options[0] if sure or len(options) == 1 else None
            if chosen is None:
                mask = self._mask.tobytes()
                self._trials += 1
                if known is None or known[0] != mask:
                    chosen = self._best(matcher, place, options, eager, seen)
                    known = None if chosen is not None else (mask, self._longest(options))
                if known is not None:
                    chosen = known[1]
            assert chosen is not None
            if not matcher.consume_token(chosen):
                return None
            path.append(chosen)
            place = place.after(self.closers.text(chosen))
        return None

    def _best(
        self, matcher: LLMatcher, place: JsonPosition, options: list[int], eager: bool, seen: set[bytes]
    ) -> int | None:
        """The first token that leads out, or else to an unseen mask (unless `eager`); None if none does."""
        unseen = None
        self._trials += len(options)
        for token in options:
            if self._effort.over:
                break
            trial = matcher.deep_copy()
            if not trial.consume_token(token):
                continue
            there = self._forced(trial, place.after(self.closers.text(token)), [])
            out, mask = self._leads_out(trial, there)
            if out:
                return token
            if not eager and unseen is None and mask not in seen:
                seen.add(mask)
                unseen = token
        return unseen

    def _longest(self, options: list[int]) -> int:
        return max(options, key=lambda token: len(self.closers.text(token)))

    def _search(self, matcher: LLMatcher, place: JsonPosition, narrow: bool) -> list[int] | None:
        """Best first: by the number of tokens and open brackets.

        Args:
            matcher: Where to begin.
            place: Where the text stands.
            narrow: Branch only where the grammar parts: between literals and between kinds of values.
        """
        order = itertools.count()
        heap: list[tuple[int, int, list[int], JsonPosition, LLMatcher]] = [(0, next(order), [], place, matcher)]
        self._trials = 0
        while heap and self._trials <= _TRIALS and not self._effort.over:
            _, _, path, place, here = heapq.heappop(heap)
            place = self._forced(here, place, path)
            if here.is_accepting() and len(path) <= self.limit:
                return path
            if len(path) >= self.limit or here.is_stopped():
                continue
            options, sure = self._options(here, place)
            if narrow:
                options = options[:1] if sure else self._branches(here, place, options)
            self._trials += len(options[:24])
            for token in options[:24]:
                trial = here.deep_copy()
                if trial.consume_token(token):
                    there = place.after(self.closers.text(token))
                    cost = len(path) + 1 + 2 * there.depth
                    heapq.heappush(heap, (cost, next(order), [*path, token], there, trial))
        return None

    def _branches(self, matcher: LLMatcher, place: JsonPosition, options: list[int]) -> list[int]:
        """One token for each way in which the grammar can go on."""
        if (place.quoted or not self.json) and len(options) <= _FEW:
            return options
        if not self.json or place.quoted or place.escaped:
            fences = [] if self.json else [t for t in self.closers.fences.tolist() if t in options]
            best = self._best(matcher, place, options, False, set()) if options else None
            return [*fences, *([self._longest(options)] if best is None else [best])] if options else []
        kinds: dict[bytes, int] = {}
        for token in options:
            first = self.closers.text(token)[:1]
            kinds.setdefault(b"0" if first.isdigit() else first, token)
        return list(kinds.values())
