"""(IA)³ (arXiv 2205.05638): learned vectors that rescale keys, values and the inner activations of the MLP.

As in PEFT, the vector of a module multiplies its output, the layer's own bias included, and that of a feed-forward
module its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method, checked_targets, modules
from loraloop.adapters.payload.pairs import of_module, spread
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import group_of, module_shape, tensor_name
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class Ia3(Method):
    """The method.

    A module with K inputs and O outputs has the parameter `gain` `[O]`, or `input_gain` `[K]` if it is a feed-forward
    one. A finished skill also has `bias` `[O]` where the layer has its own.

    Attributes:
        targets: module names; as in the paper, keys, values and the MLP's second product.
        feedforward: those of them whose input is scaled instead of their output; `o_proj` or `down_proj`, which share
            their input with no other module.
    """

    targets: tuple[str, ...] = ("k_proj", "v_proj", "down_proj")
    feedforward: tuple[str, ...] = ("down_proj",)
    name = "ia3"

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", checked_targets(self.targets))
        object.__setattr__(self, "feedforward", tuple(self.feedforward))
        for module in self.feedforward:
            if module not in ("o_proj", "down_proj"):
                raise InputError(f"the input of {module!r} feeds other modules too: scale that of o_proj or down_proj")

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """Ones: "gain" [O] of each module, or "input_gain" [K]."""
        parameters = {}
        for layer, module in modules(context.config, self.targets):
            outputs, inputs = module_shape(context.config, module)
            inner = module in self.feedforward
            name = tensor_name(layer, module, "input_gain" if inner else "gain")
            parameters[name] = torch.ones(inputs if inner else outputs).requires_grad_()
        return parameters

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """Gains; and, where a layer has its own bias b, what a gain g adds to it: (g - 1) · b.

        Args:
            parameters: `gain` `[O]` or `input_gain` `[K]` of each module, and a finished skill's `bias` `[O]`.
            context: The base, whose biases are read where they are not stored.
        """
        gains, biases = of_module(parameters, "gain"), of_module(parameters, "bias")
        for place, gain in gains.items():
            if place not in biases and (bias := context.bias(*place)) is not None:
                biases[place] = (gain - 1) * bias.to(gain.device)
        inputs = {
            (layer, group_of(module)): gain for (layer, module), gain in of_module(parameters, "input_gain").items()
        }
        config = context.config
        return Payload(gains=spread(gains, config, 1.0), input_gains=inputs, biases=spread(biases, config, 0.0))

    def trainable(self, parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Names of `gain` `[O]` and `input_gain` `[K]` among `parameters`."""
        return tuple(name for name in parameters if not name.endswith(".bias"))

    def finished(self, parameters: Mapping[str, Tensor], context: MethodContext) -> dict[str, Tensor]:
        """The gains of `parameters`, and `bias` `[O]` where a layer has its own, so that loading needs no weights."""
        found = {name: tensor.detach() for name, tensor in parameters.items()}
        for place, gain in of_module(found, "gain").items():
            if (bias := context.bias(*place)) is not None:
                found[tensor_name(*place, "bias")] = (gain - 1) * bias.to(gain.device)
        return found
