"""From Python types to terms, through Outlines."""

from __future__ import annotations

from typing import Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.grammar import Choice, JsonSchema, Lark, Regex, Term


def term_of(said: Any) -> Term:
    """The term for a type.

    Args:
        said: A term (returned as it is), a JSON Schema as a dict, or anything that Outlines understands: a pydantic
            model, a dataclass, ``Literal``, an enum, ``int``, ``list[str]``, ``outlines.regex(…)``,
            ``outlines.json_schema(…)``, ``outlines.cfg(…)`` …

    Raises:
        SchemaError: If it means nothing to Outlines.
    """
    if isinstance(said, JsonSchema | Regex | Choice | Lark):
        return said
    if isinstance(said, dict):
        return JsonSchema(said)
    import json

    from outlines.types import dsl

    try:
        term = said if isinstance(said, dsl.Term) else dsl.python_types_to_terms(said)
        if isinstance(term, dsl.JsonSchema):
            schema = term.schema
            return JsonSchema(json.loads(schema) if isinstance(schema, str) else schema)
        if isinstance(term, dsl.CFG):
            return Lark(term.definition)
        if isinstance(term, dsl.Alternatives):
            texts = [each.value for each in term.terms if isinstance(each, dsl.String)]
            if len(texts) == len(term.terms):
                return Choice(tuple(texts))
        return Regex(dsl.to_regex(term))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SchemaError(
            f"{said!r} cannot be decoded: {str(error).splitlines()[0] if str(error) else type(error).__name__}; "
            "give a pydantic model, a Literal, a JSON Schema, Regex, Choice or Lark"
        ) from error
