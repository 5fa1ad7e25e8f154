"""From a route, or from what the caller wants, to the decision for a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loraloop.agent.loop.job import Decision
from loraloop.agent.skills.mixture import Mixture, names_of, of_route
from loraloop.agent.tools.tool_choice import caller
from loraloop.router.decision import NONE, Route

if TYPE_CHECKING:
    from loraloop.agent.policy import Policy
    from loraloop.agent.runtime import Runtime


def forced(choice: str | Mixture, route: Route) -> Decision:
    """The caller's choice; the route says how probable the router finds it."""
    names, known = names_of(choice), route.probabilities
    others = tuple((name, p) for name, p in known.items() if name not in names)
    sure = max(known.get(name, 0.0) for name in names)
    mixture = choice if isinstance(choice, Mixture) else None
    return Decision(str(choice), sure, False, others, route.masked, "policy", mixture, route)


def speaks(runtime: Runtime, decision: Decision, contract: str) -> bool:
    """Whether a step is the base's own word to the user, or that of a mixture of skills that learned to write no text.

    A skill whose contract is text was trained to write in its own way, and is told nothing.
    """
    if contract != "text" or decision.skill == NONE:
        return contract == "text"
    return all(runtime.contract(name) != "text" for name in decision.names)


def routed(runtime: Runtime, route: Route, least: float) -> Decision:
    """The router's choice, or the mixture of its top skills where `least` (see `Policy.mix`) admits more than one.

    Raises:
        UnknownNameError: the bank lacks the chosen skill.
    """
    runtime.check(route.skill)
    mixture = _mixed(runtime, route, least) if least and route.skill != NONE else None
    skill = route.skill if mixture is None else str(mixture)
    return Decision(skill, route.probability, route.abstained, route.runners_up, route.masked, "router", mixture, route)


def calling(runtime: Runtime, route: Route, policy: Policy) -> Decision:
    """For a call that the caller requires: the router's choice if it writes calls, else the likeliest that does."""
    if route.skill != NONE and runtime.contract(route.skill) == "calls":
        return routed(runtime, route, policy.mix)
    return forced(caller(policy, runtime, route.probabilities), route)


def _mixed(runtime: Runtime, route: Route, least: float) -> Mixture | None:
    """Of the chosen skill and of the runners-up that act on the same part of the context; guards never take part."""
    guards, bank = runtime.with_contract("verdict"), runtime.bank
    own = bank.card(route.skill)
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
