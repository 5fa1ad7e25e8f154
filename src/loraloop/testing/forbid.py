"""Keeps real models out of tests: loading or running one is an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from loraloop.tool_schemas.errors import LoraloopError

_lock = threading.Lock()
_depth = 0
_patch: Any = None


class RealModelError(LoraloopError, AssertionError):
    """A real model was about to be loaded, or to run, where that is forbidden."""


@contextmanager
def forbid_real_model() -> Iterator[None]:
    """While the block runs, only scripted models run, in all threads of the process; may be nested.

    `Base.load`, `Base.open` (and so `Runtime.load`) and the forwards of bases that are loaded already raise
    `RealModelError`. A decorator as well: ``@forbid_real_model()``.
    """
    global _depth, _patch
    with _lock:
        _depth += 1
        if _depth == 1:
            _patch = _patched()
            _patch.start()
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _patch.stop()


def _patched() -> Any:
    """What takes the place of the methods that load and run a base."""
    from loraloop.adapters.base import Base
    from loraloop.testing.base import scripted

    forward = Base.forward

    def load(cls: type[Base], model: Any = "the default base", *_: Any, **__: Any) -> Base:
        raise RealModelError(
            f"a test was about to load a model ({str(model)!r}), which forbid_real_model() does not allow: give it a "
            "loraloop.testing.ScriptedRuntime, or take it out of the block"
        )

    def guarded(self: Base, *arguments: Any, **named: Any) -> Any:
        if not scripted(self):
            raise RealModelError(
                f"a test was about to run the model {self.name!r}, which forbid_real_model() does not allow: give it a "
                "loraloop.testing.ScriptedRuntime, or take it out of the block"
            )
        return forward(self, *arguments, **named)

    return mock.patch.multiple(Base, load=classmethod(load), open=classmethod(load), forward=guarded)
