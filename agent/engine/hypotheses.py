"""Texts that grow side by side from one trunk: hypotheses of a search, or draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import Violation

if TYPE_CHECKING:
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.constrained import Constraint
    from loraloop.agent.engine.kv_context import Computed


@dataclass(slots=True)
class Hypothesis:
    """A text so far, where it stands in its grammar, and what its context has yet to be fed.

    Attributes:
        score: Log-probability of the text.
        forced: Tokens of it about which the grammar left no choice.
        entropy: Of the choices that led to it, in nats: how unsure the model was on the way.
    """

    context: Computed
    state: Constraint
    ids: list[int]
    feed: list[int]
    score: float = 0.0
    forced: int = 0
    entropy: float = 0.0

    def force(self) -> bool:
        """Takes the tokens that must follow; False if they complete a value that fails its check."""
        tokens = self.state.forced()
        try:
            self.state.accept(tokens)
        except Violation:
            return False
        self.ids.extend(tokens)
        self.feed.extend(tokens)
        self.forced += len(tokens)
        return True


class Contexts:
    """Contexts of hypotheses that ended, which all share the trunk, to be used again."""

    def __init__(self, branch: Branch) -> None:
        self._start = branch.start
        self._free: list[Computed] = []

    def free(self, context: Computed) -> None:
        self._free.append(context)

    def copy(self, context: Computed) -> Computed:
        """A copy that grows apart from a context."""
        if not self._free:
            return context.fork(context.length)
        spare = self._free.pop()
        spare.follow(context, self._start)
        return spare
