"""Invented desks: their tools with schemas, and a small state in memory on which calls are really carried out."""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TABLE = yaml.safe_load((HERE / "desks_tools.yaml").read_text())
ROLES = tuple(TABLE["tools"])
FIRST, LAST = TABLE["first_names"].split(), TABLE["last_names"].split()
STREETS, TOWNS = TABLE["streets"], TABLE["towns"]


class DeskError(Exception):
    """A tool's refusal, with a message that the assistant is shown."""


@dataclass(frozen=True)
class Desk:
    """One block of `desks.txt`."""

    desk: str
    main: list[str]  # noun, pattern of its numbers
    states: list[list[str]]  # of records that may be changed, of those that may not
    item: list[str]  # noun, pattern of its numbers, what it costs
    items: list[list[str]]  # name and kind
    place: list[str]  # argument, what is counted
    places: list[str]
    person: str
    verbs: list[str]
    reasons: dict[str, list[str]]
    docs: list[list[str]]


def parts(text: str, by: str) -> list[str]:
    """The parts of a text, without the spaces around them."""
    return [part.strip() for part in text.split(by)]


def read_desks() -> list[Desk]:
    """All desks of `desks.txt`."""
    found = []
    for block in re.split(r"^desk ", (HERE / "desks.txt").read_text(), flags=re.M)[1:]:
        desk, *lines = block.strip().split("\n")
        given: dict[str, list[str]] = {}
        for line in lines:
            key, rest = line.split(" ", 1)
            given.setdefault(key, []).append(rest)
        main, *states = parts(given["main"][0], "|")
        item, items = parts(given["item"][0], "|")
        place, places = parts(given["place"][0], ":")
        values, counted = parts(places, "=")
        reasons = (parts(each, ":") for each in given["reason"][0].split(";"))
        made = Desk(
            desk=desk,
            main=main.rsplit(" ", 1),
            states=[parts(each, ",") for each in states],
            item=item.rsplit(" ", 2),
            items=[each.rsplit("/", 1) for each in parts(items, ";")],
            place=[place, counted],
            places=parts(values, ","),
            person=given["person"][0],
            verbs=parts(given["verbs"][0], ","),
            reasons={name: parts(said, " / ") for name, said in reasons},
            docs=[parts(each, "|") for each in given["doc"]],
        )
        found.append(made)
    return found


def numbered(pattern: str, rng: random.Random) -> str:
    """A number after a pattern: `#` is a digit, the first of them not 0."""
    first = pattern.find("#")
    return "".join(str(rng.randint(at == first, 9)) if c == "#" else c for at, c in enumerate(pattern))


