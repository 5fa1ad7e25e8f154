"""Steps of the dialogues of SGD, with the tools of SGD's own schemas and of SGD-X's five other wordings.

The rules of what a step is:

- Where the system calls its service, the step is that call, with what the dialogue's state holds: an optional argument
  that nobody spoke of is left out. A value is written as the conversation has it, but for days, times, numbers and
  listed values. Where free text of a value stands nowhere in the conversation, the dialogue ends.
- Where the system asks for a required argument, the step is `{"ask": […]}` with all required arguments that nobody
  said.
- Where the system asks to confirm what the user has said in full, the step is the call: approval is not the tools
  skill's. Where the user then only agrees, the question and the answer are cut out of the dialogue (seven times in
  ten), or both are kept and the step after *yes* is the call. Where he corrects something, both are kept. Where he
  agrees and asks something in one breath, both are kept and there is no step.
- Everything else is `[]`: after a result, and where the answer stands in results that came before.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dialogue_days import CannotMove, Move, random_move, speaks_of_weekdays
from dialogue_lists import MOST_ASKED, Conversation, Look, Step, compact
from dialogue_tools import Argument, ShownTool, plain, styled

Json = dict[str, Any]
VARIANTS = ("", "v1", "v2", "v3", "v4", "v5")
ALIKE = (
    {"Media", "Movies", "Events"}, {"Buses", "Flights", "Trains"}, {"Homes", "Hotels"}, {"RideSharing", "RentalCars"},
    {"Music", "Media"}, {"Events", "Calendar"}, {"Events", "Travel"},
)  # fmt: skip
"""Kinds of services whose tools could do each other's work: they do not stand beside each other as strangers."""
FAILURES = (
    "not available", "This is no longer available.", "The booking could not be made.", "no free place for this request",
    "Request failed: sold out or not available",
)  # fmt: skip
DATE = re.compile(r"20\d\d-\d\d-\d\d")
TIME = re.compile(r"\d\d:\d\d")


@dataclass(slots=True)
class Services:
    """The services by name, in each wording, and the types of their slots.

    Attributes:
        schemas: By name, the schema in each of `VARIANTS`.
        own: Names of those that the training part has.
        types: By service and slot, the JSON Schema of the slot and how its values are written.
    """

    schemas: dict[str, list[Json]] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    types: dict[tuple[str, str], tuple[Json, str]] = field(default_factory=dict)

    def intent(self, service: str, name: str) -> Json:
        """An intent of a service, in SGD's own wording."""
        return next(intent for intent in self.schemas[service][0]["intents"] if intent["name"] == name)

    def typed(self, service: str, slot: str, value: str) -> Any:
        """A canonical value with its slot's type; text where it has not that type."""
        kind = self.types.get((service, slot), ({}, ""))[0].get("type")
        if kind == "boolean" and value in ("True", "False"):
            return value == "True"
        try:
            return int(value) if kind == "integer" else float(value) if kind == "number" else value
        except ValueError:
            return value


def services_of(folder: Path, dialogues: Sequence[Json]) -> Services:
    """Reads the schemas; the types of free values are those that the dialogues' values have."""
    found = Services()
    for part in ("train", "dev"):
        paths = [
            folder / part / "schema.json",
            *(folder / "sgd_x/data" / v / part / "schema.json" for v in VARIANTS[1:]),
        ]
        wordings = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
        for place, schema in enumerate(wordings[0] if wordings else ()):
            name = schema["service_name"]
            if name not in found.schemas:
                found.schemas[name] = [wording[place] for wording in wordings]
            if part == "train":
                found.own.add(name)
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for dialogue in dialogues:
        for frame in (frame for turn in dialogue["turns"] for frame in turn["frames"] if "service_call" in frame):
            for row in (frame["service_call"]["parameters"], *frame["service_results"]):
                for slot, value in row.items():
                    values[frame["service"], slot].add(value)
    for name, (schema, *_) in found.schemas.items():
        for slot in schema["slots"]:
            seen = values[name, slot["name"]]
            found.types[name, slot["name"]] = _type(slot, seen)
    return found


