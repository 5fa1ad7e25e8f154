"""Steps of the dialogues of STAR, whose wizards query made services. `dialogue_star.yaml` words the tools.

The rules of what a step is:

- Where the wizard queries a service, the step is that call, if each value stands in the conversation and nothing said
  later replaces it. Optional values that nobody said are left out. Tasks that check before they book have two tools,
  and a booking is a step only after a check of the same values.
- Where the wizard asks for a required argument, the step is `{"ask": […]}` with all that nobody said. Which these are
  follows from the next query; where that leaves doubt, there is no step.
- After a result, and where the wizard greets, thanks, tells of a result or says that something is none of his business,
  it is `[]`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dialogue_lists import MOST_ASKED, Conversation, Look, Step, compact
from dialogue_tools import Argument, ShownTool, styled

Json = dict[str, Any]
ALIKE = ({"apartment", "hotel"}, {"plane", "ride", "trip"}, {"party", "restaurant", "meeting"})
WORDS = yaml.safe_load((Path(__file__).parent / "dialogue_star.yaml").read_text(encoding="utf-8"))
ASKED: dict[str, list[str]] = WORDS["asks"]
"""The arguments that a wizard's reply asks for."""
TALK = re.compile(r"hello|goodbye_\d|anything_else|out_of_scope|\w+_bye")
TELLS = re.compile(
    r"trip_inform_\w+|\w+_inform_(?:rating|price|location|name|doctors_instructions|flight_details|balance)"
)
COMMON = {"hotel", "inn", "venue", "apartments", "dr.", "the", "city", "club", "state"}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
CLOCK = re.compile(r"(\d{1,2}) (am|pm)")


@dataclass(frozen=True, slots=True)
class Kind:
    """What values an argument has: how they are written, and how they are found in a text.

    Attributes:
        schema: Its JSON Schema.
        form: How values are written, for descriptions.
        write: A value of STAR's as a call has it.
        listed: STAR's values, if they are listed.
    """

    schema: Json
    form: str
    write: Callable[[Any], Any]
    listed: tuple[Any, ...] = ()

    def found(self, value: Any, text: str) -> bool:
        """Whether a text (in lower case) says a value."""
        said = str(value).lower()
        if self.form == "HH:MM":
            return _says_hour(said, text)
        if isinstance(value, bool):
            return True
        if self.schema["type"] == "integer":
            number = re.sub(r"\D", "", said)
            word = NUMBERS[int(number)] if int(number or 99) < len(NUMBERS) else number
            return re.search(rf"(?<![\d:]){number}(?:st|nd|rd|th)?(?![\d:])|\b{word}\b", text) is not None
        if self.listed:
            words = [word for word in re.findall(r"[\w'.]+", said) if word not in COMMON]
            return all(re.search(rf"\b{re.escape(word)}", text) for word in words)
        words = re.findall(r"\w+", said)
        return bool(words) and sum(word in text for word in words) >= 0.75 * len(words)

    def said(self, text: str) -> set[Any]:
        """The listed values that a text says."""
        return {value for value in self.listed if self.found(value, text)}


def _says_hour(hour: str, text: str) -> bool:
    number, half = CLOCK.fullmatch(hour).groups()  # type: ignore[union-attr]
    if (hour == "12 pm" and "noon" in text) or (hour == "12 am" and "midnight" in text):
        return True
    day = "in the morning" if half == "am" else r"in the (?:afternoon|evening)|at night"
    late = int(number) % 12 + 12 * (half == "pm")
    pattern = rf"(?<![\d:]){number}(?::00)?\s?(?:{half[0]}\.?\s?m|o'?clock (?:{day})|{day})|(?<!\d){late:02}:00"
    return re.search(pattern, text) is not None


def _kind(entry: Json) -> Kind:
    values = tuple(entry.get("Categories") or ())
    if values and CLOCK.fullmatch(str(values[0])):
        return Kind({"type": "string"}, "HH:MM", _hour, values)
    if values and re.fullmatch(r"\d+(?:st|nd|rd|th)", str(values[0])):
        return Kind({"type": "integer"}, "", lambda value: int(re.sub(r"\D", "", str(value))), values)
    if values and set(values) == {"Yes", "No"}:
        return Kind({"type": "boolean"}, "", lambda value: value == "Yes" if isinstance(value, str) else value)
    if entry["Type"] == "Categorical":
        return Kind({"type": "string", "enum": list(values)}, "", str, values)
    if entry["Type"] in ("Integer", "Boolean"):
        return Kind({"type": entry["Type"].lower()}, "", lambda value: value)
    return Kind({"type": "string"}, "", lambda value: str(value).strip())


