"""Training examples as token ids, trunks and the branches on them; and the order in which they are trained on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from loraloop.adapters.base import Base, Message
from loraloop.adapters.base.chat import Chat
from loraloop.adapters.training.data.record import Record
from loraloop.tool_schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class EncodedBranch:
    """What a skill computes on a trunk. The loss covers `tokens[start:]`.

    Attributes:
        tokens: extra prompt text, invocation, completion, and the token that ends the turn.
        start: length of what stands before the completion.
        at: how many of the trunk's tokens it stands on; None: all of them. Turns of a dialogue stand at several places.
        desirable: whether the completion is a wanted one; for objectives that learn from both kinds.
    """

    tokens: tuple[int, ...]
    start: int
    at: int | None = None
    desirable: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.start < len(self.tokens):
            raise InputError(f"a branch of {len(self.tokens)} tokens cannot begin its completion at {self.start}")

    @property
    def counted(self) -> int:
        """Tokens that the loss covers."""
        return len(self.tokens) - self.start


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: a trunk, and at least one branch that stands on it.

    A preference pair has its wanted and its rejected completion as branches, a dialogue each of its turns. The first
    `shared` tokens of the trunk are its system message, which other examples may have too.
    """

    trunk: tuple[int, ...]
    branches: tuple[EncodedBranch, ...]
    shared: int = 0

    def __post_init__(self) -> None:
        if not self.branches:
            raise InputError("an example needs at least one branch")
        for branch in self.branches:
            if branch.at is not None and not 0 <= branch.at <= len(self.trunk):
                raise InputError(f"a branch at {branch.at} does not stand on a trunk of {len(self.trunk)} tokens")

    @property
    def length(self) -> int:
        """Tokens that a step computes."""
        return len(self.trunk) + sum(len(branch.tokens) for branch in self.branches)

    @property
    def counted(self) -> int:
        """Tokens that the loss covers."""
        return sum(branch.counted for branch in self.branches)


def encode(base: Base, messages: Sequence[Message], completion: str, extra_prompt: str = "") -> Encoded:
    """Renders the context as a trunk, and extra prompt and completion as the branch that a skill computes.

    Args:
        base: Gives the chat format and the tokenizer.
        messages: The context, up to what the skill answers.
        completion: What the skill should write.
        extra_prompt: What stands in the branch as one more message of the user; where empty, none does.
    """
    trunk, shared = _trunk(base, messages)
    return Encoded(trunk, (branch_of(base, completion, extra_prompt=extra_prompt),), shared)


def encode_pair(base: Base, messages: Sequence[Message], chosen: str, rejected: str, extra_prompt: str = "") -> Encoded:
    """A preference pair: two branches of one trunk, the wanted one first.

    Args:
        base: Gives the chat format and the tokenizer.
        messages: The context that both completions answer.
        chosen: The completion that should become likelier.
        rejected: The completion that should become unlikelier.
        extra_prompt: What stands in both branches as one more message of the user; where empty, none does.
    """
    trunk, shared = _trunk(base, messages)
    wanted = branch_of(base, chosen, extra_prompt=extra_prompt)
    return Encoded(trunk, (wanted, branch_of(base, rejected, desirable=False, extra_prompt=extra_prompt)), shared)


def branch_of(base: Base, completion: str, *, desirable: bool = True, extra_prompt: str = "") -> EncodedBranch:
    """The branch in which a skill writes a completion; the extra prompt stands in it as a user's message.

    Args:
        base: Gives the chat format and the tokenizer.
        completion: What the skill should write; the token that closes a message follows it.
        desirable: Whether the completion is a wanted one, for preferences.
        extra_prompt: Content of the user's message before the invocation; where empty, there is none.
    """
    before = base.chat.message("user", extra_prompt) if extra_prompt else []
    invocation = [*before, *base.chat.generation_prompt]
    ids = base.tokenizer.encode(completion)
    return EncodedBranch((*invocation, *ids, base.chat.closing[0]), len(invocation), desirable=desirable)


