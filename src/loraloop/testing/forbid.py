"""Keeps real models out of tests: loading or running one is an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loraloop.tool_schemas.errors import LoraloopError

_lock = threading.Lock()
_depth = 0
_real: dict[str, Any] = {}


class RealModelError(LoraloopError, AssertionError):
    """A real model was about to be loaded, or to run, where that is forbidden."""


@contextmanager
def forbid_real_model() -> Iterator[None]:
    """While the block runs, only scripted models run, in all threads of the process; may be nested.

    `Base.load`, `Base.open` (and so `Runtime.load`) and the forwards of bases that are loaded already raise
    `RealModelError`. A decorator as well: ``@forbid_real_model()``.
    """
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            _begin()
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _end()


def _begin() -> None:
    from loraloop.adapters.base import Base
    from loraloop.testing.base import scripted

    _real.update({name: Base.__dict__[name] for name in ("load", "open", "forward")})
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

    setattr(Base, "load", classmethod(load))  # noqa: B010  (mypy refuses a plain assignment to a method)
    setattr(Base, "open", classmethod(load))  # noqa: B010
    setattr(Base, "forward", guarded)  # noqa: B010


def _end() -> None:
    from loraloop.adapters.base import Base

    for name, value in _real.items():
        setattr(Base, name, value)
    _real.clear()
