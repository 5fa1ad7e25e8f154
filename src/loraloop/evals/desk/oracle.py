"""The oracle: what the right next step of a turn is, from any state that its calls have led to.

The calls that a turn wants are declared with what each of them needs. So from the calls that were made it follows which
ones remain, and which of these can be made now. A request for which that is not enough names a function of `tools.py`:
it takes the drawn values and the turn's calls so far, and returns a list of calls, or `[]`. A call that lacks
required values has None in their places; the step is that call alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from loraloop.evals.desk.checks import fits, judge, right_answer
from loraloop.evals.desk.request import DeskCall, DeskRequest, DeskTurn, WantedCall
from loraloop.evals.desk.world import World
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class NextStep:
    """What a step of a tools skill should write: these calls, a call that lacks values, or `[]`.

    Attributes:
        calls: Calls that can be made now.
        ask: A call with None for each required argument that nobody said.
    """

    calls: tuple[WantedCall, ...] = ()
    ask: WantedCall | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the arguments that nobody said."""
        return () if self.ask is None else tuple(name for name, value in self.ask.arguments.items() if value is None)

    @property
    def completion(self) -> list[dict[str, Any]]:
        """As a training record has it."""
        calls = self.calls if self.ask is None else (self.ask,)
        return [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]


def next_step(world: World, request: DeskRequest, turn: DeskTurn, made: Sequence[DeskCall]) -> NextStep | None:
    """The right next step of a turn; None where nothing is right any more, or the turn does not say what is.

    Nothing is right after something was done that nobody asked for.

    Args:
        world: Where the calls were made.
        request: The request.
        turn: One of its turns.
        made: The calls of this turn so far, with defaults filled in.

    Raises:
        InputError: The turn's function of `tools.py` returns something else than a step.
    """
    if turn.oracle:
        return _of_function(world, request, turn, made)
    left, done = list(made), set()
    for place, wanted in enumerate(turn.calls):
        match = next((call for call in left if not call.error and fits(world, wanted, call)), None)
        if match is not None:
            left.remove(match)
            done.add(place)
    if any(call.name in world.changes and not call.error for call in left):
        return None
    if turn.asks or turn.ask:
        return None if turn.ask is None else NextStep(ask=turn.ask)
    open_now = [
        wanted for place, wanted in enumerate(turn.calls) if place not in done and done.issuperset(wanted.needs)
    ]
    return NextStep(tuple(open_now))


def accepts(world: World, right: NextStep, calls: Sequence[DeskCall], ask: Sequence[str] = ()) -> bool:
    """Whether a step is right: it asks for what is missing, or each of its calls is another one of the right ones.

    A step may make some of the right calls and leave the others to the next step.

    Args:
        world: Where the calls were made.
        right: What the oracle says.
        calls: What the step called; none where it called nothing.
        ask: What it asked for.
    """
    if right.ask or ask:
        return set(right.missing) == set(ask) and not calls
    left = list(right.calls)
    for call in calls:
        match = next((wanted for wanted in left if fits(world, wanted, call)), None)
        if match is None:
            return False
        left.remove(match)
    return bool(calls) or not right.calls


def rehearse(world: World, request: DeskRequest) -> str:
    """Makes the calls that the oracle says, step by step, gives the right answers, and judges the run by the checks.

    Args:
        world: A fork whose state may be rebuilt.
        request: What is asked.

    Returns:
        Why the run is wrong; empty if it is right, as it has to be.
    """
    world.start(request)
    answers = []
    for world.turn, turn in enumerate(request.turns):
        for _ in range(len(turn.calls) + 8):
            step = next_step(world, request, turn, [call for call in world.calls if call.turn == world.turn])
            if step is None or not step.calls:
                break
            for call in step.calls:
                if error := world.call(call.name, call.arguments).error:
                    return f"its right call {call.name} raises {error}"
        answers.append(right_answer(turn))
    return judge(world, request, answers)


def check_draws(world: World) -> None:
    """Sees to it that right runs of a world's drawn requests pass its own checks.

    Args:
        world: The world.

    Raises:
        InputError: One does not; with the template's place in the file.
    """
    own = world.fork()
    for template in world.templates:
        for held_out in (False, True):
            for request in own.draw_of(template, 2, held_out=held_out):
                if why := rehearse(own, request):
                    raise InputError(f"{template.where}: the right run of {request.id} is judged wrong: {why}")


def _of_function(world: World, request: DeskRequest, turn: DeskTurn, made: Sequence[DeskCall]) -> NextStep | None:
    found = getattr(world.module, turn.oracle)(dict(request.slots), list(made))
    if found is None:
        return None
    try:
        calls = tuple(WantedCall(**call) for call in found)
    except TypeError as error:
        expected = 'return a list of {"name": …, "arguments": {…}}'
        raise InputError(f"{turn.oracle} of {world.name}/tools.py returns {found!r} ({error!r}): {expected}") from None
    for call in calls:
        optional = world.defaults(call.name)  # None may be the value of one of these
        arguments = {name: value for name, value in call.arguments.items() if value is not None or name not in optional}
        if None in arguments.values():
            return NextStep(ask=replace(call, arguments=arguments))
    return NextStep(calls)
