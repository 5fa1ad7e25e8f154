"""Differentiable pieces of a training step, each with its own short backward: nothing is cast or kept needlessly.

All take and give flat `[N, …]` matrices in the compute dtype. The base's weights get no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from loraloop.adapters.base.decoder.shards import ShardedWeight
from loraloop.kernels.quantized import DenseWeight

_KEPT = 1 << 22  # attention weights of a layer up to which they are kept for the backward and not made again

Dense = DenseWeight | ShardedWeight
"""A weight `[O, K]` that a graph keeps instead of its `values`, which may not be there all the time."""


def apply(function: Any, *operands: Any) -> Tensor:
    """What an autograd function gives for its operands: one tensor of any shape, with its type."""
    made: Tensor = function.apply(*operands)
    return made


class AdaptedLinear(torch.autograd.Function):
    """y = x Wᵀ + (x̃ Aᵀ) Bᵀ, where x̃ is x under dropout; `fixed` is W with the dropout's rate and seed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, A: Tensor, B: Tensor, fixed: tuple[Dense, float, int]) -> Tensor:
        """The product `[N, O]` in x's dtype.

        Args:
            ctx: Keeps what the backward needs.
            x: Inputs `[N, K]`.
            A: Shrink matrix `[r, K]`.
            B: Expand matrix `[O, r]`, the scaling already multiplied in.
            fixed: W `[O, K]`, the rate of the dropout (0 for none) and its seed.
        """
        ctx.weight, ctx.rate, ctx.seed = weight, rate, seed = fixed
        y = torch.mm(x, weight.values.T)
        dropped = x * keep_mask(x, rate, seed) if rate else x
        middle = torch.mm(dropped, A.T)
        y.addmm_(middle, B.T)
        ctx.save_for_backward(x, A, B, middle)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x `[N, K]`, A `[r, K]` and B `[O, r]`, each None if unneeded, from `grad` `[N, O]`."""
        x, A, B, middle = ctx.saved_tensors
        back = torch.mm(grad, B)
        mask = keep_mask(x, ctx.rate, ctx.seed) if ctx.rate else None
        grad_x = grad_A = grad_B = None
        if ctx.needs_input_grad[1]:
            grad_A = torch.mm(back.T, x if mask is None else x * mask)
        if ctx.needs_input_grad[2]:
            grad_B = torch.mm(grad.T, middle)
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(grad, ctx.weight.values)
            if mask is None:
                grad_x.addmm_(back, A)
            else:
                grad_x += torch.mm(back, A) * mask
        return grad_x, grad_A, grad_B, None


def keep_mask(x: Tensor, rate: float, seed: int) -> Tensor:
    """A dropout mask `[N, K]` in the dtype of x `[N, K]`: 0 with probability `rate`, else 1 / (1 - rate).

    The mask is the same for the same seed and shape.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    return torch.empty_like(x).bernoulli_(1 - rate, generator=generator).div_(1 - rate)


class Linear(torch.autograd.Function):
    """y = x Wᵀ."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Dense) -> Tensor:
        """The product `[N, O]` of x `[N, K]`, in x's dtype."""
        ctx.weight = weight
        return torch.mm(x, weight.values.T)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        """The gradient `[N, K]` of x, from `grad` `[N, O]`."""
        return torch.mm(grad, ctx.weight.values), None


class RmsNorm(torch.autograd.Function):
    """RMS norm over the last dimension, which keeps its input alone."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, eps: float) -> Tensor:
        """The normed states `[N, H]` in h's dtype.

        Args:
            ctx: Keeps what the backward needs.
            h: States `[N, H]`.
            weight: The norm's weight `[H]`.
            eps: Is added to the mean square.
        """
        ctx.save_for_backward(h, weight)
        ctx.eps = eps
        return rms_norm(h, (h.shape[-1],), weight, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient `[N, H]` of h, from `grad` `[N, H]`; the weight gets none."""
        h, weight = ctx.saved_tensors
        wide, scaled = h.float(), grad.float().mul_(weight.float())
        rstd = wide.square().mean(-1, keepdim=True).add_(ctx.eps).rsqrt_()
        along = (scaled * wide).mean(-1, keepdim=True).mul_(rstd * rstd)
        return scaled.addcmul_(wide, along, value=-1).mul_(rstd).to(h.dtype), None, None


