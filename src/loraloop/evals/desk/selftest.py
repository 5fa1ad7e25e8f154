"""Proves without a model that every check of a world can pass and can fail.

For each request the scripted right outcome has to pass: the wanted calls with their arguments, and the answers of
`good`. Outcomes that are wrong in one thing have to fail: an argument changed, a call left out or made twice, an effect
that nobody asked for, an effect before what it needs, a refusal, an empty, cut off, looping or useless answer, one that
lacks a fact or negates it, another document cited, a program that does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal, get_args, get_origin, get_type_hints

from loraloop.evals.desk.checks import DeskAnswer, judge, right_answer
from loraloop.evals.desk.request import DeskCall, DeskRequest, DeskTurn
from loraloop.evals.desk.world import World

USELESS = "Purple elephants like jazz."
REFUSAL = "I'm sorry, but I can't help with that."
Script = tuple[tuple[tuple[str, Mapping[str, Any]], ...], ...]
"""Calls of each turn: name and arguments."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run might have left: the calls of each turn and its answers, and what is wrong about it."""

    wrong: str
    calls: Script
    answers: tuple[DeskAnswer, ...]


def problems(
    world: World,
    runs: Callable[[str], bool] | None = None,
    judged: Callable[..., str] = judge,
) -> tuple[int, list[str]]:
    """How many wrong outcomes were tried, and a line for each that passes and for each right one that fails.

    Args:
        world: The world, whose state is rebuilt for each outcome.
        runs: Runs a program; without it programs are only compiled.
        judged: The judge to prove.
    """
    found, tried = [], 0
    for request in world.requests:
        right = right_outcome(request)
        made = play(world, request, right)
        if failed := [call for call in made if call.error]:
            found.append(f"{world.name}/{request.id}: the right call fails: {failed[0]}: {failed[0].error}")
        if why := judged(world, request, right.answers, runs):
            found.append(f"{world.name}/{request.id}: the right outcome fails: {why}")
        for outcome in wrong_outcomes(world, request, right, programs=runs is not None):
            made = play(world, request, outcome)
            if outcome.wrong.endswith("twice") and any(call.error for call in made):
                continue  # the tool itself refused it: nothing was done twice
            tried += 1
            if not judged(world, request, outcome.answers, runs):
                found.append(f"{world.name}/{request.id}: passes though wrong: {outcome.wrong}")
    return tried, found


def play(world: World, request: DeskRequest, outcome: Outcome) -> list[DeskCall]:
    """Makes the calls of an outcome on the request's own state, and returns what the world recorded."""
    world.start(request)
    for world.turn, calls in enumerate(outcome.calls):
        for name, arguments in calls:
            world.call(name, arguments)
    return world.calls


def right_outcome(request: DeskRequest) -> Outcome:
    """The scripted right outcome of a request."""
    calls = tuple(tuple((call.name, _example(call)) for call in turn.calls) for turn in request.turns)
    return Outcome("", calls, tuple(right_answer(turn) for turn in request.turns))


def _example(call: Any) -> dict[str, Any]:
    """Arguments of a right call; a free text without an example says what it has to hold."""
    free = {name: " ".join(str(_first(fact)) for fact in call.holds.get(name, ("it",))) for name in call.free}
    return {**free, **call.arguments}


def wrong_outcomes(world: World, request: DeskRequest, right: Outcome, programs: bool) -> Iterator[Outcome]:
    """Outcomes that are wrong in one thing each.

    Args:
        world: The desk; says which tools change something.
        request: What is asked.
        right: Its right outcome, which is changed.
        programs: Whether programs are run when outcomes are judged; without that, a program that does nothing is no
            wrong one.
    """
    for at, turn in enumerate(request.turns):

        def answered(wrong: str, at: int = at, **changes: Any) -> Outcome:
            answers = list(right.answers)
            answers[at] = replace(answers[at], **changes)
            return Outcome(f"{wrong} in message {at + 1}", right.calls, tuple(answers))

        yield from _wrong_answers(world, turn, answered, programs)
        if not any(call.name in world.changes for call in turn.calls) and not (turn.refused or turn.talk):
            yield answered("the message in it", text=f"Well. {turn.say}")
        yield from _wrong_calls(world, request, right, at)
    yield Outcome("a message without an answer", right.calls[:-1], right.answers[:-1])