def _type(slot: Json, seen: set[str]) -> tuple[Json, str]:
    listed = slot["possible_values"] if slot["is_categorical"] else []
    known = set(listed) or seen
    if known and known <= {"True", "False"}:
        return {"type": "boolean"}, ""
    if known and all(re.fullmatch(r"[1-9]\d{0,7}|0", value) for value in known):
        return {"type": "integer", **({"enum": [int(value) for value in listed]} if listed else {})}, ""
    if listed:
        return {"type": "string", "enum": listed}, ""
    if known and all(re.fullmatch(r"\d+\.\d+", value) for value in known):
        return {"type": "number"}, ""
    form = "YYYY-MM-DD" if known and all(map(DATE.fullmatch, known)) else ""
    return {"type": "string"}, form or ("HH:MM" if known and all(map(TIME.fullmatch, known)) else "")


def shown_tools(services: Services, service: str, wording: int, look: Look) -> list[tuple[ShownTool, list[str]]]:
    """A service's intents as tools in one wording, each with its names in all wordings."""
    tool_style, argument_style = look.styles
    own, other = services.schemas[service][0], services.schemas[service][wording]
    slots = {a["name"]: b for a, b in zip(own["slots"], other["slots"], strict=True)}
    fields = {name: styled(slot["name"], argument_style) for name, slot in slots.items()}
    made = []
    for intent, worded in zip(own["intents"], other["intents"], strict=True):
        arguments = {}
        for name in (*intent["required_slots"], *intent["optional_slots"]):
            schema, form = services.types[service, name]
            default = intent["optional_slots"].get(name, "dontcare")
            if look.defaults and default != "dontcare" and not DATE.fullmatch(default):
                schema = {**schema, "default": services.typed(service, name, default)}
            arguments[name] = Argument(fields[name], schema, slots[name]["description"], form)
        key = f"{service}.{intent['name']}"
        tool = ShownTool(
            key, styled(worded["name"], tool_style), worded["description"], arguments, tuple(intent["required_slots"]),
            fields, not intent["is_transactional"],
        )  # fmt: skip
        made.append((tool, worded_names(services, key, tool_style)))
    return made


def worded_names(services: Services, key: str, style: str) -> list[str]:
    """The names of an intent in all wordings."""
    service, _, intent = key.partition(".")
    place = [found["name"] for found in services.schemas[service][0]["intents"]].index(intent)
    return [styled(wording["intents"][place]["name"], style) for wording in services.schemas[service]]


def read_dialogues(folder: Path) -> Iterator[Json]:
    """The dialogues of the training and the development part, as far as their files are there."""
    for part in ("train", "dev"):
        for path in sorted((folder / part).glob("dialogues_*.json")):
            for dialogue in json.loads(path.read_text(encoding="utf-8")):
                yield {**dialogue, "part": part}


def move_of(dialogue: Json, rng: random.Random) -> Move:
    """A new today for a dialogue.

    It stays a Friday where weekdays stand in names, and half of the time where one is said.

    Raises:
        CannotMove: The dialogue speaks of days in words that cannot be written anew.
    """
    texts = [turn["utterance"] for turn in dialogue["turns"]]
    results = [f["service_results"] for turn in dialogue["turns"] for f in turn["frames"] if "service_call" in f]
    weekdays = any(map(speaks_of_weekdays, texts))
    fixed = speaks_of_weekdays(json.dumps(results)) or (weekdays and rng.random() < 0.5)
    for last in (False, True):
        move = random_move(rng, fixed or last)
        try:
            for text in texts:
                move.text(text)
        except CannotMove:
            if last:
                raise
        else:
            return move
    raise CannotMove(dialogue["dialogue_id"])


