"""The op table: every operation on slots and 4-bit weights that a device may have its own kernels for.

One schema an op, registered with torch as `torch.ops.loraloop.<name>`, with a fake implementation, so that
torch.compile sees shapes and in-place writes. `reference.py` defines what each op computes; `ops_torch.py` (CPU) and
`ops_triton.py` (CUDA) do it.

Registration is by `torch.library.Library` rather than by `custom_op`, which costs twice as much a call. Only
`nf4_linear` has a gradient: training on a GPU goes through frozen 4-bit weights.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from loraloop.kernels.device import INTERPRETED

_LORA = "Tensor A, Tensor B, Tensor slots, Tensor tiles"
_NF4 = "Tensor codes, Tensor absmax, Tensor absmax_code, Tensor absmax_scales, Tensor offset"

SCHEMAS = {
    "lora_linear_": f"(Tensor x, Tensor(a!) y, {_LORA}, Tensor? spans=None) -> ()",
    "nf4_dequantize": f"({_NF4}, int rows, int columns, ScalarType dtype) -> Tensor",
    "nf4_linear": f"(Tensor x, {_NF4}, int outputs) -> Tensor",
    "nf4_lora_linear": f"(Tensor x, {_NF4}, int outputs, {_LORA}, Tensor(a!) counters, Tensor? spans=None) -> Tensor",
}
"""Each op's schema. Shapes and meanings are those of `reference.lora_rows` and `reference.nf4_dequantize`.

`outputs` and `rows` are O, `columns` is K. `tiles` and `counters`, of `rows.RowSlots`, are not read on a CPU.
`lora_linear_` adds to y in place, `nf4_dequantize` returns `[O, K]` in `dtype`, the others `[N, O]` in x's dtype.
"""

_library = torch.library.Library("loraloop", "DEF")  # type: ignore[no-untyped-call]


def _lora_linear_(*_: Any) -> None:
    return None


def _nf4_dequantize(codes: Tensor, *rest: Any) -> Tensor:
    rows, columns, dtype = rest[4:]
    return torch.empty(rows, columns, dtype=dtype, device=codes.device)


def _nf4_linear(x: Tensor, codes: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], rest[4])


_FAKES: dict[str, Callable[..., Any]] = {
    "lora_linear_": _lora_linear_, "nf4_dequantize": _nf4_dequantize, "nf4_linear": _nf4_linear,
    "nf4_lora_linear": _nf4_linear,
}  # fmt: skip


def _keep_nf4(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:6])
    ctx.shape, ctx.dtype = (inputs[6], inputs[0].shape[1]), inputs[0].dtype


def _nf4_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    dense = torch.ops.loraloop.nf4_dequantize(*ctx.saved_tensors, *ctx.shape, ctx.dtype)
    return (grad @ dense, *[None] * 6)


def _register(device: str, backend: ModuleType) -> None:
    for name in SCHEMAS:
        _library.impl(name, getattr(backend, name), device)  # type: ignore[no-untyped-call]


for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"loraloop::{_name}", _FAKES[_name], lib=_library)
torch.library.register_autograd("loraloop::nf4_linear", _nf4_gradients, setup_context=_keep_nf4, lib=_library)
_register("CPU", import_module("loraloop.kernels.gpu.ops_triton" if INTERPRETED else "loraloop.kernels.ops_torch"))
if torch.cuda.is_available():
    _register("CUDA", import_module("loraloop.kernels.gpu.ops_triton"))

lora_linear_ = torch.ops.loraloop.lora_linear_.default
nf4_dequantize = torch.ops.loraloop.nf4_dequantize.default
nf4_linear = torch.ops.loraloop.nf4_linear.default
nf4_lora_linear = torch.ops.loraloop.nf4_lora_linear.default
