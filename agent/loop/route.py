"""Which skill a step gets: what the policy says, or else the router, whose own choice is kept beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from loraloop.adapters.base.messages import Message
from loraloop.agent.loop.deciding import calling, forced, routed
from loraloop.agent.skills.mixture import Mixture, as_choice, names_of
from loraloop.router.decision import NONE, Route, RouterState
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.loop.job import Decision, Job
    from loraloop.agent.result import Step
    from loraloop.agent.runtime import Runtime

Wish: TypeAlias = "str | Mapping[str, float] | Mixture | Sequence[str | Mapping[str, float] | Mixture] | Forbid | None"
"""What a policy's `decide` may return: a skill, a mixture, several in order of preference, `Forbid`, or None."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What a policy's `decide` is told about a step that is about to be chosen.

    Attributes:
        index: The step, from 0.
        prompt: What the user said.
        message: The transcript's last message: the user's, a tool's result, or the assistant's.
        after: What that is for the router: `user`, `tool`, or `dropped` where a branch was just dropped.
        route: What the router chooses, with the probabilities of all that can be chosen.
        masked: Skills that cannot be chosen.
        open: Names that can be, `none` among them.
        steps: The run's steps so far.
    """

    index: int
    prompt: str
    message: Message
    after: str
    route: Route
    masked: frozenset[str]
    open: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, init=False)
class Forbid:
    """What a policy's `decide` returns to have the router choose among the other skills, in this step alone.

    Args:
        names: Skills that it may not choose.
    """

    names: frozenset[str]

    def __init__(self, *names: str) -> None:
        if NONE in names:
            raise InputError("none cannot be forbidden: the base answers when no skill does")
        object.__setattr__(self, "names", frozenset(names))


class StepChooser:
    """Chooses the skill of each step of one run."""

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self._runtime = runtime
        self._job = job
        self._forced = deque(job.policy.choices)
        self._before = self._forced.copy()

    def state(self, masked: Collection[str], after: str) -> RouterState:
        """What the router is told of the next step."""
        job = self._job
        return RouterState(bool(job.tools), bool(job.passages), job.python is not None, frozenset(masked), after)

    def choose(
        self,
        features: Any,
        state: RouterState,
        message: Message,
        steps: Sequence[Step],
        required: bool,
        again: Decision | None,
    ) -> Decision:
        """The decision for the next step.

        Args:
            features: For the router.
            state: What can apply.
            message: The transcript's last.
            steps: Those that the run has made.
            required: Whether the caller requires a call now.
            again: What the last step ran on, if a tool of it asked for another try.

        Raises:
            UnknownNameError: The policy's `decide` names a skill that does not exist.
            InputError: It returns something else than a choice, or one alone that this step cannot take.
        """
        runtime, policy = self._runtime, self._job.policy
        self._before = self._forced.copy()
        ask = runtime.router.choose
        route = ask(features, state)
        if again is not None:
            return replace(forced(again.mixture or again.skill, route), by="retry")
        if self._forced:
            choice = self._forced.popleft()
            if not state.masked.intersection(names_of(choice)):
                return forced(choice, route)
        if required:
            return calling(runtime, route, policy)
        if policy.decide is not None:
            shut = state.masked | frozenset(route.masked)
            able = tuple(name for name in (*runtime.skills, NONE) if name not in shut)
            facts = StepFacts(len(steps), self._job.prompt, message, state.after, route, shut, able, tuple(steps))
            wish = policy.decide(facts)
            if isinstance(wish, Forbid):
                for name in wish.names:
                    runtime.check(name)
                other = ask(features, replace(state, masked=state.masked | wish.names))
                decision = replace(routed(runtime, other, policy.mix), route=route)
                return decision if other.skill == route.skill else replace(decision, by="policy")
            for choice in wishes(wish):
                if self._fits(choice, able):
                    return forced(choice, route)
                if not isinstance(wish, Sequence) or isinstance(wish, str):
                    listed = ", ".join(able)
                    raise InputError(
                        f"decide gave {str(choice)!r}, which this step cannot take: choose among {listed}, or give "
                        "several in order of preference"
                    )
        return routed(runtime, route, policy.mix)

    def _fits(self, choice: str | Mixture, able: Collection[str]) -> bool:
        """Whether a step can take a choice: a mixture where a skill of what it writes is open, or if it writes text."""
        self._runtime.check(choice)
        if not isinstance(choice, Mixture):
            return choice in able
        contract = self._runtime.contract(choice)
        return contract == "text" or any(name in able for name in self._runtime.with_contract(contract))

    @property
    def left(self) -> tuple[str | Mixture, ...]:
        """The policy's choices that are still to be made."""
        return tuple(self._forced)

    def skip_to(self, left: int) -> None:
        """Passes over the policy's choices until so many are left."""
        while len(self._forced) > left:
            self._forced.popleft()

    def undo(self) -> None:
        """The last choice is to be made again."""
        self._forced = self._before


def unfit(runtime: Runtime, job: Job) -> set[str]:
    """Skills that cannot be chosen in a run at all."""
    skills = set(job.policy.forbid)
    if not job.tools or job.policy.tool_choice == "none":
        skills.update(runtime.with_contract("calls"))
    if not job.passages:
        skills.update(runtime.with_contract("answer"))
    absent = set(getattr(runtime.router, "skills", ())) - {NONE} - set(runtime.skills)
    return skills | absent


def wishes(said: object) -> list[str | Mixture]:
    """What a `decide` returned, as choices in order of preference; none for the router's.

    Raises:
        InputError: It is no choice.
    """
    if said is None:
        return []
    if isinstance(said, str | Mapping | Mixture):
        return [as_choice(said)]
    if isinstance(said, Sequence):
        return [as_choice(each) for each in said]
    raise InputError(f"decide returned {said!r}: give a skill, a mixture, a list of them, Forbid(…), or None")
