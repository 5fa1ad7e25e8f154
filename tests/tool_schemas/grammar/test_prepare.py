"""Preparing a schema gives a plan or one of the library's own errors, whatever valid schema it is given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from loraloop.tool_schemas import GrammarCompiler, JsonSchema, Tool
from loraloop.tool_schemas.errors import InputError, LoraloopError
from loraloop.tool_schemas.grammar.prepare import prepared
from loraloop.tool_schemas.schema.keywords import CHECKED, ENFORCED
from loraloop.tool_schemas.tools.survey import survey

NAMES = st.sampled_from(["a", "b", "config", "section", "<|im_end|>", "ü"])
VALUES = st.none() | st.booleans() | st.integers(-3, 3) | NAMES | st.sampled_from([2**60, 1e300, 0.1, "\x00", [], {}])
KINDS = st.sampled_from(["string", "number", "integer", "boolean", "null", "array", "object"])
PATTERNS = st.sampled_from(["^[a-z]+$", "a", r"\bx", "(?=a)b", "[^\\w]", "^(a|b){2,3}$", r"(?<!c)d", ""])
COUNTS = st.integers(0, 4) | st.sampled_from([1.0, 10**9])
NUMBERS = st.integers(-5, 5) | st.sampled_from([0.5, 2**60, -1e300, 3.0])
REFERENCES = st.sampled_from(["#", "#/$defs/x", "#/properties/a", "#/$defs/y"])
FORMATS = st.sampled_from(["date", "iri", "uuid", "int32", "idn-email", "made-up", "regex"])


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schema objects over sub-schemas; every keyword of the table has a value that JSON Schema allows."""
    values: dict[str, st.SearchStrategy[Any]] = {
        "type": KINDS | st.lists(KINDS, min_size=1, max_size=3, unique=True),
        "const": VALUES,
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "$ref": REFERENCES,
        "pattern": PATTERNS,
        "format": FORMATS,
        "multipleOf": st.sampled_from([1, 2, 0.1, 1e-9, 2**60]),
        "required": st.lists(NAMES, max_size=3, unique=True),
        "uniqueItems": st.booleans(),
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=2),
    }
    for keyword, holds in {**ENFORCED, **CHECKED, "dependencies": "map", "$defs": "map"}.items():
        if keyword.startswith(("min", "max")) and keyword not in ("minimum", "maximum"):
            values[keyword] = COUNTS
        elif "imum" in keyword:
            values[keyword] = NUMBERS
        elif holds == "schema":
            values[keyword] = inner
        elif holds == "list":
            values[keyword] = st.lists(inner, min_size=1, max_size=3)
        elif holds == "map":
            names = PATTERNS if keyword == "patternProperties" else st.sampled_from(["a", "config", "x", "section"])
            values[keyword] = st.dictionaries(names, inner, max_size=2)
    values.pop("$dynamicRef", None), values.pop("$recursiveRef", None)
    missing = (ENFORCED.keys() | CHECKED.keys()) - values.keys()
    assert missing <= {"$dynamicRef", "$recursiveRef"}, "give the keyword a value here"
    picked = st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=4, unique=True)
    return picked.flatmap(lambda keys: st.fixed_dictionaries({key: values[key] for key in keys}))


SCHEMAS = st.recursive(st.booleans() | st.builds(dict) | schemas(st.booleans()), schemas, max_leaves=8)
REPLACED = {
    "properties": {
        "config": {
            "additionalProperties": {"dependencies": {"section": {}}},
            "propertyNames": {"pattern": "^[a-z]+$"},
        }
    }
}


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(schema=SCHEMAS.filter(lambda each: isinstance(each, dict)))
@example(schema=REPLACED)
@example(schema={"propertyNames": {"enum": ["a"]}, "additionalProperties": {"pattern": r"\bx", "type": "string"}})
@example(schema={"type": "array", "minItems": 2.0, "items": {"type": "integer"}, "maxItems": 3.0})
def test_preparing_raises_nothing_but_the_librarys_own_errors(
    compiler: GrammarCompiler, schema: dict[str, Any]
) -> None:
    for mode in ("refuse", "check"):
        try:
            plan = prepared(schema, mode)
            compiler.compile(JsonSchema(schema, on_unsupported=mode)).start().forced()
        except LoraloopError as error:
            assert str(error)
        else:
            assert mode == "check" or not plan.findings
    survey(schema)


def test_a_keyword_under_one_that_is_replaced_is_left_out_with_it(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    plan = prepared({"type": "object", **REPLACED}, "check")
    config = plan.schema["properties"]["config"]
    assert config == {"patternProperties": {"^[a-z]+$": {}}, "additionalProperties": False}
    assert Tool("f", "", {"type": "object", **REPLACED}, on_unsupported="check").parameters
    state = compiler.compile(JsonSchema({"type": "object", **REPLACED}, on_unsupported="check")).start()
    state.accept(tokenizer.encode('{"config":{"a":1').ids)
    with pytest.raises(InputError, match="cannot follow"):
        state.accept(tokenizer.encode(',"B":2}').ids)


@pytest.mark.parametrize("values", [["a\x00", 2**60, "b"], [2**60, "b", "\x1f"]])
def test_literals_that_cannot_be_written_leave_the_others(values: list[Any]) -> None:
    assert prepared({"enum": values}, "check").schema == {"enum": ["b"]}


def test_whole_counts_may_be_written_as_decimals(compiler: GrammarCompiler) -> None:
    state = compiler.compile({"type": "array", "minItems": 2.0, "maxItems": 2.0, "items": {"const": 1}}).start()
    assert state.closing(20) is not None
