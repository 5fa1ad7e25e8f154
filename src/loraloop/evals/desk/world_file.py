"""The file `world.yaml`: its keys, what they have to agree with, and requests and templates made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from loraloop.adapters.training.recipe.recipe_lines import Lines, explain, read_lines
from loraloop.evals.desk.request import DeskRequest, DeskTurn
from loraloop.evals.desk.slots import Part, Slot, references
from loraloop.evals.desk.template import CallTemplate, RequestTemplate, TurnTemplate
from loraloop.evals.desk.toolbox import Toolbox
from loraloop.tool_schemas.errors import InputError, unknown


class WorldPart(Part):
    """A whole file."""

    instructions: str
    changes: list[str] = Field(default_factory=list)
    documents: list[dict[str, str]] = Field(default_factory=list)
    slots: dict[str, Slot] = Field(default_factory=dict)
    requests: list[RequestTemplate]


def read_world_file(file: Path, toolbox: Toolbox) -> tuple[WorldPart, list[DeskRequest], list[RequestTemplate]]:
    """What a `world.yaml` holds: its parts, plain requests, and templates of those with slots or several wordings.

    Raises:
        InputError: It is wrong, with the line of each mistake; an unknown name with the nearest one.
    """
    document, lines = read_lines(file, f"{file.parent.name}/{file.name}")
    lines = _one_turn_lines(document, lines)
    try:
        content = WorldPart.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{file} is not a world: {explain(error, WorldPart, lines)}") from None
    if problems := list(_problems(content, lines, toolbox)):
        raise InputError(f"{file} is not a world: {'; '.join(problems)}")
    plain, templates = [], []
    for place, part in enumerate(content.requests):
        if content.slots or part.slots or any(len(turn.wordings) > 1 for turn in part.turns):
            templates.append(part.placed(content.slots, lines.at(("requests", place))))
        else:
            plain.append(_plain(part))
    return content, plain, templates


def _one_turn_lines(document: Any, lines: Lines) -> Lines:
    """The lines, those of a request that is written without `turns` also as those of its one turn."""
    found = dict(lines.lines)
    for path, line in lines.lines.items():
        if len(path) > 2 and path[0] == "requests" and "turns" not in document["requests"][path[1]]:
            found[(*path[:2], "turns", 0, *path[2:])] = line
    return Lines(lines.where, found)


def _problems(content: WorldPart, lines: Lines, toolbox: Toolbox) -> Iterator[str]:
    """What does not agree: names of tools, arguments, documents, slots and labels."""

    def at(*path: str | int) -> str:
        return lines.at(path)

    for place, name in enumerate(content.changes):
        if name not in toolbox.functions:
            yield f"{at('changes', place)}: {unknown('tool', name, toolbox.functions)}"
    known = [document["id"] for document in content.documents if "id" in document]
    ids: set[str] = set()
    for number, request in enumerate(content.requests):
        if request.id in ids:
            yield f"{at('requests', number)}: two requests are called {request.id}"
        ids.add(request.id)
        slots = {**content.slots, **request.slots}
        yield from _slot_problems(request, content.slots, toolbox, lambda *path, n=number: at("requests", n, *path))
        labels: set[str] = set()
        for place, turn in enumerate(request.turns):
            here = ("requests", number, "turns", place)
            varied = bool(slots) or len(turn.wordings) > 1
            for found, path in _turn_problems(turn, slots, labels, toolbox, varied):
                yield f"{at(*here, *path)}: {found}"
            labels |= {call.label for call in turn.calls}
            if turn.cites and turn.cites not in known and not list(references(turn.cites)):
                yield f"{at(*here, 'cites')}: {unknown('document', turn.cites, known)}"
            if varied and request.kind == "two_step" and turn.calls and not turn.oracle:
                uses = set().union(*map(references_of, turn.calls)) & {call.label for call in turn.calls}
                if not uses:
                    problem = (
                        "the second call of two_step uses a result of the first ({LABEL.field}), or names it with after"
                    )
                    yield f"{at(*here, 'calls')}: {problem}"
            if request.slots and len(turn.wordings) < 2:
                problem = (
                    "a request with slots needs at least two wordings, some of which are for held-out requests alone"
                )
                yield f"{at(*here, 'say')}: {problem}"


def _slot_problems(request: RequestTemplate, shared: Mapping[str, Slot], toolbox: Toolbox, at: Any) -> Iterator[str]:
    before: list[str] = []
    for name, slot in {**shared, **request.slots}.items():
        if name in toolbox.functions:
            yield f"{at('slots', name)}: a slot must not have the name of a tool, {name}"
        used = [reference.split(".")[0] for reference in references(slot.where)]
        for other in [*used, *([slot.differs_from] if slot.differs_from else [])]:
            if other not in before:
                yield f"{at('slots', name)}: slot {name} uses {other}, which is not a slot before it"
        if slot.function and not callable(getattr(toolbox.module, slot.function, None)):
            yield f"{at('slots', name)}: tools.py has no function {slot.function}"
        before.append(name)


def _turn_problems(
    turn: TurnTemplate, slots: Mapping[str, Slot], earlier: set[str], toolbox: Toolbox, varied: bool
) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Each problem of a turn with its path."""
    labels: set[str] = set()

    def unresolved(
        value: Any, names: set[str], path: tuple[str | int, ...]
    ) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        if varied:
            for reference in references(value):
                name = reference.split(".")[0]
                if name not in names:
                    yield f"{{{reference}}}: {unknown('slot or call', name, sorted(names))}", path

    for place, call in enumerate(turn.calls):
        path = ("calls", place)
        if call.name not in toolbox.functions:
            yield str(unknown("tool", call.name, toolbox.functions)), path
            continue
        parameters = list(toolbox.parameters(call.name))
        for name in (*call.arguments, *call.free, *call.holds, *call.either):
            if name not in parameters:
                yield str(unknown(f"argument of {call.name}", name, parameters)), path
        for name in call.free:
            if varied and name not in call.arguments:
                yield f"the free argument {name} needs an example among the arguments", path
        for name in call.after:
            if name not in labels:
                yield str(unknown("earlier call", name, sorted(labels))), path
        yield from unresolved(call.arguments, {*slots, *earlier, *labels}, path)
        label = call.label
        if label in labels and (call.given_label or any(label in references_of(other) for other in turn.calls)):
            yield f"two calls are called {label}: name one of them with as", path
        labels.add(label)
    everything = {*slots, *earlier, *labels}
    for place, wording in enumerate(turn.wordings):
        yield from unresolved(wording, {*slots, *earlier}, ("say", place))
    for name, value in turn.rest.items():
        yield from unresolved(value, everything, (name,))
    for call in turn.calls:
        yield from unresolved([call.holds, call.either, call.gives], everything, ("calls",))
    if turn.ask is not None:
        yield from _ask_problems(turn.ask, toolbox)
        yield from unresolved(turn.ask.arguments, {*slots, *earlier}, ("ask",))
    if varied and turn.asks and turn.ask is None and not turn.oracle:
        yield "give the call that lacks values with ask, null in their places, beside the words of asks", ("asks",)
    if turn.oracle and not callable(getattr(toolbox.module, turn.oracle, None)):
        yield f"tools.py has no function {turn.oracle}", ("oracle",)


