"""For tests of programs that embed loraloop: a scripted model and router, recorded tools, assertions on runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.testing.checks import assert_called, assert_not_called, assert_routes
    from loraloop.testing.forbid import RealModelError, forbid_real_model
    from loraloop.testing.recorded import RecordedCall, RecordedTools
    from loraloop.testing.router import ScriptedRouter
    from loraloop.testing.runtime import ScriptedRuntime, Turn
    from loraloop.testing.script import ScriptError, Written, answer, calls, code, text, verdict

_HOMES = {
    "RealModelError": "forbid",
    "RecordedCall": "recorded",
    "RecordedTools": "recorded",
    "ScriptError": "script",
    "ScriptedRouter": "router",
    "ScriptedRuntime": "runtime",
    "Turn": "runtime",
    "Written": "script",
    "answer": "script",
    "assert_called": "checks",
    "assert_not_called": "checks",
    "assert_routes": "checks",
    "calls": "script",
    "code": "script",
    "forbid_real_model": "forbid",
    "text": "script",
    "verdict": "script",
}

__all__ = [
    "RealModelError", "RecordedCall", "RecordedTools", "ScriptError", "ScriptedRouter", "ScriptedRuntime", "Turn",
    "Written", "answer", "assert_called", "assert_not_called", "assert_routes", "calls", "code", "forbid_real_model",
    "text", "verdict",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
