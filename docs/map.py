"""Writes docs/structures.md: every module with the first line of its docstring.

python docs/map.py            rewrite the page
python docs/map.py --check    exit with 1 if it differs from the tree
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "structures.md"
HEAD = """# Structures

One line a module, written from the modules themselves by `make docs`. Rooms import only from rooms below them:
`kernels`, `tool_schemas` (ground) → `adapters` → `router` → `agent` → the face.
"""
FOLDERS = {
    "src/loraloop": "the face: public names and the command line",
    "agent": "the loop and what a user embeds (`loraloop.agent`)",
    "router": "features → screen and choice → calibrated route (`loraloop.router`)",
    "adapters": "the shared base and what attaches to it (`loraloop.adapters`)",
    "tool_schemas": "define, validate and decode tool calls (`loraloop.tool_schemas`)",
    "kernels": "tensor operations (`loraloop.kernels`)",
    "benchmarks": "runnable; each prints a table and writes JSON",
    "examples": "runnable, each tested",
    "docs": "what writes the pages",
}


def modules(folder: str) -> list[Path]:
    """The Python files of a folder that say something, packages before their modules."""
    found = [path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts]
    found = [path for path in found if path.name != "__init__.py" or path.read_text(encoding="utf-8").strip()]
    return sorted(found, key=lambda path: (path.parent.parts, path.name != "__init__.py", path.name))


def first_line(path: Path) -> str:
    """The first sentence-line of a module's docstring.

    Raises:
        SystemExit: The module has none.
    """
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not doc:
        raise SystemExit(f"{path.relative_to(ROOT)} has no docstring, and docs/structures.md shows its first line")
    return " ".join(doc.split("\n\n")[0].split())


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for folder, what in FOLDERS.items():
        listed = modules(folder)
        if listed:
            lines = [f"- `{path.relative_to(ROOT).as_posix()}` {first_line(path)}" for path in listed]
            parts.append(f"## {folder}: {what}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Rewrites or checks the page; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/structures.md from the modules' docstrings.")
    parser.add_argument("--check", action="store_true", help="only say whether it differs")
    check = parser.parse_args(arguments).check
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    after = page()
    if before == after:
        return 0
    if check:
        sys.stderr.write("docs/structures.md differs from the tree: run `make docs`\n")
        return 1
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
