"""Linear weights in the forms a base is served in: dense, int8, int4 and nf4.

Every form answers the same questions (`Weight`): the product, the dense values it stands for, and the
tensors to store. The int8 and int4 products are torch's own packed CPU kernels, nf4 is bitsandbytes'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from loraloop.kernels.nf4 import Nf4Weight as Nf4Weight

GROUP = 32  # columns that share one scale and zero in the int4 form
DENSE_FROM = 16  # rows from which a product goes through the dense copy
_CHUNK = 1 << 20  # values quantized at a time: few enough for a cache of the processor


@runtime_checkable
class Weight(Protocol):
    """A linear map `x[N, K] -> y[N, O]` without bias."""

    @property
    def out_features(self) -> int: ...

    @property
    def in_features(self) -> int: ...

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, in x's dtype."""
        ...

    def dequantize(self) -> Tensor:
        """The dense values `[O, K]` this weight stands for, in the compute dtype."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The tensors that, stored and given back to the constructor, restore this weight.

        Their shapes are those of each form: `[O, K]` codes, say, with scales `[O]`.
        """
        ...


@dataclass(slots=True)
class DenseWeight:
    """Plain values `[O, K]` (bf16 or fp32)."""

    values: Tensor

    @property
    def out_features(self) -> int:
        return self.values.shape[0]

    @property
    def in_features(self) -> int:
        return self.values.shape[1]

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, which has the dtype of the values."""
        return torch.nn.functional.linear(x, self.values)

    def rows(self, index: Tensor) -> Tensor:
        """Rows `[N, K]` at `index` `[N]` (an embedding lookup)."""
        return self.values[index]

    def dequantize(self) -> Tensor:
        """The values `[O, K]` themselves."""
        return self.values

    def state(self) -> dict[str, Tensor]:
        """The values `[O, K]`."""
        return {"values": self.values}


@dataclass(slots=True)
class Int8Weight:
    """Symmetric int8 codes `[O, K]` with one scale a row `[O]`, for torch's `_weight_int8pack_mm`.

    `dense`, when given, holds the same values `[O, K]` in bf16 and serves products of many rows.
    """

    codes: Tensor
    scales: Tensor
    dense: Tensor | None = None

    @property
    def out_features(self) -> int:
        return self.codes.shape[0]

    @property
    def in_features(self) -> int:
        return self.codes.shape[1]

    @classmethod
    def quantize(cls, values: Tensor, dtype: torch.dtype = torch.bfloat16) -> Int8Weight:
        """Rounds `values[O, K]` to nearest with `scale = max|row| / 127`."""
        scales = torch.empty(values.shape[0], dtype=dtype)
        codes = torch.empty(values.shape, dtype=torch.int8)
        step = max(1, _CHUNK // values.shape[1])
        for start in range(0, values.shape[0], step):  # bounds what the intermediate results take
            here = slice(start, start + step)
            rows = values[here].float()
            scales[here] = (rows.abs().amax(dim=1) / 127).clamp_min(1e-12).to(dtype)
            codes[here] = torch.round(rows / scales[here].float()[:, None]).clamp_(-127, 127).to(torch.int8)
        return cls(codes, scales)

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, in x's dtype."""
        if self.dense is not None and x.shape[0] >= DENSE_FROM:
            return torch.nn.functional.linear(x, self.dense)
        if x.is_cpu:
            return torch._weight_int8pack_mm(x, self.codes, self.scales)
        return torch.nn.functional.linear(x, self.dequantize().to(x.dtype))

    def rows(self, index: Tensor) -> Tensor:
        """Dense rows `[N, K]` at `index` `[N]` (an embedding lookup), in the scales' dtype."""
        return self.codes[index].to(self.scales.dtype) * self.scales[index][:, None]

    def dequantize(self) -> Tensor:
        """The dense values `[O, K]`, in bf16 where a dense copy is held, else in the scales' dtype."""
        if self.dense is not None:
            return self.dense
        return self.codes.to(self.scales.dtype) * self.scales[:, None]

    def state(self) -> dict[str, Tensor]:
        """The codes int8 `[O, K]` and the scales `[O]`."""
        return {"codes": self.codes, "scales": self.scales}


