"""A grammar whose values are also checked as soon as they close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from loraloop.tool_schemas.errors import InputError, SchemaError, Violation
from loraloop.tool_schemas.grammar.effort import Effort
from loraloop.tool_schemas.grammar.reader import JsonReader
from loraloop.tool_schemas.schema.places import json_path

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.checks import Checks
    from loraloop.tool_schemas.grammar.grammar import State
    from loraloop.tool_schemas.grammar.matcher import LlguidanceGrammar, Vocabulary

_WAYS_OUT = 8  # attempts to find an end that passes the checks


class CheckedGrammar:
    """A grammar and the checks that go with it.

    Args:
        grammar: What can be enforced.
        checks: What cannot.
        vocabulary: The tokens.
    """

    def __init__(self, grammar: LlguidanceGrammar, checks: Checks, vocabulary: Vocabulary) -> None:
        self.grammar = grammar
        self.checks = checks
        self.vocabulary = vocabulary

    def start(self) -> CheckedState:
        """The state before the first token."""
        return CheckedState(self, self.grammar.start(), [])


class CheckedState:
    """A place in a text; see `State`. `accept` raises `Violation` for a value that fails its check.

    Args:
        grammar: The grammar with its checks.
        state: The place in the grammar without them.
        taken: Tokens accepted so far.
        reader: Has read them; None reads them here.
    """

    __slots__ = ("_grammar", "_reader", "_state", "_taken")

    def __init__(
        self, grammar: CheckedGrammar, state: State, taken: list[int], reader: _CheckingReader | None = None
    ) -> None:
        self._grammar = grammar
        self._state = state
        self._taken = taken
        self._reader = reader or self._read(taken)

    @property
    def done(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return self._state.done and self.can_stop

    @property
    def can_stop(self) -> bool:
        """Whether the text is complete as it stands."""
        return self._state.can_stop and self._end_problem() is None

    @property
    def settled(self) -> int:
        """Number of accepted tokens that no check can have taken back; the last one of the whole text excepted."""
        frames = self._reader.frames
        open_values = [frame.start for frame in frames if self._grammar.checks.may_fail(frame)]
        return min(open_values, default=len(self._taken))

    def forced(self) -> list[int]:
        """The tokens about which there is no choice from here."""
        return self._state.forced()

    def mask_(self, logits: torch.Tensor) -> None:
        """Sets the logits [V] of tokens that cannot follow to minus infinity, in place."""
        self._state.mask_(logits)
        if self._state.can_stop and not self.can_stop:
            logits[self._grammar.vocabulary.ends] = float("-inf")

    def accept(self, tokens: Sequence[int]) -> None:
        """Moves on by tokens, all or none of them."""
        wanted = list(tokens)
        self._state.accept(wanted)
        before = len(self._taken)
        self._taken += wanted
        try:
            for token in wanted:
                self._reader.feed(self._grammar.vocabulary.bytes_of(token))
            if self._state.done and (problem := self._end_problem()) is not None:
                raise Violation(problem.reason, problem.path, 0)
        except Violation:
            self._state.rollback(len(wanted))
            del self._taken[before:]
            self._reader = self._read(self._taken)
            raise

    def rollback(self, n: int) -> None:
        """Takes back the last `n` accepted tokens."""
        if not 0 <= n <= len(self._taken):
            raise InputError(f"cannot take back {n} tokens of {len(self._taken)}")
        if n:
            self._state.rollback(n)
            del self._taken[len(self._taken) - n :]
            self._reader = self._read(self._taken)

    def fork(self) -> CheckedState:
        """An independent copy of this place."""
        return CheckedState(self._grammar, self._state.fork(), list(self._taken), self._reader.copy())

    def closing(self, limit: int, effort: Effort | None = None) -> list[int] | None:
        """A short path of at most `limit` tokens to a place where `can_stop` holds; None if none was found."""
        effort = effort or Effort()
        banned: dict[tuple[int, ...], set[int]] = {}
        before: list[int] = []
        for _ in range(_WAYS_OUT):
            if effort.over:
                return None
            place = self.fork()
            path = list(before)
            start = place._first_failure(path)
            if start is None:
                rest = place._state.closing(limit - len(path), effort)
                if rest is None:
                    return None
                path += rest
                start = place._first_failure(rest)
                if start is None and place.can_stop:
                    return path
                start = len(self._taken) if start is None else start
            # Another token at the place where the value begins that cannot be.
            at = min(max(start - len(self._taken), 0), max(len(path) - 1, 0))
            if not path:
                return None
            tried = banned.setdefault(tuple(path[:at]), set())
            tried.add(path[at])
            place = self.fork()
            effort.take()
            if place._first_failure(path[:at]) is not None or (other := place._other(tried)) is None:
                return None
            tried.add(other)
            before = [*path[:at], other]
        return None

    def _first_failure(self, path: Sequence[int]) -> int | None:
        """Moves on by a path as far as it goes; where the value begins that fails, None if all is well."""
        for token in path:
            try:
                self.accept((token,))
            except Violation as violation:
                return violation.start
        return None

    def _other(self, tried: set[int]) -> int | None:
        """A token that may follow and has not been tried."""
        logits = torch.zeros(self._grammar.vocabulary.size)
        self._state.mask_(logits)
        allowed = torch.isfinite(logits).nonzero().flatten().tolist()
        others = tried.union(self._grammar.vocabulary.ends)
        return next((token for token in allowed if token not in others), None)

    def _read(self, tokens: Sequence[int]) -> _CheckingReader:
        """A reader that has read these tokens, which passed their checks before, and checks what follows."""
        reader = _CheckingReader(self._grammar.checks)
        for token in tokens:
            reader.feed(self._grammar.vocabulary.bytes_of(token))
        reader.checking = True
        return reader

    def _end_problem(self) -> SchemaError | None:
        """The reason why the text cannot end here."""
        reader = self._reader
        if reader.root is None and len(reader.frames) == 1:
            reader = reader.copy()
            reader.checking = False
            reader.finish()
        if reader.root is None:
            return SchemaError("is not complete", "$")
        return self._grammar.checks.whole_problem(reader.root[0])


class _CheckingReader(JsonReader):
    """Notes which checks govern each value, and while `checking`, makes them as soon as it closes."""

    __slots__ = ("_checks", "checking")

    def __init__(self, checks: Checks) -> None:
        super().__init__()
        self._checks = checks
        self.checking = False

    def opened(self) -> None:
        frames = self.frames
        frames[-1].note = self._checks.governing(frames[-1], frames[-2] if len(frames) > 1 else None)

    def closed(self) -> None:
        if not self.checking:
            return
        frames, frame = self.frames, self.frames[-1]
        problem = self._checks.problem(frame) if frame.note else None
        if problem is None and len(frames) > 1 and frames[-2].note:
            problem = self._checks.early_problem(frames[-2], frame.value)
        if problem is None and len(frames) == 1:
            problem = self._checks.whole_problem(frame.value)
        if problem is not None:
            path = json_path([each.step for each in frames[1:]]) + problem.path.removeprefix("$")
            raise Violation(problem.reason, path, frame.start)
