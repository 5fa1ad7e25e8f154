"""Where commands write their results: tables through a rich console, everything else line by line."""

from __future__ import annotations

import json
import sys
from typing import Any


def console(width: int | None = None) -> Any:
    """A rich console on standard output.

    Args:
        width: Columns. By default those of the terminal, or 100 where standard output is no terminal.
    """
    from rich.console import Console

    return Console(width=width or (None if sys.stdout.isatty() else 100), highlight=False)


def print_json(content: Any) -> None:
    """Writes plain data to standard output, as JSON on one line."""
    print_line(json.dumps(content, ensure_ascii=False))


def print_line(text: str) -> None:
    """Writes one line to standard output."""
    sys.stdout.write(text + "\n")
