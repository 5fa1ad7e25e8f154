"""Makes records for the answer skill out of conversations with invented desks.

    python answers.py --train 4000 --valid 200 --seed 97 --out answers.jsonl

The calls are carried out on a small state in memory, or fail in one of many wordings. A record is the closing text of
one run: `messages` (what it follows), `tools`, `completion`, `extra_prompt` (what the runtime states in the step's
branch), `kind`, `lang` and `part`. The earlier answers of a conversation are right ones.
"""

from __future__ import annotations

import argparse
import copy
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

from answer_words import EFFECTS, LANGUAGES, OR, TEXTS, WANTED, Made, Wording, listed
from desk_said import SAID, dumps
from desk_world import ROLES, Desk, DeskError, Offer, World, read_desks
from desks import FIRSTS, NEEDS, Talk, instructions_of

from loraloop.agent.dates.resolve import date_note, resolve_dates

KINDS = {
    "result": 0.2, "results": 0.09, "empty": 0.08, "error": 0.14, "denied": 0.08, "partly": 0.07, "rule": 0.06,
    "ask": 0.12, "no_document": 0.06, "done": 0.16, "not_done": 0.02,
}  # fmt: skip
"""The share of each kind of record, as far as there are enough."""
FOREIGN = 0.2
LONGEST = 860  # tokens, estimated; the recipes leave out what has more than 900
STARTS = {
    **FIRSTS, "get": 16, "and": 4, "get2": 6, "person": 8, "account": 8, "none": 16, "missing_doc": 12, "invalid": 3,
    "doc": 3, "thanks": 3, "know": 2, "other": 1, "need": 20, "unknown": 5, "several": 28, "conditional": 18,
    "deviceif": 18, "lessthan": 12, "freemake": 10, "rangestay": 10, "personcancel": 8, "list": 8, "free": 8,
    "create": 14, "move": 10, "cancel": 10,
}  # fmt: skip
"""How often a turn has each situation."""
LEFT_OUT = ("code", "unsafe")
ABROAD = {
    "get": 8, "and": 4, "get2": 4, "person": 5, "account": 5, "none": 4, "search": 4, "stock": 5, "duty": 4, "free": 5,
    "create": 6, "move": 6, "cancel": 6, "cancel2": 3, "note": 4, "assign": 4, "take": 4, "address": 3, "message": 4,
    "history": 3, "list": 4, "need": 10, "missing_doc": 5, "thanks": 2, "unknown": 3, "invalid": 1,
}  # fmt: skip
"""How often a turn has each situation in conversations of other languages than English."""
ASPECTS = {
    "get": {"status": 5, "date": 5, "person": 3, "email": 2, "items": 2, "place": 1, "all": 4},
    "get2": {"status": 1, "date": 1},
    "person": {"phone": 3, "email": 3, "mains": 1},
    "account": {"balance": 3, "mains": 1},
}
ERRORS = {"timeout": 5, "down": 5, "internal": 5, "forbidden": 4, "busy": 3, "gone": 4, "rule": 3}


class CallFailed(Exception):
    """No call of a step has a result, so the turn ends."""


