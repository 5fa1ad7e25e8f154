"""A tool: a name, a description, the JSON Schema of its arguments and, mostly, a function."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, overload

from loraloop.tool_schemas.errors import InputError, SchemaError, ToolError, unknown
from loraloop.tool_schemas.jsontext import dumps, fold
from loraloop.tool_schemas.schema.findings import OnUnsupported
from loraloop.tool_schemas.schema.normal import normalised, with_nulls
from loraloop.tool_schemas.schema.validation import check_schema, check_value
from loraloop.tool_schemas.tools.approval import ApprovalRule, check_rule, says_so
from loraloop.tool_schemas.tools.context import Binding, Context

if TYPE_CHECKING:
    from typing import Unpack

    from loraloop.tool_schemas.http.endpoint import HttpEndpoint, HttpOptions

log = logging.getLogger("loraloop.tool_schemas")
_FIELDS = (
    "name", "description", "parameters", "result", "returns", "strict", "effects", "trusted", "requires_approval",
    "sequential",
)  # fmt: skip
_RETURNS = ("returns", "outputSchema", "output_schema")
PARAMETERS = ("parameters", "inputSchema", "input_schema")
"""What the forms of tools call the schema of the arguments."""


@dataclass(frozen=True, slots=True)
class FixedResult:
    """The function of a tool whose calls all return the same, as a JSON file can say it.

    Attributes:
        value: The result.
    """

    value: Any

    def __call__(self, /, **arguments: Any) -> Any:
        return self.value


class ToolFields(TypedDict, total=False):
    """The fields of a `Tool` that its makers pass on."""

    strict: bool
    on_unsupported: OnUnsupported
    timeout: float | None
    retries: int | None
    effects: bool | None
    trusted: bool
    requires_approval: ApprovalRule | None
    sequential: bool
    idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tool:
    """A function that an agent may call.

    Attributes:
        name: What the model calls it by: one line, at most 128 characters.
        description: When to use it; shown to the model on one line.
        parameters: JSON Schema of the arguments, an object type; its property order is the order in which the
            arguments are decoded.
        function: Called with the arguments as keywords; sync or async. None: there is no implementation here, and a
            call is handed back to whoever started the run.
        binding: How the function takes the arguments, where they are not passed on as keywords.
        strict: Whether the arguments are decoded under their schema. If not, they are decoded as any JSON object and
            validated afterwards; what is wrong is told to the model, which writes the call again.
        on_unsupported: What to do about a keyword that decoding cannot enforce: ``"refuse"`` raises here with its
            JSON path, ``"check"`` has it checked while decoding. Without `strict` it means nothing.
        returns: JSON Schema of the result. A result that does not fit becomes an error that says where.
        timeout: Seconds that one call may take, instead of the agent's limit.
        retries: How often the tool may ask the model to try again in one run (`ToolRetry`), instead of the agent's
            limit.
        source: Where the tool comes from, for the trace: ``"http"``, ``"mcp:NAME"``; empty for one that was given.
        effects: Whether a call may change something or send something out: false for a tool that only reads, true for a
            tool whose calls wait for approval unless `requires_approval` says otherwise, and whose every value must
            come from somewhere (`Policy.values`). None: nobody said. An agent's guard then takes it for a tool with
            effects, but its calls do not wait.
        trusted: Whether what it gives may be followed like the user's own words. Results are data from outside unless
            this says otherwise; an agent's guard decides what that means.
        requires_approval: Whether a call waits until somebody approved it: true, false, or a function of the arguments
            (and the `Context`, if it takes two) that says so of each call. None: the calls of a tool with effects wait.
        sequential: Whether a call of it runs alone: after the calls before it in its step, and before those after it.
        idempotent: Whether calling it twice with the same arguments does no more than calling it once. A call that was
            interrupted is then made again when its session is resumed, and else it is told to the model.

    Raises:
        SchemaError: If the name or another field is unusable, or a schema is invalid or holds a keyword that decoding
            cannot enforce; the message gives the JSON path.
    """

    name: str = field(kw_only=False)
    description: str = field(default="", kw_only=False)
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}}, kw_only=False)
    function: Callable[..., Any] | None = field(default=None, kw_only=False)
    binding: Binding = field(default=Binding(), repr=False, compare=False)
    strict: bool = True
    on_unsupported: OnUnsupported = "refuse"
    returns: dict[str, Any] | None = None
    timeout: float | None = None
    retries: int | None = None
    source: str = ""
    effects: bool | None = None
    trusted: bool = False
    requires_approval: ApprovalRule | None = None
    sequential: bool = False
    idempotent: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or len(self.name) > 128:
            raise SchemaError(f"a tool's name must be 1 to 128 characters, not {self.name!r}")
        if fold(self.name) != self.name or not self.name.isprintable():
            raise SchemaError(f"the tool's name {self.name!r} must be on one line and without control characters")
        if not isinstance(self.parameters, dict):
            raise SchemaError(f"tool {self.name!r}: the parameters must be a JSON Schema object")
        if self.parameters.get("type", "object") != "object":
            raise SchemaError(f"tool {self.name!r}: arguments are an object; set the type to 'object'", "$.type")
        for option in ("strict", "trusted", "sequential", "idempotent"):
            if not isinstance(getattr(self, option), bool):
                raise SchemaError(f"tool {self.name!r}: {option} is {getattr(self, option)!r}; use true or false")
        if not isinstance(self.effects, bool | None):
            raise SchemaError(f"tool {self.name!r}: effects is {self.effects!r}; use true or false, or leave it out")
        check_rule(self.requires_approval, self.name)
        if self.on_unsupported not in ("refuse", "check"):
            raise SchemaError(f"tool {self.name!r}: on_unsupported is {self.on_unsupported!r}; use 'refuse' or 'check'")
        if not isinstance(self.description, str):
            raise SchemaError(f"tool {self.name!r}: the description is {self.description!r}; give a text")
        for option in ("timeout", "retries"):
            if isinstance(value := getattr(self, option), bool) or not isinstance(value, int | float | None):
                raise SchemaError(f"tool {self.name!r}: {option} is {value!r}; give a number, or None")
        if self.timeout is not None and not self.timeout > 0:
            raise SchemaError(f"tool {self.name!r}: timeout is {self.timeout!r} seconds; it must be above 0, or None")
        if self.retries is not None and self.retries < 0:
            raise SchemaError(f"tool {self.name!r}: retries is {self.retries!r}; it must be 0 or more, or None")
        if self.returns is not None and not isinstance(self.returns, dict):
            raise SchemaError(f"tool {self.name!r}: 'returns' must be a JSON Schema object, or None")
        try:
            arguments = {key: value for key, value in self.parameters.items() if key != "nullable"}
            object.__setattr__(self, "parameters", with_nulls(arguments))
            self._check_parameters()
            if self.returns is not None:
                object.__setattr__(self, "returns", with_nulls(self.returns))
                check_schema(self.returns, "$.returns")
                normalised(self.returns)
        except SchemaError as error:
            raise SchemaError(f"tool {self.name!r}: {error.reason}", error.path) from error

    def _check_parameters(self) -> None:
        if self.strict:
            from loraloop.tool_schemas.grammar.prepare import prepared

            prepared(self.parameters, self.on_unsupported)
        else:
            check_schema(self.parameters)
            normalised(self.parameters)  # so that no reference leads out of it

    def __repr__(self) -> str:
        """Short, because messages and logs show it."""
        return f"<Tool {self.name}>"

    @property
    def executable(self) -> bool:
        """Whether a call gives a result; if not, a call ends the run and is its output."""
        return self.function is not None

    def needs_approval(self, arguments: dict[str, Any], context: Context[Any]) -> bool:
        """Whether a call waits for approval; where `requires_approval` is a function that fails, it does."""
        if self.requires_approval is None:
            return self.effects is True
        return says_so(self.requires_approval, self.name, arguments, context)

    def validate(self, arguments: dict[str, Any]) -> None:
        """Checks arguments against the schema, formats included.

        Raises:
            SchemaError: With the JSON path of the argument that does not fit.
        """
        check_value(arguments, self.parameters)

    def check_result(self, result: Any) -> None:
        """Checks what a call gave against `returns`, where formats are annotations.

        Raises:
            SchemaError: With the JSON path of what does not fit.
            ValueError: If the result cannot be written as JSON.
        """
        if self.returns is not None:
            check_value(json.loads(dumps(result)), self.returns, formats=False)

    def call(self, arguments: dict[str, Any], context: Context[Any] | None = None) -> Any:
        """Validates the arguments, then runs the tool.

        Args:
            arguments: JSON data. A typed function gets them converted to the types it declares.
            context: For the parameter that takes one; an agent gives it.

        Returns:
            The result, or an awaitable of it if the function is async.

        Raises:
            SchemaError: If the arguments do not fit; the function has not been called then.
            ToolError: If the tool has no implementation or misses its context, or what the function raised: a
                `ToolError` as it is, anything else as the cause of one.
        """
        self.validate(arguments)
        function, binding = self._implemented(), self.binding
        positional, keywords = binding.bind(arguments) if binding.bind else ((), deepcopy(arguments))
        if binding.context and context is not None:
            keywords[binding.context] = context
        elif binding.context and not binding.optional:
            raise ToolError(f"tool {self.name!r} takes a context; call it with context=Context(deps)")
        with self._failing():
            result = function(*positional, **keywords)
        return self._awaited(result) if inspect.isawaitable(result) else result

    def __call__(self, /, *arguments: Any, **named: Any) -> Any:
        """Calls the function with Python values, as it was before it became a tool. Nothing is validated."""
        return self._implemented()(*arguments, **named)

    def _implemented(self) -> Callable[..., Any]:
        if self.function is None:
            raise ToolError(
                f"tool {self.name!r} has no implementation; give it a function or a 'result', or handle the call "
                "yourself"
            )
        return self.function

    async def _awaited(self, result: Awaitable[Any]) -> Any:
        with self._failing():
            return await result

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Tells an error of the tool's function, which may be anything, as a `ToolError`."""
        try:
            yield
        except ToolError:
            raise
        except Exception as error:
            log.warning("the tool %s raised", self.name, exc_info=error)
            first: BaseException = error
            while isinstance(first, BaseExceptionGroup):  # of a task group
                first = first.exceptions[0]
            if isinstance(first, ToolError):
                raise first from error
            raise ToolError(f"{type(first).__name__}: {first}" if str(first) else type(first).__name__) from error

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        **options: Unpack[ToolFields],
    ) -> Tool:
        """Makes a tool of a typed function, or of a pydantic model, whose calls end the run; see `read_function`."""
        if hasattr(function, "model_json_schema"):
            return cls.from_model(function, name=name, description=description, **options)  # type: ignore[arg-type]
        from loraloop.tool_schemas.tools.function import read_function

        read = read_function(function, name)
        text = read.description if description is None else description
        return cls(read.name, text, read.parameters, function, binding=read.binding, **options)

    @classmethod
    def from_model(
        cls,
        model: type[Any],
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        **options: Unpack[ToolFields],
    ) -> Tool:
        """Makes a tool whose arguments are a pydantic model; the function gets one instance of it.

        Args:
            model: The arguments as a pydantic model; its docstring describes the tool.
            function: Called with one instance of the model. None: there is no implementation here.
            name: Name of the tool; the model's where None.
            description: When to use it; the model's docstring where None.
            **options: Further fields of the tool; see the attributes.

        Raises:
            SchemaError: If `model` is no pydantic model, or its schema or an option is unusable.
        """
        from loraloop.tool_schemas.tools.function import read_model

        read = read_model(model, name)
        text = read.description if description is None else description
        return cls(read.name, text, read.parameters, function, binding=read.binding, **options)

    @classmethod
    def from_schema(
        cls,
        schema: dict[str, Any],
        function: Callable[..., Any] | None = None,
        *,
        on_unsupported: OnUnsupported = "refuse",
    ) -> Tool:
        """Makes a tool of its JSON form.

        Args:
            schema: ``{"name", "description", "parameters"}`` (or ``inputSchema``, as MCP says it), or the
                same inside OpenAI's ``{"type": "function", "function": {…}}``. ``"result"``, if given, is what
                every call returns, ``"returns"`` (or ``outputSchema``) its JSON Schema; ``"strict": false``,
                ``"effects"``, ``"trusted"``, ``"requires_approval"`` and ``"sequential"`` are the same as here, and
                null is the same as nothing.
            function: Called with the arguments as keywords.
            on_unsupported: See the attribute.

        Raises:
            SchemaError: If something is missing or wrong, or the function does not take these keywords.
            UnknownNameError: If there is a field that means nothing.
        """
        if not isinstance(schema, dict):
            raise SchemaError("a tool is a JSON object with 'name', 'description' and 'parameters'")
        body = schema
        if schema.get("type") == "function" and isinstance(schema.get("function"), dict):
            body = {**schema, **schema["function"]}
            del body["type"], body["function"]
        for key in body:
            if key not in (*_FIELDS, *PARAMETERS, *_RETURNS):
                raise unknown("field of a tool", key, _FIELDS)
        if not isinstance(body.get("name"), str):
            raise SchemaError("a tool needs a 'name' (text)", "$.name")
        if not isinstance(body.get("description") or "", str):
            raise SchemaError("must be text", "$.description")
        parameters: Any = next((body[key] for key in PARAMETERS if body.get(key) is not None), {})
        if parameters == {}:
            parameters = {"type": "object", "properties": {}}
        if isinstance(parameters, dict) and "type" not in parameters:
            parameters = {"type": "object", **parameters}
        made = cls(
            body["name"],
            body.get("description") or "",
            parameters,
            FixedResult(body["result"]) if function is None and "result" in body else function,
            strict=True if body.get("strict") is None else body["strict"],
            on_unsupported=on_unsupported,
            returns=next((body[key] for key in _RETURNS if body.get(key) is not None), None),
            effects=body.get("effects"),
            trusted=body.get("trusted") or False,
            requires_approval=body.get("requires_approval"),
            sequential=body.get("sequential") or False,
        )
        if function is not None:
            from loraloop.tool_schemas.tools.function_signature import check_keywords

            check_keywords(function, made.parameters, made.name)
        return made

    @classmethod
    def from_http(
        cls,
        name: str,
        description: str,
        parameters: dict[str, Any],
        method: str,
        url: str,
        **options: Unpack[HttpOptions],
    ) -> Tool:
        """Makes a tool of an HTTP endpoint.

        Args:
            name: What the model calls it by.
            description: When to use it.
            parameters: JSON Schema of the arguments.
            method: ``"GET"``, ``"POST"``, …
            url: Absolute; ``{name}`` in its path stands for an argument.
            **options: See `HttpOptions`.

        Returns:
            The tool; its `function` is an `HttpEndpoint`.

        Raises:
            SchemaError: If the schema is wrong or an argument has no place.
            UnknownNameError: If there is no such option.
            InputError: If the URL, a place or another option is unusable, or the policy refuses the host.
        """
        from loraloop.tool_schemas.http.endpoint import endpoint_of

        endpoint = endpoint_of(parameters, method.upper(), url, options)
        mode = options.get("on_unsupported", "refuse")
        return cls.from_endpoint(
            name, description, parameters, endpoint, returns=options.get("returns"), on_unsupported=mode
        )

    @classmethod
    def from_endpoint(
        cls,
        name: str,
        description: str,
        parameters: dict[str, Any],
        endpoint: HttpEndpoint,
        returns: dict[str, Any] | None = None,
        on_unsupported: OnUnsupported = "refuse",
    ) -> Tool:
        """Makes the tool that calls an HTTP endpoint; only a method that is known to be safe has no effects.

        Args:
            name: What the model calls it by.
            description: When to use it.
            parameters: JSON Schema of the arguments, for each of which the endpoint has a place.
            endpoint: Sends the calls. A call may take a second longer than its timeout.
            returns: JSON Schema of the answer, which is checked; None for no check.
            on_unsupported: See the attribute.

        Raises:
            SchemaError: If the name or a schema is unusable.
        """
        return cls(
            name,
            description,
            parameters,
            endpoint,
            on_unsupported=on_unsupported,
            returns=returns,
            timeout=endpoint.sending.timeout + 1.0,  # the client's own error says more
            source="http",
            effects=None if endpoint.safe else True,
            idempotent=endpoint.repeatable,
        )

    def to_openai(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        function: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        if not self.strict:
            function["strict"] = False
        return {"type": "function", "function": function}


@overload
def tool(
    function: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    **options: Unpack[ToolFields],
) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, **options: Unpack[ToolFields]
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Decorates a typed function, which thereby becomes a `Tool`; the docstring gives the descriptions.

    Args:
        function: The function, where the decorator stands without parentheses, or is called with one.
        **options: `name`, `description`, `strict`, `on_unsupported`, `timeout`, `retries`, `effects`, `trusted`,
            `requires_approval`, `sequential` and `idempotent`; see `Tool`.
    """
    if function is not None:
        return Tool.from_function(function, **options)
    return lambda decorated: Tool.from_function(decorated, **options)


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


def check_deps(deps: object, wanted: type[Any] | None, tools: Sequence[Tool]) -> None:
    """Checks what a run is given as `deps`.

    Args:
        deps: What it is.
        wanted: The class that the agent says; None for anything.
        tools: Those that take a context may say a class too.

    Raises:
        InputError: It is something else; the message says who wants what.
    """
    who = [(f"tool {tool.name!r}", tool.binding.deps) for tool in tools if tool.binding.context]
    for name, kind in (("the agent", wanted), *who):
        if kind is not None and not isinstance(deps, kind):
            found = "none were given" if deps is None else f"{type(deps).__name__} was given"
            raise InputError(f"{name} needs deps of the type {kind.__name__}, and {found}: run it with deps=…")


http_tool = Tool.from_http
"""Makes a tool of an HTTP endpoint."""
