"""What the training benchmark trains on: seeded ledgers of orders, cut to an exact number of tokens."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.training.data.encode import Encoded

ITEMS = ("lamp", "chair", "kettle", "carpet", "mirror", "shelf", "clock", "blanket", "bowl", "basket")
CITIES = ("Oslo", "Porto", "Ghent", "Turin", "Graz", "Brno", "Lyon", "Kiel", "Malmö", "Split")
STATES = ("paid", "open", "returned", "shipped")


def examples(base: Base, count: int, context: int, completion: int, seed: int = 0) -> list[Encoded]:
    """Distinct examples of one length: a ledger in words, and the same as JSON.

    Args:
        context: tokens of each trunk.
        completion: tokens of each branch: invocation, completion and the token that ends the turn.
    """
    return [_example(base, random.Random(f"{seed} {number}"), context, completion) for number in range(count)]


def _example(base: Base, rng: random.Random, context: int, completion: int) -> Encoded:
    from loraloop.adapters.base import Message
    from loraloop.adapters.training.data.encode import Encoded

    orders = [
        (rng.randrange(1000, 9999), rng.randrange(2, 40), rng.choice(ITEMS), rng.choice(CITIES), rng.choice(STATES))
        for _ in range(2 + max(context, completion) // 4)
    ]
    told = "".join(f"Order {o[0]}: {o[1]} × {o[2]} to {o[3]}, {o[4]}.\n" for o in orders)
    fields = ("order", "count", "item", "city", "state")
    wanted = json.dumps([dict(zip(fields, o, strict=True)) for o in orders], ensure_ascii=False, separators=(",", ":"))
    invocation, end = base.chat.generation_prompt, base.chat.closing
    room = completion - len(invocation) - 1
    trunk = base.chat.render([Message("user", told)])
    ids = base.tokenizer.encode(wanted)
    if room < 1 or context <= len(end) or len(trunk) < context or len(ids) < room:
        raise ValueError(f"a branch needs at least {len(invocation) + 2} tokens, a trunk {len(end) + 1}")
    return Encoded(
        (*trunk[: context - len(end)], *trunk[len(trunk) - len(end) :]),
        (*invocation, *ids[:room], end[0]),
        len(invocation),
    )
