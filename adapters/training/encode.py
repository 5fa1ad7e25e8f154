"""Training examples as token ids: the trunk (context) and the branch (invocation, completion, end of turn)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraloop.adapters.base import Base, Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example. The loss covers `branch[start:]`: the completion and the token that ends the turn.

    The first `shared` tokens of the trunk are its system message, which other examples may have too.
    """

    trunk: tuple[int, ...]
    branch: tuple[int, ...]
    start: int
    shared: int = 0

    @property
    def length(self) -> int:
        return len(self.trunk) + len(self.branch)


def encode(base: Base, messages: Sequence[Message], completion: str) -> Encoded:
    """Renders the context as a trunk and the completion as the branch that a skill computes."""
    invocation = base.chat.generation_prompt
    ids = base.tokenizer.encode(completion)
    shared = len(base.chat.render(messages[:1])) if messages[0].role == "system" and len(messages) > 1 else 0
    trunk = tuple(base.chat.render(messages))
    return Encoded(trunk, (*invocation, *ids, base.chat.closing[0]), len(invocation), shared)
