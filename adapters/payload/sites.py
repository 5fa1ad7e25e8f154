"""Where an adapter can sit: a decoder layer's linear modules, their shapes, and the groups computed together."""

from __future__ import annotations

from typing import Protocol

MODULES: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GROUPS: dict[str, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
"""Modules of a group share their input; the decoder computes them as one matrix, stacked in this order."""
MODULE_PATHS: dict[str, str] = {
    module: f"{'self_attn' if group in ('qkv', 'o') else 'mlp'}.{module}"
    for group, parts in GROUPS.items()
    for module in parts
}
"""Where a module stands inside a Hugging Face layer."""

Site = tuple[int, str]
"""(layer, group)"""


class Dimensions(Protocol):
    """The part of a base's configuration that fixes adapter shapes."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


def module_shape(config: Dimensions, module: str) -> tuple[int, int]:
    """(out-features, in-features) of a module; KeyError for a name that is not in MODULES."""
    attention, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    hidden, inner = config.hidden_size, config.intermediate_size
    return {
        "q_proj": (attention, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, attention),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }[module]


def group_shape(config: Dimensions, group: str) -> tuple[int, int]:
    """(out-features, in-features) of a group's stacked matrix."""
    shapes = [module_shape(config, module) for module in GROUPS[group]]
    return sum(out for out, _ in shapes), shapes[0][1]


def matrix_values(config: Dimensions) -> int:
    """Values of the matrices of all layers."""
    shapes = [group_shape(config, group) for group in GROUPS]
    return config.layers * sum(rows * columns for rows, columns in shapes)


def group_of(module: str) -> str:
    """The group that a module is computed in."""
    return next(group for group, parts in GROUPS.items() if module in parts)


def rows_of(config: Dimensions, module: str) -> slice:
    """The rows of a module within its group's stacked matrix."""
    parts = GROUPS[group_of(module)]
    first = sum(module_shape(config, part)[0] for part in parts[: parts.index(module)])
    return slice(first, first + module_shape(config, module)[0])


def tensor_name(layer: int, module: str, factor: str) -> str:
    """Name of a skill's tensor; `factor` is "lora_A" [r, in] or "lora_B" [out, r]."""
    return f"layers.{layer}.{module}.{factor}"
