"""Tools from files, folders and Python modules."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import LoraloopError, SchemaError, unknown
from loraloop.tool_schemas.folders import files_of
from loraloop.tool_schemas.jsontext import strict_loads
from loraloop.tool_schemas.tools.tool import Tool
from loraloop.tool_schemas.tools.tool_lists import ToolEntry, entries, is_openapi

if TYPE_CHECKING:
    from loraloop.tool_schemas.http.policy import NetworkPolicy
    from loraloop.tool_schemas.schema.findings import OnUnsupported

SUFFIXES = (".json", ".yaml", ".yml")
_NODES = 1_000_000  # values in a file; YAML's aliases can make more of them than there are bytes


def load_tools(
    path: str | os.PathLike[str],
    *,
    on_unsupported: OnUnsupported | None = None,
    base_url: str | None = None,
    policy: NetworkPolicy | None = None,
) -> tuple[Tool, ...]:
    """Reads tools from a JSON or YAML file, or from all such files of a folder, in the order of their paths.

    A file holds one tool, a list of tools, ``{"tools": […]}``, in the form of `Tool.from_schema`, of OpenAI's APIs,
    of Anthropic's or of MCP's ``tools/list``; or an OpenAPI document, whose operations become HTTP tools.

    A tool in a list has no function. If it has a ``"result"``, each call returns that; if not, a call is handed back
    to whoever started the run.

    Args:
        path: The file or folder.
        on_unsupported: See `Tool`; by default ``"refuse"``, and ``"check"`` for what others publish (MCP, OpenAPI).
        base_url: Where the service of an OpenAPI document is, if the document does not say so or it is elsewhere.
        policy: Where the tools of an OpenAPI document may connect.

    Raises:
        SchemaError: If a file cannot be read, or a tool in it is wrong, or two tools share a name; it names the file
            and the tool.
    """
    found: dict[str, str] = {}
    tools: list[Tool] = []
    for file in tool_files(path):
        for place, tool in _of_file(file, on_unsupported, base_url, policy):
            if tool.name in found:
                raise SchemaError(f"two tools are called {tool.name!r} ({found[tool.name]} and {place}); rename one")
            found[tool.name] = place
            tools.append(tool)
    return tuple(tools)


def tool_files(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, or the JSON and YAML files of a folder and its folders, sorted; hidden ones left out.

    Raises:
        SchemaError: If a folder has none.
        InputError: If a folder cannot be listed.
    """
    place = Path(path)
    if not place.is_dir():
        return [place]
    files = sorted(file for file in files_of(place) if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise SchemaError(f"the folder {place} holds no {', '.join(SUFFIXES)} files; put the tools there")
    return files


def _of_file(
    file: Path, on_unsupported: OnUnsupported | None, base_url: str | None, policy: NetworkPolicy | None
) -> Iterator[tuple[str, Tool]]:
    document = read_document(file)
    if is_openapi(document):
        from loraloop.tool_schemas.openapi.service import tools_from_openapi

        try:
            made = tools_from_openapi(
                document, base_url=base_url, on_unsupported=on_unsupported or "check", policy=policy
            )
        except SchemaError as error:
            raise SchemaError(f"{file}: {error.reason}", error.path) from error
        yield from ((str(file), tool) for tool in made)
        return
    for entry in file_entries(document, file):
        place = f"{file}, {entry.place}"
        try:
            yield place, entry.tool(on_unsupported)
        except LoraloopError as error:
            reason = error.reason if isinstance(error, SchemaError) else str(error)
            raise SchemaError(f"{place}: {reason}", getattr(error, "path", "")) from error


def file_entries(document: Any, file: Path) -> list[ToolEntry]:
    """The tools that a file lists; see `entries`."""
    try:
        return entries(document)
    except SchemaError as error:
        raise SchemaError(f"{file}: {error.reason}", error.path) from None


def read_document(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON or YAML file as JSON data.

    Raises:
        SchemaError: If it cannot be read, is neither, says one key twice (JSON) or is too large (YAML); it names the
            file.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SchemaError(f"cannot read the tools file {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SchemaError(f"the tools file {file} is no UTF-8 text: {error.reason} at byte {error.start}") from error
    if file.suffix.lower() in (".yaml", ".yml"):
        from loraloop.tool_schemas.yamltext import plain, read_yaml

        problem = f"the tools file {file} is too large, or contains itself; split it"
        return plain(read_yaml(text, f"the tools file {file}"), _NODES, problem)
    if file.suffix == ".py":
        raise SchemaError(f"the tools file {file} is Python: say what of it, such as --tools {file}:NAME")
    try:
        return strict_loads(text, _once)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the tools file {file} is not valid JSON: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice!r} twice; remove one")
    return made


def python_tools(reference: str, folder: str | os.PathLike[str] | None = None) -> tuple[Tool, ...]:
    """Tools that a Python module defines. Importing the module runs its code.

    Args:
        reference: ``module:attribute`` or ``file.py:attribute``: a `Tool`, a typed function, a pydantic model, or a
            list of them.
        folder: Where modules are looked for first.

    Raises:
        SchemaError: If the module cannot be imported, or the attribute is no tool.
        UnknownNameError: If it has no such attribute.
    """
    return tuple(as_tool(value, reference) for value in python_values(reference, folder))


def python_values(reference: str, folder: str | os.PathLike[str] | None = None) -> list[Any]:
    """What a reference leads to, as a list; see `python_tools`."""
    module, _, attribute = reference.rpartition(":")
    relative = module.startswith(".") and not module.endswith(".py")
    if not module or not attribute or relative:
        raise SchemaError(f"{reference!r} names no Python tool; write module:attribute, or file.py:attribute")
    try:
        with _first_on_path(folder):
            place: Any = _of_source(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    except (ImportError, OSError, SyntaxError) as error:
        raise SchemaError(f"cannot import {module!r} for its tools: {error}") from error
    for name in attribute.split("."):
        if not hasattr(place, name):
            raise unknown(f"attribute of {module!r}", name, [each for each in dir(place) if not each.startswith("_")])
        place = getattr(place, name)
    return list(place) if isinstance(place, list | tuple) else [place]


def as_tool(value: Any, reference: str, on_unsupported: OnUnsupported = "refuse") -> Tool:
    """The tool that a value of a module is or can be made into."""
    if isinstance(value, Tool):
        return value
    if inspect.isclass(value) and hasattr(value, "model_json_schema"):
        return Tool.from_model(value, on_unsupported=on_unsupported)
    if callable(value):
        return Tool.from_function(value, on_unsupported=on_unsupported)
    raise SchemaError(
        f"{reference!r} is {value!r:.80}; give a Tool, a typed function, a pydantic model or a list of them"
    )


def _of_source(file: Path) -> Any:
    name = f"loraloop_tools_of_{file.stem}"  # one that no installed module has
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _first_on_path(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    added = os.fspath(folder)
    sys.path.insert(0, added)
    try:
        yield
    finally:
        sys.path.remove(added)
