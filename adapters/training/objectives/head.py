"""The head on completion tokens alone, in chunks: what a loss needs of the logits, without keeping them.

The head has no trainable parameters, so each function's gradient of the states is computed with the logits at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.training.forward.fused import Dense, apply
from loraloop.kernels.quantized import DenseWeight

CHUNK = 128  # states whose logits are held at once


def cross_entropy(decoder: Decoder, states: Tensor, targets: Tensor) -> Tensor:
    """Summed cross-entropy of next tokens, fp32 `[]`.

    Args:
        decoder: Gives the head and the scale of its logits.
        states: Final-normed states `[M, H]`; only they get a gradient.
        targets: int64 `[M]`, the token after each state.
    """
    return apply(_CrossEntropy, states, targets, _head(decoder), decoder.config.scales.logits)


def log_probs(decoder: Decoder, states: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities of next tokens, fp32 `[M]`.

    Args:
        decoder: Gives the head and the scale of its logits.
        states: Final-normed states `[M, H]`; only they get a gradient.
        targets: int64 `[M]`, the token after each state.
    """
    return apply(_LogProbs, states, targets, _head(decoder), decoder.config.scales.logits)


def divergence(decoder: Decoder, states: Tensor, teacher: Decoder, taught: Tensor, temperature: float = 1.0) -> Tensor:
    """Summed KL(teacher || student) over `[M, H]` states, times the temperature's square (arXiv 1503.02531).

    The teacher's vocabulary may be padded differently: what both have is compared.

    Args:
        decoder: The student's, for its head and the scale of its logits.
        states: The student's final-normed states `[M, H]`; only they get a gradient.
        teacher: The teacher's decoder, which may be the student's.
        taught: The teacher's final-normed states `[M, H']` before the same tokens; its hidden size may be another.
        temperature: Divides the logits of both.

    Returns:
        The sum over all M states, fp32 `[]`.
    """
    scales = (temperature * decoder.config.scales.logits, temperature * teacher.config.scales.logits)
    return temperature**2 * apply(_Divergence, states, taught, (_head(decoder), _head(teacher)), scales)


def _head(decoder: Decoder) -> Dense:
    head = decoder.head
    return head if isinstance(head, Dense) else DenseWeight(head.dequantize())


def _chunks(states: Tensor) -> Iterator[slice]:
    for start in range(0, len(states), CHUNK):
        yield slice(start, start + CHUNK)


class _Logits:
    """Logits of one chunk after another, in the same memory: fresh pages for each cost as much as a softmax."""

    def __init__(self, states: Tensor, weight: Tensor, scale: float) -> None:
        rows = min(CHUNK, len(states))
        self._weight, self._scale = weight, scale
        self._low = states.new_empty(rows, len(weight))
        self._wide = self._low if states.dtype is torch.float32 else torch.empty(self._low.shape, device=states.device)

    def of(self, states: Tensor) -> Tensor:
        """fp32 `[M, V]`; valid until the next call."""
        low, wide = self._low[: len(states)], self._wide[: len(states)]
        torch.mm(states, self._weight.T, out=low)
        if wide.data_ptr() != low.data_ptr():
            wide.copy_(low)
        return wide if self._scale == 1.0 else wide.div_(self._scale)

    def back(self, probabilities: Tensor, out: Tensor) -> None:
        """The gradient of the states, into `out`, from that of the logits, which is given up."""
        low = self._low[: len(probabilities)]
        if probabilities.data_ptr() != low.data_ptr():
            low.copy_(probabilities)
        torch.mm(low, self._weight, out=out)


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities `[M, V]` and the logarithm `[M, 1]` of what divided them; `logits` becomes the former."""
    top = logits.amax(1, keepdim=True)
    total = logits.sub_(top).exp_().sum(1, keepdim=True)
    return logits.div_(total), top.add_(total.log())


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, weight: Dense, scale: float) -> Tensor:
        total = torch.zeros((), device=states.device)
        needed = ctx.needs_input_grad[0]
        grads = torch.empty_like(states) if needed else None
        head = _Logits(states, weight.values, scale)
        for here in _chunks(states):
            logits, wanted = head.of(states[here]), targets[here, None]
            chosen = logits.gather(1, wanted)
            probabilities, normalizer = _softmax(logits)
            total += (normalizer - chosen).sum()
            if grads is not None:
                probabilities.scatter_add_(1, wanted, torch.full_like(chosen, -1.0))
                head.back(probabilities, grads[here])
        if grads is not None:
            ctx.save_for_backward(grads if scale == 1.0 else grads / scale)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grad, None, None, None


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, weight: Dense, scale: float) -> Tensor:
        found, head = torch.empty(len(states), device=states.device), _Logits(states, weight.values, scale)
        for here in _chunks(states):
            logits = head.of(states[here])
            chosen = logits.gather(1, targets[here, None])
            found[here] = (chosen - _softmax(logits)[1])[:, 0]
        ctx.save_for_backward(states, targets)
        ctx.weight, ctx.scale = weight, scale
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, targets = ctx.saved_tensors
        grads, head = torch.empty_like(states), _Logits(states, ctx.weight.values, ctx.scale)
        for here in _chunks(states):
            probabilities, _ = _softmax(head.of(states[here]))
            probabilities.scatter_add_(1, targets[here, None], torch.full_like(grad[here, None], -1.0))
            probabilities.mul_(-grad[here, None] / ctx.scale)
            head.back(probabilities, grads[here])
        return grads, None, None, None


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, taught: Tensor, heads: tuple[Dense, Dense], scales: tuple[float, float]
    ) -> Tensor:
        own, others = (head.values for head in heads)
        both = min(len(own), len(others))
        total = torch.zeros((), device=states.device)
        grads = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        head, other = _Logits(states, own[:both], scales[0]), _Logits(taught, others[:both], scales[1])
        for here in _chunks(states):
            ours, theirs = head.of(states[here]), other.of(taught[here])
            between = theirs - ours
            (student, our_log), (target, their_log) = _softmax(ours), _softmax(theirs)
            total += (target * (between + (our_log - their_log))).sum()
            if grads is not None:
                head.back(student.sub_(target), grads[here])
        if grads is not None:
            ctx.save_for_backward(grads if scales[0] == 1.0 else grads / scales[0])
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grad, None, None, None
