"""A branch: what a skill computes from the trunk's end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from loraloop.adapters.base.tokenizer import common_prefix
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.sequence import CachedSequence
from loraloop.agent.engine.drafts import TOGETHER, Drafts

if TYPE_CHECKING:
    from loraloop.adapters.base import Message
    from loraloop.adapters.base.tokenizer import Tokenizer
    from loraloop.agent.engine.timer import Clock
    from loraloop.agent.engine.transcript import Transcript


class Branch:
    """Tokens computed under `author` on top of a trunk. `close` decides what stays.

    The author's virtual tokens take the first positions after the trunk and stay as long as the branch; under full
    activation they stand before the whole context, and stay with it.

    Args:
        trunk: What it stands on; its tokens are computed.
        author: Who computes.
        sequence: The trunk's own, or under full activation one of the branch alone.
        prefilled: Tokens that were computed to open the branch.
        recomputed: Those of them that the bare base had computed before.
        closed: Takes the sequence back when the branch has ended.

    Attributes:
        sequence: What it stands on and holds.
        start: Length of the trunk.
        prefilled: Tokens that were computed to open the branch.
        recomputed: Prefilled tokens that the bare base had computed before: what full activation costs.
        drafts: Guesses of the tokens that are written next in the branch.
    """

    def __init__(
        self,
        trunk: Transcript,
        author: Author,
        sequence: CachedSequence,
        prefilled: int,
        recomputed: int,
        closed: Callable[[CachedSequence], None],
    ) -> None:
        self._closed = False
        self._trunk, self._give_back = trunk, closed
        self.sequence = sequence
        self.author = author
        self.start = sequence.length
        self.prefilled = prefilled
        self.recomputed = recomputed
        self.drafts = Drafts(sequence.ids, trunk.base.end_ids)
        self._foreseen: Tensor | tuple[Tensor, ...] = ()  # [*, V] after the next tokens, if they are those of a draft
        self._asked = 0  # tokens after which logits were asked last: what the branch would hold without drafts

    @property
    def left(self) -> int:
        """Positions left in the context."""
        return self._trunk.context - self.sequence.positions

    @property
    def ids(self) -> list[int]:
        """Tokens that were fed and stand: the invocation, and what was generated after it."""
        return self.sequence.ids[self.start :]

    @property
    def messages(self) -> list[Message]:
        """The messages of the trunk that the branch stands on."""
        return [span.message for span in self._trunk.messages]

    @property
    def tokenizer(self) -> Tokenizer:
        return self._trunk.base.tokenizer

    def feed(self, ids: Sequence[int], clock: Clock | None = None) -> Tensor:
        """Computes `ids`; returns the logits `[V]` (fp32) after the last.

        Args:
            ids: At least one token.
            clock: Clock that notes how long that waited for other runs.
        """
        scores = self._feed(ids, 1, clock)[-1]
        self._foreseen, self._asked = (), len(self.ids)
        return scores

    def logits_after(self, ids: Sequence[int], draft: int = 0, clock: Clock | None = None) -> Tensor:
        """The logits `[V]` (fp32) after `ids`, the branch's whole text; computes of it what it does not hold.

        Args:
            ids: At least one token.
            draft: Tokens that may be computed beyond them, in case that they follow.
            clock: Told how long that waited for other runs.
        """
        ids, ahead = list(ids), len(ids) - self._asked - 1
        held = common_prefix(self.ids, ids)
        if held == len(ids) and 0 <= ahead < len(self._foreseen):
            scores = self._foreseen[ahead:]
            self.drafts.accepted += 1
        else:
            held = min(held, len(ids) - 1)
            if len(ids) - min(held, self._asked) > TOGETHER:  # a long stretch is computed as it is without drafts
                held = min(held, self._asked)
            self.sequence.truncate(self.start + held)
            rest, guess = ids[held:], list[int]()
            if draft > 0 and self.sequence.scheduler.drafting(self.sequence):
                guess = self.drafts.after(ids, min(draft, TOGETHER - len(rest)))
            scores = self._feed([*rest, *guess], 1 + len(guess), clock)
        self._foreseen, self._asked = scores[1:], len(ids)
        return scores[0]

    def _feed(self, ids: Sequence[int], logits: int, clock: Clock | None) -> Tensor:
        scores = self.sequence.feed(self.author, ids, logits=logits, clock=clock).scores
        assert scores is not None  # the scheduler raises where there are none
        return scores

    def close(self, ids: Sequence[int] = (), message: Message | None = None) -> None:
        """Ends the branch. The trunk is left with `ids` appended (as `message`), or as it was.

        What the bare base computed is trunk already and stays cached. What a skill computed is dropped from the
        trunk's cache; `ids` are then pending and go through the bare base with whatever follows. A branch that is
        closed already stays as it is.
        """
        if self._closed:
            return
        self._closed = True
        sequence, trunk = self.sequence, self._trunk
        sequence.scheduler.leave(sequence)
        valid = 0
        if ids and (self.author.bare or self.author.activation == "full"):
            valid = min(common_prefix(self.ids, list(ids)), self._asked)
        sequence.truncate(self.start + valid)
        self._give_back(sequence)
        if ids:
            start = len(trunk.ids)
            trunk.extend(ids)
            if message is not None:
                trunk.mark(message, start)
