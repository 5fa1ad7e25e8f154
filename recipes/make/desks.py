"""Makes conversations with invented desks: at each step the text of the tools skill, and the skill that it belongs to.

    python desks.py --conversations 1200 --seed 1 --out desks.jsonl [--valid]

Every call is carried out on a small state in memory, so what tools say is true. A row is one step: `tools`, `messages`
(what the step follows), `completion`, `kind`, `label` (tools, code, retrieval, safety or none) and `run`, which the
steps of a conversation share.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from desk_said import MODES, SAID, URGENCY, day_said, dumps, mistyped, span_said, time_said
from desk_world import FIRST, ROLES, TABLE, Desk, DeskError, Offer, World, numbered, plural, read_desks

from loraloop.agent.dates.resolve import date_note, resolve_dates

MEANS, NEEDS, FIRSTS, IDLE, QUESTIONS = (TABLE[key] for key in ("means", "needs", "firsts", "idle", "questions"))
FOUND = {
    "findmake": ("create", "cheapest", "createname"),
    "findcount": ("stock", "cheapeststock", "stockname"),
    "findtake": ("take", "cheapesttake", "takename"),
}
"""Requests about the cheapest of a kind, or an item by name: the call in the end, and the texts of both."""
TWO_STEP = {
    "findmake": ("create", "item"), "findcount": ("stock", "item"), "findtake": ("take", "item"),
    "freemake": ("create", "time"), "rangestay": ("stay", "item"), "tellowner": ("message", "to"),
    "personmain": ("get", "id"), "personcancel": ("cancel", "id"), "pick": ("cancel", "id"),
    "dutyassign": ("assign", "worker"), "createmail": ("message", "to"),
}  # fmt: skip
"""Situations in which a result is needed first: the tool that is called in the end, and what it takes of the result."""
LOOKS = {
    "lookmake": "search", "looktake": "search", "lookfree": "free", "lookrange": "range", "lookcancel": "person",
    "lookmail": "get",
}  # fmt: skip
"""Situations in which something is only to be looked up, beside a tool that would do more: what is looked up with."""
ALIKE = [
    {"create", "stay", "take", "lines"},
    {"free", "range", "stock"},
    {"message", "notify", "tell"},
    {"complain", "case", "note", "update"},
    {"cancel", "move", "update", "assign", "note", "level", "address"},
    {"device", "switch"},
]
"""Roles of which one might serve where another one is missing."""
OTHERS = ("get", "search", "stock", "create", "move", "cancel", "list", "assign", "note", "range", "history", "level")
"""Roles whose tools speak of their desk's own things, so that those of another desk serve nothing here."""
FREE_TEXT = frozenset(("message", "tellowner", "notify", "note", "lessthan", "several", "case", "tell"))


