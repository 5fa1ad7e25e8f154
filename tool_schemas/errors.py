"""The errors that every room raises: each message says what went wrong and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class LoraloopError(Exception):
    """The root of every error that loraloop raises on purpose."""


class UnknownNameError(LoraloopError):
    """A skill, tool, method or option was named that does not exist.

    Attributes:
        kind: What was looked up, such as ``"skill"``.
        name: The name that was not found.
        nearest: The known name that was probably meant, or None where none is like it.
    """

    def __init__(self, message: str, kind: str = "", name: str = "", nearest: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name
        self.nearest = nearest


class SchemaError(LoraloopError):
    """A schema, or a value that should obey one, is wrong.

    Attributes:
        path: JSON path of the offending place, such as ``$.properties.city.format``; empty if there is none.
        reason: The message without the path.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.reason = message


class Violation(SchemaError):
    """A value that was just completed while decoding fails a check that the grammar cannot express.

    Attributes:
        start: Number of accepted tokens before the value's first one; what is decoded from there has to differ.
    """

    def __init__(self, message: str, path: str, start: int) -> None:
        super().__init__(message, path)
        self.start = start


class ToolError(LoraloopError):
    """A tool could not be run, or it failed; an agent turns this into an observation."""


class ToolRetry(ToolError):
    """Raised by a tool: the call was understood but cannot be done like this; the model is told why and tries again.

    It is feedback and no failure. How often one tool may ask for it in a run is bounded (`Tool.retries`,
    `Limits.tool_retries`); after that it counts as a failure.
    """


class BaseModelError(LoraloopError):
    """A base model could not be found, fetched, read or converted."""


class SkillError(LoraloopError):
    """A skill's file is damaged, or it was made for another base."""


class ContextLengthError(LoraloopError):
    """The transcript does not fit into the base model's positions."""


class LimitError(LoraloopError):
    """A limit on steps, tokens, time or memory was reached."""


class TimeLimitError(LimitError):
    """The time limit is over."""


class SandboxError(LoraloopError):
    """No isolation mechanism strong enough is available, or it failed to start."""


class HookError(LoraloopError):
    """A hook that was marked as fatal raised; its error is the cause."""


class SessionError(LoraloopError):
    """A file of sessions cannot be read or written, or a session is in no state for what was asked."""


class SessionBusyError(SessionError):
    """Another runner, in this process or in another, is running the session.

    Attributes:
        pid: Process of the other runner; None where the system does not tell.
    """

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class InputError(LoraloopError):
    """An argument is unusable: an empty prompt, an option out of range, a contradiction."""


@contextmanager
def file_errors(trouble: str, advice: str = "", kind: type[LoraloopError] = InputError) -> Iterator[None]:
    """Turns what the system says of a file, or a text that is not UTF-8, into an error that says what was tried.

    Args:
        trouble: What did not work, such as "cannot read notes.txt"; the system's reason follows.
        advice: What follows the reason.
        kind: The error that is raised.
    """
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise kind(f"{trouble}: {getattr(error, 'strerror', None) or error}{advice}") from error


@contextmanager
def needing(what: str, install: str, kind: type[LoraloopError] = InputError) -> Iterator[None]:
    """Turns a package that is missing into an error that says how to install it.

    Args:
        what: What needs which package.
        install: What `pip install` is told.
        kind: The error that is raised.
    """
    try:
        yield
    except ImportError as error:
        raise kind(f"{what}: pip install {install}") from error


ALIKE = 0.6
"""Least ratio of equal characters at which a name is like another one (`difflib`'s own default)."""
SHORTEST_PART = 3
"""The fewest characters of a name that may stand for a longer one."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: close in spelling, or one that contains the other; None for none."""
    lowered = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    asked = name.lower()
    found = difflib.get_close_matches(asked, list(lowered), n=1, cutoff=ALIKE) or sorted(
        (each for each in lowered if min(len(asked), len(each)) >= SHORTEST_PART and (asked in each or each in asked)),
        key=lambda each: (abs(len(each) - len(asked)), each),
    )
    return lowered[found[0]] if found else None


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Builds the error for a name that is not known; the caller raises it.

    Args:
        kind: What was looked up, in the singular ("skill", "tool", "method").
        name: The name that was asked for.
        known: The names that exist.

    Returns:
        An error whose message names the known name that was probably meant, if any is like it, and up to twenty others.
    """
    names = sorted(set(known))
    if not names:
        return UnknownNameError(f"no {kind} is called {name!r}, and no {kind} is defined at all", kind, name)
    nearest = nearest_name(name, names)
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    known_names = f"; did you mean {nearest!r}? Known: {listed}" if nearest else f"; known: {listed}"
    return UnknownNameError(f"no {kind} is called {name!r}{known_names}", kind, name, nearest)
