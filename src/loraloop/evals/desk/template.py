"""Requests with slots: drawing one fills its slots, and makes its right calls once, on a state of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import Field, JsonValue, field_validator, model_validator

from loraloop.evals.desk.request import KINDS, DeskRequest, DeskTurn, WantedCall
from loraloop.evals.desk.slots import DrawError, Facts, Part, Slot, as_text, filled, references, side
from loraloop.evals.desk.toolbox import Toolbox
from loraloop.tool_schemas.errors import InputError

Fill = Callable[[Any], Any]

TRIES = 30
"""How many draws in a row may fail, or repeat an earlier request."""


class CallTemplate(Part):
    """A wanted call whose values may refer to slots and to results of earlier calls; see `WantedCall`.

    Attributes:
        given_label: What later texts call its result, if the file says so (`as`).
        after: Labels of calls of the same turn that have to come before it, besides those whose results it uses.
    """

    name: str
    given_label: str = Field(default="", alias="as")
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    free: list[str] = Field(default_factory=list)
    holds: dict[str, Facts] = Field(default_factory=dict)
    either: dict[str, Facts] = Field(default_factory=dict)
    gives: Facts = Field(default_factory=list)
    after: list[str] = Field(default_factory=list)

    @property
    def label(self) -> str:
        """What later texts call its result; the tool's name by default."""
        return self.given_label or self.name

    def wanted(self, arguments: Mapping[str, Any], needs: Iterable[int], fill: Fill) -> WantedCall:
        """The call with these arguments and the places of the calls before it; `fill` gives values for its others."""
        return WantedCall(
            self.name,
            arguments,
            free=tuple(self.free),
            holds=fill(self.holds),
            either=fill(self.either),
            gives=tuple(fill(self.gives)),
            needs=tuple(sorted(needs)),
        )


