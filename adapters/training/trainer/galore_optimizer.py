"""AdamW on gradients projected to a low rank: GaLore (arXiv 2403.03507)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class GaLoreAdamW(torch.optim.Optimizer):
    """AdamW whose moments of a matrix live in the space of its gradient's leading singular vectors.

    A matrix with more rows than columns is projected on the right, R = G V, another on the left, R = Uᵀ G; every
    `every` steps the space is made again from the gradient at hand. The step in that space, times `scale`, is
    projected back. Vectors, and matrices no larger than the rank, are updated as in AdamW.

    Args:
        groups: parameters, or groups of them.
        rank: of the projection.
        every: steps between changes of the space.
        scale: of the projected step (alpha in the paper).
    """

    def __init__(
        self, groups: Any, *, lr: float, betas: tuple[float, float], weight_decay: float = 0.0, eps: float = 1e-8,
        rank: int = 128, every: int = 200, scale: float = 0.25,
    ) -> None:  # fmt: skip
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps}
        super().__init__(groups, {**defaults, "rank": rank, "every": every, "scale": scale})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step over all parameters that have a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        grad = grad.float()
        state["step"] = step = state.get("step", 0) + 1
        low = grad.ndim == 2 and min(grad.shape) > group["rank"]
        if low:
            if (step - 1) % group["every"] == 0:
                state["space"] = leading(grad, group["rank"])
            grad = projected(grad, state["space"])
        if "first" not in state:
            state["first"], state["second"] = torch.zeros_like(grad), torch.zeros_like(grad)
        one, two = group["betas"]
        state["first"].lerp_(grad, 1 - one)
        state["second"].mul_(two).addcmul_(grad, grad, value=1 - two)
        denominator = (state["second"] / (1 - two**step)).sqrt_().add_(group["eps"])
        change = (state["first"] / (1 - one**step)).div_(denominator)
        if low:
            change = restored(change, state["space"], tall=parameter.shape[0] >= parameter.shape[1]) * group["scale"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(change.to(parameter.dtype), alpha=-group["lr"])


def leading(grad: Tensor, rank: int) -> Tensor:
    """`[K, r]` right singular vectors of a tall gradient `[O, K]`, else `[O, r]` left ones."""
    left, _, right = torch.linalg.svd(grad, full_matrices=False)
    space: Tensor = right[:rank].T if grad.shape[0] >= grad.shape[1] else left[:, :rank]
    return space.contiguous()


def projected(grad: Tensor, space: Tensor) -> Tensor:
    """The gradient in the space.

    Args:
        grad: Gradient `[O, K]`; tall if O is at least K.
        space: `[K, r]` for a tall gradient, else `[O, r]`; see `leading`.

    Returns:
        `[O, r]` for a tall gradient, else `[r, K]`.
    """
    return grad @ space if grad.shape[0] >= grad.shape[1] else space.T @ grad


def restored(change: Tensor, space: Tensor, tall: bool) -> Tensor:
    """A change `[O, K]` of a matrix from one in the space.

    Args:
        change: `[O, r]` for a tall matrix, else `[r, K]`.
        space: `[K, r]` for a tall matrix, else `[O, r]`; see `leading`.
        tall: Whether O is at least K.
    """
    return change @ space.T if tall else space @ change
