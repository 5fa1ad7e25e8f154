"""A tool: a name, a description, the JSON Schema of its arguments and, mostly, a function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, overload

from loraloop.tool_schemas.errors import SchemaError, ToolError, unknown
from loraloop.tool_schemas.jsontext import fold
from loraloop.tool_schemas.keywords import check_enforceable
from loraloop.tool_schemas.validation import check_schema, check_value

NO_RESULT: Final = object()  # a tool without a fixed result; None is a result

_FIELDS = ("name", "description", "parameters", "result", "type", "function", "strict")
_PARAMETERS = ("parameters", "inputSchema", "input_schema")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that an agent may call.

    Attributes:
        name: What the model calls it by: one line, at most 128 characters.
        description: When to use it; shown to the model on one line.
        parameters: JSON Schema of the arguments, an object type; its property order is the order in which the
            arguments are decoded.
        function: Called with the arguments as keywords; sync or async. None: there is no implementation here.
        result: What a call returns where there is no function; ``NO_RESULT`` if there is none either.
        bind: Turns validated arguments into what the function takes, as (positional, keyword) arguments.

    Raises:
        SchemaError: If the name is unusable, or the schema is invalid or holds a keyword that decoding cannot
            enforce; the message gives the JSON path.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    function: Callable[..., Any] | None = None
    result: Any = NO_RESULT
    bind: Callable[[dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or len(self.name) > 128:
            raise SchemaError(f"a tool's name must be 1 to 128 characters, not {self.name!r}")
        if fold(self.name) != self.name or not self.name.isprintable():
            raise SchemaError(f"the tool's name {self.name!r} must be on one line and without control characters")
        if not isinstance(self.parameters, dict):
            raise SchemaError(f"tool {self.name!r}: the parameters must be a JSON Schema object")
        if self.parameters.get("type", "object") != "object":
            raise SchemaError(f"tool {self.name!r}: arguments are an object; set the type to 'object'", "$.type")
        from loraloop.tool_schemas.llguidance_engine import check_decodable

        try:
            check_schema(self.parameters)
            check_enforceable(self.parameters)
            check_decodable(self.parameters)
        except SchemaError as error:
            raise SchemaError(f"tool {self.name!r}: {error.reason}", error.path) from error

    @property
    def executable(self) -> bool:
        """Whether a call gives a result; if not, a call ends the run and is its output."""
        return self.function is not None or self.result is not NO_RESULT

    def validate(self, arguments: dict[str, Any]) -> None:
        """Checks arguments against the schema, formats included.

        Raises:
            SchemaError: With the JSON path of the argument that does not fit.
        """
        check_value(arguments, self.parameters)

    def call(self, arguments: dict[str, Any]) -> Any:
        """Validates the arguments, then runs the tool.

        Args:
            arguments: JSON data. A typed function gets them converted to the types it declares.

        Returns:
            The result, or an awaitable of it if the function is async.

        Raises:
            SchemaError: If the arguments do not fit; the function has not been called then.
            ToolError: If the tool has no implementation, or whatever it raised, as the cause.
        """
        self.validate(arguments)
        if self.function is None:
            if self.result is NO_RESULT:
                raise ToolError(
                    f"tool {self.name!r} has no implementation; give it a function or a 'result', or handle "
                    "the call yourself"
                )
            return self.result
        positional, keywords = self.bind(arguments) if self.bind else ((), dict(arguments))
        try:
            result = self.function(*positional, **keywords)
        except Exception as error:
            raise self._failure(error) from error
        return self._awaited(result) if inspect.isawaitable(result) else result

    async def _awaited(self, result: Awaitable[Any]) -> Any:
        try:
            return await result
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> ToolError:
        return ToolError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> Tool:
        """Makes a tool of a typed function; see `loraloop.tool_schemas.function`."""
        from loraloop.tool_schemas.function import tool_of_function

        return tool_of_function(function, name, description)

    @classmethod
    def from_model(
        cls,
        model: type[Any],
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> Tool:
        """Makes a tool whose arguments are a pydantic model; the function gets one instance of it."""
        from loraloop.tool_schemas.function import tool_of_model

        return tool_of_model(model, function, name, description)

    @classmethod
    def from_schema(cls, schema: dict[str, Any], function: Callable[..., Any] | None = None) -> Tool:
        """Makes a tool of its JSON form.

        Args:
            schema: ``{"name", "description", "parameters"}`` (or ``inputSchema``, as MCP says it), or the
                same inside OpenAI's ``{"type": "function", "function": {…}}``. ``"result"``, if given, is what
                every call returns.
            function: Called with the arguments as keywords.

        Raises:
            SchemaError: If something is missing or wrong.
            UnknownNameError: If there is a field that means nothing.
        """
        if not isinstance(schema, dict):
            raise SchemaError("a tool is a JSON object with 'name', 'description' and 'parameters'")
        body = schema
        if schema.get("type") == "function" and isinstance(schema.get("function"), dict):
            body = {**{key: value for key, value in schema.items() if key != "type"}, **schema["function"]}
            del body["function"]
        for key in body:
            if key not in _FIELDS and key not in _PARAMETERS:
                raise unknown("field of a tool", key, ("name", "description", "parameters", "result"))
        if not isinstance(body.get("name"), str):
            raise SchemaError("a tool needs a 'name' (text)", "$.name")
        if not isinstance(body.get("description") or "", str):
            raise SchemaError("must be text", "$.description")
        parameters: Any = next((body[key] for key in _PARAMETERS if body.get(key) is not None), {})
        if parameters == {}:
            parameters = {"type": "object", "properties": {}}
        if isinstance(parameters, dict) and "type" not in parameters:
            parameters = {"type": "object", **parameters}
        result = body.get("result", NO_RESULT)
        return cls(body["name"], body.get("description") or "", parameters, function, result)

    def to_openai(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(*, name: str | None = None, description: str | None = None) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, description: str | None = None
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Decorates a typed function, which thereby becomes a `Tool`; the docstring gives the descriptions."""
    if function is not None:
        return Tool.from_function(function)
    return lambda decorated: Tool.from_function(decorated, name=name, description=description)


def load_tools(path: str | Path) -> tuple[Tool, ...]:
    """Reads tools from a JSON file: one tool, a list of tools, or ``{"tools": [...]}``.

    A tool in a file has no function. If it has a ``"result"``, each call returns that; if not, a call is
    handed back to whoever started the run.

    Raises:
        SchemaError: If the file cannot be read, is no JSON, or a tool in it is wrong; it names the file.
    """
    import json

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


def check_names(tools: list[Tool] | tuple[Tool, ...]) -> None:
    """Checks that no two tools have one name.

    Raises:
        SchemaError: Naming the duplicate.
    """
    seen: set[str] = set()
    for each in tools:
        if each.name in seen:
            raise SchemaError(f"two tools are called {each.name!r}; rename one")
        seen.add(each.name)
