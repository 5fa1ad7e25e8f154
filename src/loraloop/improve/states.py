"""Training records of the states that runs of an agent reached (DAgger, arXiv 1011.0686).

Each step of a run stands on a transcript. Where the step did what the oracle says, what it wrote is the record's
completion (`right`); where it did not, the oracle's next step is (`corrected`), and where no tools skill was asked
although something had to be called, it is, too (`not asked`). A run is followed until something happens that nobody
asked for: behind that no step is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from loraloop.evals.desk.oracle import NextStep, accepts, next_step
from loraloop.evals.desk.request import DeskCall, DeskRequest, DeskTurn
from loraloop.evals.desk.world import World
from loraloop.training.trace_data import after_step, shown

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.values.result import RunResult
    from loraloop.agent.values.step import Step

RIGHT, CORRECTED, NOT_ASKED = "right", "corrected", "not asked"


@dataclass(frozen=True, slots=True)
class State:
    """A state that a run reached, and what is right there.

    Attributes:
        contract: What the step writes: `calls`, or `text` for the answer.
        why: `right`, `corrected` or `not asked`.
        record: The training record, in the form `calls` or `messages`.
    """

    contract: str
    why: str
    record: dict[str, Any]


def states_of(
    world: World,
    request: DeskRequest,
    results: Sequence[RunResult[Any]],
    tools: Sequence[dict[str, Any]],
    contract_of: Callable[[str], str],
    right: bool,
) -> list[State]:
    """The records of a request's runs.

    Args:
        world: The world that the request was made in.
        request: The request.
        results: Results of its turns, in order; fewer where it did not get to the end.
        tools: The agent's tools as `{name, description, parameters}`.
        contract_of: The contract of a skill, by its name.
        right: Whether the whole request came out right.
    """
    found: list[State] = []
    start = 0
    for number, (turn, result) in enumerate(zip(request.turns, results, strict=False)):
        if result.compactions:
            break  # its messages are not those that its steps read
        start = next((at for at in range(start, len(result.messages)) if result.messages[at].role == "user"), start) + 1
        follower = _Follower(world, request, turn, number, contract_of)
        for context, state in follower.states(result, start, right):
            record = {**shown(context, tools), **state.record, "kind": request.kind}
            origin = {"run": f"{world.name}/{request.id}", "why": state.why}
            found.append(replace(state, record={**record, "origin": origin}))
        if follower.over:
            break  # what follows stands on what did not happen
        start = len(result.messages)
    return found


_Found: TypeAlias = "tuple[Sequence[Message], State]"
"""The transcript that a step stands on, and its state with what is right there as the record."""


class _Follower:
    """Follows the run of one turn.

    Attributes:
        over: Whether the turn did not reach what it should, so that later turns teach nothing.
    """

    def __init__(
        self, world: World, request: DeskRequest, turn: DeskTurn, number: int, contract_of: Callable[[str], str]
    ) -> None:
        self.world, self.request, self.turn, self.number = world, request, turn, number
        self.contract_of = contract_of
        self.made: list[DeskCall] = []
        self.over = False

    def states(self, result: RunResult[Any], at: int, right: bool) -> Iterator[_Found]:
        """The states of a run whose first step follows so many messages."""
        messages = result.messages
        asked_at = -1  # the last place at which a step could call
        before: Step | None = None
        for step in result.steps:
            wanted = next_step(self.world, self.request, self.turn, self.made)
            if wanted is None or at > len(messages):
                break
            contract, context = self.contract_of(step.skill), messages[:at]
            if contract == "calls":
                asked_at = at
                again = before if step.decided_by == "repair" else None
                yield from self._calls(step, wanted, context, _repair_prompt(again) if again else {})
            elif contract in ("text", "answer") and step.kept and asked_at != at and wanted != NextStep():
                asked_at = at
                yield context, State("calls", NOT_ASKED, {"calls": wanted.completion})
            if contract == "text" and step.outcome == "text" and step.kept and not wanted.calls:
                yield from self._text(step, context, right)
            self.made += self._made(step)
            at, before = after_step(step, messages, at), step
        end = next_step(self.world, self.request, self.turn, self.made)
        self.over = end is None or bool(end.calls) or not result.complete

    def _calls(
        self, step: Step, wanted: NextStep, context: Sequence[Message], extra: dict[str, str]
    ) -> Iterator[_Found]:
        calls = [
            self._call(record.name, record.arguments, record.result) for record in step.calls if not record.repeated
        ]
        written = step.outcome in ("calls", "no_call", "ask") and len(calls) == len(step.calls)
        if written and accepts(self.world, wanted, calls, step.asked):
            if len(calls) < len(wanted.calls):
                return  # a part of what is right: neither a mistake nor an example
            spoken = [{"name": call.name, "arguments": self._spoken(call)} for call in calls]
            yield context, State("calls", RIGHT, {**extra, "calls": wanted.completion if step.asked else spoken})
        else:
            yield context, State("calls", CORRECTED, {**extra, "calls": wanted.completion})

    def _text(self, step: Step, context: Sequence[Message], right: bool) -> Iterator[_Found]:
        if right:
            yield context, State("text", RIGHT, {"completion": step.text})
        elif self.turn.good and not self.turn.program and not self.turn.refused and not self.turn.cites:
            yield context, State("text", CORRECTED, {"completion": self.turn.good})

    def _made(self, step: Step) -> list[DeskCall]:
        return [
            self._call(record.name, record.arguments, record.result, record.error or "")
            for record in step.calls
            if not record.repeated and record.name in self.world.toolbox.functions
        ]

    def _call(self, name: str, arguments: dict[str, Any], result: Any = None, error: str = "") -> DeskCall:
        defaults = self.world.defaults(name) if name in self.world.toolbox.functions else {}
        return DeskCall(name, {**defaults, **arguments}, self.number, result, error)

    def _spoken(self, call: DeskCall) -> dict[str, Any]:
        """The arguments of a call without those that have their default."""
        defaults = self.world.defaults(call.name)
        return {
            name: value for name, value in call.arguments.items() if name not in defaults or value != defaults[name]
        }


def _repair_prompt(before: Step) -> dict[str, str]:
    """What a step saw that was written again after another one was invalid."""
    from loraloop.agent.loop.prompts import extra_prompt

    return {"extra_prompt": extra_prompt((), before.error)[-1][-1].content}
