"""Linear weights in the tiles of 16 output rows that the C kernels read; the layouts are described in csrc/linear.h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

LANES = 16
GROUP = 32
_INT4_BYTES = 320  # of a group of 32 columns in a tile
_EIGHT = [0, 4, 1, 5, 2, 6, 3, 7]  # the order in which eight neighbouring columns stand
_EIGHT_BACK = [_EIGHT.index(column) for column in range(8)]


class TileKind(IntEnum):
    """How a tile's values are stored; the numbers are csrc/linear.h's."""

    INT4 = 0
    INT8 = 1
    BF16 = 2


@dataclass(slots=True)
class TiledWeight:
    """A linear map `x[N, K] -> y[N, O]` in tiles. Without the C library it can be dequantized, not multiplied.

    Attributes:
        kind: of the tiles.
        data: their bytes, uint8.
        out_features: O; the last tile is padded with zeros.
        in_features: K, a multiple of 32.
    """

    kind: TileKind
    data: Tensor
    out_features: int
    in_features: int

    def __post_init__(self) -> None:
        wanted = -(-self.out_features // LANES) * tile_bytes(self.kind, self.in_features)
        if self.in_features % GROUP or self.data.dtype != torch.uint8 or self.data.numel() != wanted:
            raise ValueError(
                f"{self.kind.name} tiles of [{self.out_features}, {self.in_features}] take {wanted} bytes in groups of "
                f"{GROUP} columns, not {self.data.numel()} of {self.data.dtype}"
            )

    @classmethod
    def int4(cls, codes: Tensor, scales: Tensor, zeros: Tensor) -> TiledWeight:
        """From `codes[O, K]` (0…15), `scales[O, K/32]`, `zeros[O, K/32]`: `(code - 8) * scale + zero`."""
        rows, columns = codes.shape
        c = _tiled(codes.to(torch.uint8)).view(-1, LANES, columns // GROUP, 4, 8).unbind(-1)
        packed = [c[0] | c[2] << 4, c[4] | c[6] << 4, c[1] | c[3] << 4, c[5] | c[7] << 4]
        words = torch.stack(packed, -1).permute(0, 2, 3, 1, 4).flatten(2)
        both = torch.stack([_tiled(scales), _tiled(zeros)], -1).to(torch.bfloat16)
        pairs = both.transpose(1, 2).contiguous().view(torch.uint8).flatten(2)
        return cls(TileKind.INT4, torch.cat([words, pairs], -1).flatten(), rows, columns)

    @classmethod
    def int8(cls, codes: Tensor, scales: Tensor) -> TiledWeight:
        """From `codes[O, K]` and `scales[O]`, one scale a row."""
        rows, columns = codes.shape
        fours = _tiled(codes).view(-1, LANES, columns // 8, 8)[..., _EIGHT].view(-1, LANES, columns // 4, 4)
        words = fours.transpose(1, 2).contiguous().view(torch.uint8).flatten(1)
        factors = _tiled(scales.float()[:, None])[..., 0].contiguous().view(torch.uint8)
        return cls(TileKind.INT8, torch.cat([words, factors], -1).flatten(), rows, columns)

    @classmethod
    def bf16(cls, values: Tensor) -> TiledWeight:
        """From `values[O, K]`."""
        rows, columns = values.shape
        tiles = _tiled(values.to(torch.bfloat16)).view(-1, LANES, columns // 2, 2)
        return cls(TileKind.BF16, tiles.transpose(1, 2).contiguous().view(torch.uint8).flatten(), rows, columns)

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, in x's dtype."""
        return torch.nn.functional.linear(x, self.dequantize().to(x.dtype))

    def dequantize(self) -> Tensor:
        """The dense values `[O, K]` in bf16."""
        return self._dequantize(self.data)[: self.out_features]

    def rows(self, index: Tensor) -> Tensor:
        """Dense rows `[N, K]` in bf16 at `index` `[N]` (an embedding lookup)."""
        tiles, where = torch.unique(index // LANES, return_inverse=True)
        picked = self.data.view(-1, tile_bytes(self.kind, self.in_features))[tiles]
        return self._dequantize(picked.flatten())[where * LANES + index % LANES]

    def _dequantize(self, data: Tensor) -> Tensor:
        columns = self.in_features
        tiles = data.view(-1, tile_bytes(self.kind, columns))
        if self.kind is TileKind.BF16:
            return _untiled(tiles.contiguous().view(torch.bfloat16), columns)
        if self.kind is TileKind.INT8:
            fours = tiles[:, : columns * LANES].contiguous().view(torch.int8).view(-1, columns // 4, LANES, 4)
            eights = fours.transpose(1, 2).reshape(-1, columns // 8, 8)
            codes = eights[..., _EIGHT_BACK].flatten(1)
            scales = tiles[:, columns * LANES :].contiguous().view(torch.float32).flatten()
            return codes.to(torch.bfloat16) * scales.to(torch.bfloat16)[:, None]
        groups = tiles.view(-1, columns // GROUP, _INT4_BYTES)
        words = groups[..., :256].reshape(-1, columns // GROUP, 4, LANES, 4)
        low, high = words & 15, words >> 4  # of the four bytes: codes 0 4 1 5, and 2 6 3 7
        order = torch.stack([low[..., 0::2], high[..., 0::2], low[..., 1::2], high[..., 1::2]], -2).flatten(-2)
        codes = order.permute(0, 3, 1, 2, 4).reshape(-1, columns // GROUP, GROUP)
        both = groups[..., 256:].contiguous().view(torch.bfloat16).view(-1, columns // GROUP, LANES, 2).transpose(1, 2)
        scales, zeros = both.reshape(-1, columns // GROUP, 2).float().unbind(-1)
        values = (codes.float() - 8) * scales[..., None] + zeros[..., None]
        return values.to(torch.bfloat16).flatten(1)

    def state(self) -> dict[str, Tensor]:
        """The tiles, uint8 `[bytes]`, under a name that says their kind."""
        return {f"tiles_{self.kind.name.lower()}": self.data}

    @classmethod
    def restore(cls, state: dict[str, Tensor], in_features: int, out_features: int | None = None) -> TiledWeight:
        """The inverse of `state`, uint8 `[bytes]`; `out_features` may be left out where it is a multiple of 16."""
        ((name, data),) = state.items()
        kind = TileKind[name.removeprefix("tiles_").upper()]
        rows = data.numel() // tile_bytes(kind, in_features) * LANES
        return cls(kind, data, rows if out_features is None else out_features, in_features)


def tile_expand_(matrices: Sequence[Tensor], blocks: Sequence[tuple[int, int, int]] = ()) -> None:
    """Lays expand matrices [R, O] out, in place, as the C kernels read them: per 16 columns, ranks in pairs.

    Args:
        matrices: contiguous, of one shape; O a multiple of 16.
        blocks: (ranks, first column, one past the last) of block-diagonal matrices, from the top; none if dense. What
            lies outside of the blocks is zero and is not kept: a block's values begin where its first row did.
    """
    ranks, columns = matrices[0].shape
    whole = torch.stack(list(matrices))
    at = 0
    for count, first, end in blocks or ((ranks, 0, columns),):
        layers, tiles = len(matrices), (end - first) // LANES
        block = whole[:, at : at + count, first:end].reshape(layers, count, tiles, LANES).transpose(1, 2)
        pairs = block[:, :, : count // 2 * 2].reshape(layers, tiles, count // 2, 2, LANES)
        even = pairs.transpose(3, 4).flatten(2)
        tiled = torch.cat([even, block[:, :, count // 2 * 2 :].flatten(2)], 2).flatten(1)
        start = at * columns
        torch._foreach_copy_([m.view(-1)[start : start + tiled.shape[1]] for m in matrices], list(tiled.unbind(0)))
        at += count


def tile_bytes(kind: TileKind, columns: int) -> int:
    """Bytes of one tile."""
    if kind is TileKind.INT4:
        return columns // GROUP * _INT4_BYTES
    return columns * LANES * (1 if kind is TileKind.INT8 else 2) + (4 * LANES if kind is TileKind.INT8 else 0)


def _tiled(rows: Tensor) -> Tensor:
    """`[O, …]` -> `[tiles, 16, …]`, the last tile padded with zeros."""
    missing = -rows.shape[0] % LANES
    if missing:
        rows = torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])
    return rows.contiguous().view(-1, LANES, *rows.shape[1:])


def _untiled(tiles: Tensor, columns: int) -> Tensor:
    """Pairs of columns of 16 rows, `[tiles, K/2 * 16 * 2]`, back into rows `[O, K]`."""
    return tiles.view(-1, columns // 2, LANES, 2).transpose(1, 2).reshape(-1, columns)
