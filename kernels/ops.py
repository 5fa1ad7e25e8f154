"""The op table: every operation on slots and 4-bit weights that a device may have its own kernels for.

One schema an op, registered with torch as `torch.ops.loraloop.<name>`, with a fake implementation, so that
torch.compile sees shapes and in-place writes; gradients where training needs them. `reference_ops.py` defines what each
op computes; `ops_torch.py` (CPU) and `ops_triton.py` (CUDA) do it.

Registration is by `torch.library.Library` rather than by `custom_op`, which costs twice as much a call, and the ops of
the decode path are in place and have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from loraloop.kernels.gpu.triton_switch import INTERPRETED

_TABLES = "Tensor slots, Tensor weights"
_ADAPT = "Tensor? A, Tensor? B, Tensor? gain, Tensor? bias, " + _TABLES
_NF4 = "Tensor codes, Tensor absmax, Tensor absmax_code, Tensor absmax_scales, Tensor offset"

SCHEMAS = {
    "lora_linear_": f"(Tensor x, Tensor(a!) y, Tensor A, Tensor B, {_TABLES}, Tensor tiles, Tensor? spans=None) -> ()",
    "adapt_": f"(Tensor x, Tensor(a!) y, {_ADAPT}, Tensor tiles, Tensor? spans=None) -> ()",
    "adapt": f"(Tensor x, Tensor y, {_ADAPT}, Tensor tiles) -> Tensor",
    "adapt_backward": f"(Tensor grad, Tensor x, Tensor y, {_ADAPT}, Tensor tiles)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "scale_input": f"(Tensor x, Tensor gain, {_TABLES}) -> Tensor",
    "scale_input_backward": f"(Tensor grad, Tensor x, Tensor gain, {_TABLES}) -> (Tensor, Tensor)",
    "nf4_dequantize": f"({_NF4}, int rows, int columns, ScalarType dtype) -> Tensor",
    "nf4_linear": f"(Tensor x, {_NF4}, int outputs) -> Tensor",
    "nf4_adapt_linear": f"(Tensor x, {_NF4}, int outputs, {_ADAPT}, Tensor? input_gain=None, Tensor? spans=None)"
    " -> Tensor",
}
"""Each op's schema. Shapes and meanings are those of `reference_ops`; `tiles` are of `rows.RowSlots`."""

_library = torch.library.Library("loraloop", "DEF")  # type: ignore[no-untyped-call]


def _adapt_(*_: Any) -> None:
    return None


def _adapt(x: Tensor, y: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(y, memory_format=torch.contiguous_format)


def _adapt_backward(
    grad: Tensor, x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None, bias: Tensor | None,
    *_: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    def of(operand: Tensor | None, like: Tensor) -> Tensor:
        return like.new_empty(0) if operand is None else operand.new_empty(operand.shape)

    return of(None if A is None else x, x), y.new_empty(y.shape), of(A, y), of(B, y), of(gain, y), of(bias, y)


def _scale_input(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


def _scale_input_backward(grad: Tensor, x: Tensor, gain: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), gain.new_empty(gain.shape)


def _nf4_dequantize(codes: Tensor, *rest: Any) -> Tensor:
    rows, columns, dtype = rest[4:]
    return torch.empty(rows, columns, dtype=dtype, device=codes.device)


def _nf4_linear(x: Tensor, codes: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], rest[4])


_FAKES: dict[str, Callable[..., Any]] = {
    "lora_linear_": _adapt_, "adapt_": _adapt_, "adapt": _adapt, "adapt_backward": _adapt_backward,
    "scale_input": _scale_input, "scale_input_backward": _scale_input_backward, "nf4_dequantize": _nf4_dequantize,
    "nf4_linear": _nf4_linear, "nf4_adapt_linear": _nf4_linear,
}  # fmt: skip


def _keep_adapt(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _adapt_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    operands = ctx.saved_tensors
    gradients = torch.ops.loraloop.adapt_backward(grad.contiguous(), *operands)
    found = [gradient if operand is not None else None for gradient, operand in zip(gradients, operands, strict=False)]
    if operands[2] is None:
        found[0] = None
    return (*found, None, None, None)


def _scale_input_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*torch.ops.loraloop.scale_input_backward(grad.contiguous(), *ctx.saved_tensors), None, None)


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
torch.library.register_autograd("loraloop::adapt", _adapt_gradients, setup_context=_keep_adapt, lib=_library)
torch.library.register_autograd(
    "loraloop::scale_input", _scale_input_gradients, setup_context=_keep_adapt, lib=_library
)
torch.library.register_autograd("loraloop::nf4_linear", _nf4_gradients, setup_context=_keep_nf4, lib=_library)
_register("CPU", import_module("loraloop.kernels.gpu.ops_triton" if INTERPRETED else "loraloop.kernels.ops_torch"))
if torch.cuda.is_available():
    _register("CUDA", import_module("loraloop.kernels.gpu.ops_triton"))

lora_linear_ = torch.ops.loraloop.lora_linear_.default
adapt_ = torch.ops.loraloop.adapt_.default
adapt = torch.ops.loraloop.adapt.default
scale_input = torch.ops.loraloop.scale_input.default
nf4_dequantize = torch.ops.loraloop.nf4_dequantize.default
nf4_linear = torch.ops.loraloop.nf4_linear.default
nf4_adapt_linear = torch.ops.loraloop.nf4_adapt_linear.default
