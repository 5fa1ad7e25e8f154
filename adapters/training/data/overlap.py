"""Texts that nearly are one of a set of evaluation texts, so that those stay out of training."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

N = 8
"""Words of an n-gram."""
SHARE = 0.5
"""Share of a text's n-grams that one evaluation text may hold."""


class Overlap:
    """Finds texts that an evaluation text nearly holds: equal when normalised, or half of their 8-grams in one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._whole: dict[str, int] = {}
        self._grams: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, text in enumerate(texts):
            words = normal(text)
            self._whole.setdefault(" ".join(words), index)
            for gram in _grams(words):
                self._grams[gram].append(index)

    def near(self, text: str) -> tuple[int, bool] | None:
        """The place of the evaluation text that the text nearly is, and whether they are equal when normalised."""
        words = normal(text)
        if (same := self._whole.get(" ".join(words))) is not None:
            return same, True
        grams = _grams(words)
        shared = Counter(index for gram in grams for index in set(self._grams.get(gram, ())))
        for index, count in shared.most_common(1):
            if count >= SHARE * len(grams):
                return index, False
        return None


def normal(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.findall(r"\w+", text.lower())


def _grams(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + N]) for i in range(len(words) - N + 1)}
