"""The systems that `loraloop eval agent` compares: one agent, one base, one set of grammars, another choice each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraloop.agent.guard.guard import Guard
from loraloop.agent.policy import Policy
from loraloop.agent.skills.mixture import MOST, Mixture
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.agent.loop.route import StepFacts
    from loraloop.agent.runtime import Runtime

ROUTED, BASE, MIXTURE, ORACLE = "routed", "base", "mixture", "oracle"
Choice = str | Mixture


@dataclass(frozen=True, slots=True)
class Right:
    """What is right in one run.

    Attributes:
        calls: How many calls it needs.
        finish: The skill of its last step: `none`, `retrieval`, `code` or `safety`.
    """

    calls: int = 0
    finish: str = NONE


@dataclass(frozen=True, slots=True)
class System:
    """One way to choose.

    Attributes:
        name: `routed`, `base`, a skill's name, `mixture` or `oracle`.
        runtime: What it runs on.
    """

    name: str
    runtime: Runtime

    def driver(self, right: Right) -> Driver:
        """What decides a run.

        Args:
            right: What the task says, which only the oracle reads.
        """
        return Driver(self.runtime, _rule(self.name, self.runtime, right))


Rule = Callable[["StepFacts"], Choice]


class Driver:
    """Decides the steps of one run and remembers what the last one writes.

    Attributes:
        policy: Of the run.
        guard: Of the run; the agent's own where the router chooses.
        writes: Contract of the step that was chosen last; empty where the router chooses.
    """

    def __init__(self, runtime: Runtime, rule: Rule | None) -> None:
        self._runtime, self._rule = runtime, rule
        self.writes = ""
        self.policy = Policy() if rule is None else Policy(decide=self._decide)
        self.guard = None if rule is None else Guard(input=None, tools=None)

    def _decide(self, facts: StepFacts) -> Choice:
        assert self._rule is not None
        choice = self._rule(facts)
        self.writes = self._runtime.contract(choice)
        return choice


def systems(runtime: Runtime, bare: Callable[[], Runtime], wanted: Sequence[str] | None = None) -> dict[str, System]:
    """The wanted systems by name, in their order.

    Args:
        runtime: Base, skills and router.
        bare: Makes a runtime with blank skills on the same base.
        wanted: Names; all where None.

    Raises:
        UnknownNameError: There is no such system.
        InputError: The runtime has no skills.
    """
    if not runtime.skills:
        raise InputError("this base has no skills to compare: train some, or name their folders with --skill")
    every = (ROUTED, BASE, *runtime.skills, MIXTURE, ORACLE)
    for name in wanted or ():
        if name not in every:
            raise unknown("system", name, every)
    chosen = [name for name in every if wanted is None or name in wanted]
    own = bare() if BASE in chosen else runtime
    return {name: System(name, own if name == BASE else runtime) for name in chosen}


def _rule(name: str, runtime: Runtime, right: Right) -> Rule | None:
    if name == ROUTED:
        return None
    if name == BASE:
        return lambda facts: _by_form(runtime, facts)
    if name == MIXTURE:
        return lambda facts: _mixed(runtime, facts)
    if name == ORACLE:
        return lambda facts: _right(runtime, facts, right)
    return lambda facts: _always(runtime, facts, name)


def _by_form(runtime: Runtime, facts: StepFacts) -> str:
    """What can be written here: an answer where there are passages, calls where there are tools, else text."""
    for contract in ("answer", "calls"):
        for name in runtime.with_contract(contract):
            if name in facts.open:
                return name
    return NONE


def _mixed(runtime: Runtime, facts: StepFacts) -> Mixture:
    """Every skill with the same weight, writing what `_by_form` finds."""
    names = [name for name in runtime.skills if runtime.bank.card(name).blends][:MOST]
    form = _by_form(runtime, facts)
    return Mixture({name: 1 / len(names) for name in names}, runtime.contract(form))


def _always(runtime: Runtime, facts: StepFacts, name: str) -> str:
    """The skill wherever it can run; a verdict once for each text from outside; the base for the rest."""
    if name not in facts.open:
        return NONE
    if runtime.contract(name) != "verdict":
        return name
    judged = bool(facts.steps) and facts.steps[-1].skill == name
    fresh = not judged and (not facts.steps or facts.after == "tool")
    return name if fresh else NONE


def _right(runtime: Runtime, facts: StepFacts, right: Right) -> str:
    """What the task says: tools until as many calls were served as it has, then what finishes it."""
    made = sum(call.error is None and not call.repeated for step in facts.steps for call in step.calls)
    judged = any(step.outcome == "safe" for step in facts.steps)
    contract = "calls" if made < right.calls else _FINISHERS.get(right.finish, "")
    for name in runtime.with_contract(contract) if contract and not judged else ():
        if name in facts.open:
            return name
    if contract == "calls" and right.finish != NONE:  # the skill found no call: on to the end
        return _right(runtime, facts, Right(0, right.finish))
    return NONE


_FINISHERS = {"retrieval": "answer", "code": "code", "safety": "verdict"}


def identities(runtime: Runtime) -> dict[str, str]:
    """By name, the weights of each skill and, in short, how its card has it decoded."""
    found = {}
    for name in runtime.skills:
        runtime.bank.slot(name)  # identities are known of skills that were read
        card = runtime.bank.card(name)
        chosen = {"threshold": {"chosen"}, "reranking": {"chosen"}}
        how = card.model_dump_json(include={"threshold", "beams", "reranking"}, exclude=chosen)
        found[name] = f"{runtime.bank.identity(name)} {hashlib.sha256(how.encode()).hexdigest()[:12]}"
    return found
