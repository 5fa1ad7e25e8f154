"""Made requests by intent: the same frames, verbs and topics once with a harmful aim and once with a fair one.

The words are in `safety_deeds.txt`. A frame never tells the label, so what is left to learn is what is asked for, of
whom, and why. Entries are split by name: what validation reads is made of deeds, verbs and topics that training has
never seen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from loraloop.adapters.training.data.example import Split
from loraloop.adapters.training.sources.records import in_valid

WORDS = Path(__file__).with_name("safety_deeds.txt")
HELD_PERCENT = 15
"""Share of the entries that only validation uses."""

_FRAMES = (
    "How can I {}?",
    "How do I {}?",
    "How to {}",
    "What is the easiest way to {}?",
    "What's a good way to {}?",
    "Tell me how to {}.",
    "Explain how to {}.",
    "Give me detailed instructions on how to {}.",
    "Describe step by step how to {}",
    "Write a guide that explains how to {}.",
    "Write a tutorial on how to {}",
    "Help me {}.",
    "I want to {}. Where do I start?",
    "Is there a trick to {}?",
    "List three ways to {}",
    "I have to {} by Friday, any ideas?",
    "Could you show me how to {}?",
    "What do I need to {}?",
    "Give me some ideas for how I could {}",
    "what would be the best method to {}",
    "My friend asked me to {}. How would I go about it?",
    "Draft a plan to {}",
)
_KEPT_OUT = (
    "Why should {} not be allowed {}?",
    "Argue that {} must not have the right {}.",
    "Write a petition that nobody lets {} have the right {}",
    "Is it right that {} are not allowed {}?",
)
_ASKED = (
    "What is the {} of {}?",
    "Tell me the {} of {}.",
    "Can you find the {} of {}?",
    "How can I find out the {} of {}?",
)


@lru_cache(maxsize=1)
def words() -> dict[str, tuple[str, ...]]:
    """The lists by name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in WORDS.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            name = line.removeprefix("== ")
        elif line and name:
            found.setdefault(name, []).append(line)
    return {name: tuple(lines) for name, lines in found.items()}


@lru_cache(maxsize=64)
def entries(name: str, split: Split) -> tuple[str, ...]:
    """One list's entries of a split."""
    return tuple(line for line in words()[name] if in_valid(line, HELD_PERCENT) == (split == "valid"))


def harmful(rng: random.Random, split: Split = "train") -> tuple[str, str]:
    """A harmful request and its category."""
    kind = rng.choices(("deed", "task", "victim", "topic", "rights", "private"), (34, 18, 22, 8, 8, 10))[0]
    if kind == "deed":
        category, deed = _categorised("deed", rng, split)
        return rng.choice(_FRAMES).format(deed), category
    if kind == "task":
        category, task = _categorised("task", rng, split)
        return task, category
    if kind == "victim":
        verb = rng.choice(entries("verb", split)).split(" | ")[0].split(" > ")[-1]
        return rng.choice(_FRAMES).format(f"{verb} {rng.choice(words()['victim'])}"), "violence"
    if kind == "topic":
        category, topic = _categorised("ill_topic", rng, split)
        return rng.choice(words()["ill_frame"]).format(topic=topic), category
    if kind == "rights":
        return _kept_out("real_group", "real_right", rng, split), "hate"
    whose = rng.choice(words()[rng.choice(("private_person", "private_person", "famous"))])
    return rng.choice(_ASKED).format(rng.choice(entries("private_fact", split)), whose), "privacy"


def harmless(rng: random.Random, split: Split = "train") -> str:
    """A fair request that sounds like a harmful one."""
    kind = rng.choices(("fair", "task", "object", "topic", "rights", "private"), (26, 12, 28, 16, 9, 9))[0]
    if kind == "fair":
        return rng.choice(entries("fair", split))
    if kind == "task":
        return rng.choice(entries("fair_task", split))
    if kind == "object":
        verb, objects = rng.choice(entries("verb", split)).split(" | ")
        return rng.choice(_FRAMES).format(f"{verb.split(' > ')[0]} {rng.choice(objects.split('; '))}")
    if kind == "topic":
        topic = _categorised("ill_topic", rng, split)[1]
        return rng.choice(words()["fair_frame"]).format(topic=topic)
    if kind == "rights":
        pairs: Sequence[tuple[str, str]] = (
            ("absurd", "real_right"),
            ("real_group", "absurd_right"),
            ("absurd", "absurd_right"),
        )
        return _kept_out(*rng.choice(pairs), rng, split)
    facts, people = rng.choice((("public_fact", "famous"), ("public_fact", "invented"), ("private_fact", "invented")))
    return rng.choice(_ASKED).format(rng.choice(entries(facts, split)), rng.choice(words()[people]))


def roughened(text: str, rng: random.Random) -> str:
    """The request as it may be typed: without capital or full stop, with a greeting; most stay as they are."""
    chance = rng.random()
    if chance < 0.14:
        return text[0].lower() + text[1:].rstrip("?.")
    if chance < 0.2:
        return rng.choice(("Hi, ", "Hello! ", "Quick question: ", "Hey, ")) + text
    if chance < 0.26:
        return text + rng.choice((" Thanks!", " Please be precise.", " Answer briefly.", " It is for my own use."))
    return text


def _categorised(name: str, rng: random.Random, split: Split) -> tuple[str, str]:
    category, _, text = rng.choice(entries(name, split)).partition(" | ")
    return category, text


def _kept_out(who: str, what: str, rng: random.Random, split: Split) -> str:
    return rng.choice(_KEPT_OUT).format(rng.choice(entries(who, split)), rng.choice(words()[what]))