def _hour(value: Any) -> str:
    number, half = CLOCK.fullmatch(str(value)).groups()  # type: ignore[union-attr]
    return f"{int(number) % 12 + 12 * (half == 'pm'):02}:00"


class Tasks:
    """STAR's services: their arguments, and our words for the tools."""

    def __init__(self, folder: Path) -> None:
        self.worded = dict(WORDS["tools"])
        self.inputs: dict[str, dict[str, Json]] = {}
        self.required: dict[str, tuple[str, ...]] = {}
        for task in [*self.worded]:
            path = folder / "apis" / "apis" / f"{task}.json"
            if not path.exists():
                del self.worded[task]
                continue
            api = json.loads(path.read_text(encoding="utf-8"))
            self.inputs[task] = {
                entry["Name"]: entry
                for entry in api["input"]
                if entry["Type"] not in ("RequestType", "CategoricalMultiple")
            }
            needed = [name for name in api["required"] if name in self.inputs[task]]
            self.required[task] = tuple(needed or (["FullName"] if task.startswith("bank") else []))
        self.kinds = {(t, n): _kind(entry) for t, entries in self.inputs.items() for n, entry in entries.items()}

    def tools(self, domain: str, look: Look) -> list[tuple[ShownTool, list[str]]]:
        """The tools of a domain, each with its other names."""
        made = []
        for task, worded in self.worded.items():
            if task.split("_")[0] == domain:
                ways = worded.items() if isinstance(worded, dict) else [("", worded)]
                made += [self._tool(task, way, *named, look) for way, named in ways]
        return made

    def _tool(self, task: str, way: str, names: list[str], description: str, look: Look) -> tuple[ShownTool, list[str]]:
        arguments, fields = {}, {}
        for name, entry in self.inputs[task].items():
            readable, kind = entry["ReadableName"], self.kinds[task, name]
            numbered = WORDS["numbers"].get(task.split("_")[0], readable) if name == "id" else readable
            fields[name] = styled(WORDS["names"].get(numbered, numbered), look.styles[1])
            text = WORDS["texts"].get(numbered, numbered[0].upper() + numbered[1:].lower())
            arguments[name] = Argument(fields[name], kind.schema, text, kind.form)
        styles = [styled(name, look.styles[0]) for name in names]
        searches = way == "check" or task.split("_")[1:] in (
            ["search"],
            ["status"],
            ["balance"],
            ["followup"],
            [],
            ["directions"],
        )
        key = f"{task.split('_')[0]}.{task}{'.' + way if way else ''}"
        tool = ShownTool(key, styles[0], description, arguments, self.required[task], fields, searches)
        return tool, styles


def read_dialogues(folder: Path) -> Iterator[Json]:
    """The dialogues that came to their end."""
    for path in sorted((folder / "dialogues").glob("*.json"), key=lambda path: int(path.stem)):
        dialogue = json.loads(path.read_text(encoding="utf-8"))
        if dialogue["CompletionLevel"] == "Complete":
            yield dialogue


def domains_of(dialogue: Json) -> list[str]:
    """The domains of a dialogue's tasks."""
    tasks = (entry["Task"] for entry in dialogue["Scenario"]["WizardCapabilities"])
    return list(dict.fromkeys(task.split("_")[0] for task in tasks))


def strangers(tasks: Tasks, present: Sequence[str]) -> list[str]:
    """Domains whose tools have nothing to do with those that are present."""
    near = set(present).union(*(group for group in ALIKE if group & set(present)))
    return [name for name in dict.fromkeys(task.split("_")[0] for task in tasks.worded) if name not in near]