class Teller:
    """Tells a dialogue of SGD as a conversation with tools."""

    def __init__(self, services: Services, tools: Iterable[ShownTool], move: Move, rng: random.Random) -> None:
        self.services, self.move, self.rng = services, move, rng
        self.tools = {tool.key: tool for tool in tools}
        self.counted, self.direct = rng.random() < 0.5, rng.random() < 0.7
        self.known: set[str] = set()
        self.written: set[str] = set()
        self.lost = Counter[str]()

    def tell(self, dialogue: Json) -> Conversation:
        """The conversation, up to where the dialogue ends or no longer fits the rules.

        Raises:
            CannotMove: A text speaks of days in words that cannot be written anew.
        """
        told, turns, place = Conversation(today=self.move.today), dialogue["turns"], 0
        while place + 1 < len(turns):
            user, system = turns[place], turns[place + 1]
            self._say(told, "user", user["utterance"])
            place += 2
            calling = next((frame for frame in system["frames"] if "service_call" in frame), None)
            acts = {action["act"] for frame in system["frames"] for action in frame["actions"]}
            if calling is not None:
                if not self._call(told, user, calling, turns[place - 1 :]):
                    break  # what follows would stand on a call that nobody could have written
            elif "CONFIRM" in acts:
                confirming = next(f for f in system["frames"] if any(a["act"] == "CONFIRM" for a in f["actions"]))
                if self._confirm(told, user, confirming, turns[place : place + 2]):
                    system, place = turns[place + 1], place + 2
            elif "REQUEST" in acts:
                self._ask(told, user, system)
            elif all(str(value) in self.known for value in _informed(system)):
                told.steps.append(Step("talk", len(told.messages), "", []))
            self._say(told, "assistant", system["utterance"])
        return told

    def _say(self, told: Conversation, role: str, text: str) -> None:
        told.messages.append({"role": role, "content": self.move.text(text)})

    def _confirm(self, told: Conversation, user: Json, frame: Json, after: Sequence[Json]) -> bool:
        """The step at which the system asks to confirm; whether question and answer are cut out."""
        agreed = len(after) == 2 and _acts(after[0]) == {"AFFIRM"}
        calling = next((f for f in after[1]["frames"] if "service_call" in f), None) if agreed else None
        if calling is not None and self.direct:
            return self._call(told, user, calling, after[1:])
        values = {a["slot"]: a["canonical_values"][0] for a in frame["actions"] if a["act"] == "CONFIRM"}
        state = _state(user, frame["service"])
        if state and state["active_intent"] != "NONE":
            made = {"method": state["active_intent"], "parameters": values}
            self._step(told, user, {**frame, "service_call": made})
        return False

    def _call(self, told: Conversation, user: Json, calling: Json, after: Sequence[Json]) -> bool:
        """The step that calls, what comes back, and the step after it; whether there is such a step."""
        step = self._step(told, user, calling)
        tool = self.tools[f"{calling['service']}.{calling['service_call']['method']}"]
        if step is None:
            return False
        rows = self._kept(calling, after)
        told.messages.append({"role": "assistant", "content": compact(step.completion)})
        told.messages.append(
            {"role": "tool", "content": compact({"name": tool.name, **self._result(tool, calling, rows)})}
        )
        self.written.update(calling["service_call"]["parameters"].values())
        for row in (*rows, calling["service_call"]["parameters"]):
            self.known.update(row.values())
        self.known.add(str(len(calling["service_results"])))
        told.steps.append(Step("result", len(told.messages), tool.key, []))
        return True

    def _step(self, told: Conversation, user: Json, frame: Json) -> Step | None:
        """The step that writes a frame's call, unless a value of it is nowhere in the conversation."""
        service, method = frame["service"], frame["service_call"]["method"]
        tool, state = self.tools[f"{service}.{method}"], _state(user, service)
        said = dict(state["slot_values"]) if state else {}
        values, text, taken = {}, told.text, False
        for slot, value in frame["service_call"]["parameters"].items():
            if slot not in said or slot not in tool.arguments:
                continue
            if (written := self._written(service, slot, value, said[slot], text)) is None:
                self.lost["value that nobody said"] += 1
                return None
            values[slot] = written
            taken = taken or (value in self.known - self.written and value.lower() not in user["utterance"].lower())
        if not set(tool.required) <= values.keys():
            self.lost["required value not in the state"] += 1
            return None
        kind = "second" if taken else "call"
        step = Step(kind, len(told.messages), tool.key, [tool.call(values)])
        if _acts(user) != {"AFFIRM", "REQUEST"}:  # *Nice. What does it cost?* is hardly a yes
            told.steps.append(step)
        return step

    def _written(self, service: str, slot: str, value: str, variants: Sequence[str], text: str) -> Any:
        """A value as a call has it; None if it is free text that nobody said."""
        schema, form = self.services.types[service, slot]
        if value == "dontcare":
            return None
        if form or schema.get("type") != "string" or "enum" in schema:
            return self._plain(service, slot, value)
        if value.lower() in text:
            return value
        return next((said for said in variants if said.lower() in text and said != "dontcare"), None)

    def _plain(self, service: str, slot: str, value: str) -> Any:
        return self.move.value(self.services.typed(service, slot, value))

    def _ask(self, told: Conversation, user: Json, system: Json) -> None:
        """The step that asks for all required arguments that nobody said."""
        for frame in system["frames"]:
            wanted = {action["slot"] for action in frame["actions"] if action["act"] == "REQUEST"}
            state = _state(user, frame["service"])
            if not wanted or state is None or state["active_intent"] == "NONE":
                continue
            tool = self.tools[f"{frame['service']}.{state['active_intent']}"]
            missing = [slot for slot in tool.required if slot not in state["slot_values"]]
            if wanted & set(missing):
                asked = {"ask": [tool.arguments[slot].name for slot in missing[:MOST_ASKED]]}
                told.steps.append(Step("ask", len(told.messages), tool.key, asked))
            else:
                self.lost["asks for what is optional"] += 1

    def _kept(self, calling: Json, after: Sequence[Json]) -> list[Json]:
        """The results that are shown: the first ones, and those that the dialogue speaks of."""
        rows = calling["service_results"]
        most = self.rng.choice((1, 2, 2, 3, 3, 4))
        kept = set(range(min(most, len(rows))))
        for turn in after:
            for frame in turn["frames"]:
                if frame["service"] == calling["service"] and turn["speaker"] == "SYSTEM":
                    if "service_call" in frame and frame is not calling:
                        return [rows[place] for place in sorted(kept)]
                    offered = {a["slot"]: a["canonical_values"][0] for a in frame["actions"] if a["act"] == "OFFER"}
                    match = (p for p, row in enumerate(rows) if offered and offered.items() <= row.items())
                    kept.update(list(match)[:1])
        return [rows[place] for place in sorted(kept)]

    def _result(self, tool: ShownTool, calling: Json, rows: Sequence[Json]) -> Json:
        """What the tool gives back."""
        service = calling["service"]
        if not tool.searches and not rows:
            return {"error": self.rng.choice(FAILURES)}
        shown = [
            {tool.fields[slot]: self._plain(service, slot, value) for slot, value in row.items() if slot in tool.fields}
            for row in rows
        ]
        if not tool.searches:
            return {"result": shown[0]}
        if len(calling["service_results"]) > len(rows) or self.counted:
            return {"result": {"count": len(calling["service_results"]), "results": shown}}
        return {"result": shown}


def _acts(turn: Json) -> set[str]:
    return {action["act"] for frame in turn["frames"] for action in frame["actions"]}


def _state(turn: Json, service: str) -> Json | None:
    return next((frame["state"] for frame in turn["frames"] if frame["service"] == service and "state" in frame), None)


def _informed(turn: Json) -> list[str]:
    """The values that the system tells or offers in a turn."""
    acts = [action for frame in turn["frames"] for action in frame["actions"] if action["act"] in ("INFORM", "OFFER")]
    return [value for action in acts for value in action["canonical_values"]]


def wordings(services: Services, service: str, held_out: set[str]) -> list[int]:
    """The wordings of a service in which no tool has a description that evaluation records show."""
    schemas = services.schemas[service]
    return [
        number
        for number, schema in enumerate(schemas)
        if not any(plain(intent["description"]) in held_out for intent in schema["intents"])
    ]


def strangers(services: Services, present: Iterable[str]) -> list[str]:
    """Services whose tools have nothing to do with those that are present."""
    kinds = {name.split("_")[0] for name in present}
    near = kinds.union(*(group for group in ALIKE if group & kinds))
    return [name for name in services.schemas if name.split("_")[0] not in near]
