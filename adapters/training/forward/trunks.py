"""Trunks on disk: keys and values that every epoch reads again instead of computing them again."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from loraloop.adapters.atomic_write import remove_parts, stats
from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.training import checkpoint
from loraloop.tool_schemas.errors import InputError

_GB = 1 << 30


class TrunkCache:
    """A bounded folder of trunks, one file each, memory-mapped when read.

    A file's name is a digest of the origin, the dtype and the tokens. What came first stays: a cache that
    evicted the oldest would, with epochs longer than itself, never hold what is asked for next. Files that no one of
    this run wants make room. Several processes may share a folder.

    Args:
        folder: made if missing.
        origin: names all that decides keys and values: the base's weights, and what computes them.
        config: of the base.
        dtype: of keys and values.
        most: bound in GB.
        wanted: trunks that this run will ask for; files of others are removed when room is needed.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        config: ModelConfig,
        dtype: torch.dtype,
        most: float,
        wanted: Collection[Sequence[int]] = (),
    ) -> None:
        self.folder, self.dtype = folder, dtype
        self._identity = f"{origin}|{dtype}|{config.layers}".encode()
        self._shape = (config.layers, 2, config.kv_heads, -1, config.head_dim)
        self._bound = int(most * _GB)
        self._wanted = {self._name(trunk) for trunk in wanted}
        folder.mkdir(parents=True, exist_ok=True)
        remove_parts(folder, "*.part")
        self._sizes = {path.name: stat.st_size for stat, path in stats(folder, "*.kv")}
        self.hits = self.misses = 0

    @property
    def nbytes(self) -> int:
        """What the folder's trunks take."""
        return sum(self._sizes.values())

    def get(self, trunk: Sequence[int]) -> Tensor | None:
        """Keys and values `[layers, 2, kv_heads, t, D]`, memory-mapped; None if they are not there."""
        name = self._name(trunk)
        path, width = self.folder / name, torch.empty((), dtype=self.dtype).element_size()
        try:
            size = path.stat().st_size
        except OSError:
            size = 0
        if not size or size != self._expected(trunk, width):
            self.misses += 1
            return None
        self.hits += 1
        mapped = torch.from_file(str(path), shared=False, size=size // width, dtype=self.dtype)
        return mapped.view(self._shape)

    def put(self, trunks: Sequence[tuple[Sequence[int], Tensor]]) -> int:
        """Keeps a batch's trunks as far as there is room; returns how many are there.

        All are written before the first is named: what a batch computed together appears together, so that a run
        killed here computes all of it again, with the same bits.

        Args:
            trunks: The tokens of each trunk, t of them, and its keys and values `[layers, 2, kv_heads, t, D]` in the
                folder's dtype.
        """
        parts: list[tuple[Path, str]] = []
        kept = 0
        for trunk, data in trunks:
            name = self._name(trunk)
            self._wanted.add(name)
            kept += name in self._sizes
            if name in self._sizes or not self._has_room(data.nbytes):
                continue
            part = self.folder / f"{name}.{os.getpid()}.part"
            parts.append((part, name))
            try:
                with checkpoint.writing(part):
                    part.write_bytes(data.detach().cpu().contiguous().view(torch.uint8).numpy().data)
            except InputError:
                for half, _ in parts:
                    half.unlink(missing_ok=True)
                raise
            self._sizes[name] = data.nbytes
            kept += 1
        for part, name in parts:
            part.replace(self.folder / name)
        return kept

    def _has_room(self, needed: int) -> bool:
        if self.nbytes + needed > self._bound:
            self._make_room(needed)
        return self.nbytes + needed <= self._bound

    def _expected(self, trunk: Sequence[int], width: int) -> int:
        layers, two, heads, _, dim = self._shape
        return layers * two * heads * len(trunk) * dim * width

    def _make_room(self, needed: int) -> None:
        for name in [name for name in self._sizes if name not in self._wanted]:
            if self.nbytes + needed <= self._bound:
                return
            (self.folder / name).unlink(missing_ok=True)
            del self._sizes[name]

    def _name(self, trunk: Sequence[int]) -> str:
        return hashlib.sha256(self._identity + array("q", trunk).tobytes()).hexdigest()[:40] + ".kv"
