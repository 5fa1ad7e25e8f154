"""The router: trunk features to screen and choice, calibrated, abstaining to none."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.router.decision import NONE, Route, RouterState, ScreenResult
    from loraloop.router.explain import Example, Explanation
    from loraloop.router.features import Part, RouterFeatures
    from loraloop.router.router import Router

_HOMES = {
    "NONE": "decision",
    "Route": "decision",
    "RouterState": "decision",
    "ScreenResult": "decision",
    "Example": "explain",
    "Explanation": "explain",
    "Part": "features",
    "RouterFeatures": "features",
    "Router": "router",
}

__all__ = ["NONE", "Example", "Explanation", "Part", "Route", "Router", "RouterFeatures", "RouterState", "ScreenResult"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
