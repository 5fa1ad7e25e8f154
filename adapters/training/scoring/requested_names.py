"""What a code request asks for by name: the definitions that its tests call, and whether an answer has them."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable

from loraloop.adapters.skill.contracts import code_of
from loraloop.adapters.training.data.record import Record
from loraloop.tool_schemas.errors import SchemaError


def parsed(output: str) -> str | None:
    """The code of an output that is one code block and parses as Python; None of any other."""
    try:
        code = code_of(output)
        ast.parse(code)
    except (SchemaError, SyntaxError, ValueError, RecursionError):
        return None
    return code


def requested_names(example: Record) -> frozenset[str]:
    """Functions and classes that the tests call and the reference defines; empty if there are none.

    Where the reference defines none of them, those that the tests call without defining or importing them.
    """
    tests = _tree(str(example.gold.get("tests", "")))
    nodes = list(ast.walk(tests))
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    reference = parsed(example.completion)
    own = called & _defined(ast.walk(_tree(reference or "")))
    if own:
        return frozenset(own)
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return frozenset(called - _defined(nodes) - imported - set(dir(builtins)))


def defines(output: str, names: Iterable[str]) -> bool:
    """Whether an output has a definition of every name, by its text: it need not parse, nor be a code block."""
    return all(re.search(rf"^[ \t]*(async[ \t]+def|def|class)[ \t]+{re.escape(n)}\b", output, re.M) for n in names)


def _defined(nodes: Iterable[ast.AST]) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in nodes if isinstance(node, kinds)}


def _tree(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])
