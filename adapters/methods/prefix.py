"""Prefix tuning (arXiv 2101.00190): keys and values of virtual tokens, learned for every layer.

They are held as they stand in a cache, rotated already, as PEFT hands them to a model. The paper starts them at the
activations of real words (its section 7.4): give `text`. With `projection` they come out of a two-layer perceptron
while they are trained (its section 4.3), and a finished skill stores what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method, checked_rank
from loraloop.adapters.payload.payload import Payload
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class Prefix(Method):
    """The method. A fresh one is not the base: attention already goes to its tokens.

    Its parameters are `layers.<i>.prefix.keys` and `layers.<i>.prefix.values` `[P, kv_heads, head_dim]` of P virtual
    tokens. With a perceptron of width W and S values a token in all layers they are `prefix.embedding` `[P, H]`,
    `prefix.first` `[W, H]`, `prefix.first_bias` `[W]`, `prefix.second` `[S, W]` and `prefix.second_bias` `[S]`.

    Attributes:
        tokens: virtual tokens.
        text: words whose keys and values they start at, repeated as often as needed; normal (0.02) without.
        projection: width of the perceptron; 0 trains keys and values themselves.
    """

    tokens: int = 16
    text: str = ""
    projection: int = 0
    name = "prefix"

    def __post_init__(self) -> None:
        checked_rank(self.tokens, "tokens")
        if self.projection < 0:
            raise InputError(f"projection is a width, or 0 for none, not {self.projection}")
        if self.projection and self.text:
            raise InputError("a prefix that comes out of a perceptron cannot start at a text: give one of them")

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """ "layers.<i>.prefix.keys" and "values" [P, kv_heads, head_dim]; with a perceptron, its parameters."""
        config, generator = context.config, torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> Tensor:
            return torch.empty(shape).normal_(0, 0.02, generator=generator)

        if self.projection:
            outputs = config.layers * 2 * config.kv_heads * config.head_dim
            made = {
                "prefix.embedding": drawn(self.tokens, config.hidden_size),
                "prefix.first": drawn(self.projection, config.hidden_size),
                "prefix.first_bias": torch.zeros(self.projection),
                "prefix.second": drawn(outputs, self.projection),
                "prefix.second_bias": torch.zeros(outputs),
            }
            return {name: tensor.requires_grad_() for name, tensor in made.items()}
        shape = (self.tokens, config.kv_heads, config.head_dim)
        if self.text:
            found = context.keys_values(self.text)
            planes = [(_repeated(keys, self.tokens), _repeated(values, self.tokens)) for keys, values in found]
        else:
            planes = [(drawn(*shape), drawn(*shape)) for _ in range(config.layers)]
        return {
            f"layers.{layer}.prefix.{name}": tensor.requires_grad_()
            for layer, pair in enumerate(planes)
            for name, tensor in zip(("keys", "values"), pair, strict=True)
        }

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """Keys and values of every layer, differentiably.

        Args:
            parameters: `layers.<i>.prefix.keys` and `values` `[P, kv_heads, head_dim]`, or the perceptron's.
            context: Gives the dimensions.
        """
        config = context.config
        if "prefix.embedding" in parameters:
            made = torch.tanh(
                parameters["prefix.embedding"] @ parameters["prefix.first"].T + parameters["prefix.first_bias"]
            )
            flat = made @ parameters["prefix.second"].T + parameters["prefix.second_bias"]
            planes = flat.view(-1, config.layers, 2, config.kv_heads, config.head_dim).permute(1, 2, 0, 3, 4)
            return Payload(prefix={layer: (planes[layer, 0], planes[layer, 1]) for layer in range(config.layers)})
        return Payload(
            prefix={
                layer: (parameters[f"layers.{layer}.prefix.keys"], parameters[f"layers.{layer}.prefix.values"])
                for layer in range(config.layers)
            }
        )

    def finished(self, parameters: Mapping[str, Tensor], context: MethodContext) -> dict[str, Tensor]:
        """Keys and values alone.

        Args:
            parameters: As those of `payload`: `keys` and `values` `[P, kv_heads, head_dim]`, or the perceptron's.
            context: Gives the dimensions.

        Returns:
            `layers.<i>.prefix.keys` and `layers.<i>.prefix.values` `[P, kv_heads, head_dim]`, detached.
        """
        return {
            f"layers.{layer}.prefix.{name}": tensor.detach().contiguous()
            for layer, pair in self.payload(parameters, context).prefix.items()
            for name, tensor in zip(("keys", "values"), pair, strict=True)
        }

    def reader(self, tensors: Mapping[str, Tensor]) -> Prefix:
        """The method of stored keys and values, `tensors` `[P, kv_heads, head_dim]`."""
        return replace(self, projection=0)


def _repeated(tensor: Tensor, count: int) -> Tensor:
    """`count` rows: the first, from the beginning again where there are too few."""
    return tensor[torch.arange(count) % tensor.shape[0]].contiguous()
