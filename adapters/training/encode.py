"""Training examples as token ids: the trunk (context) and the branch (invocation, completion, end of turn)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraloop.adapters.base import Base, Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example. The loss covers `branch[start:]`: the completion and the token that ends the turn."""

    trunk: tuple[int, ...]
    branch: tuple[int, ...]
    start: int

    @property
    def length(self) -> int:
        return len(self.trunk) + len(self.branch)


def encode(base: Base, messages: Sequence[Message], completion: str) -> Encoded:
    """Renders the context as a trunk and the completion as the branch that a skill computes."""
    invocation = base.chat.generation_prompt
    ids = base.tokenizer.encode(completion)
    return Encoded(tuple(base.chat.render(messages)), (*invocation, *ids, base.chat.closing[0]), len(invocation))
