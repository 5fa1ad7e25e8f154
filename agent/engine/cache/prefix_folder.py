"""Beginnings of transcripts on disk, so that the next process need not read instructions and tools anew."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from loraloop.adapters.atomic_write import atomic_path, remove_parts, stats
from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.native_cache import NativeCache
from loraloop.adapters.base.decoder.native_decoder import NativeDecoder
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.sequence import CachedSequence, Executes

_log = logging.getLogger(__name__)

WORTH = 64
"""Tokens below which a file is not worth its time."""
MOST = 1 << 30
"""Bytes that a folder's files take at most; the least recently used go first."""
_ENDING = ".prefix"


class PrefixFolder:
    """A bounded folder of first messages (instructions and tools), computed by the bare base.

    A file is a safetensors file of the token ids and of the keys and values in the C decoder's pages, with a digest of
    both. Its name is a digest of the base's weights and their form, the build of the C kernels, and the tokens: another
    base, processor or version never finds it. Files are readable by their owner alone. A file that is damaged or
    cannot be read is removed with a warning, and the text is computed as if there were none.

    Args:
        folder: Made when something is first saved.
        base: The base whose transcripts are saved; without the C decoder nothing is.
        most: Bound in bytes.
    """

    def __init__(self, folder: Path, base: Base, most: int = MOST) -> None:
        self.folder, self._most, self._lock = folder, most, threading.Lock()
        decoder, prints = base.decoder, base.fingerprints
        self.active = isinstance(decoder, NativeDecoder)
        build = decoder.native.build if isinstance(decoder, NativeDecoder) else ""
        self._identity = f"{prints.architecture}|{prints.weights}|{build}|".encode()

    def load(self, ids: Sequence[int], scheduler: Executes, author: Author) -> CachedSequence | None:
        """The sequence of exactly these tokens; None if there is no good file of it."""
        if not self.active or len(ids) < WORTH:
            return None
        from safetensors import SafetensorError, safe_open

        path = self._path(ids)
        try:
            with safe_open(path, framework="pt") as file:
                found, pages = file.get_tensor("ids"), file.get_tensor("pages")
                digest = (file.metadata() or {}).get("digest")
            if found.tolist() != list(ids) or digest != _digest(found, pages):
                raise ValueError("its content is not what was written")
            sequence = CachedSequence(scheduler)
            assert isinstance(sequence.cache, NativeCache)
            sequence.cache.restore(pages, len(ids))
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
            _log.warning("%s is not used (%s): it is removed, and its text is computed again", path, error)
            _remove(path)
            return None
        sequence.ids = list(ids)
        sequence.ledger.record(author, len(ids))
        with suppress(OSError):  # a folder that cannot be written is read all the same
            os.utime(path)
        return sequence

    def save(self, sequence: CachedSequence, count: int) -> None:
        """Keeps the first `count` tokens of a sequence of the bare base; a disk that refuses is a warning."""
        if not self.active or count < WORTH or sequence.broken or (sequence.virtual and sequence.at < count):
            return
        path = self._path(sequence.ids[:count])
        if path.exists() or not all(span.author.bare for span in sequence.ledger.spans if span.start < count):
            return
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        with self._lock:
            cache = sequence.fork(count).cache
            assert isinstance(cache, NativeCache)
            ids, pages = torch.tensor(sequence.ids[:count], dtype=torch.int64), cache.saved()
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with atomic_path(path) as part:
                    save_file({"ids": ids, "pages": pages}, part, {"digest": _digest(ids, pages)})
                self._bound()
            except (OSError, SafetensorError) as error:
                _log.warning("the beginning of a transcript cannot be kept in %s: %s", self.folder, error)

    def _bound(self) -> None:
        """Lets the least recently used files go, and what killed processes left."""
        remove_parts(self.folder, f".*{_ENDING}*.part")
        files = sorted(stats(self.folder, f"*{_ENDING}"), key=lambda f: f[0].st_mtime)
        size = sum(stat.st_size for stat, _ in files)
        for stat, path in files[:-1]:
            if size <= self._most:
                return
            _remove(path)
            size -= stat.st_size

    def _path(self, ids: Sequence[int]) -> Path:
        digest = hashlib.blake2b(self._identity + array("q", ids).tobytes(), digest_size=20)
        return self.folder / f"{digest.hexdigest()}{_ENDING}"


def _digest(ids: torch.Tensor, pages: torch.Tensor) -> str:
    found = hashlib.blake2b(ids.numpy().tobytes(), digest_size=20)
    found.update(pages.contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _remove(path: Path) -> None:
    with suppress(OSError):  # somebody else's file stays, and is not used
        path.unlink(missing_ok=True)
