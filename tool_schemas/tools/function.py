"""What typed Python functions and pydantic models say of the tools that they make."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from loraloop.tool_schemas.errors import SchemaError, ToolError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.untitled import first_problem, untitled_schema
from loraloop.tool_schemas.tools.context import Binding, Context
from loraloop.tool_schemas.tools.function_signature import read_signature


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """What a function or a model says of the tool that it makes.

    Attributes:
        name: What the model calls it by.
        description: When to use it.
        parameters: JSON Schema of the arguments.
        binding: How the function takes them.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    binding: Binding


def read_function(function: Callable[..., Any], name: str | None = None) -> FunctionTool:
    """Reads a function whose parameters are annotated with types that pydantic knows.

    The docstring (Google, NumPy, Sphinx or Epytext style) gives the descriptions; ``Annotated[T, Field(...)]``
    or ``Annotated[T, "text"]`` goes before it. A call converts the arguments to the declared types. A parameter
    annotated `Context` or ``Context[Deps]``, also ``| None``, is left out of the schema: the agent fills it.

    Args:
        function: Sync or async.
        name: Instead of the function's own.

    Raises:
        SchemaError: If a parameter has no type, is ``*args`` or ``**kwargs``, or has a type without a JSON form.
    """
    import pydantic

    read = read_signature(function, name)
    called = read.name
    context, parameters = _without_context(read.parameters, called)
    fields: dict[str, Any] = {}
    for index, (parameter, annotation) in enumerate(parameters):
        fields[f"p{index}"] = _field(parameter, annotation, read.descriptions.get(parameter.name, ""))
    try:
        model = pydantic.create_model(
            called, __config__=pydantic.ConfigDict(extra="forbid", protected_namespaces=()), **fields
        )
    except (pydantic.errors.PydanticUserError, TypeError, ValueError, ImportError) as error:
        raise SchemaError(f"tool {called!r}: {_first_line(error)}; use types that pydantic can read") from error

    def bind(arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        instance = _converted(model, arguments)
        positional, keywords = [], {}
        for index, (parameter, _) in enumerate(parameters):
            provided = f"p{index}" in instance.model_fields_set
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(getattr(instance, f"p{index}"))
            elif provided or _is_field(parameter.default) or parameter.default is inspect.Parameter.empty:
                keywords[parameter.name] = getattr(instance, f"p{index}")
        return tuple(positional), keywords

    return FunctionTool(called, read.description, _schema_of(model, called), replace(context, bind=bind))


def read_model(model: type[Any], name: str | None = None) -> FunctionTool:
    """Reads a pydantic model as the arguments of a tool; its docstring is the description.

    Args:
        model: The arguments; the tool's function gets one instance of it.
        name: Instead of the model's own.

    Raises:
        SchemaError: If `model` is no pydantic model, or has a field without a JSON form.
    """
    import pydantic

    if not (isinstance(model, type) and issubclass(model, pydantic.BaseModel)):
        raise SchemaError(f"{model!r} is not a pydantic model; derive it from pydantic.BaseModel")
    schema = _schema_of(model, model.__name__)
    description = schema.pop("description", "")

    def bind(arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (_converted(model, arguments),), {}

    return FunctionTool(name or model.__name__, description, schema, Binding(bind))


def _without_context(
    parameters: Sequence[tuple[inspect.Parameter, Any]], called: str
) -> tuple[Binding, list[tuple[inspect.Parameter, Any]]]:
    """A function's parameters without the one that takes a `Context`, and the binding that says which it is.

    Args:
        parameters: Each with its annotation.
        called: The tool, for errors.

    Raises:
        SchemaError: If more than one takes a context, or it cannot be passed by name.
    """
    takes = [(parameter, annotation) for parameter, annotation in parameters if _is_context(annotation)]
    if not takes:
        return Binding(), list(parameters)
    if len(takes) > 1:
        raise SchemaError(f"tool {called!r}: {' and '.join(one.name for one, _ in takes)} take a context; keep one")
    ((parameter, annotation),) = takes
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise SchemaError(f"tool {called!r}: {parameter.name!r} takes a context, which is passed by name; drop the '/'")
    rest = [each for each in parameters if each[0] is not parameter]
    inner = next(iter(typing.get_args(_bare(annotation))), None)
    optional = parameter.default is not inspect.Parameter.empty
    return Binding(None, parameter.name, inner if _checkable(inner) else None, optional), rest


def _bare(annotation: Any) -> Any:
    """The type without notes, and without None beside it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _bare(inner[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [each for each in inner if each is not types.NoneType]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation


def _checkable(kind: object) -> bool:
    """Whether `isinstance` can be asked about it."""
    try:
        isinstance(None, kind)  # type: ignore[arg-type]
    except TypeError:
        return False
    return isinstance(kind, type)


def _is_context(annotation: Any) -> bool:
    bare = _bare(annotation)
    return bare is Context or typing.get_origin(bare) is Context


def _is_field(default: Any) -> bool:
    from pydantic.fields import FieldInfo

    return isinstance(default, FieldInfo)


def _field(parameter: inspect.Parameter, annotation: Any, description: str) -> tuple[Any, Any]:
    """The annotation and the pydantic field of one parameter."""
    from pydantic import Field

    extras = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    default = parameter.default
    options: dict[str, Any] = {}
    if _is_field(default):  # f(x: int = Field(3, ge=0))
        annotation, extras = Annotated[annotation, default], (*extras, default)
    elif default is not inspect.Parameter.empty:
        options["default"] = default
    if not any(_is_field(extra) and extra.description for extra in extras):
        notes = (getattr(extra, "documentation", extra) for extra in extras)  # typing_extensions.Doc, or plain text
        text = next((extra for extra in notes if isinstance(extra, str)), description)
        if text:
            options["description"] = text
    if not any(_is_field(extra) and (extra.alias or extra.validation_alias) for extra in extras):
        options["alias"] = parameter.name
    return annotation, Field(**options)


def _schema_of(model: type[Any], called: str) -> dict[str, Any]:
    """The JSON Schema of a model, without the titles that pydantic makes up."""
    import pydantic

    try:
        schema = untitled_schema(model.model_json_schema)
    except (pydantic.errors.PydanticUserError, TypeError, ValueError) as error:
        raise SchemaError(f"tool {called!r}: {_first_line(error)}; use a type that JSON can hold") from error
    root = schema.pop("$ref", "").removeprefix("#/$defs/")  # a model that contains itself
    if root:
        schema = {**schema, **schema["$defs"][root]}
    schema.pop("title", None)
    for definition in schema.get("$defs", {}).values():
        definition.pop("title", None)
    schema.setdefault("properties", {})
    return schema


def _converted(model: type[Any], arguments: dict[str, Any]) -> Any:
    import pydantic

    try:
        return model.model_validate_json(dumps(arguments))  # as JSON: strict models take its texts for dates
    except pydantic.ValidationError as error:
        place, wrong = first_problem(error)
        raise SchemaError(wrong, place) from error
    except Exception as error:  # a validator of the user's own that fails
        raise ToolError(f"{type(error).__name__}: {error}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