class Talk:
    """A conversation as it goes on: its messages, and what the skills write at its steps."""

    def __init__(self, world: World, rng: random.Random, instructions: str) -> None:
        self.world, self.rng, self.instructions = copy.deepcopy(world), rng, instructions
        self.world.rng = rng
        self.messages: list[dict[str, str]] = []
        self.steps: list[dict[str, Any]] = []
        general = [[part.strip() for part in line.split(" | ")] for line in rng.sample(SAID["doc"], 3)]
        self.docs = rng.sample([*world.desk.docs, *general], 3 + len(world.desk.docs))
        self.with_docs = rng.random() < 0.5
        self.last = ""  # the number that was spoken of last
        self.told: dict[str, Any] = {}  # what its tool told
        self.kind, self.lang, self.lower = "", "en", False

    # what is said

    def pick(self, situation: str, lang: bool = True) -> str:
        """One of a situation's texts; sets the language."""
        texts = SAID[situation]
        plain, foreign = [t for t in texts if t[2:3] != "|"], [t for t in texts if t[2:3] == "|" and lang]
        if not plain and not foreign:
            raise LookupError(situation)
        text = self.rng.choice(foreign if foreign and (not plain or self.rng.random() < 0.17) else plain)
        self.lang = text[:2] if text[2:3] == "|" else "en"
        return text[3:].strip() if text[2:3] == "|" else text

    def fill(self, text: str, /, **values: Any) -> str:
        """A text with the desk's words and the values in it."""
        world = self.world.words
        words = {
            "main": world["m"], "mains": world["ms"], "item_noun": world["j"], "items_noun": plural(world["j"]),
            "person_noun": world["q"], "counted": world["counted"],
        }  # fmt: skip
        for verb in ("make", "cancel", "move"):
            words |= {verb: world[verb], verb.capitalize(): world[verb].capitalize()}
        if self.lower:
            values |= {key: values[key].lower() for key in ("id", "id2") if key in values}
        return " ".join(text.format(**words, **values).replace(" ,", ",").replace(" .", ".").replace(" ?", "?").split())

    def user(self, text: str, doc: int | None = None) -> None:
        """What the user says, with passages beside it where the desk has documents, after a note of the days in it."""
        rng, english = self.rng, self.lang == "en"
        text = text[:1].upper() + text[1:] if rng.random() < 0.4 else text
        if english and rng.random() < 0.08 and self.kind not in FREE_TEXT:
            text = mistyped(text, rng)
        if english and rng.random() < 0.08:
            text = text.rstrip(".") + rng.choice((" pls", " thx", " please", "!!", " asap", " :)"))
        if english and rng.random() < 0.06:
            text = rng.choice(("Hi, ", "Hello! ", "hey ", "So, ", "Sorry to bother you again. ", "ok so ")) + text
        if note := date_note(resolve_dates(text, self.world.today)):
            self.messages.append({"role": "system", "content": note})
        if self.with_docs and (doc is not None or rng.random() < 0.85):
            shown = rng.sample(range(len(self.docs)), rng.choice((1, 1, 2, 3)))
            if doc is not None:
                shown = rng.sample([doc, *(i for i in shown if i != doc)][:3], min(3, len({doc, *shown})))
            lines = [f"[p{i + 1}] {self.docs[i][0]}: {self.docs[i][1]}" for i in shown]
            text = "\n".join(("Passages:", *lines, "", text))
        self.messages.append({"role": "user", "content": text})

    def step(self, completion: str, label: str, kind: str = "") -> None:
        """What a step writes here."""
        at, kind = len(self.messages), kind or self.kind
        self.steps.append({"at": at, "completion": completion, "kind": kind, "label": label})
        if (flaw := self.flaw(completion)) is not None:
            again = f"That is not valid: {flaw}\nWrite it again."
            self.steps.append({**self.steps[-1], "extra_prompt": again, "kind": "again"})

    def flaw(self, completion: str) -> str | None:
        """What the runtime would say of a value that nobody gave, had it stood where this step is written."""
        rng, written = self.rng, json.loads(completion)
        if isinstance(written, dict):
            name = written["ask"][0]
            offers = [offer for offer in self.world.offers.values() if name in offer.meanings]
            given: tuple[Offer, str] | None = (rng.choice(offers), name) if offers else None
            often = 0.35
        elif self.kind in TWO_STEP and written and not self.before_last_user_called():
            role, meaning = TWO_STEP[self.kind]
            offer = self.world.offers[role]
            given, often = next(((offer, name) for name in offer.named([meaning])), None), 0.3
        else:
            offer = next((o for o in self.world.offers.values() if written and o.name == written[0]["name"]), None)
            unsaid = [n for n in offer.meanings if n not in written[0]["arguments"]] if offer else []
            given, often = (offer, rng.choice(unsaid)) if offer and unsaid else None, 0.06
        if given is None or rng.random() > often:
            return None
        value = self.invented(*given)
        return None if value is None else f"Nobody gave {given[1]} {dumps(value)}: look it up, or ask for it."

    def before_last_user_called(self) -> bool:
        """Whether something was called since the user's last message."""
        return self.messages[-1]["role"] == "tool"

    def invented(self, offer: Offer, name: str) -> Any:
        """A value that nobody gave for an argument, as a model might invent it; None where that is no identifier."""
        rng, world, meaning = self.rng, self.world, offer.meanings[name]
        makers: dict[str, Callable[[], Any]] = {
            "id": lambda: world.other_id,
            "item": lambda: numbered(world.desk.item[1], rng),
            "client": lambda: numbered(next(iter(world.numbers.values()))[:2] + "###", rng),
            "date": lambda: (world.today + datetime.timedelta(rng.randint(1, 20))).isoformat(),
            "start": lambda: (world.today + datetime.timedelta(rng.randint(1, 20))).isoformat(),
            "end": lambda: (world.today + datetime.timedelta(rng.randint(8, 30))).isoformat(),
            "time": lambda: rng.choice(("09:00", "10:00", "14:00", "12:30")),
            "after": lambda: rng.choice(("08:00", "12:00")),
            "person": lambda: rng.choice(("Jo Miller", "John Doe", "Customer", "Anna Schmidt")),
            "worker": lambda: rng.choice(("Jo Miller", "Sam Carter")),
            "to": lambda: rng.choice(("someone@example.com", "customer@example.com", "info@example.org")),
            "count": lambda: rng.randint(2, 5),
            "most": lambda: rng.choice((50, 100, 1000)),
            "postcode": lambda: "12345",
        }  # fmt: skip
        return makers[meaning]() if meaning in makers else None

    def say(self, text: str) -> None:
        """What the base answers."""
        self.messages.append({"role": "assistant", "content": text})

    def call(self, *calls: dict[str, Any], denied: bool = False, learnt: bool = True) -> list[Any]:
        """Calls, carried out; None stands for what was refused. What is not learnt is a mistake to go on from."""
        if learnt:
            self.step(dumps(list(calls)), "tools")
        self.say(dumps(list(calls)))
        results = []
        for call in calls:
            said, result, told = "error", None, "denied by the user" + self.rng.choice(("", ": not now", ": wrong one"))
            try:
                if not denied:
                    result = told = self.world.execute(call)
                    said = "result"
            except DeskError as error:
                told = self.rng.choice(("ValueError: ", "ValueError: ", "")) + str(error)
            results.append(result)
            self.messages.append({"role": "tool", "content": dumps({"name": call["name"], said: told})})
        return results

    def done(self, answer: str = "Done.", label: str = "none") -> None:
        """No call is needed now; the base answers."""
        self.step("[]", label)
        self.say(answer)

    def ask(self, offer: Offer, *meanings: str) -> None:
        """Something required was not said."""
        names = offer.named(meanings)[:4]
        self.step(dumps({"ask": names}), "tools", "ask")
        wanted = " and ".join(QUESTIONS.get(meaning, "the " + meaning) for meaning in meanings)
        self.say(self.rng.choice(("Please tell me {}.", "I need {} for that.", "Could you give me {}?")).format(wanted))

    # what there is to speak of

    def id(self, changeable: bool | None = None, other: str = "") -> str:
        """The number of a record."""
        mains = self.world.mains.items()
        fits = [n for n, r in mains if n != other and changeable in (None, r["status"] in self.world.open)]
        return self.rng.choice(fits)

    def soon(self, least: int = 0) -> Any:
        """A day that comes."""
        days = self.rng.choice((0, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 18, 23, 31))
        return self.world.today + self.world.today.resolution * max(days, least)

    def reason(self) -> tuple[str, str]:
        """What somebody says as a reason, and its name."""
        name = self.rng.choice(list(self.world.desk.reasons))
        return self.rng.choice(self.world.desk.reasons[name]), name

    def group(self) -> tuple[str, list[str]]:
        """A kind of item, and the numbers of those, the cheapest first."""
        items, price = self.world.items, self.world.words["price"]
        groups: dict[str, list[str]] = {}
        for code in sorted(items, key=lambda c: float(items[c][price])):
            groups.setdefault(items[code]["group"], []).append(code)
        clear = [g for g, codes in groups.items() if len({items[c][price] for c in codes}) == len(codes)]
        name = self.rng.choice(clear)
        return name, groups[name]

    def lines(self, among: Iterable[dict[str, Any]] = ()) -> tuple[str, list[dict[str, Any]]]:
        """Some items and how many of each, as said and as an argument; of those of a record, if there are any."""
        known = {line["item"]: line["quantity"] for line in among} or dict.fromkeys(self.world.items, 5)
        codes = self.rng.sample(list(known), min(len(known), self.rng.choice((1, 1, 2))))
        chosen = [{"item": code, "quantity": self.rng.randint(1, known[code])} for code in codes]
        words = ("one", "two", "three", "four", "five")
        form = self.rng.choice(("{w} of {c}", "{n} x {c}", "{w} {c}", "{n} {c}"))
        said = [form.format(w=words[line["quantity"] - 1], n=line["quantity"], c=line["item"]) for line in chosen]
        return " and ".join(said), self.world.lines(chosen)

    def drawn(self, name: str, offer: Offer, text: str, id: str) -> tuple[str, Any]:
        """What a placeholder becomes in a text, and as an argument."""
        rng, world = self.rng, self.world
        takes = offer.meanings.values()
        if name == "when":
            day = self.soon(2 if offer.role == "move" else 0)
            bare = bool(re.search(r"(to|on|:) {when}", text)) and offer.role == "move"
            said = day_said(day, world.today, rng, self.lang, offer.role != "move")
            return re.sub("^on ", "", said) if bare else said, day.isoformat()
        if name in ("clock", "after"):
            said, value = time_said(rng)
            said = said if name == "clock" else said.replace(" at ", " after ", 1)
            return self.maybe(MEANS[name] in takes and self.lang == "en", said, value)
        if name == "number":
            n = rng.randint(2, 9)
            way = rng.choice((", for {} people", ", {} of them", ", {} in all", " ({})")).format(n)
            return self.maybe("count" in takes, way, n)
        if name == "at":
            place = rng.choice(world.desk.places)
            said = rng.choice(("at {}", "in {}", "({})", "at {}")).format(place)
            return (said, place) if "place" in offer.required else self.maybe("place" in takes, said, place)
        if name == "bound":
            most = rng.randrange(10, 400, 5)
            ways = (" under {} euros", " for at most {} euros", " up to {}", " for no more than {}", ", not above {}")
            return self.maybe("most" in takes, rng.choice(ways).format(most), most)
        if name == "sorted":
            ways = (("cheapest first", "asc"), ("starting with the cheapest", "asc"), ("the dearest first", "desc"))
            said, way = rng.choice(ways)
            return self.maybe("sort" in takes, f", {said}", f"{world.words['price']}_{way}")
        if name == "avail":
            ways = (" that can be had now", " right now", " in stock", ", only what is really there,")
            return self.maybe("flag" in takes, rng.choice(ways), True)
        if name in ("worker", "note", "change") and MEANS[name] not in takes:
            raise LookupError(f"{offer.name} takes no {name}")
        if name == "lines":
            return self.lines(world.mains[id]["lines"] if offer.role == "back" else ())
        return self._plain(name, id)

    def maybe(self, taken: bool, said: str, value: Any) -> tuple[str, Any]:
        """Often something that may be said, where the tool takes it; else nothing."""
        return (said, value) if taken and self.rng.random() < 0.65 else ("", None)

    def _plain(self, name: str, id: str) -> tuple[str, Any]:
        """What a placeholder becomes whose value is said as it is, or in fixed words."""
        rng, world = self.rng, self.world
        if name == "urgency":
            level = rng.choice(list(URGENCY))
            return rng.choice(URGENCY[level]), level
        if name in ("status", "change"):
            status = rng.choice([*world.desk.states[0], *world.desk.states[1]])
            return status.replace("_", " "), status
        if name == "person_first":
            return world.mains[id]["person"].split()[0] if id in world.mains else rng.choice(FIRST), None
        makers: dict[str, Callable[[], str]] = {
            "id": lambda: id,
            "code": lambda: rng.choice(list(world.items)),
            "item": lambda: str(rng.choice(list(world.items.values()))["name"]),
            "person": lambda: rng.choice(world.clients),
            "worker": lambda: rng.choice(world.staff),
            "client": lambda: rng.choice(list(world.numbers.values())),
            "group": lambda: self.group()[0],
            "email": lambda: str(world.people[rng.choice(list(world.people))]["email"]),
            "subject": lambda: self.fill(rng.choice(SAID["subject"]), id=self.id()),
            "text": lambda: rng.choice(SAID["text"]),
            "note": lambda: rng.choice(SAID["notes"]),
            "device": lambda: rng.choice(world.devices),
        }
        value = makers[name]()
        return value, value

    def filled(self, text: str, offer: Offer, id: str = "") -> tuple[str, dict[str, Any], dict[str, str]]:
        """A text with values drawn for its placeholders; the arguments that they give, and how each was said."""
        shown, given, said = dict[str, str](), dict[str, Any](), dict[str, str]()
        id = id or self.id(True if offer.role in ("move", "cancel", "lines") and self.rng.random() < 0.85 else None)
        for name in re.findall(r"{(\w+)}", text):
            if name == "span":
                start = self.soon()
                shown[name], given["start"], given["end"] = span_said(start, self.world.today, self.rng)
            elif name == "why":
                shown[name], reason = self.reason()
                given |= {"reason": reason, "why": shown[name]}
            elif name == "where":
                given |= self.world.address()
                shown[name] = "{street}, {postcode} {city}".format(**given)
            elif name == "gist":
                shown[name], given["text"], subject = self.rng.choice(SAID["gist"]).split(" | ")
                given.setdefault("subject", subject)
            elif name == "fault":
                where = f"{self.rng.choice(self.world.devices)} in {self.rng.choice(self.world.desk.places)}"
                problem = self.rng.choice(SAID["fault"])
                shown[name], given["title"] = f"the {where} {problem}", f"{where[0].upper()}{where[1:]} {problem}"
            elif name == "operate":
                mode, device = self.rng.choice(list(MODES)), self.rng.choice(self.world.devices)
                shown[name], given["mode"], given["device"] = self.rng.choice(MODES[mode]).format(device), mode, device
            elif name in MEANS or name == "person_first":
                shown[name], value = self.drawn(name, offer, text, id)
                if name in MEANS:
                    given[MEANS[name]], said[MEANS[name]] = value, shown[name]
        known = {meaning: value for meaning, value in given.items() if meaning in offer.meanings.values()}
        return self.fill(text, **shown), {m: v for m, v in known.items() if v is not None}, {**said, "id": id}

    # situations

    def one(self, role: str, situation: str = "", id: str = "") -> None:
        """A request for one call; where the text leaves out something required, it is asked for."""
        offer = self.world.offers[role]
        text = self.pick(situation or role)
        words, given, said = self.filled(text, offer, id)
        missing = [meaning for meaning in offer.required if meaning not in given]
        if missing and not situation.startswith("?"):
            raise LookupError(text)
        if {"id", "client"} & set(missing) and any(step["label"] == "tools" for step in self.steps):
            raise LookupError("the number may have been said")
        self.user(words)
        if missing:
            self.ask(offer, *missing)
            texts = {
                "id": "{id}", "date": "{when}", "item": "{code}", "person": "{person}", "place": "{at}",
                "client": "{client}",
            }  # fmt: skip
            if not texts.keys() >= set(missing) or self.rng.random() < 0.5:
                return
            text = self.pick("answer", lang=False) if missing == ["id"] else ", ".join(texts[m] for m in missing)
            words, more, _ = self.filled(text, offer, said["id"])
            given |= more
            self.user(words)
        self.finish(offer, given)

    def said(self, text: str, offer: Offer, id: str = "") -> dict[str, Any]:
        """The user says a text; gives the arguments in it."""
        words, given, _ = self.filled(text, offer, id)
        self.user(words)
        return given

    def finish(self, offer: Offer, given: dict[str, Any]) -> None:
        """Calls, and what the base says then."""
        denied = offer.role in ("create", "cancel", "message", "switch") and self.rng.random() < 0.06
        (result,) = self.call(offer.call(**given), denied=denied)
        if near := re.search(r"did you mean '(.+)'", self.messages[-1]["content"]):
            (result,) = self.call(offer.call(person=near[1]))
        self.last, self.told = given.get("id", self.last), result if offer.role == "get" and result else {}
        self.done(self.answer(offer.role, result))

    def finish_if(self, condition: object, offer: Offer, given: dict[str, Any], otherwise: str = "") -> None:
        """Calls on a condition that the result before decides."""
        if condition:
            self.finish(offer, given)
        else:
            self.done(otherwise or self.rng.choice(("That is not the case, so I did nothing.", "I left it as it is.")))

    def answer(self, role: str, result: Any) -> str:
        """What the base says of a result."""
        if result is None:
            return self.rng.choice(("That did not work, I am sorry.", "I could not do that.", "It was refused."))
        if role == "get":
            return f"{self.last} is {result['status'].replace('_', ' ')}; the date is {result['date']}."
        if isinstance(result, list):
            return f"I found {len(result)}." if result else "There is nothing like that."
        if isinstance(result, dict) and role in ("stock", "duty", "person", "device"):
            return "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in list(result.items())[:3]) + "."
        return self.rng.choice(("Done.", "That is done.", "I have taken care of it.", "All set."))

    def have(self, kind: str) -> None:
        """Has one situation."""
        if kind in ("moveit", "cancelit"):
            self.one(kind.removesuffix("it"), kind, self.last)
        elif method := getattr(self, f"do_{kind}", None):
            method()
        elif kind in LOOKS:
            self.do_look(kind)
        elif kind in FOUND:
            role, *texts = FOUND[kind]
            self.finish(self.world.offers[role], self._found(self.world.offers[role], texts))
        elif kind in IDLE:
            self.idle(kind)
        else:
            self.one(kind)

    def do_get(self, situation: str = "get") -> None:
        seen = "".join(m["content"] for m in self.messages if m["role"] == "tool")
        self.one("get", situation, self.rng.choice([n for n in self.world.mains if n not in seen]))

    def do_and(self) -> None:
        self.do_get("and")

    def do_unknown(self) -> None:
        role = self.rng.choice([r for r in ("get", "cancel", "note", "assign") if r in self.world.offers])
        self.one(role, "", self.world.other_id)

    def do_misnamed(self) -> None:
        offer, person = self.world.offers["person"], self.rng.choice(self.world.clients)
        name = f"{self.rng.choice(FIRST)} {person.split()[1]}"
        self.user(self.fill(self.pick("person"), person=name))
        self.finish(offer, {"person": name})

    def do_several(self) -> None:
        first, second = self.id(True), ""
        second = self.id(True, first)
        ways = ("get", "cancel", "stock", "device", "mixed", "mixed")
        way = self.rng.choice([each for each in ways if each == "mixed" or each in self.world.offers])
        if way in ("stock", "device"):
            offer, places = self.world.offers[way], self.rng.sample(self.world.desk.places, 2)
            about = self.rng.choice(self.world.devices if way == "device" else list(self.world.items))
            self.user(self.fill(self.pick(way + "2"), code=about, device=about, place=places[0], place2=places[1]))
            calls = [offer.call(**{"device" if way == "device" else "item": about, "place": place}) for place in places]
        elif way == "mixed":
            calls, texts = [], []
            known = ("cancel", "note", "level", "assign", "get", "complain", "duty", "stock", "message")
            roles = [role for role in known if role in self.world.offers]
            for role, id in zip(self.rng.sample(roles, 2), (first, second), strict=True):
                words, given, _ = self.filled(self.pick(role, lang=False), self.world.offers[role], id)
                calls.append(self.world.offers[role].call(**given))
                texts.append(words)
            self.user(texts[0].rstrip(".?!") + self.rng.choice((". Also: ", ", and ", ". And then: ", "; ")) + texts[1])
        else:
            name = self.world.mains[first]["person"].split()[0]
            self.user(self.fill(self.pick(f"{way}2"), id=first, id2=second, person_first=name))
            calls = [self.world.offers[way].call(id=id) for id in (first, second)]
        self.call(*calls)
        self.done("Both are done." if way in ("cancel", "mixed") else "Here is both.")

    def _found(self, offer: Offer, situations: list[str]) -> dict[str, Any]:
        """Says a text about the cheapest of a kind or an item by name; gives what the call after the search takes."""
        search, cheapest = self.world.offers["search"], self.rng.random() < 0.5
        text = self.pick(situations[not cheapest])
        if cheapest:
            name, codes = self.group()
            text, code = text.replace("{group}", name), codes[0]
            asked = {"group": name}
            if "sort" in search.meanings.values():
                asked["sort"] = self.world.words["price"] + "_asc"
        else:
            code = self.rng.choice(list(self.world.items))
            asked = {"query": self.world.items[code]["name"]}
            text = text.replace("{item}", asked["query"])
        words, given, _ = self.filled(text, offer)
        missing = set(offer.required) - {"item", *given}
        if missing:
            raise LookupError(text)
        self.user(words)
        if not cheapest and self.rng.random() < 0.25:  # the name was taken for a number; the error leads to the search
            self.call(offer.call(**given, item=asked["query"]), learnt=False)
        self.call(search.call(**asked))
        return {**given, "item": code}

    def do_look(self, kind: str) -> None:
        """Something is only to be looked up: what the tool beside it would do was not asked for."""
        offer = self.world.offers[LOOKS[kind]]
        person, item = self.rng.choice(self.world.clients), self.rng.choice(list(self.world.items))
        text = self.pick(kind).replace("{who}", person).replace("{item_code}", item)
        if kind == "lookcancel":
            self.user(self.fill(text))
            given: dict[str, Any] = {"person": person}
        elif kind in ("lookmake", "looktake"):
            name, _ = self.group()
            given = self.said(text.replace("{group}", name), offer) | {"group": name}
            if "sort" in offer.meanings.values() and "cheapest" in text:
                given["sort"] = self.world.words["price"] + "_asc"
        else:
            given = self.said(text, offer)
        (result,) = self.call(offer.call(**given))
        self.done(self.answer(offer.role, result))

    def do_unable(self) -> None:
        """A request for which there is no tool, and none that might serve."""
        near = {role: set[str]().union(*(group for group in ALIKE if role in group)) for role in ROLES if role in SAID}
        missing = [role for role, group in near.items() if group and not group & self.world.offers.keys()]
        role = self.rng.choice(missing)
        words, _, _ = self.filled(self.pick(role), self.world.spare(role))
        self.user(words)
        self.done(self.rng.choice(("I cannot do that here.", "That is not possible with what I have.")))

    def do_createmail(self) -> None:
        """Makes something, looks up where its person is written to, and writes there."""
        create, look, mail = (self.world.offers[role] for role in ("create", "person", "message"))
        person = self.rng.choice(self.world.clients)
        text = self.pick("createmail").replace("{person}", person)
        words, given, _ = self.filled(text, create)
        given["person"] = person
        self.user(words)
        made, found = self.call(create.call(**given), look.call(person=person))
        number = next(iter(made.values()))
        body = f"Your {self.world.words['m']} {number} is on {made['date']}."
        self.finish(mail, {"to": found["email"], "subject": f"Your {self.world.words['m']} {number}", "text": body})

    def do_freemake(self) -> None:
        free, offer = self.world.offers["free"], self.world.offers["create"]
        _, asked, said = self.filled(self.pick("freemake"), free)
        person, item = self.rng.choice(self.world.clients), self.rng.choice(list(self.world.items))
        text = self.pick("freemake").replace("{code}", item).replace("{person}", person)
        shown = {name: said.get(MEANS[name], "") for name in ("when", "at", "after")}
        self.user(self.fill(text, **shown))
        (times,) = self.call(free.call(**asked))
        given = {"date": asked["date"], "person": person, "item": item, "time": next(iter(times), None)}
        self.finish_if(times, offer, given, "Nothing is free then.")

    def _date_mail(self, id: str, told: dict[str, Any]) -> None:
        day = datetime.date.fromisoformat(told["date"])
        subject = f"Your {self.world.words['m']} {id}"
        given = {"to": told["email"], "subject": subject, "text": f"{subject} is on {day.day} {day:%B} {day.year}."}
        self.finish(self.world.offers["message"], given)

    def do_tellowner(self) -> None:
        offer, id = self.world.offers["message"], self.id()
        about_date = self.rng.random() < 0.5
        given = self.said(self.pick("maildate" if about_date else "tellowner"), offer, id)
        (told,) = self.call(self.world.offers["get"].call(id=id))
        if about_date:
            self._date_mail(id, told)
        else:
            self.finish(offer, {"subject": f"Your {self.world.words['m']} {id}", **given, "to": told["email"]})

    def do_personmain(self) -> None:
        mains = self.world.mains
        person = self.rng.choice([p for p in self.world.clients if sum(r["person"] == p for r in mains.values()) == 1])
        mailed = "message" in self.world.offers and self.rng.random() < 0.6
        self.user(self.fill(self.pick("persondate" if mailed else "personmains"), person=person))
        self.call(self.world.offers["person"].call(person=person))
        id = next(id for id, each in mains.items() if each["person"] == person)
        if mailed:
            (told,) = self.call(self.world.offers["get"].call(id=id))
            self._date_mail(id, told)
        else:
            self.finish(self.world.offers["get"], {"id": id})

    def do_personcancel(self) -> None:
        role = self.rng.choice([r for r in ("person", "list") if r in self.world.offers])
        offer, person = self.world.offers["cancel"], self.rng.choice(self.world.clients)
        every = role == "list" and self.rng.random() < 0.6
        self.user(self.fill(self.pick("listcancel" if every else "personcancel"), person=person, why=self.reason()[0]))
        self.call(self.world.offers[role].call(person=person))
        ids = [id for id, each in self.world.mains.items() if each["person"] == person]
        left = [id for id in ids if self.world.mains[id]["status"] in self.world.open]
        if len(ids if role == "person" else left) > 1 and not every:
            self.ask(offer, "id")
        elif left:
            self.call(*(offer.call(id=id) for id in left))
            self.done("That is cancelled.")
        else:
            self.done("There is nothing left to cancel.")

    def do_pick(self) -> None:
        offer, mains = self.world.offers["cancel"], self.world.mains
        owners = [record["person"] for record in mains.values()]
        person = self.rng.choice([p for p in self.world.clients if owners.count(p) > 1])
        left = [id for id, each in mains.items() if each["person"] == person and each["status"] in self.world.open]
        id = left[0]  # one at most; where there is none, the situation does not arise
        day, state = datetime.date.fromisoformat(mains[id]["date"]), mains[id]["status"].replace("_", " ")
        ways = (f"of {day.day} {day:%B}", "with the latest date", f"that is {state}")
        client = self.world.numbers[person]
        text = self.pick("pick").replace("{which}", self.rng.choice(ways)).replace("{client}", client)
        given = self.said(text, offer)
        self.call(self.world.offers["account"].call(client=client))
        self.finish(offer, {**given, "id": id})

    def do_telldebt(self) -> None:
        offer = self.world.offers["tell"]
        given = self.said(self.pick("telldebt"), offer)
        (found,) = self.call(self.world.offers["account"].call(**given))
        ways = ("Your balance is {} euros.", "You owe {} euros.", "The amount is {} euros.")
        self.finish(offer, {**given, "text": self.rng.choice(ways).format(found["balance"])})

    def do_tellstate(self) -> None:
        offer, id = self.world.offers["notify"], self.id()
        self.user(self.fill(self.pick("tellstate"), id=id))
        (told,) = self.call(self.world.offers["get"].call(id=id))
        text = f"Your {self.world.words['m']} {id} is {told['status'].replace('_', ' ')}; the date is {told['date']}."
        self.finish(offer, {"id": id, "text": text})

    def do_dutyassign(self) -> None:
        duty, offer, id = self.world.offers["duty"], self.world.offers["assign"], self.id()
        given = self.said(self.pick("dutyassign"), duty, id)
        (found,) = self.call(duty.call(date=given["date"]))
        self.finish(offer, {"id": id, "worker": found["name"]})

    def do_conditional(self) -> None:
        offer, id = self.world.offers["cancel"], self.id(True)
        state = self.world.mains[id]["status"]
        status = self.rng.choice((state, state, *self.world.desk.states[0], *self.world.desk.states[1]))
        self.user(self.fill(self.pick("conditional"), id=id, status=status.replace("_", " ")))
        self.call(self.world.offers["get"].call(id=id))
        self.finish_if(status == state, offer, {"id": id})

    def do_deviceif(self) -> None:
        look, offer = self.world.offers["device"], self.world.offers["switch"]
        words, given, _ = self.filled(self.pick("deviceif").replace("{state}", "STATE"), look)
        state = self.world.running[given["device"], given.get("place", self.world.desk.places[0])]
        asked = self.rng.choice((state, state, "down", "degraded"))
        if "place" in offer.required and "place" not in given:
            raise LookupError
        self.user(words.replace("STATE", asked))
        self.call(look.call(**given))
        self.finish_if(asked == state, offer, {**given, "mode": "restart"})

    def do_backall(self) -> None:
        offer, id = self.world.offers["back"], self.id()
        given = self.said(self.pick("backall"), offer, id)
        self.call(self.world.offers["get"].call(id=id))
        self.finish(offer, {**given, "lines": self.world.lines(self.world.mains[id]["lines"])})

    def do_lessthan(self) -> None:
        look, offer = self.world.offers["stock"], self.world.offers["message"]
        few, text = self.rng.randint(2, 12), self.pick("lessthan")
        email, mail = self.world.people[self.rng.choice(self.world.staff)]["email"], self.rng.choice(SAID["text"])
        for name, value in (("few", str(few)), ("email", email), ("text", mail), ("subject", "Low")):
            text = text.replace("{" + name + "}", value)
        given = self.said(text, look)
        (found,) = self.call(look.call(**given))
        self.finish_if(found["left"] < few, offer, {"to": email, "subject": "Low", "text": mail})

    def do_rangestay(self) -> None:
        free, offer = self.world.offers["range"], self.world.offers["stay"]
        text, (group, _) = self.pick("rangestay"), self.group()
        person = self.rng.choice(self.world.clients)
        said, start, end = span_said(self.soon(), self.world.today, self.rng)
        number = self.rng.randint(2, 6) if "count" in offer.meanings.values() and "{number}" in text else None
        shown = {"group": group, "person": person, "span": said, "number": f", {number} of them" if number else ""}
        self.user(self.fill(text, **shown))
        asked = {"group": group} if "group" in free.meanings.values() else {}
        (found,) = self.call(free.call(start=start, end=end, **asked))
        price = self.world.words["price"]
        fits = [each for each in found if self.world.items[next(iter(each.values()))]["group"] == group]
        best = min(fits, key=lambda each: float(each[price]), default={"": None})
        given = {"item": next(iter(best.values())), "person": person, "start": start, "end": end, "count": number}
        self.finish_if(fits, offer, given, "Nothing of that kind is free then.")

    def do_historymail(self) -> None:
        look, offer, id = self.world.offers["history"], self.world.offers["message"], self.id()
        given = self.said(self.pick("historymail"), offer, id)
        (found,) = self.call(look.call(id=id))
        self.finish(offer, {**given, "text": found[-1]["entry"]})

    def do_need(self) -> None:
        role = self.rng.choice([role for role in self.world.offers if "?" + role in SAID])
        self.one(role, "?" + role)

    def idle(self, situation: str) -> None:
        """A text that needs no call."""
        self.user(self.fill(self.pick(situation)))
        label, answer = IDLE[situation]
        self.done(answer, label)

    def do_doc(self) -> None:
        doc = self.rng.randrange(len(self.docs))
        self.user(self.fill(self.pick("docask"), question=self.docs[doc][2]), doc if self.with_docs else None)
        self.done(*((self.docs[doc][1], "retrieval") if self.with_docs else ("I do not know that.", "none")))

    def do_repeat(self) -> None:
        self.user(self.fill(self.pick("repeat"), status=self.told["status"].replace("_", " ")))
        self.done(f"It is {self.told['status']}, {self.told['date']}.")

    def rows(self, run: str) -> list[dict[str, Any]]:
        """The steps as records."""
        shared = {"run": run, "tools": self.world.tools()}
        told = [{"role": "system", "content": self.instructions}, *self.messages]
        return [
            {**shared, "messages": told[: at + 1], **rest}
            for step in self.steps
            for at, rest in [(step.pop("at"), step)]
        ]


