"""Tools from files."""

from __future__ import annotations

import json
from pathlib import Path

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.tools import Tool, check_names


def load_tools(path: str | Path) -> tuple[Tool, ...]:
    """Reads tools from a JSON file: one tool, a list of tools, or ``{"tools": [...]}``.

    A tool in a file has no function. If it has a ``"result"``, each call returns that; if not, a call is
    handed back to whoever started the run.

    Raises:
        SchemaError: If the file cannot be read, is no JSON, or a tool in it is wrong; it names the file.
    """
    file = Path(path)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemaError(f"cannot read the tools file {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the tools file {file} is no valid JSON: {error}") from error
    if isinstance(data, dict) and isinstance(data.get("tools"), list):
        data = data["tools"]
    listed = data if isinstance(data, list) else [data]
    tools = []
    for index, entry in enumerate(listed):
        try:
            tools.append(Tool.from_schema(entry))
        except SchemaError as error:
            raise SchemaError(f"{file}, tool {index}: {error.reason}", error.path) from error
    check_names(tools)
    return tuple(tools)
