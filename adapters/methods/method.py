"""What a method is: hyper-parameters that make parameters and turn them into a payload."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import MODULES, Dimensions
from loraloop.tool_schemas.errors import InputError, unknown


class Method:
    """A frozen dataclass with hyper-parameters; its fields are what a card and a recipe hold of it.

    Parameters and a skill's tensors are held by name. Those of a module are called `layers.<i>.<module>.<factor>`; of a
    module with K inputs and O outputs, LoRA's are `lora_A` `[r, K]` and `lora_B` `[O, r]`. Of the hooks here, a method
    has `init` and `payload`; without the others everything trains, and is stored as it is.

    Attributes:
        name: Name of the method in the registry, as a card says it.
    """

    __slots__ = ()
    name: ClassVar[str]

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """Fresh fp32 parameters by name, such as `lora_A` `[r, K]`; the skill starts as the base.

        They are all that a checkpoint of a training needs.
        """
        raise NotImplementedError

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """What a slot holds, differentiably.

        Args:
            parameters: A training's parameters or a skill's tensors, by name, such as `lora_A` `[r, K]`.
            context: What may be read of the base.
        """
        raise NotImplementedError

    def trainable(self, parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Names of those `parameters`, such as `lora_A` `[r, K]`, that an optimizer changes; the others are state."""
        return tuple(parameters)

    def regularizer(self, parameters: Mapping[str, Tensor]) -> Tensor | None:
        """What `parameters`, such as `lora_A` `[r, K]`, add to the loss, `[]`, or None."""
        return None

    def after_step(self, parameters: Mapping[str, Tensor], step: int, steps: int) -> None:
        """Called after each optimizer step and before the gradients are cleared.

        Args:
            parameters: By name, such as `lora_A` `[r, K]`; changed in place.
            step: The step that was taken, 1 … steps.
            steps: All steps of the training.
        """

    def settled(self, step: int, steps: int) -> bool:
        """Whether the parameters after step `step` of `steps` may be what the training results in."""
        return True

    def finished(self, parameters: Mapping[str, Tensor], context: MethodContext) -> dict[str, Tensor]:
        """What a skill stores: detached, and loadable without the base's weights.

        Args:
            parameters: A training's parameters by name, such as `lora_A` `[r, K]`.
            context: What may be read of the base.

        Returns:
            Tensors by name, such as `lora_A` `[r, K]`.
        """
        return {name: tensor.detach() for name, tensor in parameters.items()}

    def reader(self, tensors: Mapping[str, Tensor]) -> Method:
        """The method that a card names for what `finished` left: itself, unless ranks or scalings changed.

        Args:
            tensors: A finished skill's, by name, such as `lora_A` `[r, K]`.
        """
        return self


def modules(config: Dimensions, targets: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(layer, module) of all targets, in the order of the decoder."""
    for layer in range(config.layers):
        for module in MODULES:
            if module in targets:
                yield layer, module


def checked_targets(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Target modules as a tuple; raises where one is unknown or none is named."""
    targets = tuple(targets)
    if not targets:
        raise InputError(f"name at least one target module: {', '.join(MODULES)}")
    for target in targets:
        if target not in MODULES:
            raise unknown("target module", target, MODULES)
    return targets


def checked_rank(rank: int, name: str = "rank") -> None:
    """Raises where a width is not a positive whole number."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise InputError(f"{name} must be at least 1, not {rank}")


def checked_positive(value: float, name: str) -> None:
    """Raises where a number is not positive and finite."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a positive number, not {value}")
