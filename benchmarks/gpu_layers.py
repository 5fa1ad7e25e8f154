"""A decoder's projections with LoRA, as each system computes them on a GPU: what `gpu_kernels.py` times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gpu_steps import SHAPES
from torch import Tensor

from loraloop.adapters.base import ModelConfig
from loraloop.adapters.payload.sites import GROUPS, module_shape
from loraloop.kernels import ops
from loraloop.kernels.gpu import triton_nf4
from loraloop.kernels.nf4 import Nf4Weight
from loraloop.kernels.rows import RowSlots

DTYPE = torch.bfloat16


LLAMA_8B = ModelConfig(**SHAPES["8b"], vocab_size=128256, max_positions=8192)

Run = Callable[[], object]


class Layers:
    """NF4 weights of `count` layers, and inputs of `batch` rows. Layers run one after another, so that none is cached.

    A system is a function that computes every projection of every layer once.
    """

    def __init__(self, dimensions: ModelConfig, count: int, device: torch.device) -> None:
        self.dimensions, self.count, self.device = dimensions, count, device
        self.modules: list[dict[str, Nf4Weight]] = []
        self.groups: list[dict[str, Nf4Weight]] = []
        for _ in range(count):
            modules, groups = {}, {}
            for group, parts in GROUPS.items():
                values = [self._random(*module_shape(dimensions, part)) for part in parts]
                groups[group] = Nf4Weight.quantize(torch.cat(values))
                modules |= {part: Nf4Weight.quantize(value) for part, value in zip(parts, values, strict=True)}
            self.modules.append(modules)
            self.groups.append(groups)

    @property
    def bytes(self) -> int:
        """Read by one step of the base: codes, absmaxes and their scales."""
        codes = [weight.tensors for layer in self.groups for weight in layer.values()]
        return sum(tensor.nbytes for tensors in codes for tensor in (tensors[0], tensors[1], tensors[3]))

    def floor(self, rank: int, skills: int) -> float:
        """Bytes of distinct skills on all projections over the base's: what their least extra time is a share of."""
        per_layer = sum(sum(module_shape(self.dimensions, part)) for parts in GROUPS.values() for part in parts)
        return 2 * rank * per_layer * self.count * skills / self.bytes

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Random inputs of each group."""
        return {group: self._random(batch, weight.in_features) for group, weight in self.groups[0].items()}

    def base(self, batch: int, permute: bool | None = None, columns: int = triton_nf4.COLUMNS) -> Run:
        """Our NF4 product alone; see `triton_nf4.linear` for `permute` and `columns`."""
        x = self.inputs(batch)

        def run() -> None:
            for layer in self.groups:
                for group, weight in layer.items():
                    triton_nf4.linear(x[group], weight.tensors, weight.out_features, permute=permute, columns=columns)

        return run

    def ours(self, batch: int, rank: int, chosen: list[int], slots: int = 8, fused: bool = True) -> Run:
        """NF4 and what the rows' slots add: in one launch a group, or as three (base, shrink, expand)."""
        x, rows = self.inputs(batch), RowSlots.of(tuple((i, i + 1, slot) for i, slot in enumerate(chosen)), self.device)
        rows = RowSlots.all_tiles(rows.slots)
        banks = [
            {group: self._bank(group, rank, slots, weight) for group, weight in layer.items()} for layer in self.groups
        ]

        def run() -> None:
            for layer, bank in zip(self.groups, banks, strict=True):
                for group, weight in layer.items():
                    A, B, spans = bank[group]
                    if fused:
                        ops.nf4_lora_linear(
                            x[group], *weight.tensors, weight.out_features, A, B, rows.slots, rows.tiles,
                            rows.counters, spans,
                        )  # fmt: skip
                    else:
                        y = ops.nf4_linear(x[group], *weight.tensors, weight.out_features)
                        ops.lora_linear_(x[group], y, A, B, rows.slots, rows.tiles, spans)

        return run

    def bitsandbytes(self, batch: int, rank: int = 0) -> Run:
        """bitsandbytes' product of each fused group; with a rank, and two products of one adapter (addmm)."""
        from bitsandbytes import matmul_4bit

        x = self.inputs(batch)
        pairs = [
            {
                group: (self._random(weight.in_features, rank), self._random(rank, weight.out_features))
                for group, weight in layer.items()
            }
            for layer in self.groups
        ]

        def run() -> None:
            for layer, pair in zip(self.groups, pairs, strict=True):
                for group, weight in layer.items():
                    y = matmul_4bit(x[group], weight.codes.t(), quant_state=weight.quant_state)
                    if rank:
                        torch.addmm(y, x[group] @ pair[group][0], pair[group][1])

        return run

    def peft(self, batch: int, rank: int) -> Run:
        """PEFT's own modules on bitsandbytes' Linear4bit, one for each projection."""
        from peft import LoraConfig, get_peft_model

        x = self.inputs(batch)
        of = {part: x[group] for group, parts in GROUPS.items() for part in parts}
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(of), init_lora_weights=False)
        model: Any = get_peft_model(_Stack(self), config).to(self.device)
        model.eval()
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(DTYPE)
        layers = model.base_model.model.layers

        def run() -> None:
            for layer in layers:
                for part, own in of.items():
                    layer[part](own)

        return run

    def _bank(self, group: str, rank: int, slots: int, weight: Nf4Weight) -> tuple[Tensor, Tensor, Tensor]:
        """A, B (block-diagonal over the group's parts) and spans of the slots."""
        widths = [module_shape(self.dimensions, part)[0] for part in GROUPS[group]]
        wide = rank * len(widths)
        A = self._random(slots, wide, weight.in_features)
        B = torch.zeros(slots, wide, weight.out_features, dtype=DTYPE, device=self.device)
        spans = torch.zeros(slots, wide, 2, dtype=torch.int32, device=self.device)
        start = 0
        for part, width in enumerate(widths):
            ranks = slice(part * rank, (part + 1) * rank)
            B[:, ranks, start : start + width] = self._random(slots, rank, width)
            spans[:, ranks] = torch.tensor([start, start + width], dtype=torch.int32, device=self.device)
            start += width
        return A, B.transpose(1, 2), spans

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device).to(DTYPE) / max(1, shape[-1]) ** 0.5


class _Stack(torch.nn.Module):
    """The layers' modules as bitsandbytes' own, for PEFT to wrap."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.ModuleDict({part: _linear4bit(weight) for part, weight in modules.items()})
            for modules in layers.modules
        )


def _linear4bit(weight: Nf4Weight) -> torch.nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    made = Linear4bit(
        weight.in_features, weight.out_features, bias=False, compute_dtype=DTYPE, quant_type="nf4", device="meta"
    )
    made.weight = Params4bit(
        weight.codes, requires_grad=False, quant_state=weight.quant_state, blocksize=64, quant_type="nf4",
        bnb_quantized=True, module=made,
    )  # fmt: skip
    made.quant_state = weight.quant_state
    return made