def _trunk(base: Base, messages: Sequence[Message]) -> tuple[tuple[int, ...], int]:
    """The context's tokens, and how many of them are its system message."""
    complete = enumerate(base.chat.complete(messages))
    parts = [_message_ids(base.chat, each.role, each.content, not place) for place, each in complete]
    shared = len(parts[0]) if messages[0].role == "system" and len(messages) > 1 else 0
    return tuple(token for part in parts for token in part), shared


@lru_cache(maxsize=2048)
def _message_ids(chat: Chat, role: str, content: str, first: bool) -> tuple[int, ...]:
    """A message's ids: the steps of a conversation share most of their messages."""
    return tuple(chat.message(role, content, first))


def encode_grouped(base: Base, records: Sequence[Record], longest: int) -> list[Encoded]:
    """Encodes records; those whose contexts go on from one another, such as the turns of a dialogue, share an example.

    The loss is that of examples of their own: a branch stands on as much of the trunk as its context has. An epoch that
    holds a record several times has it in several examples.

    Args:
        base: The base whose tokenizer and chat format are used.
        records: One epoch, in its order.
        longest: Tokens of an example.
    """
    starts: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        first = 1 + (record.messages[0].role == "system")
        starts.setdefault((record.source, *record.messages[:first]), []).append(record)
    return [
        example for alike in starts.values() for chain in _chains(alike) for example in _encoded(base, chain, longest)
    ]


def _chains(records: Sequence[Record]) -> list[list[Record]]:
    """Records in chains: a context begins the next one, which is longer or has another extra prompt."""
    chains: list[list[Record]] = []
    for record in sorted(records, key=lambda record: (len(record.messages), record.extra_prompt)):
        for chain in chains:
            last, before = chain[-1], chain[-1].messages
            if record.key != last.key and record.messages[: len(before)] == before:
                chain.append(record)
                break
        else:
            chains.append([record])
    return chains


def _encoded(base: Base, chain: Sequence[Record], longest: int) -> Iterator[Encoded]:
    """Examples of a chain's records: one, or as many as its length or its template demands."""
    together: list[Encoded] = []
    for record in chain:
        example = encode(base, record.messages, record.completion, record.extra_prompt)
        branches = sum(each.length - len(each.trunk) for each in (*together, example))
        fits = all(example.trunk[: len(each.trunk)] == each.trunk for each in together)
        if together and not (fits and len(example.trunk) + branches <= longest):
            yield _joined(together)
            together = []
        together.append(example)
    yield _joined(together)


def _joined(examples: Sequence[Encoded]) -> Encoded:
    """Examples whose trunks go on from one another as one, with a branch for each."""
    last = examples[-1]
    if len(examples) == 1:
        return last
    branches = [replace(branch, at=len(example.trunk)) for example in examples for branch in example.branches]
    return Encoded(last.trunk, tuple(branches), last.shared)


_NEAR = 8
"""Batches over which examples are mixed."""


def batches(examples: Sequence[Encoded], size: int, seed: int) -> Iterator[list[Encoded]]:
    """Endless batches in a seeded random order, each example once an epoch.

    Examples with one system message lie near one another, between those of a few others: a reader that keeps the system
    messages of the last batches computes each of them once.
    """
    rng = random.Random(seed)
    while True:
        groups: dict[object, list[Encoded]] = {}
        for place, example in enumerate(rng.sample(examples, len(examples))):
            groups.setdefault(example.trunk[: example.shared] or place, []).append(example)
        order = [example for group in rng.sample(list(groups.values()), len(groups)) for example in group]
        for start in range(0, len(order), size * _NEAR):
            near = order[start : start + size * _NEAR]
            rng.shuffle(near)
            yield from (near[i : i + size] for i in range(0, len(near), size))
