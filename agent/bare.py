"""A runtime for a base that has no trained skills and no router: its own weights under every output contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloop.agent.runtime import Runtime
from loraloop.router.decision import NONE, Route, RouterState, ScreenResult

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import Base, Message

CONTRACTS = {"tools": "calls", "code": "code", "retrieval": "answer"}
"""The contract of each blank skill. There is none for safety: a verdict has to be trained."""


class Unrouted:
    """Stands where a router would, and never screens. Tools are called where they may be, else the base answers.

    A step that calls nothing masks the tools, so that the base answers next. The policy chooses all other skills.
    """

    layers: tuple[int, ...] = ()
    skills = ("tools",)
    screens = False  # no gate can count on it

    def features(self, kept: Mapping[int, Tensor], messages: Sequence[Message]) -> None:
        """None: no states `kept` (`[T, H]` of each layer) are read."""
        return None

    def screen(self, features: Any) -> ScreenResult:
        return ScreenResult(0.0, False, 1.0)

    def choose(self, features: Any, state: RouterState) -> Route:
        return Route(
            skill=NONE if state.blocked("tools") else "tools",
            probability=1.0,
            abstained=False,
            runners_up=(),
            masked=tuple(sorted(state.masked)),
            reason="there is no router for this base",
        )


def bare_runtime(
    base: Base, *, context: int | None = None, own_calls: bool = False, keep_prefixes: bool = False
) -> Runtime:
    """A runtime on `base` with blank skills `tools`, `code` and `retrieval`; only a policy chooses the last two.

    Args:
        base: any base.
        context: Positions that a transcript may use.
        own_calls: Whether tools are listed and calls written as the base's chat template has it.
        keep_prefixes: Whether what is computed of instructions and tools is kept on disk; see `Runtime.load`.

    Raises:
        BaseModelError: The template has no format of calls.
    """
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.skill.blank import blank_skill

    bank = Bank(base)
    for name, contract in CONTRACTS.items():
        bank.add(blank_skill(base, name, contract))
    model = base.with_own_calls() if own_calls else base
    return Runtime(model, bank, Unrouted(), context=context, keep_prefixes=keep_prefixes)