def plural(noun: str) -> str:
    """The plural of an English noun."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def masked_name(heads: Sequence[str], taken: Container[str], rng: random.Random) -> str:
    """A name that says nothing of what it names, such as `func_17` or `tool_kx`."""
    while True:
        letters = "".join(rng.choices("abcdefghijkmnopqrstuvwxyz", k=rng.choice((1, 2))))
        name = f"{rng.choice(heads)}_{rng.choice((letters, str(rng.randint(1, 60))))}"
        if name not in taken:
            return name


@dataclass(frozen=True)
class Offer:
    """A tool as it is offered: its role, its schema, and what each of its arguments stands for."""

    role: str
    schema: dict[str, Any]
    meanings: dict[str, str]

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.schema["name"])

    @property
    def required(self) -> list[str]:
        """What required arguments stand for."""
        return [self.meanings[name] for name in self.schema["parameters"]["required"]]

    def named(self, meanings: Iterable[str]) -> list[str]:
        """The arguments that stand for these."""
        wanted = set(meanings)
        return [name for name, meaning in self.meanings.items() if meaning in wanted]

    def call(self, **given: Any) -> dict[str, Any]:
        """A call, its arguments in the tool's order.

        Raises:
            LookupError: the tool does not take one of these, or needs another.
        """
        known = {meaning: value for meaning, value in given.items() if value is not None}
        if not set(self.required) <= known.keys() <= set(self.meanings.values()):
            raise LookupError(f"{self.name} takes {self.meanings}, not {known}")
        return {"name": self.name, "arguments": {n: known[m] for n, m in self.meanings.items() if m in known}}


class World:
    """A desk on a day, with some of the tools it might have."""

    def __init__(self, desk: Desk, rng: random.Random, needed: Iterable[str] = ()) -> None:
        self.desk, self.rng = desk, rng
        self.today = datetime.date(2024, 1, 1) + datetime.timedelta(rng.randrange(1400))
        self.camel, self.python = rng.random() < 0.15, rng.random() < 0.6
        self.masked = rng.choice(
            (0.0, 0.0, 0.0, 0.5, 1.0)
        )  # names that say nothing: only descriptions are left to read
        self.examples, self.described = rng.random() < 0.6, rng.random() < 0.85 or self.masked > 0
        self.devices = rng.sample(TABLE["devices"], 4)
        noun, item, person = (
            text.replace(" ", "_").replace("-", "_") for text in (desk.main[0], desk.item[0], desk.person)
        )
        self.open, self.states = desk.states[0], [*desk.states[0], *desk.states[1]]
        self.words = {
            "n": noun, "m": desk.main[0], "ns": plural(noun), "ms": plural(desk.main[0]), "i": item, "j": desk.item[0],
            "is": plural(item), "p": person, "q": desk.person, "price": desk.item[2], "counted": desk.place[1],
            "place": desk.place[0], "open": self.open[0],
            **dict(zip(("make", "cancel", "move"), desk.verbs, strict=True)),
        }  # fmt: skip
        id_names = (f"{noun}_id", f"{noun}_id", f"{noun}_number", "number", "reference", "id")
        self.names = {
            "ID": rng.choice(id_names), "ITEM": rng.choice((f"{item}_id", f"{item}_code", f"{item}_number", item)),
            "DATE": rng.choice(("date", "day", "new_date")), "PERSON": rng.choice((person, f"{person}_name", "name")),
            "PLACE": desk.place[0],
            "CLIENT": rng.choice((f"{person}_id", f"{person}_number", "card", "account", "member")),
        }  # fmt: skip
        self._state()
        wanted = list(dict.fromkeys(("get", *needed)))
        wanted += rng.sample([role for role in ROLES if role not in wanted], max(0, rng.randint(2, 7) - len(wanted)))
        rng.shuffle(wanted)
        self.offers = {role: self._offer(role) for role in wanted}
        self._by_name = {offer.name: offer for offer in self.offers.values()}
        self._shown = [offer.schema for offer in self.offers.values()]
        if len(self._by_name) < len(self.offers):
            raise LookupError("two tools share a name")

    def beside(self, schemas: Sequence[dict[str, Any]]) -> None:
        """Shows tools of others among these, in any order.

        Raises:
            LookupError: two tools share a name.
        """
        self._shown = [*(offer.schema for offer in self.offers.values()), *schemas]
        if len({schema["name"] for schema in self._shown}) < len(self._shown):
            raise LookupError("two tools share a name")
        self.rng.shuffle(self._shown)

    def tools(self) -> list[dict[str, Any]]:
        """The tools as they are shown."""
        return self._shown

    def spare(self, role: str) -> Offer:
        """A tool that is not offered, to draw what somebody would say for it."""
        return self._offer(role)

    def _state(self) -> None:
        rng, desk = self.rng, self.desk
        people = [f"{a} {b}" for a, b in zip(rng.sample(FIRST, 8), rng.sample(LAST, 8), strict=True)]
        self.people = {name: {"email": self._address(name), "phone": numbered("+## ### #####", rng)} for name in people}
        self.clients, self.staff = people[:5], people[5:]
        pattern = rng.choice(("M-####", "K####", "C-###", "9#####", "NO ###", "QX##-#"))
        self.numbers = {name: numbered(pattern, rng) for name in self.clients}
        self.balances = {name: rng.choice((0.0, 3.4, 12.5, 40.0, 87.25, 150.0, 219.9)) for name in self.clients}
        codes = list(dict.fromkeys(numbered(desk.item[1], rng) for _ in range(60)))[: len(desk.items)]
        scale = rng.choice((1, 1, 5, 20))
        self.items = {
            code: {
                "name": name, "group": group, desk.item[2]: round(rng.uniform(8, 90) * scale * 2) / 2,
                "left": {place: rng.choice((0, 1, 2, 3, 5, 8, 12, 19, 27)) for place in desk.places},
            }
            for code, (name, group) in zip(codes, desk.items, strict=False)
        }  # fmt: skip
        self.mains: dict[str, dict[str, Any]] = {}
        for index in range(7):
            over = index > 4
            day = self.today + datetime.timedelta(-rng.randint(2, 30) if over else rng.randint(1, 30))
            chosen = rng.sample(codes, min(len(codes), rng.choice((1, 2, 2))))
            self.mains[numbered(desk.main[1], rng)] = {
                "status": rng.choice(desk.states[over]), "date": day.isoformat(),
                "person": rng.choice(self.clients) if over else self.clients[index], "place": rng.choice(desk.places),
                "lines": [{"item": code, "quantity": rng.choice((1, 1, 2, 3))} for code in chosen],
            }  # fmt: skip
        numbers = (number for number in iter(lambda: numbered(desk.main[1], rng), "") if number not in self.mains)
        self.fresh_id, self.other_id = next(numbers), next(numbers)
        self.running = {(d, p): rng.choice(("ok", "ok", "degraded", "down")) for d in self.devices for p in desk.places}

    def _address(self, name: str) -> str:
        first, last = name.lower().split()
        form = self.rng.choice(("{a}.{b}@{d}", "{b}@{d}", "{a}{b}@{d}", "{a}_{b}@{d}", "{i}.{b}@{d}"))
        domain = self.rng.choice(("example.com", "example.org", "example.net", "mail.example.com"))
        return form.format(a=first, b=last, i=first[0], d=domain)

    def address(self) -> dict[str, str]:
        """Street, postal code and town of some place."""
        street, town = self.rng.choice(STREETS), self.rng.choice(TOWNS)
        code = numbered(self.rng.choice(("#####", "####", "#####")), self.rng)
        return {"street": f"{street} {self.rng.randint(1, 180)}", "postcode": code, "city": town}

    # what tools look like

    def cased(self, name: str) -> str:
        """A name as this desk's programmers write it."""
        head, *rest = name.split("_")
        return head + "".join(part.capitalize() for part in rest) if self.camel else name

    def _offer(self, role: str) -> Offer:
        rng, table = self.rng, TABLE["tools"][role]
        name = rng.choice(table["names"].split()).format(**self.words).replace(" ", "_").replace("-", "_")
        said = rng.choice(table["said"]).format(**self.words)
        properties, required, meanings = dict[str, Any](), list[str](), dict[str, str]()
        for given in table["args"]:
            meaning, optional, share = given.split("?")[0].split("~")[0], "?" in given, given.partition("~")[2]
            if share and rng.randrange(10) >= int(share):
                continue
            if meaning == "place" and rng.random() < 0.5:
                optional = True
            argument = self._argument(meaning, optional)
            named = self._named(TABLE["arguments"][meaning]["name"])
            if rng.random() < self.masked:
                named = masked_name(("arg", "param", "p", "field"), properties, rng)
            properties[named], meanings[named] = argument, "date" if meaning == "day" else meaning
            required += [] if optional else [named]
        parameters = {"type": "object", "properties": properties, "required": required}
        description = said[0].upper() + said[1:].replace("_", " ")
        name = self.cased(name) if rng.random() >= self.masked else masked_name(("func", "tool", "op", "fn"), (), rng)
        return Offer(role, {"name": name, "description": description, "parameters": parameters}, meanings)

    def _named(self, given: str | list[str]) -> str:
        name = self.names[given] if isinstance(given, str) else self.rng.choice(given).format(**self.words)
        return self.cased(name.replace(" ", "_"))

    def _argument(self, meaning: str, optional: bool) -> dict[str, Any]:
        rng, table = self.rng, TABLE["arguments"][meaning]
        values = {
            "PLACES": self.desk.places, "GROUPS": list(dict.fromkeys(group for _, group in self.desk.items)),
            "SORTS": ["name", *(f"{self.words['price']}_{way}" for way in ("asc", "desc"))],
            "MODES": list(TABLE["modes"]), "STATUSES": self.states,
            "REASONS": list(self.desk.reasons), "DEVICES": self.devices,
        }  # fmt: skip
        made: dict[str, Any] = {"type": table.get("type", "string")}
        if enum := table.get("enum"):
            made["enum"] = values[enum] if isinstance(enum, str) else enum
        if "items" in table:
            made = {"type": "array", "items": {"type": table["items"]}}
        if objects := table.get("objects"):
            inner = {self.names["ITEM"] if name == "item" else name: {"type": kind} for name, kind in objects.items()}
            inner = {self.cased(name): kind for name, kind in inner.items()}
            made = {"type": "array", "items": {"type": "object", "properties": inner, "required": list(inner)}}
        default = self.desk.places[0] if table.get("default") == "PLACE" else table.get("default")
        if optional and self.python and default is None:
            made = {"anyOf": [made, {"type": "null"}], "default": None}
        elif optional and default is not None and (self.python or rng.random() < 0.5):
            made["default"] = default
        if self.described and (self.masked or rng.random() < 0.9):
            made["description"] = self._described(table)
        return made

    def _described(self, table: Mapping[str, Any]) -> str:
        rng, text = self.rng, self.rng.choice(table["said"]).format(**self.words).replace("_", " ")
        example = table.get("example", "")
        drawn = {
            "MAIN": numbered(self.desk.main[1], rng),
            "CODE": numbered(self.desk.item[1], rng),
            "DAY": "2023-05-17",
            "CLIENT": numbered(next(iter(self.numbers.values()))[:2] + "###", rng),
        }
        if example and self.examples:
            ways = (', e.g. "{}"', ", e.g. {}", " (for example {})", ", such as {}", ", like '{}'")
            text += rng.choice(ways).format(drawn.get(example, example))
        return text + rng.choice((".", ".", ""))

    # what they do

    def execute(self, call: Mapping[str, Any]) -> Any:
        """The result of a call.

        Raises:
            DeskError: the tool refuses.
        """
        offer = self._by_name[call["name"]]
        return getattr(self, f"run_{offer.role}")(**{offer.meanings[k]: v for k, v in call["arguments"].items()})

    def record(self, id: str, change: str = "") -> dict[str, Any]:
        """A record by its number; one that is not over, if it is to be changed."""
        found = self.mains.get(id)
        if found is None:
            raise DeskError(f"there is no {self.words['m']} {id}")
        if change and found["status"] not in self.open:
            raise DeskError(f"the {self.words['m']} is {found['status']} and cannot be {change}")
        return found

    def told(self, id: str, **more: Any) -> dict[str, Any]:
        """A result about a record."""
        return {self.cased(self.names["ID"]): id, **{self.cased(key): value for key, value in more.items() if value}}

    def known(self, item: str) -> dict[str, Any]:
        """An item by its number."""
        if item not in self.items:
            raise DeskError(f"there is no {self.words['j']} {item}")
        return self.items[item]

    def lines(self, lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Lines of a record as tools show and take them."""
        return [{self.cased(self.names["ITEM"]): line["item"], "quantity": line["quantity"]} for line in lines]

    def run_get(self, id: str) -> Any:
        each, person = self.record(id), self.words["p"]
        more = {"status": each["status"], "date": each["date"], person: each["person"]}
        more |= {"email": self.people[each["person"]]["email"], self.words["place"]: each["place"]}
        more[plural(self.words["i"])] = self.lines(each["lines"])
        return self.told(id, **more, assigned=each.get("worker"), priority=each.get("level"))

    def run_search(
        self, query: str = "", group: str = "", most: float | None = None, sort: str = "name", flag: bool = False
    ) -> Any:
        price = self.words["price"]
        found = [
            {self.cased(self.names["ITEM"]): code, "name": each["name"], price: each[price]}
            for code, each in self.items.items()
            if query.lower() in each["name"].lower()
            and group in ("", each["group"])
            and (most is None or each[price] <= most)
            and (not flag or any(each["left"].values()))
        ]
        return found if sort == "name" else sorted(found, key=lambda e: float(e[price]), reverse=sort.endswith("desc"))

    def run_range(self, start: str, end: str, group: str = "", most: float | None = None) -> Any:
        return [each for at, each in enumerate(self.run_search(group=group, most=most)) if (at + int(start[-2:])) % 3]

    def run_stay(self, item: str, person: str, start: str, end: str, count: int = 1) -> Any:
        made = self.run_create(item, person, start, count=count)
        return {**made, "until": end}

    def run_address(self, id: str, street: str, postcode: str, city: str) -> Any:
        self.record(id)
        return self.told(id, address=f"{street}, {postcode} {city}")

    def run_update(self, id: str, change: str = "", note: str = "", worker: str = "") -> Any:
        each = self.record(id)
        each["status"] = change or each["status"]
        return self.told(id, status=each["status"], note=note, assigned=worker)

    def run_history(self, id: str) -> Any:
        day = datetime.date.fromisoformat(self.record(id)["date"])
        entries = self.rng.sample(TABLE["entries"], self.rng.choice((2, 3, 3, 4)))
        days = [day - datetime.timedelta(3 * n) for n in range(len(entries), 0, -1)]
        return [{"day": each.isoformat(), "entry": text} for each, text in zip(days, entries, strict=True)]

    def run_stock(self, item: str, place: str = "") -> Any:
        place = place or self.desk.places[0]
        left = self.known(item)["left"][place]
        return {self.cased(self.names["ITEM"]): item, self.cased(self.words["place"]): place, "left": left}

    def run_free(self, date: str, place: str = "", after: str = "") -> Any:
        return [each for each in ("08:30", "09:15", "11:00", "13:45", "15:30", "16:15", "17:00") if each >= after][:4]

    def run_create(self, item: str, person: str, date: str, time: str = "", count: int = 1) -> Any:
        self.known(item)
        line = {"item": item, "quantity": count}
        made = {"status": self.open[0], "date": date, "person": person, "place": self.desk.places[0], "lines": [line]}
        self.mains[self.fresh_id] = made
        self.people.setdefault(person, {"email": "info@example.com", "phone": ""})
        return self.told(self.fresh_id, status=self.open[0], date=date, time=time)

    def run_move(self, id: str, date: str, time: str = "") -> Any:
        self.record(id, "moved")["date"] = date
        return self.told(id, date=date, time=time)

    def run_cancel(self, id: str, why: str = "") -> Any:
        self.record(id, "cancelled")["status"] = "cancelled"
        return self.told(id, status="cancelled")

    def run_lines(self, id: str, lines: list[Any]) -> Any:
        self.record(id, "changed")
        return self.told(id, added=sum(line["quantity"] for line in lines))

    def run_back(self, id: str, lines: list[Any], reason: str) -> Any:
        self.record(id)
        return {"return": self.rng.choice(("RT-{}", "K{}")).format(self.rng.randint(100, 999)), **self.told(id)}

    def run_message(self, to: str, subject: str, text: str, copy: Any = None) -> Any:
        return self.rng.choice(({"sent": True, "to": to}, {"status": "sent"}, "sent"))

    def run_notify(self, id: str, text: str) -> Any:
        return {"notified": self.record(id)["person"]}

    def run_person(self, person: str) -> Any:
        if person not in self.clients:
            near = next((name for name in self.clients if name.split()[-1] == person.split()[-1]), "")
            raise DeskError(f"there is no {self.words['q']} {person!r}" + (f"; did you mean {near!r}?" if near else ""))
        numbers = [id for id, each in self.mains.items() if each["person"] == person]
        return {"name": person, **self.people[person], self.words["ns"]: numbers}

    def client(self, client: str) -> str:
        """The name of somebody by number."""
        name = next((name for name, number in self.numbers.items() if number == client), None)
        if name is None:
            raise DeskError(f"there is no {self.words['q']} {client}")
        return name

    def run_account(self, client: str) -> Any:
        name, key = self.client(client), self.cased(self.names["ID"])
        own = [(id, each) for id, each in self.mains.items() if each["person"] == name]
        shown = [{key: id, "date": each["date"], "status": each["status"]} for id, each in own]
        return {"name": name, "balance": self.balances[name], self.words["ns"]: shown}

    def run_take(self, client: str, item: str, place: str = "") -> Any:
        self.known(item)
        return {self.cased(self.names["ITEM"]): item, "kept_for": self.client(client)}

    def run_tell(self, client: str, text: str) -> Any:
        return self.rng.choice(({"sent": True, "to": self.client(client)}, "sent"))

    def run_duty(self, date: str) -> Any:
        name = self.staff[datetime.date.fromisoformat(date).toordinal() % len(self.staff)]
        return {"date": date, "name": name, "phone": self.people[name]["phone"]}

    def run_list(self, status: str = "", person: str = "", date: str = "") -> Any:
        asked = {"status": status, "person": person, "date": date}
        return [
            self.told(id, date=each["date"], status=each["status"])
            for id, each in self.mains.items()
            if all(value in ("", each[key]) for key, value in asked.items())
        ]

    def run_assign(self, id: str, worker: str) -> Any:
        self.record(id)["worker"] = worker
        return self.told(id, assigned=worker)

    def run_note(self, id: str, note: str) -> Any:
        self.record(id)
        return self.rng.choice(("added", {"added": True}, self.told(id, notes=1)))

    def run_level(self, id: str, level: str) -> Any:
        self.record(id)["level"] = level
        return self.told(id, priority=level)

    def run_complain(self, id: str, reason: str, details: str = "") -> Any:
        self.record(id)
        return {"case": f"C-{self.rng.randint(100, 999)}", **self.told(id, reason=reason)}

    def run_case(self, title: str, details: str = "", level: str = "normal") -> Any:
        return {"case": f"F{self.rng.randint(1000, 9999)}", "priority": level}

    def run_device(self, device: str, place: str = "") -> Any:
        place = place or self.desk.places[0]
        return {"device": device, self.cased(self.words["place"]): place, "state": self.running[device, place]}

    def run_switch(self, device: str, mode: str, place: str = "") -> Any:
        return {"device": device, "done": mode}