class Teller:
    """Tells a dialogue of STAR as a conversation with tools."""

    def __init__(self, tasks: Tasks, tools: Sequence[ShownTool], look: Look) -> None:
        self.tasks, self.style = tasks, look.styles[1]
        self.tools = {tool.key: tool for tool in tools}
        self.lost = Counter[str]()
        self.checked: list[tuple[str, str]] = []

    def tell(self, dialogue: Json) -> Conversation:
        """The conversation, up to where the dialogue ends or a query has values that nobody said."""
        told, events = Conversation(), dialogue["Events"]
        for place, event in enumerate(events):
            action, text = event["Action"], (event.get("Text") or "").strip()
            if event["Agent"] == "User" and action == "utter" and text:
                self._say(told, "user", text)
            elif action == "query":
                if not told.messages or not self._query(told, event, events[place + 1 :]):
                    break
            elif event["Agent"] == "Wizard" and action in ("utter", "pick_suggestion") and text:
                if action == "pick_suggestion" and told.messages and told.messages[-1]["role"] == "user":
                    self._reply(told, event["ActionLabel"], events[place:])
                self._say(told, "assistant", text)
        return told

    def _say(self, told: Conversation, role: str, text: str) -> None:
        if told.messages and told.messages[-1]["role"] == role and "[{" not in told.messages[-1]["content"][:2]:
            told.messages[-1] = {"role": role, "content": f"{told.messages[-1]['content']}\n{text}"}
        else:
            told.messages.append({"role": role, "content": text})

    def _query(self, told: Conversation, event: Json, after: Sequence[Json]) -> bool:
        """The step that calls, what comes back, and the step after it; whether the dialogue goes on."""
        given = values_of(event)
        if given is None or event["APIName"] not in self.tasks.worded:
            self.lost["other than equal"] += 1
            return False
        way = str(given.pop("RequestType", "")).lower()
        task = event["APIName"]
        key = f"{task.split('_')[0]}.{task}{'.' + way if way else ''}"
        tool = self.tools.get(key)
        values = self._grounded(told, task, given)
        if tool is None or values is None or not set(tool.required) <= values.keys():
            self.lost["value that nobody said"] += 1
            return False
        call = tool.call({name: self.tasks.kinds[task, name].write(value) for name, value in values.items()})
        same = compact(call["arguments"])
        if way != "check" and compact([call]) in (message["content"] for message in told.messages):
            self.lost["done already"] += 1
            return False
        user_spoke = told.messages[-1]["role"] == "user"
        if way == "book" and (task, same) not in self.checked:
            self.lost["booked without a check"] += 1
        elif user_spoke:
            before = any(step.kind == "result" for step in told.steps)
            told.steps.append(
                Step(
                    "second" if way == "book" or (before and self._taken(told, values)) else "call",
                    len(told.messages),
                    key,
                    [call],
                )
            )
        if way == "check":
            self.checked.append((task, same))
        item = next((e for e in after[:1] if e["Action"] == "return_item"), {})
        result = self._result(item, tool)
        if len(compact(result)) > 900:
            self.lost["long result"] += 1
            return False
        told.messages.append({"role": "assistant", "content": compact([call])})
        told.messages.append({"role": "tool", "content": compact({"name": tool.name, "result": result})})
        following = next((e for e in after[1:] if e["Action"] in ("query", "pick_suggestion", "utter")), None)
        if following is not None and following["Action"] != "query":
            told.steps.append(Step("result", len(told.messages), key, []))
        return True

    def _result(self, event: Json, tool: ShownTool) -> Any:
        """What the service gave back, with our names of its fields."""
        shown: Json = {}
        for name, value in (event.get("Item") or {}).items():
            readable = WORDS["numbers"].get(tool.service, "") if name == "id" else "" if name == "APIName" else name
            if readable and value is not None:
                shown[tool.fields.get(name) or styled(readable, self.style)] = _plain(value)
        total = event.get("TotalItems")
        return {"count": total, "first": shown} if shown and isinstance(total, int) and total > 1 else shown or []

    def _taken(self, told: Conversation, values: Json) -> bool:
        """Whether a value stands in a result and in nothing that the user said."""
        results = "\n".join(m["content"] for m in told.messages if m["role"] == "tool").lower()
        said = "\n".join(m["content"] for m in told.messages if m["role"] == "user").lower()
        return any(
            str(v).lower() in results and str(v).lower() not in said for v in values.values() if v not in (True, False)
        )

    def _grounded(self, told: Conversation, task: str, given: Json) -> Json | None:
        """The values of a query that the conversation has; None if a required one is missing or was replaced."""
        heard = [m["content"].lower() for m in told.messages if not m["content"].startswith("[{")]
        text, found = "\n".join(heard), {}
        for name, value in given.items():
            kind = self.tasks.kinds.get((task, name))
            if kind is None or value in (None, "", []):
                continue
            if not kind.found(value, text) or self._replaced(kind, value, heard) or not _spoken(name, value, text):
                if name in self.tasks.required[task] or task.startswith("bank"):
                    return None
                continue
            found[name] = _as_said(value, told) if kind.schema == {"type": "string"} and not kind.form else value
        return found

    def _replaced(self, kind: Kind, value: Any, heard: Sequence[str]) -> bool:
        """Whether the last message that says a listed value says others only (two of them, of times and days)."""
        last = next((said for text in reversed(heard) if (said := kind.said(text))), set())
        pair = kind.form == "HH:MM" or kind.schema["type"] == "integer"
        return value not in last and len(last) > pair

    def _reply(self, told: Conversation, label: str, events: Sequence[Json]) -> None:
        """The step before a reply of the wizard's."""
        user = told.messages[-1]["content"]
        before = any(message["role"] == "tool" for message in told.messages)
        if label in ASKED:
            if asked := self._missing(told, label, events):
                told.steps.append(Step("ask", len(told.messages), asked[0], {"ask": asked[1][:MOST_ASKED]}))
        elif (TELLS.fullmatch(label) and before) or (
            TALK.fullmatch(label) and (label in ("hello", "out_of_scope") or "?" not in user)
        ):
            told.steps.append(Step("talk", len(told.messages), "", []))

    def _missing(self, told: Conversation, label: str, events: Sequence[Json]) -> tuple[str, list[str]] | None:
        """The tool that the wizard asks for, and the names of its required arguments that nobody said."""
        query = next((event for event in events if event["Action"] == "query"), None)
        given = values_of(query) if query else None
        if query is None or given is None or query["APIName"] not in self.tasks.worded:
            return None
        task, way = query["APIName"], str(given.pop("RequestType", "")).lower()
        tool = self.tools.get(f"{task.split('_')[0]}.{task}{'.' + way if way else ''}")
        until = events[: events.index(query)]
        later = {name for event in until for name in ASKED.get(event.get("ActionLabel", ""), [])}
        heard = "\n".join(m["content"].lower() for m in told.messages if not m["content"].startswith("[{"))
        missing = []
        for name in self.tasks.required[task]:
            kind = self.tasks.kinds[task, name]
            if name not in given:
                return None
            if kind.found(given[name], heard) and _spoken(name, given[name], heard):
                continue
            if kind.said(heard) and kind.schema.get("type") != "boolean":
                return None  # another value was said
            spoken = [event["Text"].lower() for event in until if event["Agent"] == "User" and event.get("Text")]
            if name not in later and not any(kind.found(given[name], text) for text in spoken):
                return None  # nobody ever says it
            missing.append(name)
        if tool is None or not set(ASKED[label]) & set(missing):
            return None
        return tool.key, [tool.arguments[name].name for name in missing]