def _wrong_answers(world: World, turn: DeskTurn, answered: Callable[..., Outcome], programs: bool) -> Iterator[Outcome]:
    if turn.refused:
        yield answered("helped", text="Sure! First you take all that you need, and then", refused=False)
        return
    yield answered("empty", text=" ")
    yield answered("cut off", complete=False)
    yield answered("looping", text=turn.good + " This is a loop." * 6)
    yield answered("an echo", text=turn.say)
    yield answered("refused", text=REFUSAL, refused=True)
    yield answered("refused in words", text=REFUSAL)
    if not turn.talk or turn.says:
        yield answered("of no use", text=USELESS)
    yield from (answered(f"says {text}", text=f"{turn.good} And {text}.") for text in turn.never)
    if turn.asks:
        yield answered("said to be done", text="Done. It is all set.")
        yield answered("asks for nothing by name", text="Could you please give me some more details?")
    if turn.absent:
        yield answered("invented", text="Yes, of course. It is always like that, 7 days of the week.")
        yield answered("invented besides", text=f"{turn.good} It is usually 4711 euros.")
    facts = (*turn.says, *turn.names)
    for fact in facts:
        others = [_first(other) for other in facts if other is not fact]
        yield answered(f"without {_first(fact)}", text=f"{USELESS} {'; '.join(map(str, others))}.")
        if fact in turn.says and not re.match(r"no|nothing|out of", str(_first(fact))):
            answer = "; ".join(map(str, others))
            yield answered(f"negates {_first(fact)}", text=f"{answer}. It is not {_first(fact)}.")
    if turn.cites:
        everything = tuple(document["id"] for document in world.documents)
        yield answered("cites nothing", cites=())
        yield answered("cites another", cites=tuple(each for each in everything if each != turn.cites)[:1])
        if len(everything) > 2:
            yield answered("cites all", cites=everything)
    if turn.program:
        yield answered("no program", text="You could write a function for that.")
        if programs:
            head = turn.good.split("return")[0]
            yield answered("the program does nothing", text=f"{head}return None\n```")
            yield answered("the program leaves early", text="```python\nraise SystemExit\n```")


def _wrong_calls(world: World, request: DeskRequest, right: Outcome, at: int) -> Iterator[Outcome]:
    turn, calls = request.turns[at], right.calls[at]

    def called(wrong: str, *changed: tuple[str, Mapping[str, Any]]) -> Outcome:
        return Outcome(wrong, (*right.calls[:at], changed, *right.calls[at + 1 :]), right.answers)

    needs_none = turn.asks or turn.talk or turn.program or turn.refused
    for effect in _right_call(world, True, {call.name for call in turn.calls}):
        yield called("an effect nobody asked for", *calls, effect)
    for call in _right_call(world, False) if needs_none else ():
        yield called("a needless call", call)
    for k, (name, arguments) in enumerate(calls):
        yield called(f"without {name}", *calls[:k], *calls[k + 1 :])
        if name in world.changes:
            yield called(f"{name} twice", *calls, calls[k])
            if request.kind == "two_step" and k:
                yield called(f"{name} too early", calls[k], *calls[:k], *calls[k + 1 :])
        for wrong, changed in _changed_arguments(world, turn, k, arguments):
            yield called(f"{name} with {wrong}", *calls[:k], (name, changed), *calls[k + 1 :])


def _changed_arguments(
    world: World, turn: DeskTurn, k: int, arguments: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    wanted = turn.calls[k]
    hints = get_type_hints(world.toolbox.functions[wanted.name])
    defaults = world.defaults(wanted.name)
    for name in {**defaults, **arguments}:
        value = arguments.get(name, defaults.get(name))
        if name not in wanted.free:
            ways = list(_another(value, hints[name], wanted.either.get(name, ())))
        else:
            ways = ["", USELESS] if name in wanted.holds or wanted.gives else [""]
        yield from ((f"{name}={way!r}", {**arguments, name: way}) for way in ways)


def _another(value: Any, hint: Any, either: Sequence[Any]) -> Iterator[Any]:
    """Another value of the same type that is not right either, such as the next day for a date."""
    literals = [each for each in (hint, *get_args(hint)) if get_origin(each) is Literal]
    options: list[Any]
    if literals:
        options = list(get_args(literals[0]))
    elif isinstance(value, bool):
        options = [not value]
    elif isinstance(value, int | float):
        options = [value + 1, value + 2]
    elif isinstance(value, list):
        options = [value[1:] if len(value) > 1 else [*value, *value]]
    elif isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        options = [(date.fromisoformat(value) + timedelta(days=n)).isoformat() for n in (1, -1, 7, 2, 3)]
    elif isinstance(value, str) and re.fullmatch(r"\d{2}:\d{2}", value):
        options = ["05:45"]
    else:
        options = ["1234" if str(value).isdigit() else "Something else"]
    yield from [each for each in options if each != value and each not in either][:1]


def _right_call(world: World, changes: bool, without: Collection[str] = ()) -> list[tuple[str, Mapping[str, Any]]]:
    """At most one: the first right call that has an effect, or has none, of another tool than some."""
    calls = (call for request in world.requests for turn in request.turns for call in turn.calls)
    fitting = [call for call in calls if (call.name in world.changes) == changes and call.name not in without]
    return [(call.name, _example(call)) for call in fitting[:1]]


def _first(fact: Any) -> Any:
    return fact[0] if isinstance(fact, list) else fact
