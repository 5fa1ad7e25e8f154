"""How a made tool and a request for it look this time: names in a style, defaults and choices, a full sentence."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loraloop.adapters.training.sources.typed import Argument, Kind, Spec, Value, draw
from loraloop.adapters.training.sources.typed_forms import Form, wanted
from loraloop.adapters.training.sources.typed_pools import OPENERS

VERBS = {
    "calc": ("calculate", "compute", "calc", "get", "find"),
    "compute": ("calculate", "compute", "get", "determine"),
    "get": ("get", "fetch", "retrieve", "lookup"),
    "find": ("find", "search", "get", "lookup", "locate"),
    "book": ("book", "reserve"),
    "make": ("make", "create", "generate"),
    "create": ("create", "add", "make"),
    "search": ("search", "find"),
}
PLAIN_VERBS = frozenset(
    (
        *("add", "archive", "balance", "call", "change", "compare", "compress", "convert", "count", "create"),
        *("deal", "delete", "differentiate", "dilute", "draw", "evaluate", "file", "find", "flip", "get"),
        *("hash", "identify", "insert", "integrate", "is", "list", "lock", "log", "measure", "multiply"),
        *("open", "order", "play", "query", "rank", "rate", "read", "regex", "register", "remove"),
        *("rent", "reserve", "resize", "restart", "roll", "run", "scale", "schedule", "search", "send"),
        *("set", "solve", "sort", "split", "start", "switch", "track", "train", "transfer", "translate"),
        *("update", "wash", "watch", "water", "similar"),
    )
)
VERBS_FOR_NOUNS = ("get", "calculate", "find", "fetch", "check", "")
QUESTION = re.compile(
    r"(what|which|who|when|where|why|how|is|are|does|do|can|did|has|will|(at|in|on|by|from|to) (what|which))\b",
    re.IGNORECASE,
)
OWN = re.compile(r"(I|We|My|Our)\b")
_SYNONYMS = {
    "city": ("location", "place", "city_name", "town"),
    "country": ("country_name", "nation", "location"),
    "location": ("place", "city", "where"),
    "date": ("day", "on_date", "when"),
    "day": ("date", "on_day"),
    "time": ("at", "start_time", "hour"),
    "amount": ("value", "sum", "quantity"),
    "value": ("amount", "number", "x"),
    "number": ("num", "n", "value", "input_number"),
    "n": ("number", "num"),
    "num1": ("a", "first_number", "x"),
    "num2": ("b", "second_number", "y"),
    "limit": ("max_results", "count", "num_results", "top_n"),
    "unit": ("units", "measurement_unit", "unit_type"),
    "start": ("start_point", "from_location", "origin"),
    "end": ("end_point", "to_location", "destination"),
    "origin": ("from", "source", "departure"),
    "destination": ("to", "target_location", "dest"),
    "person": ("name", "full_name", "person_name"),
    "name": ("title", "full_name", "label"),
    "title": ("name", "heading"),
    "topic": ("subject", "theme", "query"),
    "query": ("search_term", "keywords", "q"),
    "year": ("in_year", "for_year"),
    "genre": ("category", "type", "kind"),
    "category": ("type", "genre", "kind"),
    "mass": ("m", "weight", "mass_kg"),
    "height": ("h", "height_m"),
    "radius": ("r", "circle_radius"),
    "velocity": ("speed", "v"),
    "company": ("company_name", "organization"),
    "language": ("lang", "target_language"),
    "text": ("content", "message", "input_text"),
    "numbers": ("values", "data", "array"),
    "team": ("team_name", "club"),
    "artist": ("artist_name", "performer"),
    "song": ("track", "song_title"),
    "movie": ("film", "movie_title"),
    "book": ("book_title", "title"),
}
_TAILS = (
    " Works for all regions.",
    " Returns the result as an object.",
    " The result is rounded.",
    " Needs a valid account.",
    " Fast and free of charge.",
    " Use it for one item at a time.",
)
MASKED = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "tool_1",
    "tool_2",
    "fn_a",
    "fn_b",
    "op7",
    "op9",
    "svc_x",
    "svc_y",
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A specification as one request shows it: the tool, the names its arguments got, and forms it wants values in."""

    spec: Spec
    tool: dict[str, Any]
    names: Mapping[str, str]
    forms: Mapping[str, Form] = field(default_factory=dict)

    def call(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """The call with these values."""
        arguments = {self.names[a.name]: self._written(a.name, values) for a in self.spec.arguments if a.name in values}
        return {"name": self.tool["name"], "arguments": arguments}

    @property
    def descriptions(self) -> list[str]:
        """Those of the arguments."""
        return [schema.get("description", "") for schema in self.tool["parameters"]["properties"].values()]

    def _written(self, name: str, values: Mapping[str, Value]) -> Any:
        value = values[name].value
        return self.forms[name].write(value) if name in self.forms else value


def styled(words: Sequence[str], style: str, domain: str = "") -> str:
    """A name of some words: snake, camel, pascal, or dotted (domain.snake)."""
    plain = [re.sub(r"\W", "", word.lower()) for word in words if word]
    if style == "camel":
        return plain[0] + "".join(word.capitalize() for word in plain[1:])
    if style == "pascal":
        return "".join(word.capitalize() for word in plain)
    snake = "_".join(plain)
    return f"{domain}.{snake}" if style == "dotted" and domain else snake


def show(
    spec: Spec, style: str, rng: random.Random, keep: Sequence[str] = (), mask: bool = False, plain: bool = False
) -> Shown:
    """A tool made of a specification: names in a style, defaults and choices written one way or another.

    Args:
        spec: The specification.
        style: Style of names.
        rng: Source of randomness.
        keep: Optional arguments that must stay; others may be left out of the tool.
        mask: Give the tool a name that says nothing.
        plain: It wants values as they are said.
    """
    first, *rest = spec.words.split()
    if first in VERBS:
        words = [rng.choice(VERBS[first]), *rest]
    elif first not in PLAIN_VERBS and rng.random() < 0.6:
        words = [rng.choice(VERBS_FOR_NOUNS), first, *rest]
    else:
        words = [first, *rest]
    name = rng.choice(MASKED) + str(rng.randrange(10)) if mask else styled(words, style, spec.domain)
    properties: dict[str, Any] = {}
    required: list[str] = []
    names: dict[str, str] = {}
    forms: dict[str, Form] = {}
    terse, other = rng.random() < 0.06, rng.random() < 0.35
    for argument in spec.arguments:
        if not argument.required and argument.name not in keep and rng.random() < 0.3:
            continue
        word = rng.choice(_SYNONYMS[argument.name]) if other and argument.name in _SYNONYMS else argument.name
        parts = word.split("_")
        shown_name = styled(parts, "camel" if style in ("camel", "pascal") and rng.random() < 0.5 else "snake")
        if mask and rng.random() < 0.5:
            shown_name = f"arg{len(properties) + 1}"
        if shown_name in properties:
            shown_name = argument.name
        names[argument.name] = shown_name
        form = None if plain or terse else _form(spec, argument, forms, rng)
        if form is not None:
            forms[argument.name] = form
        properties[shown_name] = _property(argument.kind, argument.description, argument.default, rng, form)
        if terse:
            del properties[shown_name]["description"]
        if argument.required:
            required.append(shown_name)
    tool = {
        "name": name,
        "description": spec.description + (rng.choice(_TAILS) if rng.random() < 0.1 else ""),
        "parameters": {"type": "object", "properties": properties, "required": required},
    }
    return Shown(spec, tool, names, forms)


def _form(spec: Spec, argument: Argument, forms: Mapping[str, Form], rng: random.Random) -> Form | None:
    """The form that a tool wants an argument in; the same for all arguments of a kind."""
    for other in spec.arguments:
        if other is argument:
            return wanted(argument.kind, argument.description, rng)
        if other.kind == argument.kind:
            return forms.get(other.name)
    return None


def _property(
    kind: Kind, description: str, default: Any, rng: random.Random, form: Form | None = None
) -> dict[str, Any]:
    schema = kind.schema()
    write = form.write if form else lambda value: value
    options = [write(option) for option in kind.options] if kind.form == "enum" else []
    if options:
        schema["enum"] = options
    default = None if default is None else write(default)
    text = form.told(description) if form else description
    if rng.random() < 0.2 and re.match(r"[A-Z][a-z]", text):
        text = f"The {text[0].lower()}{text[1:]}"
    if kind.form == "enum" and rng.random() < 0.4:
        schema = {"type": "string"}
        listed = ", ".join(rng.choice(("{}", "'{}'")).format(option) for option in options)
        text += rng.choice((f": {listed}", f" (one of {listed})", f". Options: {listed}"))
    elif kind.form == "rate":
        text += rng.choice((" as a decimal", ", as a fraction (0.05 for 5%)", " in decimal form"))
    elif kind.form in ("pool", "num", "int") and rng.random() < 0.3:
        text += f" (e.g. {write(draw(kind, rng).value)})"
    if default is not None:
        way = rng.random()
        if way < 0.45 and kind.form != "array":
            schema["default"] = default
        elif way < 0.9:
            said = {True: "true", False: "false"}.get(default, default) if isinstance(default, bool) else default
            text += rng.choice((f". Default is {said}", f" (default: {said})", f". Defaults to {said}"))
    schema["description"] = text
    return schema


def wrap(request: str, rng: random.Random, first: bool = True) -> str:
    """A request as a full sentence, with an opener that suits its form."""
    request = re.sub(r"\ba (?=[aeio][a-z])", "an ", request)
    if QUESTION.match(request):
        return request + rng.choice(("?", "?", "?", ""))
    if OWN.match(request):
        return request + rng.choice((".", "", ". Thanks!"))
    lowered = request[0].lower() + request[1:]
    if first and rng.random() < 0.55:
        text = rng.choice(OPENERS).format(lowered)
    elif first:
        text = request + rng.choice((".", "."))
    else:
        text = request + "."
    return text[0].upper() + text[1:]


def roughened(text: str, calls: Sequence[Mapping[str, Any]], rng: random.Random) -> str:
    """A request as people type in haste: without capitals or full stop, or with a slip in a word that is no value."""
    values = " ".join(re.findall(r"\w+", str([call["arguments"] for call in calls])))
    way = rng.random()
    if way < 0.35 and values == values.lower():
        return text.lower().rstrip(".")
    words = text.split(" ")
    places = [
        i for i, word in enumerate(words) if word.isalpha() and len(word) > 4 and word.lower() not in values.lower()
    ]
    if way > 0.8 or not places:
        return text.rstrip(".?!")
    place = rng.choice(places)
    word, at = words[place], rng.randrange(1, len(words[place]) - 2)
    slip = rng.choice((word[:at] + word[at + 1 :], word[:at] + word[at + 1] + word[at] + word[at + 2 :]))
    return " ".join([*words[:place], slip, *words[place + 1 :]])


def joined(texts: Sequence[str], rng: random.Random) -> str:
    """Several requests as one text."""
    leads = rng.choice(
        (("", "Also, "), ("", "Then "), ("First, ", "Then "), ("", "And "), ("", "Additionally, "), ("", ""))
    )
    parts = []
    for index, text in enumerate(texts):
        closed = text if text[-1] in ".?!" else text + rng.choice((".", "?") if QUESTION.match(text) else (".",))
        lead = leads[min(index, 1)]
        if index == len(texts) - 1 and len(texts) > 2 and leads[1] and rng.random() < 0.5:
            lead = "Finally, "
        keep = re.match(r"I\b|I'", closed) or not lead
        parts.append(lead + (closed if keep else closed[0].lower() + closed[1:]))
    return " ".join(parts)
