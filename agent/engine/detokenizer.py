"""Tokens to text, piece by piece."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence


class TextStream:
    """Turns token ids into pieces of valid text.

    A piece never ends inside a character, and never holds text that may yet turn out to be the beginning of a stop
    string. `text` is everything that was given out.
    """

    __slots__ = ("_decoder", "_held", "_stops", "_token_bytes", "stopped", "text")

    def __init__(self, token_bytes: Callable[[int], bytes], stops: Sequence[str] = ()) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False
        self.text = ""

    def push(self, ids: Sequence[int]) -> str:
        """The text that `ids` complete; may be empty."""
        if self.stopped:
            return ""
        raw = self._token_bytes
        return self._release(self._decoder.decode(b"".join([raw(token) for token in ids])), final=False)

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