class Conversation(Talk):
    """A conversation in which each turn is closed by an answer that says what came of it."""

    def __init__(self, world: World, rng: random.Random, instructions: str, tongue: str) -> None:
        super().__init__(world, rng, instructions)
        self.tongue, self.lang, self.with_docs = tongue, tongue, False
        self.words = Wording(self.world, rng, tongue)
        self.turn: list[list[Made]] = []  # the steps of this turn, each with its calls
        self.aspect = self.skipped = ""
        self.answers: list[dict[str, Any]] = []

    # what is said

    def pick(self, situation: str, lang: bool = True) -> str:
        """One of a situation's texts in the conversation's language."""
        texts = list(TEXTS.get(situation, {}).get(self.tongue, ()))
        for text in SAID.get(situation, ()):
            own = text[:2] if text[2:3] == "|" else "en"
            texts += [text[3:].strip() if text[2:3] == "|" else text] if own == self.tongue else []
        if not texts:
            raise LookupError(f"{situation} in {self.tongue}")
        self.lang = self.tongue
        return self.rng.choice(texts)

    def drawn(self, name: str, offer: Offer, text: str, id: str) -> tuple[str, Any]:
        """What a placeholder becomes; places and notes have no English around them in other languages."""
        if self.tongue != "en" and name == "at":
            place = self.rng.choice(self.world.desk.places)
            return f"({place})", place
        if self.tongue != "en" and name == "note":
            note = self.rng.choice(TEXTS["notes"][self.tongue])
            return note, note
        return super().drawn(name, offer, text, id)

    def user(self, text: str, doc: int | None = None) -> None:
        """What the user says; a turn begins."""
        self.turn, self.skipped = [], ""
        super().user(text, doc)

    def close(self, text: str, kind: str, extra_prompt: str = "") -> None:
        """The answer of a turn, as a record and in the transcript."""
        turn = sum(message["role"] == "user" for message in self.messages)
        answer = {"at": len(self.messages), "completion": text, "kind": kind, "extra_prompt": extra_prompt}
        self.answers.append({**answer, "turn": turn, "lang": self.tongue})
        self.say(text)

    def step(self, completion: str, label: str, kind: str = "") -> None:
        """Steps of other skills are no records here."""

    def ask(self, offer: Offer, *meanings: str) -> None:
        """Something required was not said: the question for it."""
        names, values = offer.named(meanings)[:4], {"places": " / ".join(self.world.desk.places)}
        fact = f"Missing: {', '.join(names)}"
        known = [id for step in self.turn for made in step if made.offer.role == "person" for id in self._owned(made)]
        if meanings == ("id",) and known and self.tongue == "en":
            self.close(self.words.text("ask.which", {"ids": listed(known, "en", OR)}), "ask", fact)
            return
        if len(meanings) == 1 and f"ask.{meanings[0]}" in TEXTS and self.rng.random() < 0.65:
            self.close(self.words.text(f"ask.{meanings[0]}", values), "ask", fact)
            return
        parts = [WANTED[meaning][self.tongue] for meaning in meanings]
        wanted = listed(parts, self.tongue).format_map(self.words._desk())
        self.close(self.words.text("ask", {"wanted": wanted}), "ask", fact)

    def _owned(self, made: Made) -> list[str]:
        return list(made.result[self.world.words["ns"]]) if made.ok else []

    # what is done

    def call(self, *calls: dict[str, Any], denied: bool = False, learnt: bool = True) -> list[Any]:
        """Calls, carried out or failing; None stands for what has no result.

        Raises:
            CallFailed: None has a result.
        """
        self.say(dumps(list(calls)))
        step = [self._made(call, len(calls) > 1, learnt) for call in calls]
        self.turn.append(step)
        for made in step:
            said = "error" if made.failure else "result"
            told = made.error if made.failure else made.result
            self.messages.append({"role": "tool", "content": dumps({"name": made.call["name"], said: told})})
            self._learn_names(made)
        again = not learnt or "did you mean" in step[0].error
        if not again and not any(made.ok for made in step):
            raise CallFailed
        return [made.result for made in step]

    def _made(self, call: dict[str, Any], several: bool, learnt: bool) -> Made:
        rng, offer = self.rng, self.world._by_name[call["name"]]
        made = Made(call, offer, {offer.meanings[name]: value for name, value in call["arguments"].items()})
        effects, chance = offer.role in EFFECTS, rng.random()
        if learnt and effects and chance < (0.2 if several else 0.12):
            made.failure, reason = "denied", rng.choice(TEXTS["reason"]["en"])
            made.error = "denied by the user" + (f": {reason}" if rng.random() < 0.4 else "")
        elif learnt and chance < (0.38 if several else 0.22):
            made.failure = rng.choices([*ERRORS], [*ERRORS.values()])[0]
            if made.failure == "rule" and not (effects and "date" in made.given and self.tongue == "en"):
                made.failure = "internal"
            key = str(made.given.get("id") or made.given.get("client") or made.given.get("item") or offer.role)
            error = rng.choice(TEXTS[f"error.{made.failure}"]["en"])
            key = rng.choice((key, repr(key)))
            made.error = error.format(n=rng.choice((5, 8, 10, 12, 15, 20, 22)), key=key, day=made.given.get("date", ""))
        else:
            try:
                made.result = self.world.execute(call)
            except DeskError as error:
                signs = {
                    "cannot be": "state",
                    f"no {self.world.words['m']} ": "missing",
                    f"no {self.world.words['j']} ": "gone",
                }
                client = "client" if re.search(r"\d", str(error)) else "nobody"
                made.failure = next((name for sign, name in signs.items() if sign in str(error)), client)
                if made.failure == "state":
                    made.more["status"] = self.world.record(made.given["id"])["status"].replace("_", " ")
                made.error = rng.choice(("ValueError: ", "ValueError: ", "")) + str(error)
        return made

    def _learn_names(self, made: Made) -> None:
        """Items whose names a search has shown."""
        code = self.world.cased(self.world.names["ITEM"])
        for each in made.result if made.offer.role in ("search", "range") and made.ok else ():
            self.words.names[each[code]] = each["name"]

    def finish(self, offer: Offer, given: dict[str, Any]) -> None:
        """Calls, and what is said then."""
        (result,) = self.call(offer.call(**given))
        if near := re.search(r"did you mean '(.+)'", self.messages[-1]["content"]):
            (result,) = self.call(offer.call(person=near[1]))
        self.last, self.told = given.get("id", self.last), result if offer.role == "get" and result else {}
        self.done()

    def finish_if(self, condition: object, offer: Offer, given: dict[str, Any], otherwise: str = "") -> None:
        """Calls on a condition that the result before decides."""
        if not condition:
            names = {"conditional": "conditional", "deviceif": "deviceif", "lessthan": "lessthan", "freemake": "free"}
            self.skipped = names.get(self.kind, "range")
            self.turn[-1][-1].more |= self._wanted()
            self.done()
            return
        self.finish(offer, given)

    def _wanted(self) -> dict[str, str]:
        """What the user's condition was."""
        text = next(m["content"] for m in reversed(self.messages) if m["role"] == "user").lower()
        states = [s.replace("_", " ") for s in self.world.states] + ["down", "degraded", "ok"]
        few = re.search(r"fewer than (\d+)", text)
        groups = [group for _, group in self.world.desk.items if group in text]
        wanted = max((state for state in states if re.search(rf"\b{state}\b", text)), key=len, default="")
        return (
            ({"wanted": wanted} if wanted else {})
            | ({"few": few[1]} if few else {})
            | ({"group": groups[0]} if groups else {})
        )

    def done(self, answer: str = "", label: str = "none") -> None:
        """The turn is over: its answer, or the base's where nothing was called."""
        if not self.turn:
            self.say(answer if self.kind != "thanks" else self.rng.choice(TEXTS["welcome"][self.tongue]))
            return
        if answer == "There is nothing left to cancel.":
            self.skipped = "left"
            self.turn[-1][-1].more["name"] = str(self.turn[-1][-1].given["person"])
        self.words.euros = self._euros()
        self.words.begin()
        self.close(*self.composed())

    def _euros(self) -> bool:
        said = [m["content"] for m in self.messages if m["role"] == "user"] + [self.instructions]
        return any("euro" in text.lower() for text in said) and self.world.words["price"] != "output"

    def composed(self) -> tuple[str, str]:
        """The answer to a turn with calls, and its kind."""
        words, last = self.words, self.turn[-1]
        if self.skipped:
            return words.text(f"skip.{self.skipped}", words.values(last[-1])), "rule"
        done = [made for step in self.turn[:-1] for made in step if made.ok and made.offer.role in EFFECTS]
        good, bad = [*done, *(made for made in last if made.ok)], [made for made in last if not made.ok]
        if bad and good:
            parts = [words.told(made)[0] for made in good], [words.failed(made) for made in bad]
            return self._joined(*parts), "partly"
        if bad:
            kind = "denied" if all(made.failure == "denied" for made in bad) else "error"
            return " ".join(words.failed(made) for made in bad), kind
        text, kind = self._several(last) if len(last) > 1 else self._one(last[0])
        return " ".join([*(words.told(made)[0] for made in done), text]), kind

    def _joined(self, good: list[str], bad: list[str]) -> str:
        """What was done, and what was not."""
        if self.tongue == "en" and len(good) == len(bad) == 1 and bad[0].startswith("I ") and self.rng.random() < 0.6:
            return f"{good[0].rstrip('.')}, but {bad[0]}"
        return " ".join((*good, *bad))

    def _one(self, made: Made) -> tuple[str, str]:
        words, role, before = self.words, made.offer.role, [m for step in self.turn[:-1] for m in step if m.ok]
        roles = [each.offer.role for each in before]
        if (
            role == "message"
            and "get" in roles
            and self.kind in ("tellowner", "personmain")
            and "date" in before[-1].result
        ):
            made.more["about"] = words.text("about.date", words.values(before[-1]))
        if role == "tell" and "account" in roles:
            made.more["about"] = f'"{made.given["text"]}"'
        if role == "assign" and "duty" in roles:
            made.more |= words.days("", next(m.given["date"] for m in before if m.offer.role == "duty"))
            return words.text("say.dutyassign", words.values(made)), "done"
        text, nothing = words.told(made, self.aspect)
        if role == "stock" and "search" in roles and self.kind == "findcount":
            text = self._cheapest(made, text)
        return text, "empty" if nothing else "done" if role in EFFECTS else "result"

    def _cheapest(self, made: Made, text: str) -> str:
        """The item of which something was counted, where the user asked for the cheapest."""
        price, code = self.world.words["price"], made.given["item"]
        said = next(m["content"] for m in reversed(self.messages) if m["role"] == "user")
        if "cheapest" not in said and "least" not in said:
            return text
        values = {
            "item": self.words.names[code],
            "code": code,
            "money": self.words.money(self.world.items[code][price]),
        }
        return f"{self.words.text('say.cheapest', values)}. {text}"

    def _several(self, last: list[Made]) -> tuple[str, str]:
        words, roles = self.words, [made.offer.role for made in last]
        kind = "done" if all(role in EFFECTS for role in roles) else "results"
        first, second = (words.values(made) for made in last[:2])
        if roles == ["cancel", "cancel"]:
            return words.text("say.cancel2", {"ids": listed([first["id"], second["id"]], self.tongue)}), kind
        same = roles[0] == roles[1] and len(last) == 2
        if same and (roles[0] in ("stock", "device") or (self.aspect and roles[0] == "get")):
            names = ("id", "place", "n", "state", "status", "day", "on")
            more = {f"{name}2": second[name] for name in names if name in second}
            situation = f"say.get2.{self.aspect}" if roles[0] == "get" else f"say.{roles[0]}2"
            return words.text(situation, {**first, **more}), kind
        return " ".join(words.told(made)[0] for made in last), kind

    # situations

    def have(self, kind: str) -> None:
        """Has one situation."""
        self.aspect = ""
        try:
            super().have(kind)
        except CallFailed:
            self.done()

    def aspects(self, role: str) -> str:
        """What the user wants to know, and the text that asks for it."""
        self.aspect = self.rng.choices([*ASPECTS[role]], [*ASPECTS[role].values()])[0]
        return f"{role}.{self.aspect}"

    def do_get(self, situation: str = "get") -> None:
        known = self.aspect if situation == "and" else ""
        seen = "".join(m["content"] for m in self.messages if m["role"] == "tool")
        id = self.rng.choice([number for number in self.world.mains if number not in seen])
        text = self.aspects("get")
        if situation == "and":
            self.aspect = known or "status"
        self.one("get", text if situation == "get" else situation, id)

    def do_and(self) -> None:
        if not self.told:
            raise LookupError("nothing was asked before")
        self.aspect = self.before
        self.do_get("and")

    before = ""  # what was asked of the record before

    def do_get2(self) -> None:
        first = self.id()
        second = self.id(other=first)
        self.user(self.fill(self.pick(self.aspects("get2")), id=first, id2=second))
        self.call(*(self.world.offers["get"].call(id=id) for id in (first, second)))
        self.done()

    def do_cancel2(self) -> None:
        offer, first = self.world.offers["cancel"], self.id(True)
        second = self.id(True, first)
        self.user(self.fill(self.pick("cancel2"), id=first, id2=second, person_first="Ada"))
        self.call(offer.call(id=first), offer.call(id=second))
        self.done()

    def do_person(self) -> None:
        self.one("person", self.aspects("person"))

    def do_account(self) -> None:
        self.one("account", self.aspects("account"))

    def do_list(self) -> None:
        self.one("list")

    def do_none(self) -> None:
        """A search that finds nothing."""
        offer, (group, _) = self.world.offers["search"], self.group()
        little, odd = self.rng.randint(1, 7), self.rng.choice(TEXTS["odd"]["en"])
        text = self.pick("search.none")
        if "{group}" in text and "most" not in offer.meanings.values():
            raise LookupError(text)
        self.user(self.fill(text, group=group, little=little, odd=odd))
        asked = {"group": group, "most": little} if "{group}" in text else {"query": odd}
        self.finish(offer, {name: value for name, value in asked.items() if name in offer.meanings.values()})

    def do_missing_doc(self) -> None:
        """A question that the documents do not answer."""
        rng, shown = self.rng, self.rng.sample(range(len(self.docs)), self.rng.choice((1, 1, 2, 3)))
        bare, titles = rng.random() < 0.06, [self.docs[i][0] for i in shown]
        question, topic = rng.choice([line.split(" | ") for line in TEXTS["topic"][self.tongue]])
        others = [doc[2] for i, doc in enumerate(self.docs) if i not in shown]
        near = self.tongue == "en" and bool(others) and rng.random() < 0.5  # what another document would answer
        lines = [f"[p{i + 1}] {self.docs[i][1] if bare else ': '.join(self.docs[i][:2])}" for i in shown]
        self.turn, self.lang = [], self.tongue
        asked = self.pick("docask") if self.tongue == "en" else "{question}"
        asked = asked.replace("{question}", rng.choice(others) if near else question)
        if note := date_note(resolve_dates(asked, self.world.today)):
            self.messages.append({"role": "system", "content": note})
        self.messages.append({"role": "user", "content": "\n".join(("Passages:", *lines, "", asked))})
        situation = "bare" if bare else "plain" if near or rng.random() < 0.2 else "one" if len(titles) == 1 else ""
        values = {"topic": "that" if near else topic, "titles": listed(titles, self.tongue)}
        fact = "Not in the documents" + ("" if bare else f": {', '.join(titles)}")
        self.close(self.words.text(f"nodoc.{situation}".rstrip("."), values), "no_document", fact)

    def do_doc(self) -> None:
        """A question that a document answers; the retrieval skill writes the answer."""
        doc = self.rng.randrange(len(self.docs))
        self.with_docs = True
        self.user(self.fill(self.pick("docask"), question=self.docs[doc][2]), doc)
        self.with_docs = False
        cited = {"answerable": True, "citations": [f"p{doc + 1}"], "answer": self.docs[doc][1]}
        self.say(dumps(cited))

    def do_invalid(self) -> None:
        """A request of which no valid call was made."""
        role = self.rng.choice([role for role in self.world.offers if role in EFFECTS])
        words, _, _ = self.filled(self.pick(role), self.world.offers[role])
        self.user(words)
        self.close(self.words.text("invalid", {}), "not_done", "Not done")

    def records(self) -> list[dict[str, Any]]:
        """The answers as records; the tools are those that were called, and a few others."""
        called = set(
            re.findall(r'"name":"(\w+)"', "".join(m["content"] for m in self.messages if m["role"] == "assistant"))
        )
        asked = {name for each in self.answers for name in each["extra_prompt"].removeprefix("Missing: ").split(", ")}
        needed = [o for o in self.world.offers.values() if o.name in called or asked & o.meanings.keys()]
        others = [offer for offer in self.world.offers.values() if offer not in needed]
        offered = self.rng.choice((2, 2, 3) if len(self.answers) > 2 else (2, 3, 4, 5))
        chosen = needed + others[: max(0, offered - len(needed))]
        tools = [offer.schema for offer in self.world.offers.values() if offer in chosen]
        head = {"role": "system", "content": self.instructions}
        return [
            {"messages": [head, *self.messages[:at]], "tools": tools, **{k: v for k, v in each.items() if v}}
            for each in self.answers
            for at in [each.pop("at")]
        ]


