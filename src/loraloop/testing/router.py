"""Routers that follow a script instead of hidden states."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from loraloop.router.decision import NONE, Route, RouterState, ScreenResult
from loraloop.testing.script import Script, ScriptError

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import Message


class ScriptedRouter:
    """Chooses the skills of a list in their order, then none; none too where a skill cannot be chosen.

    Args:
        skills: The skills that it chooses, one after the other.
        unsafe: Whether the screen finds a message unsafe, one after the other; messages after them are safe.
        probability: Probability of the chosen skill; the rest is that of the runner-up, `none`.

    Attributes:
        states: The state at each choice.
        screened: Messages that were screened.
    """

    def __init__(self, skills: Iterable[str] = (), unsafe: Iterable[bool] = (), probability: float = 0.8) -> None:
        self.layers = (1,)
        self.script = deque(skills)
        self.unsafe = deque(unsafe)
        self.probability = probability
        self.states: list[RouterState] = []
        self.screened = 0

    def features(self, kept: Mapping[int, Tensor], messages: Sequence[Message] = ()) -> Tensor:
        """The last token's hidden state `[H]`.

        Args:
            kept: Hidden states `[T, H]` of the last message, by layer; those of layer 1 are there.
            messages: The transcript; not used.
        """
        return kept[1][-1]

    def screen(self, features: Tensor) -> ScreenResult:
        """The script's screen result for this message; its features `[H]` are not looked at."""
        self.screened += 1
        positive = self._unsafe()
        return ScreenResult(0.9 if positive else 0.1, positive, 0.5)

    def choose(self, features: Tensor, state: RouterState) -> Route:
        """The script's next skill; the features `[H]` are not looked at."""
        self.states.append(state)
        skill = self._skill(state)
        others = () if skill == NONE else ((NONE, round(1 - self.probability, 6)),)
        masked = tuple(sorted(state.masked))
        return Route(
            skill,
            self.probability,
            abstained=False,
            runners_up=others,
            masked=masked,
            reason="scripted",
            threshold=0.5,
        )

    def _unsafe(self) -> bool:
        return self.unsafe.popleft() if self.unsafe else False

    def _skill(self, state: RouterState) -> str:
        skill = self.script.popleft() if self.script else NONE
        return NONE if state.blocked(skill) else skill


class FollowingRouter(ScriptedRouter):
    """Chooses the skill of the step that a scripted runtime writes next.

    Args:
        script: The runtime's.
    """

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._following = script

    def _unsafe(self) -> bool:
        step = self._following.next
        return step is not None and step.unsafe

    def _skill(self, state: RouterState) -> str:
        step = self._following.next
        if step is None:
            raise self._following.over("needs")
        if state.blocked(step.route):
            why = "it is masked" if step.route in state.masked else "what it works on was not given"
            raise ScriptError(
                f"{self._following.place} is for the skill {step.route!r}, which cannot be chosen here: {why} "
                f"(masked: {', '.join(sorted(state.masked)) or 'nothing'}; after: {state.after})"
            )
        return step.route
