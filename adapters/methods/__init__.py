"""Methods: one file turns trainable parameters into a payload; the trainer and the bank call the same function."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.methods.method import Method

_WHERE = {
    "lora": ("lora", "Lora"),
    "rslora": ("lora", "RsLora"),
    "dora": ("dora", "Dora"),
    "adalora": ("adalora", "AdaLora"),
    "vera": ("vera", "Vera"),
    "ia3": ("ia3", "Ia3"),
    "prefix": ("prefix", "Prefix"),
    "prompt": ("prompt", "Prompt"),
    "bottleneck": ("bottleneck", "BottleneckAdapter"),
    "galore": ("galore", "Galore"),
}
"""Module and class of each method."""


class _Methods(Mapping[str, Any]):
    """Classes by name, each imported when it is first asked for; an unknown name is an error with the nearest one."""

    def __getitem__(self, name: str) -> Any:
        if name not in _WHERE:
            raise unknown("method", str(name), _WHERE)
        module, made = _WHERE[name]
        return getattr(importlib.import_module(f"{__name__}.{module}"), made)

    def __contains__(self, name: object) -> bool:
        return name in _WHERE

    def __iter__(self) -> Iterator[str]:
        return iter(_WHERE)

    def __len__(self) -> int:
        return len(_WHERE)


METHODS: Mapping[str, Any] = _Methods()

SHARED = ("rank", "alpha", "targets")
"""Fields of a method that stand on a card under their own names; all others are its `options`."""


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """A method from plain values, as a recipe or a card holds them.

    Raises:
        UnknownNameError: another name than those of METHODS, or an option that the method does not have.
        InputError: an option is missing or has no usable value.
    """
    made = METHODS[name]
    known = {field.name: field for field in fields(made)}
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    lacking = [
        field.name
        for field in known.values()
        if field.name not in options and field.default is MISSING and field.default_factory is MISSING
    ]
    if lacking:
        raise InputError(f"{name} needs {', '.join(lacking)}: give a value")
    try:
        method: Method = made(**options)
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"an option of {name} has a value of the wrong type ({error}): correct it") from None
    return method


def card_fields(method: Method, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a card says of the method of finished tensors: `method`, `rank`, `alpha`, `targets` and `options`.

    What is at its default is left out of `options`.

    Args:
        method: The method that made them.
        tensors: A finished skill's, by name, such as `lora_A` `[r, K]`.
    """
    method = method.reader(tensors)
    found: dict[str, Any] = {"method": method.name}
    options = {}
    for field in fields(method):  # type: ignore[arg-type]
        value = getattr(method, field.name)
        if field.name in SHARED:
            found[field.name] = value
        elif value != _default(field):
            options[field.name] = list(value) if isinstance(value, tuple) else value
    if options:
        found["options"] = options
    return found


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default
