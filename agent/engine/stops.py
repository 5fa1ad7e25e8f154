"""Where free text ends: stop strings, text that repeats itself, a beginning that is not wanted; and tokens to text."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base.tokenizer import Tokenizer

TextSpan: TypeAlias = tuple[int, int]
"""A part of a text: its first character and the one after its last."""
PERIOD = 64
"""Tokens of the longest repetition that is looked for."""
COPIES, REPEATED = 4, 96
"""Free text repeats itself where its end is this many copies of one text, and at least so many tokens."""
_EVERY = 16  # tokens between two looks


class FreeText:
    """Guides free text: any token may follow, until a limit or a repetition ends the text.

    Args:
        limit: The most tokens.
        not_first: Ids, int64 `[M]`, of tokens with which the text must not begin; None: any may.
    """

    def __init__(self, limit: int, not_first: Tensor | None = None) -> None:
        self.ids: list[int] = []
        self.forced: list[bool] = []
        self.retried, self.problem = 0, ""
        self._limit, self._not_first = limit, not_first

    @property
    def ready(self) -> int:
        """Generated tokens that stay: all."""
        return len(self.ids)

    def advance(self, shown: int, sampled: int) -> str:
        """The reason why the text ends here: `tokens` or `repetition`; empty if it may go on."""
        if len(self.ids) >= self._limit:
            return "tokens"
        return "repetition" if repeats(self.ids) else ""

    def mask_(self, logits: Tensor) -> None:
        """Sets the logits [V] of tokens that must not come first to minus infinity, in place."""
        if self._not_first is not None and not self.ids:
            logits[self._not_first] = float("-inf")

    def take(self, token: int, logits: Tensor) -> None:
        """Takes a token; the logits `[V]` are not looked at."""
        self.ids.append(token)
        self.forced.append(False)

    def end(self, reason: str, shown: int) -> str:
        """Returns the reason: free text has no form to complete."""
        return reason


def repeats(ids: Sequence[int]) -> bool:
    """Whether the end of a text repeats itself over and over; looked at every few tokens only."""
    if len(ids) < REPEATED or len(ids) % _EVERY:
        return False
    for period in range(1, PERIOD + 1):
        if ids[-1] == ids[-1 - period]:
            size = max(REPEATED, COPIES * period)
            if size <= len(ids) and ids[-size:-period] == ids[period - size :]:
                return True
    return False


class Detokenizer:
    """Turns token ids into pieces of valid text.

    A piece never ends inside a character, and never holds text that may yet turn out to be the beginning of a stop
    string. `text` is everything that was given out, and `spans` are the parts of it that a grammar forced.
    """

    __slots__ = ("_decoder", "_held", "_stops", "_token_bytes", "spans", "stopped", "text")

    def __init__(self, token_bytes: Callable[[int], bytes], stops: Sequence[str] = ()) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False
        self.text = ""
        self.spans: list[TextSpan] = []

    def push(self, ids: Sequence[int], forced: Sequence[bool] = ()) -> str:
        """The text that `ids` complete; may be empty. `forced` says of each whether a grammar forced it."""
        if self.stopped:
            return ""
        raw, start = self._token_bytes, len(self.text)
        for by_grammar, group in groupby(zip_longest(ids, forced), lambda pair: pair[1]):
            at = len(self.text)
            self._release(self._decoder.decode(b"".join([raw(token) for token, _ in group])), final=False)
            if by_grammar and len(self.text) > at:
                if self.spans and self.spans[-1][1] == at:
                    at = self.spans.pop()[0]
                self.spans.append((at, len(self.text)))
        return self.text[start:]

    def spans_since(self, start: int) -> tuple[TextSpan, ...]:
        """The forced spans of the text from `start` on, as places in that piece."""
        return tuple((max(first, start) - start, end - start) for first, end in self.spans if end > start)

    def finish(self) -> str:
        """What was still held back."""
        if self.stopped:
            return ""
        return self._release(self._decoder.decode(b"", True), final=True)

    def _release(self, piece: str, final: bool) -> str:
        if self._stops:
            piece = self._held + piece
            found = [place for place in (piece.find(stop) for stop in self._stops) if place >= 0]
            if found:
                piece, self._held, self.stopped = piece[: min(found)], "", True
            else:
                hold = 0 if final else max(_overlap(piece, stop) for stop in self._stops)
                piece, self._held = piece[: len(piece) - hold], piece[len(piece) - hold :]
        self.text += piece
        return piece


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-size:]):
            return size
    return 0


def cut_to(ids: list[int], text: str, tokenizer: Tokenizer) -> None:
    """Shortens `ids` to `text`, which may end inside the text of a token."""
    size, kept = len(text.encode()), 0
    while kept < len(ids) and size >= len(piece := tokenizer.token_bytes(ids[kept])):
        size -= len(piece)
        kept += 1
    rest = text.encode()[len(text.encode()) - size :] if size else b""
    ids[kept:] = tokenizer.encode(rest.decode(errors="ignore")) if rest else []
