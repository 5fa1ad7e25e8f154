"""Where commands write their results: tables through a rich console, everything else line by line."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

_CONTROL = re.compile(r"[\x7f-\x9f]")


def console(width: int | None = None) -> Any:
    """A rich console on standard output.

    Args:
        width: Columns. By default those of the terminal, or 100 where standard output is no terminal.
    """
    from loraloop.render.terminal import HarmlessConsole

    return HarmlessConsole(width=width or (None if sys.stdout.isatty() else 100))


def print_json(content: Any) -> None:
    """Writes plain data to standard output, as JSON on one line."""
    print_line(json.dumps(content, ensure_ascii=False))


def print_line(text: str) -> None:
    """Writes one line to standard output. Control characters that JSON leaves as they are become its escapes."""
    sys.stdout.write(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def plural(count: int, noun: str) -> str:
    """A count with its noun, in the plural unless it is one."""
    return f"{count} {noun}{'s' * (count != 1)}"
