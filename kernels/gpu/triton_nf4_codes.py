"""From packed NF4 codes to values inside a Triton kernel, by a table or by byte permutes.

A GPU reads 4-bit weights so quickly that a look-up a weight is too slow. `prmt` picks four bytes at once: the upper and
the lower bytes of the 16 levels each fill four registers, two permutes look four codes up in either half of them, a
third chooses by the codes' top bits, and a last pair puts the bytes together: 21 operations for 8 weights.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from loraloop.kernels.reference import LEVELS

LEVELS_TYPES = (torch.bfloat16, torch.float16)
"""Dtypes whose values the permutes produce: the levels rounded to them."""


def permute_code(dtype: torch.dtype) -> str:
    """PTX that turns 4 bytes ($4) into the values of their upper halves ($0, $1) and of their lower halves ($2, $3)."""
    bits = torch.tensor(LEVELS).to(dtype).view(torch.int16).to(torch.int32) & 0xFFFF
    planes = []
    for plane in (bits & 0xFF, bits >> 8):
        words = plane.view(4, 4).tolist()
        planes.append([f"0x{word[0] | word[1] << 8 | word[2] << 16 | word[3] << 24:08x}" for word in words])
    lines = [
        "{",
        ".reg .b32 pick, side, below, above, low, high;",
        "and.b32 pick, $4, 0x77777777;",  # which of eight
        "shr.b32 side, $4, 1;",
        "and.b32 side, side, 0x44444444;",
        "or.b32 side, side, 0x32103210;",  # which eight
    ]
    for upper, lower in (("$0", "$2"), ("$1", "$3")):
        for name, words in (("low", planes[0]), ("high", planes[1])):
            lines += [
                f"prmt.b32 below, {words[0]}, {words[1]}, pick;",
                f"prmt.b32 above, {words[2]}, {words[3]}, pick;",
                f"prmt.b32 {name}, below, above, side;",
            ]
        lines += [f"prmt.b32 {lower}, low, high, 0x6240;", f"prmt.b32 {upper}, low, high, 0x7351;"]
        if upper == "$0":
            lines += ["shr.b32 pick, pick, 16;", "shr.b32 side, side, 16;"]
    return "\n".join([*lines, "}"])


_BFLOAT16 = tl.constexpr(permute_code(torch.bfloat16))
_FLOAT16 = tl.constexpr(permute_code(torch.float16))


@triton.jit
def unpack(packed, levels, dtype: tl.constexpr, PERMUTE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The values of the upper and the lower halves of bytes, in `dtype`."""
    if PERMUTE:
        if dtype == tl.bfloat16:
            upper, lower = tl.inline_asm_elementwise(
                _BFLOAT16, "=r,=r,=r,=r,r", [packed], dtype=(tl.bfloat16, tl.bfloat16), is_pure=True, pack=4
            )
        else:
            upper, lower = tl.inline_asm_elementwise(
                _FLOAT16, "=r,=r,=r,=r,r", [packed], dtype=(tl.float16, tl.float16), is_pure=True, pack=4
            )
    else:
        number = packed.to(tl.int32)
        upper, lower = tl.load(levels + (number >> 4)).to(dtype), tl.load(levels + (number & 15)).to(dtype)
    return upper, lower