def instructions_of(world: World, rng: random.Random) -> str:
    """What the assistant of a desk is told, with the date."""
    today = world.today
    forms = (
        f"{today:%A}, {today.day} {today:%B %Y}",
        f"{today:%A}, {today.isoformat()}",
        f"{today:%A}, {today:%B} {today.day}, {today.year}",
    )
    where = world.desk.desk.format(co=rng.choice(SAID["company"]))
    extra = "".join(" " + each for each in rng.sample(SAID["extra"], rng.choice((0, 1, 1, 2))))
    return rng.choice(SAID["instructions"]).format(desk=where, today=rng.choice(forms), extra=extra)


def _strangers(desk: Desk, desks: Sequence[Desk], rng: random.Random) -> list[dict[str, Any]]:
    """Tools of other desks, which serve nothing here; none for half of the groups, at most twenty-two."""
    most = rng.choices((0, rng.randint(1, 5), rng.randint(4, 10), rng.randint(10, 22)), (50, 28, 16, 6))[0]
    ours, found = {desk.main[0], desk.item[0]}, list[dict[str, Any]]()
    for other in rng.sample(list(desks), len(desks)):
        if len(found) >= most:
            break
        if {other.main[0], other.item[0]} & ours:
            continue
        world = World(other, rng, rng.sample(OTHERS, rng.randint(3, 7)))
        found += [offer.schema for offer in world.offers.values() if offer.role in OTHERS]
    return found[:most]