class TurnTemplate(Part):
    """A message of the user, in one or several wordings, and what has to come of it; see `request.DeskTurn`."""

    say: str | list[str]
    good: str = ""
    calls: list[CallTemplate] = Field(default_factory=list)
    says: Facts = Field(default_factory=list)
    names: Facts = Field(default_factory=list)
    never: Facts = Field(default_factory=list)
    asks: list[str] = Field(default_factory=list)
    ask: CallTemplate | None = None
    cites: str = ""
    absent: bool = False
    program: str = ""
    refused: bool = False
    talk: bool = False
    oracle: str = ""

    @property
    def wordings(self) -> tuple[str, ...]:
        return (self.say,) if isinstance(self.say, str) else tuple(self.say)

    @property
    def rest(self) -> dict[str, Any]:
        """The fields that a turn takes as they are."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in ("say", "calls", "ask")}

    def turn(self, say: str, calls: Iterable[WantedCall], fill: Fill) -> DeskTurn:
        """The turn in one wording and with these calls; `fill` gives values for its other fields."""
        found = fill(self.rest)
        rest: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in found.items()}
        rest |= {name: as_text(rest[name]) for name in ("good", "cites", "program")}
        ask = None if self.ask is None else self.ask.wanted(fill(self.ask.arguments), (), fill)
        return DeskTurn(say=say, calls=tuple(calls), ask=ask, **rest)


class RequestTemplate(Part):
    """A request of one turn, or of several, which may have slots.

    Attributes:
        id, kind, tags: As of a `DeskRequest`.
        slots: By name, in the order in which they are drawn.
        turns: With references.
    """

    id: str
    kind: str
    tags: list[str] = Field(default_factory=list)
    slots: dict[str, Slot] = Field(default_factory=dict)
    turns: list[TurnTemplate] = Field(min_length=1)
    _where: str = ""

    @model_validator(mode="before")
    @classmethod
    def _one_turn(cls, part: Any) -> Any:
        if not isinstance(part, Mapping) or "turns" in part:
            return part
        own = {name: value for name, value in part.items() if name in ("id", "kind", "tags", "slots")}
        return {**own, "turns": [{name: value for name, value in part.items() if name not in own}]}

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"there is no kind {kind!r}: use one of {', '.join(KINDS)}")
        return kind

    def placed(self, shared: Mapping[str, Slot], where: str) -> RequestTemplate:
        """A copy with the slots that all requests of a world share, which knows its place in the file."""
        found = self.model_copy(update={"slots": {**shared, **self.slots}})
        found._where = where
        return found

    @property
    def where(self) -> str:
        """Place of the request in `world.yaml`, for messages."""
        return self._where

    @property
    def varied(self) -> bool:
        """Whether each turn has wordings for requests that are learnt and others for held-out ones."""
        return all(len(turn.wordings) > 1 for turn in self.turns)

    def draw(self, toolbox: Toolbox, seed: str, held_out: bool = False) -> DeskRequest:
        """The request that a seed stands for. Its right calls run once, for the results that its texts refer to.

        Args:
            toolbox: A fork of the world's; its state is rebuilt.
            seed: Equal seeds draw equal requests.
            held_out: Whether values and wordings are those of held-out requests.

        Raises:
            DrawError: There is no value for a slot, or a right call fails.
        """
        name = f"{self.id}/{'held-out' if held_out else 'learnt'}/{seed}"
        rng, state = random.Random(name), f"state/{name}" if toolbox.seeded else None
        toolbox.fresh(state)
        scope: dict[str, Any] = {}
        for slot, source in self.slots.items():
            try:
                scope[slot] = source.draw(rng, scope, toolbox, held_out)
            except DrawError as error:
                raise DrawError(f"slot {slot}: {error}") from error
        drawn = dict(scope)
        turns = tuple(_turn(turn, scope, toolbox, rng, held_out) for turn in self.turns)
        return DeskRequest(f"{self.id}~{seed}", self.kind, turns, tuple(self.tags), slots=drawn, seed=state)


def draws(
    templates: Sequence[RequestTemplate],
    toolbox: Toolbox,
    count: int,
    *,
    seed: int = 0,
    held_out: bool = False,
) -> list[DeskRequest]:
    """Requests of some templates in turn, no two of which say the same.

    Args:
        templates: What is drawn from. For requests that are learnt from only those count that have other wordings for
            held-out requests.
        toolbox: Toolbox of their world; it is forked.
        count: Number of requests; fewer where the templates have no more.
        seed: Seed of the draws.
        held_out: Whether the requests are held out: drawn from other values and other wordings.

    Raises:
        InputError: A template cannot be drawn from; with its place in the world's file.
    """
    from_here = [template for template in templates if held_out or template.varied]
    own, found = toolbox.fork(), list[DeskRequest]()
    known: set[tuple[str, ...]] = set()
    number = 0
    while from_here and len(found) < count:
        for template in list(from_here):
            drawn, number = _new(template, own, seed, number, held_out=held_out, known=known)
            if drawn is None:
                from_here.remove(template)  # it has no more
            elif len(found) < count:
                found.append(drawn)
    return found


def _new(
    template: RequestTemplate, toolbox: Toolbox, seed: int, number: int, *, held_out: bool, known: set[tuple[str, ...]]
) -> tuple[DeskRequest | None, int]:
    """A request that has not been drawn yet, or None; and the number of the next draw."""
    problem: DrawError | None = None
    drawable = False
    for _ in range(TRIES):
        number += 1
        try:
            drawn = template.draw(toolbox, f"{seed}.{number}", held_out)
        except DrawError as error:
            problem = error
            continue
        drawable = True
        key = (template.id, *(turn.say for turn in drawn.turns))
        if key not in known:
            known.add(key)
            return drawn, number
    if problem is not None and not drawable:
        raise InputError(f"{template.where}: request {template.id!r} cannot be drawn: {problem}")
    return None, number


def _turn(turn: TurnTemplate, scope: dict[str, Any], toolbox: Toolbox, rng: random.Random, held_out: bool) -> DeskTurn:
    """A turn with everything filled; the results of its calls are added to the scope."""
    wording = rng.choice(side(turn.wordings, held_out))
    say = as_text(filled(wording, scope))
    places: dict[str, int] = {}
    called = []
    for place, call in enumerate(turn.calls):
        used = {name.split(".")[0] for name in references(call.arguments)} | set(call.after)
        needs = [places[label] for label in used if label in places]
        arguments = filled(call.arguments, scope)
        try:
            result = toolbox.functions[call.name](**arguments)
        except Exception as error:
            listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            raise DrawError(f"its right call {call.name}({listed}) raises {type(error).__name__}: {error}") from error
        called.append((call, arguments, needs))
        places[call.label], scope[call.label] = place, json.loads(json.dumps(result, default=str))
    fill = partial(filled, scope=scope)
    return turn.turn(say, [call.wanted(arguments, needs, fill) for call, arguments, needs in called], fill)