def _ask_problems(call: CallTemplate, toolbox: Toolbox) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if call.name not in toolbox.functions:
        yield str(unknown("tool", call.name, toolbox.functions)), ("ask",)
        return
    parameters = toolbox.parameters(call.name)
    required = [name for name, found in parameters.items() if found.default is found.empty]
    for name, value in call.arguments.items():
        known = required if value is None else list(parameters)
        if name not in known:
            kind = "required argument" if value is None else "argument"
            yield str(unknown(f"{kind} of {call.name}", name, known)), ("ask",)
    for name in required:
        if name not in call.arguments:
            yield f"{call.name} requires {name}: give its value, or null where the user does not say it", ("ask",)
    if None not in call.arguments.values():
        yield "nothing is missing: put null where the user has not given a value", ("ask",)


def references_of(call: CallTemplate) -> set[str]:
    """The names that a call's values refer to."""
    return {reference.split(".")[0] for reference in references([call.arguments, call.holds])} | set(call.after)


def _plain(part: RequestTemplate) -> DeskRequest:
    return DeskRequest(part.id, part.kind, tuple(map(_plain_turn, part.turns)), tuple(part.tags))


def _plain_turn(turn: TurnTemplate) -> DeskTurn:
    labels: dict[str, int] = {}
    calls = []
    for place, call in enumerate(turn.calls):
        calls.append(call.wanted(call.arguments, [labels[name] for name in call.after if name in labels], _as_it_is))
        labels[call.label] = place
    return turn.turn(turn.wordings[0], calls, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value
