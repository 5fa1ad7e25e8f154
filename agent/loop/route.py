"""Chooses the skill of a step. The policy comes first, then the router; what the router said is always recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.agent.job import Job
from loraloop.agent.loop.prompts import closing_fact, results_in_words
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.checkpoint import NextStep
from loraloop.agent.values.policy import Forbid, StepFacts
from loraloop.agent.values.step import Decision, RouteRecord, Step
from loraloop.router.decision import NONE, Route, RouterState
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class StepView:
    """The facts on which the choice of a step's skill depends.

    Attributes:
        features: The router's input.
        messages: The transcript.
        steps: The run's steps so far.
        required: Whether the caller requires a call now.
        callable: Whether the step has tools that it may call.
        fallback: Whether a fallback writes the step if the router abstains.
    """

    features: Any
    messages: Sequence[Message]
    steps: Sequence[Step]
    required: bool
    callable: bool
    fallback: bool = False


class SkillChooser:
    """Chooses the skill of each step of one run.

    Args:
        runtime: The runtime whose router chooses among the skills of the bank.
        job: The run's.
    """

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self._runtime = runtime
        self._job = job

    def choose(self, view: StepView, next: NextStep) -> tuple[Decision, Route]:
        """The decision for the next step, and what the router said.

        Raises:
            UnknownNameError: The policy's `decide` names a skill that does not exist.
            InputError: `decide` returned something else than a choice, or a single choice that this step cannot take.
        """
        state = self._state(view, next)
        route = self._runtime.router.choose(view.features, state)
        if next.retry is not None:
            return decision_of(next.retry.decision.skill, route, "retry"), route
        if next.choices and next.choices[0] not in state.masked:
            return decision_of(next.choices[0], route), route
        if view.required:
            return self._required_call(route), route
        chosen = self._by_policy(view, state, route)
        if chosen is None:
            chosen = self._caller_first(view, state, route) or self._by_router(route)
            closer = self.closer(next) if chosen.skill == NONE else None
            if closer is not None and (self._closing(view) or self._talks(closer)):
                chosen = by_loop(closer, route)
        return chosen, route

    def closer(self, next: NextStep) -> str | None:
        """The skill that closes this run in the place of the base; None where there is none, or it may not.

        An answer that has to be of a form is the base's.
        """
        name = self._runtime.closer
        shut = name is None or name in next.masked or name in self._job.policy.forbid
        return None if shut or self._job.output.term is not None else name

    def _closing(self, view: StepView) -> bool:
        """Whether a skill closes the run. Results that the base is told in words it gives right, so these it says."""
        fact = closing_fact(view.messages, (), view.steps, self._job.passages)
        if fact == "" and self._runtime.base.prompting.name_results:
            return not results_in_words(view.messages)
        return fact is not None

    def _talks(self, closer: str) -> bool:
        """Whether a skill answers plain talk too: one that learned it, of an assistant that has tools or documents."""
        return self._runtime.bank.card(closer).talks and bool(self._job.tools or self._job.passages)

    def _caller_first(self, view: StepView, state: RouterState, route: Route) -> Decision | None:
        """Asks a skill for calls before anybody answers; None where no such skill is to be asked.

        Only a skill that was trained to call nothing (`[]`) is asked, or one that the router does not know, or any
        if the fallback writes the step. It is asked where the base would answer, and after each result of a tool,
        whatever the router says: it knows best whether a call is needed first. If it writes `[]`, the next step goes to
        the other skills. After a result it goes to those that write text, since all that is left is to tell the user
        what came of the request. A retrieval skill is not kept waiting: it says itself where its passages hold no
        answer, and then the skill for calls is asked.
        """
        runtime, known = self._runtime, getattr(self._runtime.router, "skills", None)
        withheld = state.after == "dropped" and view.messages[-1].role == "tool"
        if withheld and route.skill not in runtime.with_contract("text"):
            return by_loop(NONE, route)
        open_to_it = state.tools and (route.skill == NONE or state.after == "tool")
        callers = runtime.with_contract("calls") if open_to_it else ()
        unknown = known is not None and not set(known).intersection(callers)
        shut = state.masked | self._job.policy.forbid
        anyone = unknown or (view.fallback and route.abstained)
        able = [name for name in callers if name not in shut and (anyone or runtime.bank.card(name).asks)]
        return by_loop(able[0], route) if able else None

    def _state(self, view: StepView, next: NextStep) -> RouterState:
        job, masked = self._job, set(next.masked)
        if not view.callable:
            masked.update(self._runtime.with_contract("calls"))
        return RouterState(bool(job.tools), bool(job.passages), job.python is not None, frozenset(masked), next.after)

    def _by_policy(self, view: StepView, state: RouterState, route: Route) -> Decision | None:
        """The choice of the policy's `decide`; None where it leaves the step to the router."""
        policy, runtime = self._job.policy, self._runtime
        if policy.decide is None:
            return None
        shut = state.masked | frozenset(route.masked)
        able = tuple(name for name in (*runtime.skills, NONE) if name not in shut)
        facts = StepFacts(
            index=len(view.steps),
            prompt=self._job.prompt,
            message=view.messages[-1],
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
            made = self._by_router(other)
            by = "router" if made.skill == route.skill else "policy"
            return replace(made, by=by, route=replace(made.route, routed=route.skill))
        for choice in choices_of(wish):
            runtime.check(choice)
            if choice in able:
                return decision_of(choice, route)
            if not isinstance(wish, Sequence) or isinstance(wish, str):
                listed = ", ".join(able)
                raise InputError(
                    f"decide gave {choice!r}, which this step cannot take: choose among {listed}, or give "
                    "several in order of preference"
                )
        return None

    def _required_call(self, route: Route) -> Decision:
        """For a required call: the router's choice if it writes calls, else the most probable skill that does."""
        runtime = self._runtime
        if route.skill != NONE and runtime.contract(route.skill) == "calls":
            return self._by_router(route)
        able = [name for name in runtime.with_contract("calls") if name not in self._job.policy.forbid]
        return decision_of(max(able, key=lambda name: route.probabilities.get(name, 0.0)), route)

    def _by_router(self, route: Route) -> Decision:
        """The router's choice; raises UnknownNameError if the bank lacks the skill."""
        self._runtime.check(route.skill)
        return decision_of(route.skill, route, "router")


def decision_of(skill: str, route: Route | None, by: str = "policy") -> Decision:
    """A decision about a step, and what the router said, if it was asked: how probable it finds the skill."""
    known = {} if route is None else route.probabilities
    record = RouteRecord(
        probability=known.get(skill, 0.0),
        routed="" if route is None else route.skill,
        abstained=route is not None and route.abstained,
        runners_up=tuple((name, p) for name, p in known.items() if name != skill),
        masked=() if route is None else route.masked,
        threshold=None if route is None else route.threshold,
    )
    return Decision(skill, by, record)


def by_loop(skill: str, route: Route) -> Decision:
    """A decision of the loop's own order, which the router may share."""
    return decision_of(skill, route, "router" if skill == route.skill else "loop")


def is_handed_over(decision: Decision, steps: Sequence[Step]) -> bool:
    """Whether a step is the fallback's, if there is one.

    It is where the router abstains and nobody else chose the skill, where an answer was flawed, and where a step is
    written again for the second time. What the fallback began it ends: its invalid text it writes again itself, and
    where nothing of its step stayed (no call, say), the next step on the same message is its too.

    Args:
        decision: What was decided about the step.
        steps: The run's steps so far.
    """
    if decision.by in ("policy", "caller", "screen"):
        return False
    last = steps[-1] if steps else None
    if last is not None and last.written_by and (not last.kept or decision.by == "retry"):
        return True
    if decision.by == "repair":
        return last is not None and (last.outcome == "flawed" or last.decided_by == "repair")
    return decision.by in ("router", "loop") and decision.route.abstained


def choices_of(wish: object) -> list[str]:
    """What a `decide` returned, as a list of choices in order of preference; empty where the router is to choose.

    Raises:
        InputError: It returned something else.
    """
    if wish is None:
        return []
    names = [wish] if isinstance(wish, str) else wish
    if isinstance(names, Sequence) and all(isinstance(name, str) for name in names):
        return [*names]
    raise InputError(f"decide returned {wish!r}: give a skill, a list of them, Forbid(…), or None")
