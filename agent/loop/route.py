"""Which skill a step gets: what the policy says, or else the router, whose own choice is kept beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.agent.checkpoint import NextStep
from loraloop.agent.loop.job import Job
from loraloop.agent.policy import Forbid, StepFacts
from loraloop.agent.runtime import Runtime
from loraloop.agent.skills.mixture import Mixture, as_choice, names_of, of_route
from loraloop.agent.step import Decision, RouteRecord, Step
from loraloop.router.decision import NONE, Route, RouterState
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class StepView:
    """What a choice is made from.

    Attributes:
        features: What the router reads.
        message: The last message of the transcript.
        steps: The run's steps so far.
        required: Whether the caller requires a call now.
        callable: Whether the step has tools that it may call.
    """

    features: Any
    message: Message
    steps: Sequence[Step]
    required: bool
    callable: bool


class SkillChooser:
    """Chooses the skill of each step of one run.

    Args:
        runtime: Its router chooses, among the skills of its bank.
        job: The run's.
    """

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self._runtime = runtime
        self._job = job

    def choose(self, view: StepView, next: NextStep) -> tuple[Decision, Route]:
        """The decision for the next step, and what the router said.

        Raises:
            UnknownNameError: The policy's `decide` names a skill that does not exist.
            InputError: It returns something else than a choice, or one alone that this step cannot take.
        """
        state = self._state(view, next)
        route = self._runtime.router.choose(view.features, state)
        if next.retry is not None:
            return forced(next.retry.decision.choice, route, "retry"), route
        if next.choices and not state.masked.intersection(names_of(next.choices[0])):
            return forced(next.choices[0], route), route
        if view.required:
            return self._caller(route), route
        return self._decided(view, state, route) or self._asked_first(view, state, route) or self._routed(route), route

    def _asked_first(self, view: StepView, state: RouterState, route: Route) -> Decision | None:
        """A skill for calls that has learned to call nothing, or that the router does not know, before an answer.

        It is asked in the base's place, before an answer from passages, and after each result whatever the router says:
        whether a call is needed first, it knows best.
        What it writes where nothing is to be called, `[]`, leaves the step to the others; after a result, to those that
        write text: what is left then is to say what came of it.
        """
        runtime, known = self._runtime, getattr(self._runtime.router, "skills", None)
        told = state.after == "dropped" and view.message.role == "tool"
        if told and route.skill not in runtime.with_contract("text"):
            return forced(NONE, route, "router")
        answers = route.skill == NONE or route.skill in runtime.with_contract("answer")
        open_to_it = state.tools and (answers or state.after == "tool")
        callers = runtime.with_contract("calls") if open_to_it else ()
        unknown = known is not None and not set(known).intersection(callers)
        shut = state.masked | self._job.policy.forbid
        able = [name for name in callers if name not in shut and (unknown or runtime.bank.card(name).asks)]
        return forced(able[0], route, "router") if able else None

    def _state(self, view: StepView, next: NextStep) -> RouterState:
        job, masked = self._job, set(next.masked)
        if not view.callable:
            masked.update(self._runtime.with_contract("calls"))
        return RouterState(bool(job.tools), bool(job.passages), job.python is not None, frozenset(masked), next.after)

    def _decided(self, view: StepView, state: RouterState, route: Route) -> Decision | None:
        """What the policy's `decide` says; None where it leaves the step to the router."""
        policy, runtime = self._job.policy, self._runtime
        if policy.decide is None:
            return None
        shut = state.masked | frozenset(route.masked)
        able = tuple(name for name in (*runtime.skills, NONE) if name not in shut)
        facts = StepFacts(
            index=len(view.steps),
            prompt=self._job.prompt,
            message=view.message,
            after=state.after,
            route=route,
            masked=shut,
            open=able,
            steps=tuple(view.steps),
        )
        wish = policy.decide(facts)
        if isinstance(wish, Forbid):
            for name in wish.names:
                runtime.check(name)
            other = runtime.router.choose(view.features, replace(state, masked=state.masked | wish.names))
            return self._routed(other, route.skill)
        for choice in wishes(wish):
            if self._fits(choice, able):
                return forced(choice, route)
            if not isinstance(wish, Sequence) or isinstance(wish, str):
                listed = ", ".join(able)
                raise InputError(
                    f"decide gave {str(choice)!r}, which this step cannot take: choose among {listed}, or give "
                    "several in order of preference"
                )
        return None

    def _fits(self, choice: str | Mixture, able: Collection[str]) -> bool:
        """Whether a step can take a choice: a mixture where a skill of what it writes is open, or if it writes text."""
        self._runtime.check(choice)
        if not isinstance(choice, Mixture):
            return choice in able
        contract = self._runtime.contract(choice)
        return contract == "text" or any(name in able for name in self._runtime.with_contract(contract))

    def _caller(self, route: Route) -> Decision:
        """For a call that the caller requires: the router's choice if it writes calls, else the likeliest that does."""
        runtime = self._runtime
        if route.skill != NONE and runtime.contract(route.skill) == "calls":
            return self._routed(route)
        able = [name for name in runtime.with_contract("calls") if name not in self._job.policy.forbid]
        return forced(max(able, key=lambda name: route.probabilities.get(name, 0.0)), route)

    def _routed(self, route: Route, first: str = "") -> Decision:
        """The router's choice, or the mixture of its top skills where the policy's threshold admits more than one.

        Args:
            route: The choice.
            first: What the router chose before the policy forbade it; empty where that is this route.

        Raises:
            UnknownNameError: The bank lacks the chosen skill.
        """
        self._runtime.check(route.skill)
        least, routed = self._job.policy.thresholds.mix, first or route.skill
        mixture = self._mixed(route, least) if least and route.skill != NONE else None
        said = RouteRecord(
            probability=route.probability,
            routed=routed,
            abstained=route.abstained,
            runners_up=route.runners_up,
            masked=route.masked,
            mixture=mixture,
        )
        return Decision(str(mixture or route.skill), "router" if routed == route.skill else "policy", said)

    def _mixed(self, route: Route, least: float) -> Mixture | None:
        """A mixture of the chosen skill and the runners-up that act on the same part of the context, but no guards."""
        runtime, bank = self._runtime, self._runtime.bank
        guards, own = runtime.with_contract("verdict"), bank.card(route.skill)
        if not own.blends:
            return None
        others = [
            (name, probability)
            for name, probability in route.runners_up
            if name in bank
            and name not in guards
            and (card := bank.card(name)).blends
            and card.activation == own.activation
        ]
        return of_route([(route.skill, route.probability), *others], least, runtime.contract(route.skill))


def forced(choice: str | Mixture, route: Route | None, by: str = "policy") -> Decision:
    """Somebody's choice; the route says how probable the router finds it."""
    names, known = names_of(choice), {} if route is None else route.probabilities
    said = RouteRecord(
        probability=max((known.get(name, 0.0) for name in names), default=0.0),
        routed="" if route is None else route.skill,
        runners_up=tuple((name, p) for name, p in known.items() if name not in names),
        masked=() if route is None else route.masked,
        mixture=choice if isinstance(choice, Mixture) else None,
    )
    return Decision(str(choice), by, said)


def speaks(runtime: Runtime, decision: Decision, contract: str) -> bool:
    """Whether a step is the base's own word to the user, or that of a mixture of skills that learned to write no text.

    A skill whose contract is text was trained to write in its own way, and is told nothing.
    """
    if contract != "text" or decision.skill == NONE:
        return contract == "text"
    return all(runtime.contract(name) != "text" for name in decision.names)


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