def conversation(
    desk: Desk, rng: random.Random, tongue: str, kind: type[Conversation] = Conversation
) -> list[dict[str, Any]]:
    """The records of one conversation of one to five turns."""
    turns, weights = rng.choices((1, 2, 3, 4, 5), (16, 18, 24, 24, 18))[0], STARTS if tongue == "en" else ABROAD
    kinds = [rng.choices([*weights], [*weights.values()])[0] for _ in range(turns)]
    roles = {"and": ["get"], "get2": ["get"], "none": ["search"], "cancel2": ["cancel"], "unknown": ["cancel"]}
    needed = [role for kind in kinds for role in roles.get(kind, NEEDS.get(kind, [kind] if kind in FIRSTS else []))]
    while True:
        try:
            world = World(desk, rng, [role for role in dict.fromkeys(needed) if role in ROLES][:5])
            break
        except (LookupError, ValueError):  # two tools of one name, too few numbers
            continue
    talk = kind(world, rng, instructions_of(world, rng), tongue)
    for tried in range(60):
        if sum(message["role"] == "user" for message in talk.messages) >= turns:
            break
        talk.kind = kinds[tried] if tried < turns else rng.choices([*weights], [*weights.values()])[0]
        if talk.told and tongue == "en" and rng.random() < 0.35:
            talk.kind = rng.choice(("and", "and", "moveit", "cancelit"))
        if talk.kind in LEFT_OUT:
            continue
        held = len(talk.messages), len(talk.answers), talk.world, talk.told, talk.last, talk.before
        try:
            talk.world = talk.words.world = copy.deepcopy(talk.world)
            talk.world.rng = rng
            talk.have(talk.kind)
            talk.before = talk.aspect
        except (LookupError, ValueError, AttributeError, TypeError):  # no such tool or text, or a result is missing
            length, answers, talk.world, talk.told, talk.last, talk.before = held
            talk.words.world = talk.world
            del talk.messages[length:], talk.answers[answers:]
    return talk.records()


