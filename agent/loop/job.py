"""What a run is asked to do, and what is decided for a step of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import Prompting
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.engine.sampler import Sampling
from loraloop.agent.guard.guard import Guard
from loraloop.agent.hooks import Hook
from loraloop.agent.limits import Limits
from loraloop.agent.loop.journal import NO_JOURNAL, Journal
from loraloop.agent.output_type import FREE, OutputType
from loraloop.agent.policy import Policy
from loraloop.agent.skills.mixture import Mixture
from loraloop.router.decision import Route
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.agent.loop.pending_run import PendingRun
    from loraloop.agent.tools.approval import Approval


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that goes on, and what was said of its calls by their ids."""

    run: PendingRun
    said: Mapping[str, Approval]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run is asked to do."""

    prompt: str
    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    tools: tuple[Tool, ...]
    limits: Limits
    policy: Policy
    sampling: Sampling
    python: Tool | None
    output: OutputType[Any] = FREE
    deps: Any = None
    hooks: tuple[Hook, ...] = ()
    guard: Guard = field(default_factory=Guard)
    resumed: Resumed | None = None
    journal: Journal = NO_JOURNAL
    prompting: Prompting | None = None  # instead of the base's
    stops: tuple[str, ...] = ()  # strings that end a text without a form


@dataclass(frozen=True, slots=True)
class Decision:
    """Which skill a step gets, or which mixture of skills, and who says so."""

    skill: str
    probability: float
    abstained: bool
    runners_up: tuple[tuple[str, float], ...]
    masked: tuple[str, ...]
    by: str
    mixture: Mixture | None = None
    route: Route | None = None  # what the router said; None where it was not asked

    @property
    def routed(self) -> str:
        """The router's own choice; empty where it was not asked."""
        return self.route.skill if self.route else ""

    @property
    def names(self) -> tuple[str, ...]:
        """The skills that run."""
        return self.mixture.names if self.mixture else (self.skill,)

    @property
    def weights(self) -> tuple[tuple[str, float], ...]:
        """Of the mixture's skills; empty for a single one."""
        return self.mixture.weights if self.mixture else ()
