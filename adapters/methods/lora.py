"""LoRA (arXiv 2106.09685): a low-rank update of linear modules, W + scaling · B A.

Starts other than zero: PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775) train the principal part of W and leave
the rest in the base. Here the base is shared and never changed, so the skill is the difference: the trained pair
beside the negated start, 2r wide and exact. LoftQ (arXiv 2310.08659) starts at what quantization lost. Its alternation
is one round here, because the codes of the base are shared; that start is not the base, it is nearer to the original.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method, checked_positive, checked_rank, checked_targets, modules
from loraloop.adapters.payload.pairs import (
    Factors,
    grouped,
    low_rank_of,
    matching,
    of_module,
    uniform,
)
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import MODULES, module_shape, tensor_name
from loraloop.tool_schemas.errors import InputError, unknown

STARTS = ("kaiming", "gaussian", "pissa", "olora", "loftq")
DOUBLED = ("pissa", "olora")
"""Starts whose skill is twice as wide, since it also takes back what it began from."""


@dataclass(frozen=True, slots=True)
class Lora(Method):
    """The method: hyper-parameters in, parameters and payload out.

    A module with K inputs and O outputs has the parameters `lora_A` `[r, K]` and `lora_B` `[O, r]`; with the starts
    "pissa" and "olora" also `lora_A0` and `lora_B0` of the same shapes. r is the module's own rank; a finished skill
    has one rank for all.

    Attributes:
        rank: r, the width of the update.
        alpha: numerator of the scaling.
        targets: module names; see `sites.MODULES`.
        rank_pattern: ranks of modules whose name ends with what a regular expression matches, as PEFT reads it
            ("q_proj", "layers.0.mlp.up_proj").
        alpha_pattern: likewise, of alpha.
        start: "kaiming" (A uniform in ±1/sqrt(in-features), PEFT's default), "gaussian" (A normal, 1/r), "pissa",
            "olora" or "loftq".
        checkpoint: Hugging Face folder or GGUF file with the base's values before quantization; for "loftq".
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = MODULES
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    start: str = "kaiming"
    checkpoint: str = ""
    name = "lora"

    def __post_init__(self) -> None:
        checked_rank(self.rank)
        checked_positive(self.alpha, "alpha")
        object.__setattr__(self, "targets", checked_targets(self.targets))
        for pattern, rank in self.rank_pattern.items():
            matching({pattern: rank}, 0, MODULES[0], 0)
            checked_rank(rank, f"rank_pattern[{pattern!r}]")
        for pattern, alpha in self.alpha_pattern.items():
            matching({pattern: alpha}, 0, MODULES[0], 0)
            checked_positive(alpha, f"alpha_pattern[{pattern!r}]")
        if self.start not in STARTS:
            raise unknown("start", self.start, STARTS)
        if self.checkpoint and self.start != "loftq":
            raise InputError("only the start 'loftq' reads a checkpoint: leave it out")

    def _divisor(self, rank: int) -> float:
        """What alpha is divided by."""
        return float(rank)

    def rank_of(self, layer: int, module: str) -> int:
        """A module's own rank."""
        return int(matching(self.rank_pattern, layer, module, self.rank))

    def scaling_of(self, layer: int, module: str) -> float:
        """A module's own scaling."""
        alpha = matching(self.alpha_pattern, layer, module, self.alpha)
        return alpha / self._divisor(self.rank_of(layer, module))

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """Fresh fp32 parameters `lora_A` `[r, K]` and `lora_B` `[O, r]`; the skill starts as the base, but for LoftQ's.

        Where the start is taken from the weights, `lora_A0` and `lora_B0` of the same shapes keep it beside the pair.
        """
        generator = torch.Generator().manual_seed(seed)
        parameters: dict[str, Tensor] = {}
        for layer, module in modules(context.config, self.targets):
            outputs, inputs = module_shape(context.config, module)
            rank = self.rank_of(layer, module)
            if rank > min(outputs, inputs) and self.start in STARTS[2:]:
                raise InputError(f"{self.start} has at most {min(outputs, inputs)} ranks in {module}, not {rank}")
            A, B = torch.empty(rank, inputs), torch.zeros(outputs, rank)
            if self.start == "kaiming":
                A.uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
            elif self.start == "gaussian":
                A.normal_(0, 1 / rank, generator=generator)
            else:
                A, B = self._from_weights(context, layer, module, rank)
            parameters[tensor_name(layer, module, "lora_A")] = A.requires_grad_()
            parameters[tensor_name(layer, module, "lora_B")] = B.requires_grad_()
            if self.start in DOUBLED:
                parameters[tensor_name(layer, module, "lora_A0")] = A.detach().clone()
                parameters[tensor_name(layer, module, "lora_B0")] = B.detach().clone()
        return parameters

    @torch.no_grad()
    def _from_weights(self, context: MethodContext, layer: int, module: str, rank: int) -> Factors:
        """A and B whose scaled product is the part of the weights that the start names."""
        weight = context.weight(layer, module).float().cpu()
        if self.start == "olora":
            Q, R = torch.linalg.qr(weight)
            return R[:rank].contiguous(), Q[:, :rank].contiguous()
        if self.start == "loftq":
            weight = context.original(layer, module, self.checkpoint).float().cpu() - weight
        A, B = low_rank_of(weight, rank)
        root = math.sqrt(self.scaling_of(layer, module))
        return (A / root).contiguous(), (B / root).contiguous()

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """Low-rank pairs of each site, differentiably; absent modules stay absent.

        Args:
            parameters: `lora_A` `[r, K]` and `lora_B` `[O, r]` of each module, and the start that they leave, if any.
            context: Gives the dimensions.
        """
        return Payload(grouped(self.factors(parameters), context.config))

    def factors(self, parameters: Mapping[str, Tensor]) -> dict[tuple[int, str], Factors]:
        """A and the scaled B of each module; beside them, negated, the start that they are to leave.

        Args:
            parameters: `lora_A` `[r, K]` and `lora_B` `[O, r]` of each module, and the start that they leave, if any.

        Returns:
            A `[r, K]` and B `[O, r]` by layer and module, or `[2r, K]` and `[O, 2r]` where there is a start to leave.
        """
        shrinks, expands = of_module(parameters, "lora_A"), of_module(parameters, "lora_B")
        first, second = of_module(parameters, "lora_A0"), of_module(parameters, "lora_B0")
        found = {}
        for place, A in shrinks.items():
            scaling = self.scaling_of(*place)
            B = expands[place] * scaling
            if place in first:
                A, B = torch.cat([A, first[place]]), torch.cat([B, second[place] * -scaling], 1)
            found[place] = A, B
        return found

    def trainable(self, parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Names of `lora_A` `[r, K]` and `lora_B` `[O, r]` among `parameters`; the start that they leave is state."""
        return tuple(name for name in parameters if not name.endswith("0"))

    def finished(self, parameters: Mapping[str, Tensor], context: MethodContext) -> dict[str, Tensor]:
        """The pairs; of one rank and with scaling 1 where patterns or a start made them differ.

        Args:
            parameters: `lora_A` `[r, K]` and `lora_B` `[O, r]` of each module, and the start that they leave, if any.
            context: Is not read.

        Returns:
            `lora_A` `[R, K]` and `lora_B` `[O, R]` of each module, R the one rank.
        """
        if self._simple:
            return {name: tensor.detach() for name, tensor in parameters.items()}
        return uniform(self.factors(parameters))

    def reader(self, tensors: Mapping[str, Tensor]) -> Lora:
        """The plain method of the same payload, of the `tensors` that `finished` left (`lora_A` `[R, K]`)."""
        if self._simple:
            return replace(self, start="kaiming", checkpoint="")
        rank = max(A.shape[0] for A in of_module(tensors, "lora_A").values())
        alpha = self._divisor(rank)
        return replace(self, rank=rank, alpha=alpha, rank_pattern={}, alpha_pattern={}, start="kaiming", checkpoint="")

    @property
    def _simple(self) -> bool:
        return not self.rank_pattern and not self.alpha_pattern and self.start not in DOUBLED


@dataclass(frozen=True, slots=True)
class RsLora(Lora):
    """rsLoRA (arXiv 2312.03732): scaled by alpha / sqrt(r), so that wide updates learn as fast as narrow ones."""

    name = "rslora"

    def _divisor(self, rank: int) -> float:
        return math.sqrt(rank)
