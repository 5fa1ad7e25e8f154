"""What a caller who decides every step is told before each choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from loraloop.agent.mixture import Mixture
    from loraloop.agent.result import Step
    from loraloop.router.decision import Route


@dataclass(frozen=True, slots=True)
class Moment:
    """A run that is about to choose the skill of its next step.

    Attributes:
        steps: The run's steps so far.
        after: What the choice follows: `user`, `tool` or `dropped`, as in `RouterState`.
        open: Names that can be chosen here, `none` among them.
        route: What the router would do.
    """

    steps: tuple[Step, ...]
    after: str
    open: tuple[str, ...]
    route: Route


class Chooses(Protocol):
    """What `Policy.choose` is: a skill, or a mixture, for this moment; None leaves it to the router."""

    def __call__(self, moment: Moment, /) -> str | Mapping[str, float] | Mixture | None: ...
