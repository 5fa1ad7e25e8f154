"""Rotary position embeddings (RoPE, arXiv 2104.09864), in the half-split layout of Hugging Face."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from loraloop.adapters.base.config import ModelConfig


def frequencies(config: ModelConfig) -> Tensor:
    """Angular frequency of each pair, fp32 `[head_dim / 2]`, with the config's scaling applied."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    base = 1.0 / (config.rope.theta**half)
    scaling = dict(config.rope.scaling)
    kind = scaling.get("rope_type")
    if kind == "linear":
        return base / float(scaling["factor"])
    if kind == "llama3":
        return _llama3(base, scaling)
    if kind == "yarn":
        return _yarn(base, config)
    return base


def magnitude(config: ModelConfig) -> float:
    """What cosines and sines are multiplied by: YaRN's attention factor, else 1."""
    scaling = dict(config.rope.scaling)
    if scaling.get("rope_type") != "yarn":
        return 1.0
    if "attention_factor" in scaling:
        return float(scaling["attention_factor"])
    grown = 0.1 * math.log(max(float(scaling["factor"]), 1.0))
    one, other = float(scaling.get("mscale", 0)), float(scaling.get("mscale_all_dim", 0))
    return (one * grown + 1) / (other * grown + 1) if one and other else grown + 1


def _yarn(base: Tensor, config: ModelConfig) -> Tensor:
    """YaRN (arXiv 2309.00071): fast pairs stay as they are, slow ones are interpolated, those between are blended."""
    scaling, dim = dict(config.rope.scaling), config.head_dim
    original = float(scaling["original_max_position_embeddings"])

    def pair(turns: float) -> float:
        """The pair that turns so often within the original context."""
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(config.rope.theta))

    low, high = pair(float(scaling.get("beta_fast", 32))), pair(float(scaling.get("beta_slow", 1)))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = (torch.arange(dim // 2, dtype=torch.float32) - low) / ((high - low) or 0.001)
    slow = ramp.clamp(0, 1)
    return base / float(scaling["factor"]) * slow + base * (1 - slow)


def _llama3(base: Tensor, scaling: dict[str, float | int | str]) -> Tensor:
    """Llama 3.1's smooth interpolation between unscaled high and scaled low frequencies."""
    factor, low, high = (float(scaling[k]) for k in ("factor", "low_freq_factor", "high_freq_factor"))
    original = float(scaling["original_max_position_embeddings"])
    wavelength = 2 * math.pi / base
    smooth = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    return torch.where(wavelength > original / low, base / factor, (1 - smooth) * base / factor + smooth * base)


class RopeTable:
    """Cosines and signed sines `[positions, 1, head_dim]` in fp32, grown as positions are asked for."""

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        self._frequencies = frequencies(config).to(device)
        self._magnitude = magnitude(config)
        self._cos = self._sin = torch.empty(0, device=device)

    def at(self, start: int | Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The rows for positions `start … start + count - 1`, or for those in a tensor `start[count]`."""
        if isinstance(start, Tensor):
            return self._turned(start.float())
        if start + count > self._cos.shape[0]:
            self._grow(start + count)
        return self._cos[start : start + count], self._sin[start : start + count]

    def _grow(self, positions: int) -> None:
        positions = (positions + 1023) // 1024 * 1024
        places = torch.arange(positions, dtype=torch.float32, device=self._frequencies.device)
        self._cos, self._sin = self._turned(places)

    def _turned(self, places: Tensor) -> tuple[Tensor, Tensor]:
        angles = torch.outer(places, self._frequencies)
        cos, sin = angles.cos() * self._magnitude, angles.sin() * self._magnitude
        return torch.cat([cos, cos], dim=-1)[:, None], torch.cat([-sin, sin], dim=-1)[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates `x[T, heads, D]` by its positions' angles, `cos` and `sin` `[T, 1, D]`; fp32 in, fp32 out."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
