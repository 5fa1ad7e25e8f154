"""Gradients of `adapt` and `scale_input`: the formulas, on whatever computes their products on a device."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Pieces(Protocol):
    """What a device's backend offers. Tables of slots have one column here: mixtures go column by column."""

    def shrink(self, x: Tensor, A: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor) -> Tensor:
        """fp32 [N, R]: weight · x @ A[slot].T; anything in rows on no slot."""
        ...

    def expand(self, middle: Tensor, y: Tensor, B: Tensor, slots: Tensor, weights: Tensor, tiles: Tensor) -> Tensor:
        """y += middle @ B[slot].T, in place, for rows on a slot."""
        ...

    def outer(self, left: Tensor, right: Tensor, slots: Tensor, out: Tensor) -> Tensor:
        """out[s] [R, C] = Σ left[row]ᵀ right[row] over the rows on slot s; zeros for an unused one."""
        ...

    def segment_sum(self, values: Tensor, slots: Tensor, count: int) -> Tensor:
        """fp32 [S, C]: the sum of values [N, C] over the rows on each slot."""
        ...


class Gradients(NamedTuple):
    """Of the operands of `adapt`; empty tensors for operands that are not there."""

    x: Tensor
    y: Tensor
    A: Tensor
    B: Tensor
    gain: Tensor
    bias: Tensor


def adapt_backward(
    pieces: Pieces, grad: Tensor, x: Tensor, y: Tensor, A: Tensor | None, B: Tensor | None, gain: Tensor | None,
    bias: Tensor | None, slots: Tensor, weights: Tensor, tiles: Tensor,
) -> Gradients:  # fmt: skip
    """Gradients of `reference_ops.adapt` for the gradient [N, O] of its result.

    Slots and weights are not trained. Everything is summed in fp32 and, on a GPU, in a fixed order.
    """
    low_rank = A is not None and B is not None
    grad_x = torch.zeros(x.shape, dtype=torch.float32, device=x.device) if low_rank else _none(x)
    grad_A, grad_B = _zeros(A), _zeros(B)
    grad_gain, grad_bias = _zeros(gain), _zeros(bias)
    for column in range(slots.shape[1]):
        own, weight = slots[:, column : column + 1].contiguous(), weights[:, column : column + 1].contiguous()
        weighted = grad.float() * weight
        if bias is not None:
            grad_bias += pieces.segment_sum(weighted, own, bias.shape[0])
        inner = grad
        if gain is not None:
            inner = (grad.float() * _of_rows(gain, own)).to(grad.dtype)
            seen = y.float() * weight
        if A is not None and B is not None:
            middle = pieces.shrink(x, A, own, weight, tiles)
            back = pieces.shrink(inner, B.transpose(1, 2), own, weight, tiles)
            pieces.expand(back, grad_x, A.transpose(1, 2), own, weight, tiles)
            grad_A += pieces.outer(back, x, own, torch.empty_like(grad_A))
            grad_B += pieces.outer(middle, inner, own, torch.empty_like(grad_B).transpose(1, 2)).transpose(1, 2)
            if gain is not None:
                pieces.expand(middle, seen, B, own, weight, tiles)
        if gain is not None:
            grad_gain += pieces.segment_sum(grad.float() * seen, own, gain.shape[0])
    through = grad.clone() if gain is None else (grad.float() * _scales(gain, slots, weights)).to(y.dtype)
    return Gradients(
        grad_x.to(x.dtype), through, _as(grad_A, A), _as(grad_B, B), _as(grad_gain, gain), _as(grad_bias, bias)
    )


def scale_input_backward(
    pieces: Pieces, grad: Tensor, x: Tensor, gain: Tensor, slots: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x and gain."""
    grad_gain = torch.zeros(gain.shape, dtype=torch.float32, device=gain.device)
    for column in range(slots.shape[1]):
        own, weight = slots[:, column : column + 1].contiguous(), weights[:, column : column + 1]
        grad_gain += pieces.segment_sum(grad.float() * x.float() * weight, own, gain.shape[0])
    return (grad.float() * _scales(gain, slots, weights)).to(x.dtype), grad_gain.to(gain.dtype)


def _of_rows(gain: Tensor, own: Tensor) -> Tensor:
    """[N, O] the gain of each row's slot; 1 for rows on none."""
    return torch.where(own >= 0, gain[own[:, 0].clamp_min(0).long()].float(), 1.0)


def _scales(gain: Tensor, slots: Tensor, weights: Tensor) -> Tensor:
    """`reference_ops.gains` without a loop over slots."""
    active = slots >= 0
    chosen = torch.where(active[..., None], gain[slots.clamp_min(0).long()].float(), 0.0)
    weights = torch.where(active, weights, 0.0)
    return (1 - weights.sum(1))[:, None] + (weights[..., None] * chosen).sum(1)


def _none(like: Tensor) -> Tensor:
    return torch.empty(0, dtype=like.dtype, device=like.device)


def _zeros(operand: Tensor | None) -> Tensor:
    """fp32, contiguous, of the operand's shape."""
    if operand is None:
        return torch.empty(0)
    return torch.zeros(operand.shape, dtype=torch.float32, device=operand.device)


def _as(sum_: Tensor, operand: Tensor | None) -> Tensor:
    return sum_ if operand is None else sum_.to(operand.dtype)
