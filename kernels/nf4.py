"""Linear weights in NormalFloat4: bitsandbytes' layout, on a GPU through our own kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from loraloop.kernels.reference import BLOCK, nf4_dequantize


class Nf4Weight:
    """NormalFloat4 in blocks of 64 with double-quantized absmax (QLoRA, arXiv 2305.14314), by bitsandbytes.

    Attributes:
        codes: uint8, two codes a byte, the first in the upper half, over the flattened [O, K].
        quant_state: bitsandbytes' own record of the scales.
        tensors: codes, absmax, absmax_code, absmax_scales and offset, as `reference.nf4_dequantize` takes them.

    Raises:
        ValueError: another 4-bit form than NF4 in blocks of 64 with nested statistics.
    """

    __slots__ = ("codes", "in_features", "out_features", "quant_state", "tensors")

    def __init__(self, codes: Tensor, quant_state: Any) -> None:
        self.codes = codes
        self.quant_state = quant_state
        self.out_features, self.in_features = quant_state.shape
        if quant_state.blocksize != BLOCK or not quant_state.nested or quant_state.quant_type != "nf4":
            raise ValueError(f"wants NF4 in blocks of {BLOCK} with nested statistics: quantize with Nf4Weight.quantize")
        nested = quant_state.state2
        self.tensors = (codes, quant_state.absmax, nested.code, nested.absmax, quant_state.offset)

    @classmethod
    def quantize(cls, values: Tensor, dtype: torch.dtype = torch.bfloat16) -> Nf4Weight:
        """Rounds values [O, K] to the nearest level of each block's absmax."""
        from bitsandbytes import functional

        codes, state = functional.quantize_4bit(
            values.to(dtype).contiguous(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
        )
        return cls(codes, state)

    def __call__(self, x: Tensor) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, in x's dtype."""
        if x.is_cpu:  # bitsandbytes' CPU path repacks weights in place; dequantize + GEMM leaves them alone
            return torch.nn.functional.linear(x, self.dequantize().to(x.dtype))
        if has_kernels(x.device):
            from loraloop.kernels import ops

            product: Tensor = ops.nf4_linear(x, *self.tensors, self.out_features)
            return product
        import bitsandbytes

        product = bitsandbytes.matmul_4bit(x, self.codes.t(), quant_state=self.quant_state)
        return product

    def dequantize(self) -> Tensor:
        """The dense values `[O, K]`, in the dtype that they had when they were quantized."""
        if self.codes.is_cpu and self.in_features % BLOCK:
            # Blocks run over row ends, which bitsandbytes' CPU kernel (0.50) gets wrong.
            return nf4_dequantize(*self.tensors, self.out_features, self.in_features, self.quant_state.dtype)
        from bitsandbytes import functional

        values: Tensor = functional.dequantize_4bit(self.codes, self.quant_state)
        return values

    def state(self) -> dict[str, Tensor]:
        """bitsandbytes' own serialized form: `codes` uint8 `[O · K / 2, 1]`, and quant-state vectors `[n]`."""
        return {"codes": self.codes, **self.quant_state.as_dict(packed=True)}

    @classmethod
    def restore(cls, state: dict[str, Tensor]) -> Nf4Weight:
        """The inverse of `state`: of `codes` `[O · K / 2, 1]` and the quant-state tensors beside them."""
        from bitsandbytes.functional import QuantState

        rest = {name: tensor for name, tensor in state.items() if name != "codes"}
        codes = state["codes"]
        return cls(codes, QuantState.from_dict(rest, device=codes.device))


@lru_cache
def has_kernels(device: torch.device) -> bool:
    """Whether our kernels serve this device: bfloat16 products on tensor cores begin with Ampere (8.0)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
