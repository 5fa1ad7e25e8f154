"""The rooms stand on each other in one order, and the tree keeps its size and its map."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FACE = "loraloop"
BELOW = {
    "kernels": set(),
    "tool_schemas": set(),
    "adapters": {"kernels", "tool_schemas"},
    "router": {"kernels", "tool_schemas", "adapters"},
    "agent": {"kernels", "tool_schemas", "adapters", "router"},
    FACE: {"kernels", "tool_schemas", "adapters", "router", "agent"},
}
HOMES = {room: room for room in BELOW} | {FACE: "src/loraloop"}
DYNAMIC = {"importlib.import_module", "import_module", "__import__"}
CODE = [*HOMES.values(), "tests", "examples", "benchmarks", "docs"]


def python_files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imported(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Every module a file imports, at any depth; relative imports are resolved in the file's package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def package_of(path: Path, room: str) -> str:
    inside = path.relative_to(ROOT / HOMES[room]).parent.parts
    return ".".join(["loraloop", *([room] if room != FACE else []), *inside])


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "loraloop":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in BELOW else FACE


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_from_below(room):
    wrong = []
    for path in python_files(HOMES[room]):
        for line, module in imported(path, package_of(path, room)):
            target = room_of(module)
            if target is not None and target != room and target not in BELOW[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_relative_and_nested_imports(tmp_path):
    sample = tmp_path / "sample.py"
    sample.write_text("def f():\n from ..agent import x\n import loraloop.router.fit\nfrom . import y\n")
    seen = [module for _, module in imported(sample, "loraloop.adapters")]
    assert sorted(seen) == ["loraloop.adapters.y", "loraloop.agent.x", "loraloop.router.fit"]
    assert [room_of(module) for module in seen].count("agent") == 1


def test_no_room_is_imported_by_its_bare_name():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for folder in CODE
        for path in python_files(folder)
        for line, module in imported(path, "elsewhere")
        if module.split(".")[0] in set(BELOW) - {FACE}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_long():
    long = {}
    for folder in CODE:
        for path in python_files(folder):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > 400:
                long[str(path.relative_to(ROOT))] = lines
    assert not long, f"split these, 400 lines is the most a file may have: {long}"


def test_the_map_is_that_of_the_tree():
    script = ROOT / "docs" / "map.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_module_says_what_it_is():
    silent = [
        path.relative_to(ROOT).as_posix()
        for folder in CODE
        if folder != "tests"
        for path in python_files(folder)
        if (text := path.read_text(encoding="utf-8").strip()) and not ast.get_docstring(ast.parse(text))
    ]
    assert not silent, f"give these a docstring that says in one line what they are: {silent}"
