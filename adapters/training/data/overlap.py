"""Keeps evaluation requests out of training: the evaluation files are read for nothing else here."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from loraloop.adapters.training.sources.records import read_records

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

    @classmethod
    def of(cls, data: Path, skill: str) -> Overlap:
        """The index over all evaluation files of a skill's folder."""
        return _index(data / skill)

    def hit(self, text: str) -> bool:
        """Whether the text is nearly one of the evaluation texts."""
        return self.near(text) is not None

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


@lru_cache(maxsize=8)
def _index(folder: Path) -> Overlap:
    texts = []
    for path in sorted(folder.glob("*.eval.jsonl")):
        texts += [_request(record) for record in read_records(path)]
    return Overlap(texts)


def _request(record: dict[str, Any]) -> str:
    if "question" in record:
        return str(record["question"])
    if "text" in record:
        return str(record["text"])
    return "\n".join(m["content"] for m in record.get("messages", ()) if m["role"] == "user")
