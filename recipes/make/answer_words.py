"""What an answer says of calls and their results, in the words of `answers.txt`, in six languages."""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from desk_said import MONTHS, ON
from desk_world import HERE, Offer, World, plural

LANGUAGES = ("de", "fr", "es", "it", "nl")
AND = {"en": "and", "de": "und", "fr": "et", "es": "y", "it": "e", "nl": "en"}
OR = {"en": "or", "de": "oder", "fr": "ou", "es": "o", "it": "o", "nl": "of"}
AT = {"en": " at {}", "de": " um {}", "fr": " à {}", "es": " a las {}", "it": " alle {}", "nl": " om {}"}
EUROS = {"en": "euros", "de": "Euro", "fr": "euros", "es": "euros", "it": "euro", "nl": "euro"}
OF = {"es": " de "}
PAST = {
    "withdraw": "withdrawn", "set up": "set up", "take in": "taken in", "call off": "called off",
    "pencil in": "pencilled in", "plan": "planned", "stop": "stopped", "drop": "dropped", "log": "logged",
    "submit": "submitted", "abort": "aborted", "defer": "deferred", "cancel": "cancelled",
}  # fmt: skip
DONE = {"on": "switched on", "off": "switched off", "restart": "restarted", "eco": "put on economy"}
DO = {"on": "switch on", "off": "switch off", "restart": "restart", "eco": "put on economy"}
EFFECTS = frozenset((
    "create", "stay", "move", "cancel", "lines", "back", "message", "notify", "tell", "take", "assign", "note", "level",
    "complain", "case", "switch", "address", "update",
))  # fmt: skip
"""The roles of tools that change something."""


def read_texts() -> dict[str, dict[str, list[str]]]:
    """The texts of `answers.txt` by situation and language."""
    blocks = re.split(r"^@", (HERE / "answers.txt").read_text(encoding="utf-8"), flags=re.M)[1:]
    found: dict[str, dict[str, list[str]]] = {}
    for block in blocks:
        name, *lines = block.strip().split("\n")
        texts = found.setdefault(name.strip(), {})
        for line in lines:
            known = re.match(r"([a-z]{2})\| ?(.*)", line)
            lang, text = (known[1], known[2]) if known else ("en", line)
            texts.setdefault(lang, []).append(text)
    return found


TEXTS = read_texts()
WANTED = {
    line.split(": ", 1)[0]: dict(
        (part.split(": ", 1) if at else ("en", part)) for at, part in enumerate(line.split(": ", 1)[1].split(" | "))
    )
    for line in TEXTS["wanted"]["en"]
}
"""What arguments stand for, by language, for questions."""


def participle(verb: str) -> str:
    """The past participle of a desk's verb."""
    return PAST.get(verb) or (verb + "d" if verb.endswith("e") else verb + "ed")


def listed(parts: Sequence[str], lang: str, joint: Mapping[str, str] = AND) -> str:
    """Parts as a list in words."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {joint[lang]} {parts[-1]}"


@dataclass
class Made:
    """A call that was made: what it meant, and what came of it (`result`, or why not)."""

    call: Mapping[str, Any]
    offer: Offer
    given: dict[str, Any]
    result: Any = None
    failure: str = ""  # a category, such as `timeout`; `denied`
    error: str = ""  # the error as the transcript has it
    more: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it has a result."""
        return not self.failure


