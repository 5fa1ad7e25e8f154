"""The task that the methods are compared on: a hotel guest's message becomes a booking record in JSON.

Everything is written by this file from a seed: wordings, numbers, dates. No wording is in two splits, so neither the
validation loss nor the score can come from known sentences.
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
SAID: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "book": (
            "I would like to reserve {room} for {date}.",
            "Do you have {room} free on {date}?",
            "Please put us down for {room}, arriving {date}.",
            "We want to stay with you from {date}, in {room}.",
            "Can I book {room}? We arrive on {date}.",
            "My firm needs {room} for the night of {date}.",
            "How do I get {room} for {date}? I have not stayed with you before.",
            "A friend told us about you, so we are hoping for {room} on {date}.",
        ),
        "move": (
            "We booked {room} but have to come on {date} instead.",
            "Could you change our stay in {room} to {date}?",
            "Please shift the reservation for {room} to {date}.",
            "Our train was cancelled: {date} suits us now, {room} as before.",
            "Is it possible to postpone {room} until {date}?",
            "We can only be there on {date}, later than we said; keep {room} as it is.",
            "Make it {date} for {room}, please, and not the day we had agreed on.",
            "My reservation of {room} should be for {date}, I gave you the wrong day.",
        ),
        "cancel": (
            "We will not be coming on {date}, please drop {room}.",
            "Please cancel {room} on {date}.",
            "I have to call off our stay of {date} in {room}.",
            "Plans have changed: we no longer need {room} on {date}.",
            "Kindly delete my booking of {room} for {date}.",
            "You can let somebody else have {room} on {date}, we are ill.",
            "Take our names off {room} for {date}.",
            "There will be no trip on {date}, so {room} is not needed.",
        ),
        "complain": (
            "Since {date} the heating in {room} has not worked.",
            "I was very unhappy with {room} on {date}.",
            "On {date} nobody cleaned {room}.",
            "The noise in {room} on {date} kept us awake.",
            "What we found in {room} on {date} was a disgrace.",
            "The bed in {room} fell apart on {date}.",
            "I want my money back: {room} had no water on {date}.",
            "Your staff were rude to us on {date} when we asked about {room}.",
        ),
    },
    "valid": {
        "book": (
            "We would be glad of {room} on {date}, if there is one left.",
            "Hold {room} for me from {date}, please.",
        ),
        "move": (
            "Instead of last week's date, {date} would be better for {room}.",
            "Can {room} be put back to {date}?",
        ),
        "cancel": (
            "Strike {room} on {date} from your list, we stay away.",
            "We withdraw our booking of {room} for {date}.",
        ),
        "complain": ("The window of {room} would not close on {date}.", "There were insects in {room} on {date}."),
    },
    "test": {
        "book": (
            "Is there {room} for us on {date}?",
            "Kindly keep {room} for us, we will be there on {date}.",
            "I am looking for {room} on {date}.",
        ),
        "move": (
            "Something came up, can we have {room} on {date} rather than the week before?",
            "We need {date} in place of the old date for {room}.",
            "Please rebook {room} for {date}.",
        ),
        "cancel": (
            "Sadly we must give up {room} on {date}.",
            "Forget about {room} for {date}, we are staying at home.",
            "We are not able to travel on {date} and release {room}.",
        ),
        "complain": (
            "The shower of {room} was broken on {date} and no one came.",
            "We paid for {room} on {date} and got a dirty carpet.",
            "It was ice cold in {room} on {date}.",
        ),
    },
}
"""What a message wants, by split: no wording is in two of them."""
PEOPLE = {
    "train": ("There are {n} of us.", "It is for {n} people.", "We are {n} in all.", "{n} guests.", "Persons: {n}."),
    "valid": ("We come with {n} people.",),
    "test": ("Our party counts {n}.", "Number of people: {n}."),
}
URGENT = {
    "train": ("Please answer today.", "This is urgent.", "I need to know at once.", "It cannot wait.", "Call me now."),
    "valid": ("I must have an answer within the hour.",),
    "test": ("Every minute counts.", "Reply immediately, please."),
}
CALM = {
    "train": ("There is no hurry.", "Thank you.", "Take your time.", "Many thanks in advance.", "Kind regards."),
    "valid": ("Answer whenever it suits you.",),
    "test": ("All the best.", "It is not pressing."),
}
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
    return [_case(random.Random(f"{seed} {split} {number}"), split) for number in range(count)]


def _case(rng: random.Random, split: Split) -> Case:
    intent, room, guests = rng.choice(INTENTS), rng.choice(ROOMS), rng.randint(1, 6)
    month, day, urgent = rng.randint(1, 12), rng.randint(1, 28), rng.random() < 0.4
    date = rng.choice(
        (f"{day} {MONTHS[month - 1]}", f"{MONTHS[month - 1]} {day}", f"the {day}. of {MONTHS[month - 1]}")
    )
    said, people = rng.choice(SAID[split][intent]), rng.choice(PEOPLE[split])
    count = rng.choice((str(guests), COUNTS[guests - 1]))
    tone = rng.choice((URGENT if urgent else CALM)[split])
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