def group(desk: Desk, desks: Sequence[Desk], rng: random.Random, together: int) -> list[Talk]:
    """Conversations with one desk on one day, each on a state of its own; tools are chosen for what is spoken of."""
    firsts = rng.choices(list(FIRSTS), list(FIRSTS.values()), k=together)
    while True:
        kinds = rng.sample(firsts, min(3, together))
        needed = [role for kind in kinds for role in NEEDS.get(kind, [kind] if kind in ROLES else [])]
        try:
            world = World(desk, rng, needed[:6])
            world.beside(_strangers(desk, desks, rng))
            break
        except (LookupError, ValueError):  # two tools of one name, too few numbers
            continue
    told = instructions_of(world, rng)
    return [conversation(Talk(world, rng, told), kind) for kind in firsts]


def conversation(talk: Talk, first: str) -> Talk:
    """Has a conversation of one to four situations, where the tools allow it beginning with the given one."""
    rng, turns = talk.rng, talk.rng.choices((1, 2, 3, 4), (40, 30, 20, 10))[0]
    for tried in range(80):
        if not turns:
            break
        talk.kind = first if not tried else rng.choices(list(FIRSTS), list(FIRSTS.values()))[0]
        if talk.told and rng.random() < 0.5:
            talk.kind = rng.choice(("and", "and", "repeat", "moveit", "cancelit"))
        talk.lower = rng.random() < 0.07
        length, steps, world = len(talk.messages), len(talk.steps), talk.world
        try:
            talk.world = copy.deepcopy(world)
            talk.have(talk.kind)
            turns -= 1
        except (LookupError, ValueError):  # no such tool here, or nothing to speak of
            talk.world = world
            del talk.messages[length:], talk.steps[steps:]
    return talk


def main() -> None:
    """Writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--together", type=int, default=4, help="conversations that share their tools")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bare", type=float, default=0.0, help="share of conversations without tools, for routers")
    parser.add_argument("--valid", action="store_true", help="of the desks that training never sees")
    given = parser.parse_args()
    rng = random.Random(f"{given.seed}/{given.valid}")
    FIRSTS.update(TABLE["routed"] if given.bare else {})
    desks = [desk for at, desk in enumerate(read_desks()) if (at % 7 == 3) == given.valid]
    with given.out.open("w") as out:
        for n in range(0, given.conversations, given.together):
            for m, talk in enumerate(group(rng.choice(desks), desks, rng, given.together)):
                run = f"{'v' if given.valid else 't'}{given.seed}-{n + m}"
                rows = talk.rows(run)
                if rng.random() < given.bare:  # what a call would have answered, the base has to
                    label = rows[0]["label"].replace("tools", "none")
                    rows = [{**rows[0], "tools": [], "completion": "", "label": label}]
                out.writelines(dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