class Wording:
    """Finds words for one desk in one language. `euros` says whether prices are known to be in euros."""

    def __init__(self, world: World, rng: random.Random, lang: str) -> None:
        self.world, self.rng, self.lang = world, rng, lang
        self.euros = self.with_year = False
        self.day_first = True
        self.names: dict[str, str] = {}  # names of items that the conversation has shown, by number

    def text(self, situation: str, values: Mapping[str, Any]) -> str:
        """One of a situation's texts, filled.

        Raises:
            LookupError: The language has none.
        """
        texts = TEXTS[situation].get(self.lang)
        if not texts:
            raise LookupError(f"{situation} in {self.lang}")
        text = self.rng.choice(texts).format_map({**self._desk(), **values})
        return text[:1].upper() + text[1:] if situation.startswith(("say.", "skip.")) else text

    def _desk(self) -> dict[str, str]:
        words, (make, cancel, _) = self.world.words, self.world.desk.verbs
        main, made, done = words["m"], participle(make), participle(cancel)
        return {
            "main": main, "Main": main.capitalize(), "mains": words["ms"], "item_noun": words["j"],
            "items_noun": plural(words["j"]), "person_noun": words["q"], "place_noun": words["place"],
            "counted": words["counted"], "make": make, "made": made, "Made": made.capitalize(),
            "cancel": cancel, "cancelled": done, "price": words["price"],
        }  # fmt: skip

    # values

    def begin(self) -> None:
        """A new answer, in which all days are written alike."""
        self.with_year, self.day_first = self.rng.random() < 0.08, self.rng.random() < 0.8

    def day(self, iso: str) -> str:
        """A day as people write it; with the year where it is another year than today's, and sometimes else."""
        day = datetime.date.fromisoformat(iso)
        if self.lang == "fr":
            return self.on(iso)
        if self.lang != "en":
            return re.sub(r"^(\w+ |l')", "", self.on(iso))
        month, year = f"{day:%B}", self._year(day)
        if self.day_first:
            return f"{day.day} {month}{year}"
        return f"{month} {day.day}{',' if year else ''}{year}"

    def on(self, iso: str) -> str:
        """A day after its preposition."""
        if self.lang == "en":
            return f"on {self.day(iso)}"
        day, months = datetime.date.fromisoformat(iso), MONTHS[self.lang].split()
        number = "1er" if self.lang == "fr" and day.day == 1 else str(day.day)
        said = str(ON[self.lang]).format(number, months[day.month - 1]) + self._year(day)
        return re.sub(r"^il (8|11) ", r"l'\1 ", said) if self.lang == "it" else said

    def _year(self, day: datetime.date) -> str:
        far = day.year != self.world.today.year or self.with_year
        return f"{OF.get(self.lang, ' ')}{day.year}" if far else ""

    def days(self, name: str, iso: str) -> dict[str, str]:
        """The placeholders of a day: itself, and after its preposition in small and in capital letters."""
        end = "2" if name == "2" else ""
        on, day = self.on(iso), self.day(iso)
        return {f"day{end}": day, f"on{end}": on, f"On{end}": on[:1].upper() + on[1:]}

    def money(self, amount: float) -> str:
        """An amount, in euros where the conversation says so."""
        number = f"{amount:g}" if self.lang == "en" else f"{amount:g}".replace(".", ",")
        return f"{number} {EUROS[self.lang]}" if self.euros else number

    def item(self, code: str) -> str:
        """An item as the conversation knows it."""
        return f"{self.names[code]} ({code})" if code in self.names else code

    def lines(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Items and how many of each."""
        said = [f"{line['quantity']} x {next(v for k, v in line.items() if k != 'quantity')}" for line in lines]
        return listed(said, self.lang)

    def values(self, made: Made) -> dict[str, str]:
        """What the templates need of a call: its arguments and the short values of its result, in words."""
        given, result, cased = made.given, made.result if isinstance(made.result, dict) else {}, self.world.cased
        key = cased(self.world.names["ID"])
        found = {k: str(v) for k, v in given.items() if isinstance(v, str | int | float)}
        found["id"] = str(result.get(key, given.get("id", "")))
        found["item"] = self.item(str(given["item"])) if "item" in given else ""
        found["code"] = str(given.get("item", ""))
        found["name"] = str(
            result.get(cased(self.world.words["p"])) or result.get("name") or result.get("kept_for")
            or result.get("notified") or given.get("person", "")
        )  # fmt: skip
        found["what"] = self._what(found)
        if place := result.get(cased(self.world.words["place"])) or given.get("place"):
            found["place"] = str(place)
        if day := given.get("date") or given.get("start") or result.get("date"):
            found |= self.days("", str(day))
        if end := given.get("end"):
            found |= self.days("2", str(end))
        time = result.get("time") or given.get("time")
        found["at"] = AT[self.lang].format(time) if time else ""
        if isinstance(status := result.get("status"), str):
            found["status"] = status.replace("_", " ")
        if isinstance(result.get("left"), int):
            found["n"] = str(result["left"])
        found |= {name: str(result[name]) for name in ("email", "phone", "state", "case") if name in result}
        found["case"] = str(result.get("case") or result.get("return") or "")
        lines = given.get("lines") or result.get(cased(plural(self.world.words["i"])))
        found["lines"] = self.lines(lines) if lines else ""
        if "balance" in result:
            found["money"] = self.money(result["balance"])
        if "street" in given:
            found["address"] = f"{given['street']}, {given['postcode']} {given['city']}"
        mode = str(given.get("mode", ""))
        found |= {"moded": DONE.get(mode, mode), "operated": DO.get(mode, mode), "note": str(given.get("note", ""))}
        changes = [f"status {str(given['change']).replace('_', ' ')}"] if given.get("change") else []
        changes += [f'the note "{given["note"]}"'] if given.get("note") else []
        changes += [f"{given['worker']} in charge"] if given.get("worker") else []
        found["changes"] = listed(changes, self.lang) if changes else ""
        return found | made.more

    @staticmethod
    def _what(found: Mapping[str, str]) -> str:
        """The value that tells best what a call was about."""
        return next((found[key] for key in ("id", "to", "client", "item", "person", "name") if found.get(key)), "")

    # sentences

    def told(self, made: Made, aspect: str = "") -> tuple[str, bool]:
        """What came of a call that has a result, as a sentence; and whether it found nothing."""
        role, result, values = made.offer.role, made.result, self.values(made)
        if role == "get":
            return self.text(f"say.get.{aspect or 'all'}", values), False
        if role in ("search", "range", "list", "history", "free"):
            return self._listing(made, values, aspect)
        if role == "person":
            own = result[self.world.words["ns"]]
            if aspect == "mains":
                return self.text(f"say.person.{'' if own else 'no'}mains", {**values, "ids": ", ".join(own)}), not own
            return self.text(f"say.person.{aspect or 'phone'}", values), False
        if role == "account":
            own = result[self.world.words["ns"]]
            if aspect == "mains":
                entries = self.entries(own)
                return self.text(f"say.account.{'' if own else 'no'}mains", {**values, "entries": entries}), not own
            return self.text(f"say.account.{'balance' if result['balance'] else 'nothing'}", values), False
        if role == "stock":
            number = {0: ".none", 1: ".one"}.get(result["left"], "")
            return self.text(f"say.stock{number}", values), not result["left"]
        if role == "device" and self.rng.random() < 0.6:
            return self.text("say.device.ok" if result["state"] == "ok" else "say.device.bad", values), False
        about = ".about" if "about" in values else ""
        return self.text(f"say.{role}{about}", values), False

    def _listing(self, made: Made, values: dict[str, str], aspect: str) -> tuple[str, bool]:
        role, found = made.offer.role, made.result
        if role == "free":
            times = {"times": listed(found, self.lang)} if found else {}
            return self.text(f"say.free.{'times' if found else 'none'}", {**values, **times}), not found
        if role == "history":
            entries = "; ".join(f"{self.day(each['day'])}: {each['entry']}" for each in found)
            return self.text("say.history", {**values, "entries": entries}), False
        if not found:
            return self.text(f"say.{role}.none", values), True
        if role == "list":
            told = {**values, "n": str(len(found)), "entries": self.entries(found)}
            if aspect == "count":
                return self.text("say.list.count", told), False
            return self.text(f"say.list.{'one' if len(found) == 1 else 'many'}", told), False
        price, code = self.world.words["price"], self.world.cased(self.world.names["ITEM"])
        sold = price in ("price", "fee", "rate", "rent", "premium")
        if len(found) == 1:
            told = {**values, "item": found[0]["name"], "code": found[0][code], "money": self.money(found[0][price])}
            return self.text("say.search.one" if sold else "say.search.other", told), False
        each = [f"{e['name']} ({self.money(e[price])})" if len(found) < 5 else str(e["name"]) for e in found]
        told = {**values, "n": str(len(found)), "found": listed(each, self.lang)}
        return self.text("say.search.many" if role == "search" else "say.range.many", told), False

    def entries(self, found: Sequence[Mapping[str, Any]]) -> str:
        """Records in a list: their numbers, with their days and states where they are few."""
        if not found:
            return ""
        key = self.world.cased(self.world.names["ID"])
        if len(found) > 3:
            return listed([str(each[key]) for each in found], self.lang)
        said = [f"{e[key]} ({self.day(e['date'])}, {e['status'].replace('_', ' ')})" for e in found]
        return listed(said, self.lang)

    def why(self, made: Made) -> str:
        """Why a call failed, as a clause."""
        category, error = made.failure, made.error
        if category == "busy":
            category += ".429" if "429" in error or "too many" in error else ".409"
        if category == "rule":
            signs = {"past": "past", "booked": "booked", "outside": "hours", "limit": "limit", "before": "before"}
            category += "." + next((name for name, sign in signs.items() if sign in error), "supervisor")
        if category in ("missing", "state", "nobody", "client") and self.lang == "en" and self.rng.random() < 0.3:
            return error.split(": ", 1)[-1].split(";")[0]
        return self.text(f"why.{category}", self.values(made))

    def failed(self, made: Made) -> str:
        """That a call failed or was denied, and why, as one or two sentences."""
        values = self.values(made)
        cannot = self.text(f"cannot.{made.offer.role}", values)
        effects = made.offer.role in EFFECTS
        if made.failure == "denied":
            reason = made.error.partition(": ")[2]
            if reason and self.lang == "en":
                return self.text("denied.reason", {**values, "cannot": cannot, "reason": reason})
            return self.text("denied", {**values, "cannot": cannot})
        if made.failure == "missing" and made.offer.role == "get" and self.rng.random() < 0.7:
            return self.text("missing", values)
        said = self.text("failed", {**values, "cannot": cannot, "why": self.why(made)})
        if made.failure == "timeout" and effects and self.rng.random() < 0.6:
            return f"{said} {self.text('check', values)}"
        if made.failure in ("down", "internal", "busy", "timeout") and self.rng.random() < 0.3:
            return f"{said} {self.text('again', values)}"
        if effects and made.failure in ("state", "forbidden", "busy", "rule", "missing") and self.rng.random() < 0.25:
            return f"{said} {self.text('nothing', values)}"
        return said