class SwiGlu(torch.autograd.Function):
    """silu(gate) * up for y = [gate | up], which keeps y alone."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        """The activations `[N, F]` of y `[N, 2F]`, in y's dtype."""
        ctx.save_for_backward(y)
        inner = y.shape[1] // 2
        return torch.nn.functional.silu(y[:, :inner]).mul_(y[:, inner:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The gradient `[N, 2F]` of y, from `grad` `[N, F]`."""
        (y,) = ctx.saved_tensors
        inner = y.shape[1] // 2
        gate, up = y[:, :inner], y[:, inner:]
        made = torch.empty_like(y)
        torch.mul(grad, torch.nn.functional.silu(gate), out=made[:, inner:])
        made[:, :inner] = torch.ops.aten.silu_backward(grad * up, gate)
        return made


class Attend(torch.autograd.Function):
    """Attention of padded branches to their trunks and themselves; a trunk gets no gradient.

    Query heads that share a key head are laid out as more query positions of it. Scores are fp32; the weights are
    applied in the keys' dtype.

    Its operands are q `[B, kv_heads, G·L, D]`, k and v `[B, kv_heads, L, D]`, the bias `[B or 1, L, T + L]` (fp32, 0
    where a position is seen, else -inf) and, where there are trunks, their keys and values `[B, kv_heads, T, D]`.
    """

    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        """What attention gives, `[B, kv_heads, G·L, D]` in q's dtype."""
        q, k, v, bias, *trunk = operands
        keys, values = _joined(trunk, k, v)
        weights = _weights(q, keys, bias, q.dtype)
        ctx.save_for_backward(weights if weights.numel() <= _KEPT else None, *operands)
        return torch.matmul(weights, values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of q, k and v in their shapes, from `grad` `[B, kv_heads, G·L, D]`; None for the rest."""
        weights, q, k, v, bias, *trunk = ctx.saved_tensors
        keys, values = _joined(trunk, k, v)
        if weights is None:
            weights = _weights(q, keys, bias, q.dtype)
        past = keys.shape[2] - k.shape[2]
        grad_v = torch.matmul(weights[..., past:].transpose(2, 3), grad)
        inner = torch.matmul(grad, values.transpose(2, 3)).float()
        inner = torch._softmax_backward_data(inner, weights.float(), -1, torch.float32).mul_(q.shape[3] ** -0.5)
        inner = inner.to(q.dtype)
        grad_q = torch.matmul(inner, keys)
        grad_k = torch.matmul(inner[..., past:].transpose(2, 3), q)
        return grad_q, grad_k, grad_v, None, *(None for _ in trunk)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, block: int = 64) -> Tensor:
    """Causal attention without a graph and without a trunk, in blocks of queries that skip what lies after them.

    q and k may be fp32 where v is bf16: they are rounded in the product.

    Args:
        q: Queries `[B, kv_heads, G, L, D]`, G query heads to a key head.
        k: Keys `[B, kv_heads, L, D]`.
        v: Values `[B, kv_heads, L, D]`.
        bias: fp32 `[B or 1, L, L]`, 0 where a position is seen, else -inf.
        block: Queries that are computed at a time.

    Returns:
        `[B, kv_heads, G, L, D]` in v's dtype.
    """
    batch, heads, group, length, dim = q.shape
    out, k, v = v.new_empty(q.shape), k.contiguous(), v.contiguous()
    for start in range(0, length, block):
        end = min(start + block, length)
        rows = q[:, :, :, start:end].reshape(batch, heads, -1, dim)
        weights = _weights(rows, k[:, :, :end], bias[:, start:end, :end], v.dtype)
        out[:, :, :, start:end] = torch.matmul(weights, v[:, :, :end]).view(batch, heads, group, end - start, dim)
    return out


def _joined(trunk: Sequence[Tensor], k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return (torch.cat([trunk[0], k], dim=2), torch.cat([trunk[1], v], dim=2)) if trunk else (k, v)


def _weights(q: Tensor, keys: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention weights `[B, kv_heads, G·L, S]`; of queries and keys rounded to `dtype`, if that is bf16."""
    batch, heads, rows, dim = q.shape
    scale = dim**-0.5
    early = math.frexp(scale)[0] == 0.5  # a power of two: exact on the queries, which are fewer than the scores
    with _single_pass(q, dtype):
        scores = torch.matmul(q.float() * scale if early else q.float(), keys.float().transpose(2, 3))
    if not early:
        scores.mul_(scale)
    length, seen = bias.shape[1:]
    scores.view(batch, heads, rows // length, length, seen).add_(bias[:, None, None])
    return torch.softmax(scores, -1).to(dtype)


@contextmanager
def _single_pass(q: Tensor, dtype: torch.dtype) -> Iterator[None]:
    """On a CPU, lets an fp32 product of bf16 values run on the bf16 units: exact products, summed in fp32."""
    setting: Any = getattr(torch.backends.mkldnn, "matmul", None)  # since torch 2.9
    if dtype is not torch.bfloat16 or not q.is_cpu or setting is None:
        yield
        return
    before, setting.fp32_precision = setting.fp32_precision, "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before
