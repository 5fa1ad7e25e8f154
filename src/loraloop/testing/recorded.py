"""Tools whose calls are noted, and tools that give again what was noted."""

from __future__ import annotations

import inspect
import json
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraloop.agent.loop.transcript import as_tools
from loraloop.agent.tools.calls import call_key
from loraloop.tool_schemas.errors import InputError, ToolError, unknown
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

_FORMAT = 1  # of saved recordings


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call of a tool.

    Attributes:
        name: The tool.
        arguments: JSON data, as the model wrote it.
        result: What the tool gave; None where it failed.
        error: What went wrong, as the model was told.
    """

    name: str
    arguments: dict[str, Any]
    result: Any = None
    error: str | None = None


class RecordedTools(Sequence[Tool]):
    """The given tools, with every call noted; an agent takes it as its tools.

    Args:
        tools: Tools, typed functions, or JSON forms of tools. What no one can run stays so, and is not noted.
        replay: Calls, or a file that `save` wrote: the tools then do not run, but give what was noted for the same
            arguments, in the same order where these came more than once. What was not noted is an error to the model,
            and `assert_replayed` fails.

    Raises:
        InputError: If the file is no recording.
        UnknownNameError: If it has calls of a tool that is not among `tools`.
    """

    def __init__(
        self,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]],
        replay: Sequence[RecordedCall] | str | os.PathLike[str] | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._calls: list[RecordedCall] = []
        self._missing: list[Call] = []
        self._left: dict[str, list[RecordedCall]] | None = None
        offered = as_tools(tools)
        if replay is not None:
            known = loaded(replay) if isinstance(replay, str | os.PathLike) else tuple(replay)
            self._left = {}
            for each in known:
                if each.name not in (names := [tool.name for tool in offered]):
                    raise unknown("tool", each.name, names)
                self._left.setdefault(_key(each.name, each.arguments), []).append(each)
        self._tools = tuple(self._noting(tool) for tool in offered)

    def __len__(self) -> int:
        return len(self._tools)

    def __getitem__(self, index: Any) -> Any:
        return self._tools[index]

    @property
    def calls(self) -> tuple[RecordedCall, ...]:
        """What was called so far, in the order in which the calls ended."""
        with self._lock:
            return tuple(self._calls)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the calls to a JSON file, for `replay`."""
        listed = [
            {"name": c.name, "arguments": c.arguments, **({"error": c.error} if c.error else {"result": c.result})}
            for c in self.calls
        ]
        text = json.dumps({"format": _FORMAT, "calls": json.loads(dumps(listed))}, indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")
        return Path(path)

    def assert_replayed(self) -> None:
        """Raises AssertionError if a call was made that is not in the recording, or one in it was not made."""
        left = [call for each in (self._left or {}).values() for call in each]
        if not self._missing and not left:
            return
        lines = [f"  not recorded: {each.name}({dumps(each.arguments)})" for each in self._missing]
        lines += [f"  not called: {each.name}({dumps(each.arguments)})" for each in left]
        raise AssertionError("\n".join(["the calls are not those of the recording; record it again:", *lines]))

    def _noting(self, tool: Tool) -> Tool:
        if not tool.executable and self._left is None:
            return tool

        def run(**arguments: Any) -> Any:
            if self._left is not None:
                return self._again(tool.name, arguments)
            return self._run(tool, arguments)

        return replace(tool, function=run, binding=replace(tool.binding, bind=None))

    def _run(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        try:
            result = tool.call(arguments)
        except BaseException as error:
            self._note(tool.name, arguments, error=error)
            raise
        if inspect.isawaitable(result):
            return self._wait(tool.name, arguments, result)
        self._note(tool.name, arguments, result)
        return result

    async def _wait(self, name: str, arguments: dict[str, Any], awaited: Awaitable[Any]) -> Any:
        try:
            result = await awaited
        except BaseException as error:
            self._note(name, arguments, error=error)
            raise
        self._note(name, arguments, result)
        return result

    def _again(self, name: str, arguments: dict[str, Any]) -> Any:
        assert self._left is not None
        with self._lock:
            found = self._left.get(_key(name, arguments))
            if not found:
                self._missing.append(Call(name, arguments))
                raise ToolError(f"this call of {name!r} was not recorded: {dumps(arguments)}")
            call = found.pop(0)
            self._calls.append(call)
        if call.error is not None:
            raise ToolError(call.error)
        return call.result

    def _note(
        self, name: str, arguments: dict[str, Any], result: Any = None, error: BaseException | None = None
    ) -> None:
        problem = None if error is None else str(error) or type(error).__name__
        with self._lock:
            self._calls.append(RecordedCall(name, arguments, result, problem))


def loaded(path: str | os.PathLike[str]) -> tuple[RecordedCall, ...]:
    """The calls of a file that `RecordedTools.save` wrote.

    Raises:
        InputError: If it is no such file.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            raise ValueError(f"its format is {data['format']!r}, not {_FORMAT}")
        return tuple(RecordedCall(**each) for each in data["calls"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{os.fspath(path)} is not a recording of calls ({error}): make one with save()") from None


def _key(name: str, arguments: dict[str, Any]) -> str:
    return call_key(Call(name, arguments))
