"""What a method can read of the base that it is trained on: dimensions and, where it asks, weights."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loraloop.adapters.payload.sites import GROUPS, MODULE_PATHS, Dimensions, group_of, module_shape, rows_of
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.decoder.decoder import Decoder
    from loraloop.adapters.base.loading.source import BaseSource


class MethodContext:
    """The base, as far as a method sees it: here its dimensions, enough for loading any skill and starting most.

    What needs weights raises InputError here; a `BaseContext` has them.
    """

    def __init__(self, config: Dimensions) -> None:
        self.config = config
        self._squares: dict[tuple[int, str], Tensor] = {}

    def weight(self, layer: int, module: str) -> Tensor:
        """The values `[O, K]` that are served, dequantized, in fp32."""
        return self._held(layer, module).float()

    @torch.no_grad()
    def times(self, layer: int, module: str, A: Tensor) -> Tensor:
        """W Aᵀ `[O, r]` of A `[r, K]`: computed in the dtype of the weights, given in fp32."""
        held = self._held(layer, module)
        return (held @ A.T.to(held)).float()

    @torch.no_grad()
    def squares(self, layer: int, module: str) -> Tensor:
        """The squared norm `[O]` of each row of the weights, in fp32; computed once."""
        known = self._squares.get((layer, module))
        if known is None:
            known = self._squares[layer, module] = self.weight(layer, module).square().sum(1)
        return known

    def _held(self, layer: int, module: str) -> Tensor:
        """The values [O, K] in the dtype that they have when they are served."""
        raise InputError(f"this needs the base's weights ({module}): give BaseContext(base), not its dimensions alone")

    def bias(self, layer: int, module: str) -> Tensor | None:
        """The module's own bias `[O]` in fp32, where it has one."""
        if getattr(self.config, "qkv_bias", False) and module in GROUPS["qkv"]:
            raise InputError(
                f"this needs the base's bias of {module}: give BaseContext(base), not its dimensions alone"
            )
        return None

    def original(self, layer: int, module: str, checkpoint: str = "") -> Tensor:
        """The values `[O, K]` before quantization, in fp32.

        Raises:
            InputError: no checkpoint is named, or its values have another shape.
        """
        from loraloop.adapters.base.loading.quantize import dense

        if not checkpoint:
            raise InputError(
                "LoftQ starts from what quantization lost, so it needs the values before: give `checkpoint`, the "
                "Hugging Face folder or GGUF file of the unquantized model"
            )
        values = dense(_source(checkpoint).tensor(f"model.layers.{layer}.{MODULE_PATHS[module]}.weight")).float()
        if tuple(values.shape) != module_shape(self.config, module):
            raise InputError(f"{checkpoint} has {module} of {list(values.shape)}: give the checkpoint of this base")
        return values

    def embedded(self, text: str) -> Tensor:
        """Input embeddings `[n, H]` of a text's n tokens, as tokens have them before any scale, in fp32."""
        raise InputError("a start from text needs the base's embeddings: give BaseContext(base)")

    def keys_values(self, text: str) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `[n, kv_heads, head_dim]` of each layer that a text of n tokens leaves, in fp32."""
        raise InputError("a start from text needs the base's forward: give BaseContext(base)")


class BaseContext(MethodContext):
    """A loaded base.

    Args:
        base: the base that will serve the skill.
        decoder: what its values are read from, where that is another than the base's own: the trainer's view, whose
            weights are dense already.
    """

    def __init__(self, base: Base, decoder: Decoder | None = None) -> None:
        super().__init__(base.config)
        self.base, self.decoder = base, decoder

    def _held(self, layer: int, module: str) -> Tensor:
        """The values [O, K] in the dtype that they have when they are served."""
        held = getattr((self.decoder or self.base.decoder).layers[layer], group_of(module))
        values: Tensor = held.dequantize()[rows_of(self.config, module)]
        return values

    def bias(self, layer: int, module: str) -> Tensor | None:
        """The module's own bias `[O]` in fp32, where it has one."""
        held = (self.decoder or self.base.decoder).layers[layer].qkv_bias
        if held is None or module not in GROUPS["qkv"]:
            return None
        return held[rows_of(self.config, module)].float()

    def embedded(self, text: str) -> Tensor:
        """Input embeddings `[n, H]` of a text's n tokens, in fp32."""
        table = self.base.decoder.embedding
        ids = torch.tensor(self._ids(text), device=self.base.device)
        return table.rows(ids).float()

    @torch.no_grad()
    def keys_values(self, text: str) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `[n, kv_heads, head_dim]` of each layer that a text of n tokens leaves, in fp32."""
        from loraloop.adapters.base.decoder.decoder import Decoder, Row
        from loraloop.adapters.base.training_view import training_view

        decoder = self.decoder or (
            self.base.decoder if type(self.base.decoder) is Decoder else training_view(self.base)
        )
        cache = decoder.new_cache()
        decoder.forward([Row(self._ids(text), cache)])
        return [
            (keys[0, :, : cache.length].transpose(0, 1).float(), values[0, :, : cache.length].transpose(0, 1).float())
            for keys, values in zip(cache.keys, cache.values, strict=True)
        ]

    def _ids(self, text: str) -> list[int]:
        ids = self.base.tokenizer.encode(text)
        if not ids:
            raise InputError("a start from text needs a text with at least one token")
        return list(ids)


if not TYPE_CHECKING:  # a type checker knows the new name alone

    def __getattr__(name: str) -> Any:
        """The deprecated name of `MethodContext`, for one release."""
        if name == "ConfigContext":
            warnings.warn("ConfigContext is deprecated: use MethodContext", DeprecationWarning, stacklevel=2)
            return MethodContext
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@lru_cache(maxsize=1)
def _source(checkpoint: str) -> BaseSource:
    from loraloop.adapters.base.loading.gguf_source import GGUFSource
    from loraloop.adapters.base.loading.hf_source import HFSource

    path = Path(checkpoint).expanduser()
    return GGUFSource(path) if path.is_file() else HFSource(path)