def length(row: dict[str, Any]) -> int:
    """Tokens of a record, estimated from its characters."""
    texts = [*(m["content"] for m in row["messages"]), *(dumps(tool) for tool in row["tools"]), row["completion"]]
    return round(sum(map(len, texts)) / 3.6) + 4 * len(texts)


def part_of(desks: list[Desk], part: str, most: int, seed: int) -> list[dict[str, Any]]:
    """The records of one part: of each kind no more than its share, as long as others are to be had."""
    rng, kept, rest = random.Random(f"{seed}/{part}"), list[dict[str, Any]](), list[dict[str, Any]]()
    counts, number = Counter[str](), 0
    while len(kept) < most and len(kept) + len(rest) < 3 * most:
        tongue = rng.choice(LANGUAGES) if rng.random() < FOREIGN * 1.2 else "en"
        for row in conversation(rng.choice(desks), rng, tongue):
            if length(row) > LONGEST:
                continue
            counts[row["kind"]] += 1
            fits = counts[row["kind"]] <= most * KINDS[row["kind"]]
            (kept if fits else rest).append({"part": part, "run": f"{part[0]}{number:05}", **row})
        number += 1
    rows = [*kept, *rest][:most]
    rows.sort(key=lambda row: (row["run"], row["turn"]))
    return [{key: value for key, value in row.items() if key not in ("run", "turn")} for row in rows]


def main() -> None:
    """Writes the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--valid", type=int, default=200)
    parser.add_argument("--seed", type=int, default=97)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    desks = read_desks()
    held = [desk for at, desk in enumerate(desks) if at % 7 == 3]
    rest = [desk for at, desk in enumerate(desks) if at % 7 != 3]
    rows = part_of(rest, "train", given.train, given.seed) + part_of(held, "valid", given.valid, given.seed)
    with given.out.open("w", encoding="utf-8") as out:
        out.writelines(dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