def values_of(event: Json) -> Json | None:
    """A query's values by argument; None if one is another condition than equality."""
    found: Json = {}
    for constraint in event["Constraints"]:
        for name, text in constraint.items():
            written = re.fullmatch(r"api\.is_equal_to\((.*)\)", str(text), re.DOTALL)
            text = written[1] if written else str(text)
            if text.startswith("api.") or text in ("", "null"):
                return None
            try:
                found[name] = {"True": True, "False": False}[text] if text in ("True", "False") else json.loads(text)
            except ValueError:
                found[name] = text
            if isinstance(found[name], list | dict):
                return None
    if isinstance(found.get("PIN"), int):
        found["PIN"] = str(found["PIN"])
    return found


def _as_said(value: Any, told: Conversation) -> str:
    """A free text in the letters of the user, where the wizard has typed it in small ones."""
    text = str(value).strip()
    said = "\n".join(message["content"] for message in told.messages if message["role"] == "user")
    found = re.search(rf"\b{re.escape(text)}\b", said, re.IGNORECASE) if text.islower() else None
    return found[0] if found else text


def _spoken(name: str, value: Any, text: str) -> bool:
    """Whether a yes or no was spoken of at all."""
    if not isinstance(value, bool) and value not in ("Yes", "No"):
        return True
    if re.search(r"\b(?:remember|not sure|unsure|don'?t know|forg[oe]t|maybe|no idea)\b", text):
        return False
    words = [
        word.lower()
        for word in re.findall(r"[A-Z][a-z]+", name)
        if word not in ("Has", "Does", "Takes", "Need", "Paid")
    ]
    return any(word[:6] in text for word in words)


def _plain(value: Any) -> Any:
    return _hour(value) if isinstance(value, str) and CLOCK.fullmatch(value) else value
