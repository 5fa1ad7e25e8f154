"""A fenced block of Python that has to parse: each line is checked as soon as it is complete.

The parser is the running interpreter's own. It tells a program that is wrong from one that only is not complete yet
(CPython's `PyCF_ALLOW_INCOMPLETE_INPUT`, which its interactive console uses), so a line that no continuation can mend
is found at its line break, and decoded again from there on.
"""

from __future__ import annotations

import ast
import functools
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import InputError, Violation

if TYPE_CHECKING:
    import torch

    from loraloop.tool_schemas.grammar.effort import Effort
    from loraloop.tool_schemas.grammar.grammar import Grammar, State

_FILE = "<block>"
_ALLOW_INCOMPLETE = 0x4000
_OPEN, _CLOSE = b"```python\n", b"\n```"


def python_problem(code: str, whole: bool = True) -> tuple[str, int] | None:
    """Why code does not parse, and in which line (from 1); None if it does.

    Args:
        code: The source.
        whole: False: the code may go on after its last line break, so what is only incomplete is no problem.
    """
    _quiet()
    try:
        compile(code, _FILE, "exec", ast.PyCF_ONLY_AST | (0 if whole else _ALLOW_INCOMPLETE))
    except SyntaxError as error:
        if not whole and error.msg == "incomplete input":
            return None
        return error.msg, error.lineno or 1
    except (ValueError, MemoryError, RecursionError) as error:
        return str(error) or type(error).__name__, 1
    return None


@functools.cache
def _quiet() -> None:
    """The interpreter warns of doubtful escapes in what a model wrote; nobody can act on that."""
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=_FILE)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=_FILE)


class PythonGrammar:
    """A grammar of one fenced block whose code is also parsed.

    Args:
        grammar: A grammar of "```python", a line break, lines, and a closing fence.
        token_bytes: The bytes of a token.
    """

    def __init__(self, grammar: Grammar, token_bytes: Callable[[int], bytes]) -> None:
        self.grammar = grammar
        self.token_bytes = token_bytes

    def start(self) -> PythonState:
        """The state before the first token."""
        return PythonState(self, self.grammar.start())


class PythonState:
    """A place in a block; see `State`. `accept` raises `Violation` at the end of a line with which it cannot parse."""

    __slots__ = ("_ends", "_grammar", "_state", "_text", "_whole")

    def __init__(self, grammar: PythonGrammar, state: State) -> None:
        self._grammar = grammar
        self._state = state
        self._text = bytearray()
        self._ends: list[int] = []  # bytes up to each token's end
        self._whole = 0  # bytes up to the last line break at which the code was complete

    @property
    def done(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return self._state.done

    @property
    def can_stop(self) -> bool:
        """Whether the text is complete as it stands."""
        return self._state.can_stop

    @property
    def settled(self) -> int:
        """Number of accepted tokens that no later line can have taken back."""
        return len(self._ends) if self.can_stop else bisect_right(self._ends, self._whole)

    def forced(self) -> list[int]:
        """The tokens about which there is no choice from here."""
        return self._state.forced()

    def mask_(self, logits: torch.Tensor) -> None:
        """Sets the logits [V] of tokens that cannot follow to minus infinity, in place."""
        self._state.mask_(logits)

    def accept(self, tokens: Sequence[int]) -> None:
        """Moves on by tokens, all or none of them."""
        self._state.accept(list(tokens))
        before, whole = len(self._ends), self._whole
        for token in tokens:
            self._text += self._grammar.token_bytes(token)
            self._ends.append(len(self._text))
        start = self._ends[before - 1] if before else 0
        try:
            self._check(start)
        except Violation:
            self._state.rollback(len(tokens))
            self._cut(before, whole)
            raise

    def rollback(self, n: int) -> None:
        """Takes back the last `n` accepted tokens."""
        if not 0 <= n <= len(self._ends):
            raise InputError(f"cannot take back {n} tokens of {len(self._ends)}")
        if n:
            self._state.rollback(n)
            self._cut(len(self._ends) - n, 0)
            self._whole = self._last_whole()

    def fork(self) -> PythonState:
        """An independent copy of this place."""
        other = PythonState(self._grammar, self._state.fork())
        other._text, other._ends, other._whole = bytearray(self._text), list(self._ends), self._whole
        return other

    def closing(self, limit: int, effort: Effort | None = None) -> list[int] | None:
        """A short path of at most `limit` tokens to a place where `can_stop` holds; None if none was found."""
        path = self._state.closing(limit, effort)
        if path is None:
            return None
        try:
            self.fork().accept(path)
        except Violation:
            return None
        return path

    def _cut(self, count: int, whole: int) -> None:
        del self._ends[count:]
        del self._text[self._ends[-1] if self._ends else 0 :]
        self._whole = whole

    def _check(self, start: int) -> None:
        """Parses what there is, if a line or the block was completed in the bytes from `start` on."""
        closed = self._state.can_stop
        if not closed and b"\n" not in self._text[start:]:
            return
        end = self._text.rindex(_CLOSE) + 1 if closed else self._text.rindex(b"\n") + 1
        if end <= len(_OPEN):
            return
        code = self._text[len(_OPEN) : end].decode(errors="replace")
        problem = python_problem(code, whole=closed)
        if problem is not None:
            raise Violation(f"the code does not parse: {problem[0]}", f"line {problem[1]}", self._token_at(problem[1]))
        if closed or python_problem(code) is None:
            self._whole = end

    def _token_at(self, line: int) -> int:
        """Number of tokens before a line of the code."""
        at = len(_OPEN)
        for _ in range(line - 1):
            following = self._text.find(b"\n", at)
            if following < 0:
                break
            at = following + 1
        return bisect_right(self._ends, at)

    def _last_whole(self) -> int:
        """Bytes up to the last line break at which the code is complete."""
        end = len(self._text)
        while (end := self._text.rfind(b"\n", 0, end)) >= len(_OPEN):
            if python_problem(self._text[len(_OPEN) : end + 1].decode(errors="replace")) is None:
                return end + 1
        return 0
