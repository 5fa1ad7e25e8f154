"""The task that the methods are compared on: a hotel guest's message becomes a booking record in JSON.

Everything is written by this file from a seed: wordings, numbers, dates. Messages of the `test` split use wordings that
neither `train` nor `valid` have, so a score cannot come from known sentences.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "valid", "test"]

INTENTS = ("book", "move", "cancel", "complain")
ROOMS = ("single", "double", "suite")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
COUNTS = ("one", "two", "three", "four", "five", "six")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {"enum": list(INTENTS)},
        "room": {"enum": list(ROOMS)},
        "guests": {"type": "integer", "minimum": 1, "maximum": 6},
        "date": {"type": "string", "pattern": "^[0-9]{2}-[0-9]{2}$"},
        "urgent": {"type": "boolean"},
    },
    "required": ["intent", "room", "guests", "date", "urgent"],
    "additionalProperties": False,
}
SEEN = {
    "book": (
        "I would like to reserve {room} for {date}.", "Do you have {room} free on {date}?",
        "Please put us down for {room}, arriving {date}.", "We want to stay with you from {date}, in {room}.",
        "Can I book {room}? We arrive on {date}.",
    ),
    "move": (
        "We booked {room} but have to come on {date} instead.", "Could you change our stay in {room} to {date}?",
        "Please shift the reservation for {room} to {date}.",
        "Our train was cancelled: {date} suits us now, {room} as before.",
        "Is it possible to postpone {room} until {date}?",
    ),
    "cancel": (
        "We will not be coming on {date}, please drop {room}.", "Please cancel {room} on {date}.",
        "I have to call off our stay of {date} in {room}.", "Plans have changed: we no longer need {room} on {date}.",
        "Kindly delete my booking of {room} for {date}.",
    ),
    "complain": (
        "Since {date} the heating in {room} has not worked.", "I was very unhappy with {room} on {date}.",
        "On {date} nobody cleaned {room}.", "The noise in {room} on {date} kept us awake.",
        "What we found in {room} on {date} was a disgrace.",
    ),
}  # fmt: skip
UNSEEN = {
    "book": ("Is there {room} for us on {date}?", "Kindly keep {room} for us, we will be there on {date}."),
    "move": ("Something came up, can we have {room} on {date} rather than the week before?",
             "We need {date} in place of the old date for {room}."),
    "cancel": ("Sadly we must give up {room} on {date}.", "Forget about {room} for {date}, we are staying at home."),
    "complain": ("The shower of {room} was broken on {date} and no one came.",
                 "We paid for {room} on {date} and got a dirty carpet."),
}  # fmt: skip
PEOPLE = ("There are {n} of us.", "It is for {n} people.", "We are {n} in all.", "{n} guests.")
UNSEEN_PEOPLE = ("Our party counts {n}.", "Number of people: {n}.")
URGENT = ("Please answer today.", "This is urgent.", "I need to know at once.")
UNSEEN_URGENT = ("Every minute counts.", "Reply immediately, please.")
CALM = ("There is no hurry.", "Thank you.", "Take your time.", "Many thanks in advance.")
ROOM_WORDS = {"single": ("a single room", "the single"), "double": ("a double room", "the double"),
              "suite": ("a suite", "the suite")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One message and what it says."""

    text: str
    record: dict[str, Any]

    @property
    def completion(self) -> str:
        """The record as compact JSON, in the schema's order: what decoding under the schema can write."""
        return json.dumps(self.record, separators=(",", ":"))


def cases(split: Split, count: int, seed: int = 0) -> list[Case]:
    """The first `count` cases of a split; another split or seed gives others."""
    return [_case(random.Random(f"{seed} {split} {number}"), split == "test") for number in range(count)]


def _case(rng: random.Random, held_out: bool) -> Case:
    intent, room, guests = rng.choice(INTENTS), rng.choice(ROOMS), rng.randint(1, 6)
    month, day, urgent = rng.randint(1, 12), rng.randint(1, 28), rng.random() < 0.4
    date = rng.choice(
        (f"{day} {MONTHS[month - 1]}", f"{MONTHS[month - 1]} {day}", f"the {day}. of {MONTHS[month - 1]}")
    )
    said = rng.choice((UNSEEN if held_out else SEEN)[intent])
    people = rng.choice(UNSEEN_PEOPLE if held_out else PEOPLE)
    count = rng.choice((str(guests), COUNTS[guests - 1]))
    tone = rng.choice((UNSEEN_URGENT if held_out else URGENT) if urgent else CALM)
    parts = [said.format(room=rng.choice(ROOM_WORDS[room]), date=date), people.format(n=count), tone]
    text = " ".join(
        part[0].upper() + part[1:] for part in (parts if rng.random() < 0.7 else [parts[1], parts[0], tone])
    )
    record = {"intent": intent, "room": room, "guests": guests, "date": f"{month:02}-{day:02}", "urgent": urgent}
    return Case(text, record)


def score(asked: Sequence[Case], outputs: Sequence[str]) -> dict[str, float]:
    """Share of records that are right in every field, and of fields that are right; a broken record has none right."""
    exact, fields = 0, 0
    for case, output in zip(asked, outputs, strict=True):
        try:
            found = json.loads(output)
        except ValueError:
            found = {}
        right = [isinstance(found, dict) and found.get(key) == value for key, value in case.record.items()]
        exact += all(right)
        fields += sum(right)
    return {"exact": exact / len(asked), "fields": fields / (len(asked) * len(SCHEMA["properties"]))}
