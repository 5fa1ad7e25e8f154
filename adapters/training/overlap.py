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
_FOLDERS = {"tools": "tools", "code": "code", "retrieval": "retrieval", "safety": "safety"}


class Overlap:
    """Finds texts that an evaluation text nearly holds: equal when normalised, or half of their 8-grams in one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._whole: set[str] = set()
        self._grams: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, text in enumerate(texts):
            words = normal(text)
            self._whole.add(" ".join(words))
            for gram in _grams(words):
                self._grams[gram].append(index)

    @classmethod
    def of(cls, data: Path, skill: str) -> Overlap:
        """The index over all evaluation files of a skill's folder."""
        return _index(data / _FOLDERS[skill])

    def hit(self, text: str) -> bool:
        """Whether the text is nearly one of the evaluation texts."""
        words = normal(text)
        if " ".join(words) in self._whole:
            return True
        grams = _grams(words)
        if not grams:
            return False
        shared = Counter(index for gram in grams for index in set(self._grams.get(gram, ())))
        return bool(shared) and shared.most_common(1)[0][1] >= SHARE * len(grams)


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
