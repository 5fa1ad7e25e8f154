"""Ranks passages by meaning, with somebody else's embedder, and joins rankings."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from loraloop.tool_schemas.errors import InputError, needing

if TYPE_CHECKING:
    import sqlite3

    import numpy as np
    from numpy.typing import NDArray

DEPTH = 50
"""Passages that each ranking puts forward."""
_TEXT = "SELECT title || char(10) || text FROM passages WHERE id = ?"
_TOGETHER = 1024  # passages that are embedded at a time
_CONSTANT = 60  # of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors: a model of model2vec or sentence-transformers, or anything with this method."""

    def encode(self, texts: list[str], /) -> NDArray[Any]:
        """Vectors `[len(texts), D]`; texts of like meaning point in like directions. Called by one thread at a time."""
        ...


class Meaning:
    """The vectors of an index's passages, in memory: a static model embeds thousands of passages a second.

    Args:
        embedder: An embedder, or the folder or hub id of a model2vec model, which needs the extra `embed`.

    Raises:
        InputError: It is neither, or the model cannot be loaded.
    """

    def __init__(self, embedder: Embedder | str | os.PathLike[str]) -> None:
        self._embedder = _loaded(embedder)
        self._lock = threading.Lock()
        self._rows: dict[int, NDArray[np.float32]] = {}

    def best(self, database: sqlite3.Connection, question: str) -> list[int]:
        """Ids of the passages nearest to a question, the nearest first; none if the embedder knows no word of it."""
        import numpy as np

        with self._lock:
            present = [key for (key,) in database.execute("SELECT id FROM passages ORDER BY id")]
            new = [key for key in present if key not in self._rows]
            for start in range(0, len(new), _TOGETHER):
                some = new[start : start + _TOGETHER]
                found = [database.execute(_TEXT, (key,)).fetchone()[0] for key in some]
                self._rows |= dict(zip(some, self._vectors(found), strict=True))
            self._rows = {key: self._rows[key] for key in present}
            asked = self._vectors([question])[0]
            if not present or not asked.any():
                return []
            nearness = np.stack(list(self._rows.values())) @ asked
        return [present[place] for place in np.argsort(-nearness, kind="stable")[:DEPTH].tolist()]

    def _vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """Embeddings of the texts, of length 1, or 0 where the embedder knows no word."""
        import numpy as np

        vectors = np.asarray(self._embedder.encode(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise InputError(
                f"the embedder gave an array {list(vectors.shape)} for {len(texts)} texts: encode has to return one "
                "row of finite numbers for each"
            )
        lengths: NDArray[np.float32] = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.divide(vectors, lengths, dtype=np.float32)


def fused(rankings: Iterable[Sequence[int]], k: int) -> list[int]:
    """The `k` best ids of several rankings, by the sum of their reciprocal ranks."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + 1 / (_CONSTANT + rank)
    return sorted(scores, key=lambda key: (-scores[key], key))[:k]


def _loaded(embedder: Embedder | str | os.PathLike[str]) -> Embedder:
    if not isinstance(embedder, str | os.PathLike):
        if not hasattr(embedder, "encode"):
            raise InputError(f"{embedder!r:.80} is no embedder: give an object with encode(texts), or a model's folder")
        return embedder
    with needing("an embedder by its name needs model2vec", "'loraloop[embed]'"):
        from model2vec import StaticModel
    try:
        loaded: Embedder = StaticModel.from_pretrained(embedder)
    except Exception as error:  # the library raises whatever its loaders do
        raise InputError(f"cannot load the embedder {os.fspath(embedder)!r}: {error}") from error
    return loaded
