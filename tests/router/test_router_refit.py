"""A skill is added to the shipped router from a few requests: it gets them, and the others keep theirs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from loraloop.adapters.base import Base, Message
from loraloop.router import Router
from loraloop.router.refit import refit, without_skill
from loraloop.tool_schemas.errors import InputError, SkillError

ITEMS = ("the blue jacket", "a pair of boots", "my new kettle", "the desk lamp", "two chairs", "the phone case")
WOES = (
    "arrived broken and I want my money back",
    "still has not arrived after two weeks",
    "was charged twice on my card",
    "does not fit and I would like to swap it",
    "came without the invoice that I need",
)


def mails(n: int, seed: int) -> list[list[Message]]:
    rng = random.Random(seed)
    return [
        [
            Message(
                "user",
                f"From: {rng.choice('abcdefg')}@mail.example\nSubject: order {rng.randrange(1000, 9999)}\n\n"
                f"Hello, {rng.choice(ITEMS)} {rng.choice(WOES)}.\nRegards",
            )
        ]
        for _ in range(n)
    ]


NOT = [
    [Message("user", f"Write an e-mail to {who} about {what}.")] for who in ("Anna", "my boss") for what in ITEMS[:3]
]


def test_a_skill_is_added_and_the_others_keep_their_requests(base: Base, tmp_path: Path) -> None:
    router = Router.load()
    made = refit(base, router, "triage", mails(16, 0), NOT, mails(12, 1))
    assert made.scores["new_held_out"] >= 0.9 and made.scores["new_test"] >= 0.9 and made.scores["n_new_test"] == 24
    assert made.scores["known_after"] >= made.scores["known_before"] - 0.01 and not made.warning
    assert made.scores["not_new"] >= 0.7
    assert made.router.skills == (*router.skills, "triage")
    assert made.router.choice.weight[:-1].equal(router.choice.weight), "the others' weights stay as they are"
    made.router.save(tmp_path)
    again = Router.load(tmp_path)
    assert again.card["added"]["triage"]["examples"] == 16
    replaced = refit(base, again, "triage", mails(10, 2), test=[[Message("user", "Turn the lights off.")]])
    assert "only 0% of triage's requests reach it" in replaced.warning, "of those that it has not seen"
    assert replaced.router.skills == made.router.skills, "trained again, a skill takes its own place"
    assert without_skill(replaced.router, "triage").choice.weight.equal(router.choice.weight)
    assert len(without_skill(replaced.router, "triage").memory.examples) == len(router.memory.examples)
    assert without_skill(router, "nothing") is router


def test_too_few_examples_and_other_bases_are_refused(base: Base, tiny_base: Base) -> None:
    with pytest.raises(InputError, match="9 examples of requests for triage: give 10 or more"):
        refit(base, Router.load(), "triage", mails(9, 0))
    with pytest.raises(SkillError, match="reads the states of"):
        refit(tiny_base, Router.load(), "triage", mails(10, 0))
