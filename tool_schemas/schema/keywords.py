"""The table of JSON Schema keywords: what decoding does with each one, and what sub-schemas stand under it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Holds = Literal["", "schema", "list", "map"]
"""What the value of a keyword is: no sub-schema, one, a list of them, or a mapping of names to them."""

ENFORCED: Mapping[str, Holds] = {
    **dict.fromkeys(("type", "const", "enum", "$ref", "required", "pattern", "format", "multipleOf"), ""),
    **dict.fromkeys(("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"), ""),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), ""),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), "list"),
    **dict.fromkeys(("items", "additionalProperties"), "schema"),
    **dict.fromkeys(("properties", "patternProperties"), "map"),
}
"""Keywords that the engine enforces; some of their values it does not (see `findings`)."""

CHECKED: Mapping[str, Holds] = {
    **dict.fromkeys(("uniqueItems", "minContains", "maxContains", "dependentRequired"), ""),
    **dict.fromkeys(("$dynamicRef", "$recursiveRef"), ""),
    **dict.fromkeys(("not", "if", "then", "else", "contains", "propertyNames"), "schema"),
    **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems"), "schema"),
    "dependentSchemas": "map",
}
"""Keywords that the engine does not enforce: refused, or checked as soon as the value closes."""

ANNOTATIONS: Mapping[str, Holds] = {
    **dict.fromkeys(("$schema", "$id", "$comment", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"), ""),
    **dict.fromkeys(("title", "description", "default", "examples", "example", "deprecated", "readOnly"), ""),
    **dict.fromkeys(("writeOnly", "contentMediaType", "contentEncoding", "discriminator", "nullable"), ""),
    **dict.fromkeys(("xml", "externalDocs"), ""),
    "contentSchema": "schema",
    **dict.fromkeys(("$defs", "definitions"), "map"),
}
"""Keywords that make no value invalid."""

HOLDS: Mapping[str, Holds] = {
    **ENFORCED,
    **CHECKED,
    **ANNOTATIONS,
    "additionalItems": "schema",
    "dependencies": "map",
}
"""Every keyword, those of older drafts too."""

IDLE: Mapping[str, tuple[Any, ...]] = {
    "uniqueItems": (False,),
    "not": (False,),
    "propertyNames": (True, {}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "unevaluatedProperties": (True, {}),
    "unevaluatedItems": (True, {}),
}
"""Values with which a keyword constrains nothing."""

NEEDS: Mapping[str, str] = {"minContains": "contains", "maxContains": "contains", "then": "if", "else": "if"}
"""Keywords that constrain nothing without another one."""


def object_schema(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """The schema of an object with these properties and no others.

    Args:
        properties: Their schemas by name.
        required: Names of those that must be there; all of them if none is named.
    """
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required or properties),
        "additionalProperties": False,
    }