@dataclass(slots=True)
class Int4Weight:
    """Affine 4-bit codes in groups of 32 columns, packed for torch's `_weight_int4pack_mm_for_cpu`.

    A value is `(code - 8) * scale + zero`; `scales_zeros[K/32, O, 2]` holds both in bf16. The packed layout
    depends on the processor's vector width, so it is only valid where `cpu_layout()` is the same.
    """

    packed: Tensor
    scales_zeros: Tensor
    out_features: int
    in_features: int
    dense: Tensor | None = None

    @classmethod
    def pack(cls, codes: Tensor, scales: Tensor, zeros: Tensor, dense: bool = False) -> Int4Weight:
        """Packs codes.

        Args:
            codes: `[O, K]`, each 0…15.
            scales: `[O, K/32]`.
            zeros: `[O, K/32]`.
            dense: Makes the dense copy too: from the codes that is many times quicker than `dequantize`.

        Raises:
            ValueError: if K is no multiple of 32 or the shapes disagree.
        """
        rows, columns = codes.shape
        if columns % GROUP or scales.shape != (rows, columns // GROUP) or zeros.shape != scales.shape:
            raise ValueError(
                f"int4 needs [O, K] codes with K a multiple of {GROUP} and [O, K/{GROUP}] scales and zeros; "
                f"got {tuple(codes.shape)}, {tuple(scales.shape)}, {tuple(zeros.shape)}"
            )
        both = torch.stack([scales.t(), zeros.t()], dim=-1).to(torch.bfloat16).contiguous()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32).contiguous(), 1)
        if not dense:
            return cls(packed, both, rows, columns)
        scale, zero = (part.to(torch.bfloat16).float()[..., None] for part in (scales, zeros))
        copy = (codes.view(rows, -1, GROUP).float().sub_(8).mul_(scale).add_(zero)).to(torch.bfloat16)
        return cls(packed, both, rows, columns, copy.view(rows, columns))

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, in x's dtype, which is bf16."""
        if self.dense is not None and x.shape[0] >= DENSE_FROM:
            return torch.nn.functional.linear(x, self.dense)
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.packed, GROUP, self.scales_zeros)
        return product

    def dequantize(self) -> Tensor:
        """The dense values `[O, K]` in bf16."""
        if self.dense is not None:
            return self.dense
        eye = torch.eye(self.in_features, dtype=torch.bfloat16)
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(eye, self.packed, GROUP, self.scales_zeros)
        return product.t().contiguous()

    def state(self) -> dict[str, Tensor]:
        """The packed codes uint8 `[O, K/2]`, and `scales_zeros` bf16 `[K/32, O, 2]`."""
        return {"packed": self.packed, "scales_zeros": self.scales_zeros}


@dataclass(slots=True)
class StackedWeight:
    """Weights of different forms over the same input, their products side by side."""

    parts: tuple[Weight, ...]

    @property
    def out_features(self) -> int:
        return sum(part.out_features for part in self.parts)

    @property
    def in_features(self) -> int:
        return self.parts[0].in_features

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, O being the sum of the parts'; in x's dtype."""
        return torch.cat([part(x) for part in self.parts], dim=1)

    def dequantize(self) -> Tensor:
        """The dense values `[O, K]` of all parts, one after the other."""
        return torch.cat([part.dequantize() for part in self.parts])

    def state(self) -> dict[str, Tensor]:
        """Each part's tensors, in the shapes of its form (`[O, K]` values), under its index, such as `0.packed`."""
        states = [part.state() for part in self.parts]
        return {f"{index}.{name}": tensor for index, state in enumerate(states) for name, tensor in state.items()}


def cpu_layout() -> str:
    """Names the packed int4 layout of this processor (torch packs for AVX-512, AVX2 or neither)."""
    return torch.backends.cpu.get_cpu_capability().lower().replace(" ", "-")
