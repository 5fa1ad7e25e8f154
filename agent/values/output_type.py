"""What a run's final answer has to be: a Python type, or a term, and the way from the text to a value."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from loraloop.agent.values.result import T
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.grammar import Choice, JsonSchema, Lark, Regex, Term, term_of
from loraloop.tool_schemas.jsontext import dumps, strict_loads
from loraloop.tool_schemas.schema.findings import WAYS, OnUnsupported
from loraloop.tool_schemas.schema.untitled import first_problem, untitled_schema
from loraloop.tool_schemas.schema.validation import check_value

if TYPE_CHECKING:
    import pydantic

_SHOWN = 2_000  # characters of a schema that are worth telling the base


@dataclass(frozen=True, slots=True)
class OutputType(Generic[T]):
    """A form of the final answer.

    Attributes:
        term: What the text may be; None for any text.
        read: Function that reads the value from the text.
    """

    term: Term | None
    read: Callable[[str], T]

    @classmethod
    def of(cls, form: Any, on_unsupported: OnUnsupported = "refuse") -> OutputType[Any]:
        """The form that a caller means.

        Args:
            form: A pydantic model, a dataclass, a ``TypedDict``, ``Literal``, an enum, ``list[int]`` or another type
                that pydantic reads; a term (`JsonSchema`, `Choice`, `Regex`, `Lark`), a JSON Schema as a dict, or what
                else `term_of` takes. ``str`` means any text, None any text without a value. Texts of a ``Literal`` or
                an enum are written as they are, everything else as JSON.
            on_unsupported: What to do about schema keywords that decoding cannot enforce; see `JsonSchema`.

        Raises:
            SchemaError: If it means nothing, or holds what cannot be enforced; the message gives the JSON path.
        """
        if isinstance(form, OutputType):
            return form
        if form is None:
            return FREE
        if form is str:
            return OutputType(None, str)
        if isinstance(form, Regex | Choice | Lark):
            return cls._plain(form)
        if isinstance(form, JsonSchema):
            return cls._schema(form)
        if isinstance(form, dict):
            return cls._schema(JsonSchema(form, on_unsupported=on_unsupported))
        if isinstance(form, type) and issubclass(form, enum.Enum) and (texts := _texts(m.value for m in form)):
            return OutputType(Choice(texts), form)
        if typing.get_origin(form) is typing.Literal and (texts := _texts(typing.get_args(form))):
            return cls._plain(Choice(texts))
        if inspect.isroutine(form):
            raise SchemaError(f"output type: {form!r} is a function; give a type, and call the function with the value")
        adapter = _adapter(form)
        if adapter is None:
            term = term_of(form)
            return cls._schema(term) if isinstance(term, JsonSchema) else cls._plain(term)
        schema = _schema_of(adapter)
        term = _checked(JsonSchema(schema, on_unsupported=on_unsupported))

        def read(text: str) -> Any:
            _value_of(text, schema)
            return _parsed(adapter, text)

        return OutputType(term, read)

    @staticmethod
    def _plain(term: Term) -> OutputType[Any]:
        return OutputType(term, str)

    @staticmethod
    def _schema(term: JsonSchema) -> OutputType[Any]:
        _checked(term)
        return OutputType(term, lambda text: _value_of(text, term.schema))

    def instruction(self) -> str:
        """A sentence that tells the base the form of the answer; empty where no short one exists."""
        if isinstance(self.term, Choice):
            return f"Answer with one of: {', '.join(self.term.options)}"[:_SHOWN]
        if isinstance(self.term, JsonSchema):
            shown = dumps(self.term.schema)
            if len(shown) <= _SHOWN:
                return f"Answer with JSON that fits this schema: {shown}"
            return "Answer with JSON."
        return ""


FREE: OutputType[None] = OutputType(None, lambda text: None)
"""Any text, without a value."""


def _texts(values: typing.Iterable[Any]) -> tuple[str, ...]:
    """The values, if all of them are texts that can be told from each other and from nothing; else none."""
    listed = tuple(values)
    return listed if listed and all(isinstance(value, str) and value for value in listed) else ()


def _adapter(form: Any) -> pydantic.TypeAdapter[Any] | None:
    """Pydantic's view of a type; None if it has none."""
    import pydantic

    try:
        return pydantic.TypeAdapter(form)
    except (pydantic.errors.PydanticUserError, TypeError, ValueError) as error:
        if getattr(error, "code", None) == "typed-dict-version":
            raise SchemaError(f"output type: {str(error).splitlines()[0]}") from error
        return None


def _schema_of(adapter: pydantic.TypeAdapter[Any]) -> dict[str, Any]:
    import pydantic

    try:
        return untitled_schema(adapter.json_schema)
    except (pydantic.errors.PydanticUserError, TypeError, ValueError) as error:
        raise SchemaError(f"the output type has no JSON form: {str(error).splitlines()[0]}") from error


def _checked(term: JsonSchema) -> JsonSchema:
    """The term, if decoding takes it."""
    if isinstance(term.schema, dict):
        from loraloop.tool_schemas.grammar.prepare import prepared

        try:
            prepared(term.schema, term.on_unsupported)
        except SchemaError as error:
            reason = error.reason.replace(WAYS, "OutputType.of(…, on_unsupported='check') has it checked")
            raise SchemaError(f"output type: {reason}", error.path) from error
    return term


def _value_of(text: str, schema: dict[str, Any] | bool) -> Any:
    """The JSON value of a text that fits a schema."""
    try:
        value = strict_loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the answer is not valid JSON: {error}", "$") from None
    if isinstance(schema, dict):
        check_value(value, schema)
    return value


def _parsed(adapter: pydantic.TypeAdapter[Any], text: str) -> Any:
    import pydantic

    try:
        return adapter.validate_json(text)
    except pydantic.ValidationError as error:
        place, wrong = first_problem(error)
        raise SchemaError(wrong, place) from error
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
        how = "have it raise ValueError where a value is wrong"
        raise SchemaError(f"a validator of the output type failed with {raised}: {how}", "$") from error
