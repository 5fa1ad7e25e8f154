"""AdaLoRA (arXiv 2303.10512): updates as B Λ A, whose least important triplets are cut until a budget of ranks is met.

Importance is |parameter · gradient|, smoothed, times its smoothed deviation; the budget falls with a cubic from
`t_init` to the last `t_final` steps. Both follow the authors' code and PEFT (the norm of the regularizer is not
squared). A finished skill is folded into plain low-rank pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method, checked_positive, checked_rank, checked_targets, modules
from loraloop.adapters.payload.pairs import Factors, grouped, of_module, uniform
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import MODULES, module_shape, tensor_name
from loraloop.tool_schemas.errors import InputError

_FACTORS = ("lora_A", "lora_E", "lora_B")


@dataclass(frozen=True, slots=True)
class AdaLora(Method):
    """The method.

    A module with K inputs and O outputs has the parameters `lora_A` `[r, K]`, `lora_E` `[r, 1]` (the diagonal of Λ) and
    `lora_B` `[O, r]`. Its state is a `_sensitivity` and a `_deviation` of each, in the same shape, and `lora_kept`
    `[r, 1]`. A finished skill has `lora_A` and `lora_B` alone, with the rank that is left.

    Attributes:
        rank: of each module at the start.
        alpha: numerator of the scaling alpha / rank.
        targets: module names.
        target_rank: mean rank of a module at the end.
        t_init: steps before the budget begins to fall.
        t_final: last steps, in which nothing is cut any more.
        delta_t: steps between two cuts.
        beta1: smoothing of the sensitivity.
        beta2: smoothing of its deviation.
        orthogonal: weight of the regularizer that keeps A's rows and B's columns orthonormal.
    """

    rank: int = 12
    alpha: float = 24.0
    targets: tuple[str, ...] = MODULES
    target_rank: int = 8
    t_init: int = 0
    t_final: int = 0
    delta_t: int = 1
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonal: float = 0.5
    name = "adalora"

    def __post_init__(self) -> None:
        checked_rank(self.rank)
        checked_rank(self.target_rank, "target_rank")
        checked_rank(self.delta_t, "delta_t")
        checked_positive(self.alpha, "alpha")
        object.__setattr__(self, "targets", checked_targets(self.targets))
        if self.target_rank > self.rank:
            raise InputError(f"target_rank {self.target_rank} is above the initial rank {self.rank}: lower it")
        if min(self.t_init, self.t_final) < 0:
            raise InputError("t_init and t_final are numbers of steps: give 0 or more")
        if not (0 < self.beta1 < 1 and 0 < self.beta2 < 1):
            raise InputError(f"beta1 and beta2 lie between 0 and 1, not at {self.beta1} and {self.beta2}")
        if self.orthogonal < 0:
            raise InputError(f"orthogonal must not be negative, as {self.orthogonal} is")

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """Fresh fp32 parameters: normal (0.02) `lora_A` `[r, K]` and `lora_B` `[O, r]`, zero `lora_E` `[r, 1]`.

        Beside them the state: smoothed importances in these shapes, and `lora_kept` `[r, 1]`, what is left at the end.
        """
        generator = torch.Generator().manual_seed(seed)
        parameters: dict[str, Tensor] = {}
        for layer, module in modules(context.config, self.targets):
            outputs, inputs = module_shape(context.config, module)
            fresh = {
                "lora_A": torch.empty(self.rank, inputs).normal_(0, 0.02, generator=generator),
                "lora_E": torch.zeros(self.rank, 1),
                "lora_B": torch.empty(outputs, self.rank).normal_(0, 0.02, generator=generator),
            }
            for factor, values in fresh.items():
                parameters[tensor_name(layer, module, factor)] = values.requires_grad_()
                for kind in ("sensitivity", "deviation"):
                    parameters[tensor_name(layer, module, f"{factor}_{kind}")] = torch.zeros(values.shape)
            parameters[tensor_name(layer, module, "lora_kept")] = torch.ones(self.rank, 1)
        return parameters

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """Low-rank pairs of each site, differentiably.

        Args:
            parameters: `lora_A` `[r, K]`, `lora_E` `[r, 1]` and `lora_B` `[O, r]` of each module; a skill's folded
                tensors, which have no `lora_E`, are taken as they are.
            context: Gives the dimensions.
        """
        return Payload(grouped(self._factors(parameters), context.config))

    def _factors(self, parameters: Mapping[str, Tensor]) -> dict[tuple[int, str], Factors]:
        shrinks, expands = of_module(parameters, "lora_A"), of_module(parameters, "lora_B")
        values, scaling = of_module(parameters, "lora_E"), self.alpha / self.rank
        return {
            place: (A * values[place], expands[place] * scaling) if place in values else (A, expands[place])
            for place, A in shrinks.items()
        }

    def trainable(self, parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Names of `lora_A` `[r, K]`, `lora_E` `[r, 1]` and `lora_B` `[O, r]` among `parameters`; the rest is state."""
        return tuple(name for name in parameters if name.endswith(_FACTORS))

    def regularizer(self, parameters: Mapping[str, Tensor]) -> Tensor | None:
        """The mean of ‖A Aᵀ − 1‖ and ‖Bᵀ B − 1‖ over all modules, times `orthogonal`: `[]`, or None where that is 0.

        Args:
            parameters: A is `lora_A` `[r, K]`, B is `lora_B` `[O, r]`.
        """
        if not self.orthogonal:
            return None
        matrices = [*of_module(parameters, "lora_A").values()]
        matrices += [B.T for B in of_module(parameters, "lora_B").values()]
        terms = [torch.linalg.matrix_norm(M @ M.T - torch.eye(M.shape[0], device=M.device)) for M in matrices]
        return self.orthogonal * torch.stack(terms).mean()

    def budget(self, step: int, steps: int, modules: int) -> int:
        """Triplets that may be left after step `step` of `steps`, in all modules together."""
        first, last = self.rank * modules, self.target_rank * modules
        if step <= self.t_init:
            return first
        if step > steps - self.t_final:
            return last
        left = 1 - (step - self.t_init) / (steps - self.t_final - self.t_init)
        return int((first - last) * left**3 + last)

    @torch.no_grad()
    def after_step(self, parameters: Mapping[str, Tensor], step: int, steps: int) -> None:
        """Updates the importance, and cuts where it is time to.

        Args:
            parameters: `lora_A` `[r, K]`, `lora_E` `[r, 1]`, `lora_B` `[O, r]` and the state; changed in place.
            step: The step that was taken, 1 … steps.
            steps: All steps of the training.

        Raises:
            InputError: the training is too short for `t_init` and `t_final`.
        """
        end = steps - self.t_final
        if self.t_init >= end:
            raise InputError(
                f"{steps} steps leave no time to cut ranks between t_init {self.t_init} and t_final {self.t_final}"
            )
        if step < end:
            self._observe(parameters)
        values = of_module(parameters, "lora_E")
        if step == end or (self.t_init < step < end and step % self.delta_t == 0):
            self._cut(parameters, self.budget(step, steps, len(values)))
        if step == end:
            for place, kept in of_module(parameters, "lora_kept").items():
                kept.copy_((values[place] != 0).float())
        if step > end:
            for place, kept in of_module(parameters, "lora_kept").items():
                values[place].mul_(kept)

    def settled(self, step: int, steps: int) -> bool:
        """Once the budget is met."""
        return step >= steps - self.t_final

    def _observe(self, parameters: Mapping[str, Tensor]) -> None:
        for name in self.trainable(parameters):
            tensor = parameters[name]
            if tensor.grad is None:
                continue
            sensitivity, deviation = parameters[f"{name}_sensitivity"], parameters[f"{name}_deviation"]
            now = (tensor * tensor.grad).abs()
            sensitivity.mul_(self.beta1).add_(now, alpha=1 - self.beta1)
            deviation.mul_(self.beta2).add_((now - sensitivity).abs(), alpha=1 - self.beta2)

    def _cut(self, parameters: Mapping[str, Tensor], budget: int) -> None:
        """Zeroes the singular values of all but the `budget` most important triplets."""
        scores = self.scores(parameters)
        flat = torch.cat([score.flatten() for score in scores.values()])
        excess = flat.numel() - budget
        if excess < 1:
            return
        threshold = flat.kthvalue(excess).values
        values = of_module(parameters, "lora_E")
        for place, score in scores.items():
            values[place].masked_fill_((score <= threshold)[:, None], 0.0)

    def scores(self, parameters: Mapping[str, Tensor]) -> dict[tuple[int, str], Tensor]:
        """The importance `[r]` of each triplet: of its singular value, plus the means of its two vectors'.

        Args:
            parameters: The state, with a `_sensitivity` and a `_deviation` of `lora_A` `[r, K]`, `lora_E` `[r, 1]` and
                `lora_B` `[O, r]`.
        """

        def of(factor: str) -> dict[tuple[int, str], Tensor]:
            deviations = of_module(parameters, f"{factor}_deviation")
            return {p: s * deviations[p] for p, s in of_module(parameters, f"{factor}_sensitivity").items()}

        A, E, B = (of(factor) for factor in _FACTORS)
        return {place: E[place].flatten() + A[place].mean(1) + B[place].mean(0) for place in A}

    def finished(self, parameters: Mapping[str, Tensor], context: MethodContext) -> dict[str, Tensor]:
        """Pairs (Λ A, scaling · B) of the triplets that are left, of one rank; modules that lost all are left out.

        Args:
            parameters: `lora_A` `[r, K]`, `lora_E` `[r, 1]` and `lora_B` `[O, r]` of each module, and the state.
            context: Is not read.

        Returns:
            `lora_A` `[R, K]` and `lora_B` `[O, R]` of each module, R the largest rank that is left.
        """
        folded: dict[tuple[int, str], Factors] = {}
        values, factors = of_module(parameters, "lora_E"), self._factors(parameters)
        for place, (A, B) in factors.items():
            kept = (values[place] != 0).flatten() if place in values else torch.ones(A.shape[0], dtype=torch.bool)
            if kept.any():
                folded[place] = A[kept], B[:, kept]
        return uniform(folded or {place: (A[:1], B[:, :1]) for place, (A, B) in factors.items()})

    def reader(self, tensors: Mapping[str, Tensor]) -> AdaLora:
        """The method of the folded pairs `tensors` (`lora_A` `[R, K]`, `lora_B` `[O, R]`), whose scaling is 1."""
        pairs = of_module(tensors, "lora_A")
        rank = max(A.shape[0] for A in pairs.values())
        left = {module for _, module in pairs}
        targets = tuple(module for module in self.targets if module in left)
        target = min(self.target_rank, rank)
        return replace(self, rank=rank, alpha=float(rank), targets=targets, target_rank=target)
