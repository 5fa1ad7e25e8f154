"""Drafts: tokens that may come next, looked up in what stands before them (prompt lookup decoding).

Answers repeat results, documents and requests. Where the end of a text has occurred before, what followed it there is
computed together with the next token: a forward of a few tokens reads the weights once. The tokens are chosen as ever,
each from its own logits; a draft that foresaw them saves their forwards, and the rest of it is forgotten. On the C
decoder the logits are the same bit for bit, so drafts change nothing but the time, whatever the grammar and sampling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

TOGETHER = 8
"""Tokens of a forward with a draft at most: as many as the products of the C decoder take together."""
_TRIED, _SHARE, _SURE = 16, 8, 3
"""Once so many tokens were drafted and less than one in `_SHARE` was accepted, a match needs `_SURE` tokens."""


class Drafts:
    """The drafts of one text.

    Args:
        context: The tokens before the text.
        never: Tokens that no draft holds: those that end a text.

    Attributes:
        drafted: Tokens of drafts that were computed.
        accepted: Drafted tokens that were chosen; each saved a forward.
    """

    __slots__ = ("_context", "_never", "accepted", "drafted")

    def __init__(self, context: Sequence[int], never: Collection[int]) -> None:
        self._context = _written(context)
        self._never = {chr(token) for token in never}
        self.drafted = self.accepted = 0

    def after(self, ids: Sequence[int], most: int) -> list[int]:
        """What may follow the text `ids`: at most so many tokens, none where its end has not occurred before."""
        doubted = self.drafted > _TRIED + _SHARE * self.accepted
        found = _look_up(self._context + _written(ids), most, _SURE if doubted else 1)
        end = next((at for at, token in enumerate(found) if token in self._never), len(found))
        self.drafted += end
        return [ord(token) for token in found[:end]]


def _written(ids: Sequence[int]) -> str:
    """Tokens as a string, a character each: strings are searched fast."""
    return "".join(map(chr, ids))


def _look_up(text: str, most: int, least: int) -> str:
    """What followed the longest end of a text that occurs before: no more than the length of that end.

    The last occurrence counts, and only where the one before it went on the same way.

    Args:
        text: The text.
        most: Tokens that are looked for and returned at most.
        least: Tokens of the end at least.
    """
    place, size = len(text) - 1, 0
    while size < most and (at := text.rfind(text[-1 - size :], 0, place)) >= 0:
        size += 1
        place = at + size
    if size < least:
        return ""
    before = text.rfind(text[-size:], 0, place - 1)
    if before >= 0 and text[before + size] != text[place]:
        return ""
    return text[place : place + size]
