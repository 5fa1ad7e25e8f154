"""Examples in a request for a program, which tell whether a program does what is asked: asserts, and doctests."""

from __future__ import annotations

import ast
import doctest
import textwrap
from collections.abc import Callable, Sequence

from loraloop.adapters.skill.contracts import code_of
from loraloop.agent.engine.best_of_n import Tries

_DOCTESTS = """
import doctest, sys
_test = doctest.DocTestParser().get_doctest({text!r}, globals(), "examples", None, 0)
sys.exit(doctest.DocTestRunner(verbose=False).run(_test).failed > 0)
"""


def tries_on(request: str, count: int, runs: Callable[[str], bool | None], seed: int = 0) -> Tries | None:
    """How a code step is tried on the examples of its request; None for one try, or without any example.

    Args:
        request: What the user said.
        count: Programs, the first one included.
        runs: Whether a program ends without an error; None where that cannot be told.
        seed: Of those that are drawn.
    """
    if count == 1 or not (examples := examples_in(request)):
        return None
    return Tries(count, lambda text: runs(f"{code_of(text)}\n\n{examples}"), seed)


def examples_in(request: str) -> str:
    """What a program has to get through: a source that runs after it, and fails where an example does not hold.

    Examples are lines that are, or begin, an `assert` statement, and what `doctest` finds: `>>>`, and what is printed.

    Args:
        request: What the user said.

    Returns:
        Empty where there is no example.
    """
    source = "\n".join(_asserts(textwrap.dedent(request).splitlines()))
    doctests = _doctests(request)
    return source + _DOCTESTS.format(text=doctests) if doctests else source


def _asserts(lines: Sequence[str]) -> list[str]:
    """The assert statements among lines, each as long as it takes to be whole."""
    found, at = [], 0
    while at < len(lines):
        taken = 1
        if lines[at].strip().startswith("assert"):
            for end in range(at + 1, min(at + 12, len(lines)) + 1):
                text = textwrap.dedent("\n".join(lines[at:end])).strip()
                if _is_assert(text):
                    found.append(text)
                    taken = end - at
                    break
        at += taken
    return found


def _is_assert(text: str) -> bool:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(body) and all(isinstance(each, ast.Assert) for each in body)


def _doctests(request: str) -> str:
    """The sessions of the interpreter in a text, if they parse, and any of them tells what is printed."""
    try:
        examples = doctest.DocTestParser().get_examples(request)
        for each in examples:
            ast.parse(each.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    if not any(each.want for each in examples):
        return ""
    return "\n".join(f">>> {_continued(each.source)}\n{each.want}" for each in examples)


def _continued(source: str) -> str:
    return source.rstrip("\n").replace("\n", "\n... ")
