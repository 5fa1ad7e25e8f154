"""Preparing a schema gives a plan or one of the library's own errors, whatever valid schema it is given."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from loraloop.tool_schemas import GrammarCompiler, JsonSchema, Tool
from loraloop.tool_schemas.errors import InputError, LoraloopError, SchemaError
from loraloop.tool_schemas.grammar.prepare import prepared
from loraloop.tool_schemas.schema.keywords import CHECKED, ENFORCED
from loraloop.tool_schemas.tools.survey import survey

DRAFT = "http://json-schema.org/draft"
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


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
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


UNSEEN: dict[str, dict[str, Any]] = {
    "a definition elsewhere": {"properties": {"a": {"$ref": "#/x"}}, "x": {"minimum": "a"}},
    "a default": {"properties": {"a": {"$ref": "#/properties/b/default"}, "b": {"default": {"type": 5}}}},
    "an identifier": {"properties": {"a": {"$ref": "#/x"}}, "x": {"$id": 7}},
    "a reference": {"$schema": f"{DRAFT}-04/schema#", "properties": {"a": {"$ref": "#/x"}}, "x": {"$ref": 7}},
    "$defs of an old draft": {
        "$schema": f"{DRAFT}-07/schema#", "$defs": {"x": {"required": 3}}, "properties": {"a": {"$ref": "#/$defs/x"}}
    },
    "$defs that are none": {
        "$schema": f"{DRAFT}-07/schema#", "$defs": 7, "x": {}, "properties": {"a": {"$ref": "#/x"}}
    },
    "a later keyword": {"$schema": f"{DRAFT}-04/schema#", "properties": {"a": {"prefixItems": 7}}},
    "a repetition without end": {"properties": {"a": {"type": "string", "pattern": "a{99999999999999999999}"}}},
}  # fmt: skip


@pytest.mark.parametrize("what", UNSEEN)
def test_what_the_schema_of_its_draft_does_not_look_at_is_checked_too(what: str) -> None:
    for mode in ("refuse", "check"):
        with pytest.raises(SchemaError):
            Tool("f", "", {"type": "object", **UNSEEN[what]}, on_unsupported=mode)
        with pytest.raises(SchemaError):
            Tool("f", "", {"type": "object", **UNSEEN[what]}, strict=False)
    survey(UNSEEN[what])


ODD = st.sampled_from([None, True, 7, -1, "a", [], {}, [7], {"a": 7}, "^(", 10**400, -(10**400), 0.5])


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(
    hidden=st.dictionaries(st.sampled_from(sorted({*ENFORCED, *CHECKED, "$id", "$anchor", "x"})), ODD, max_size=3),
    other=SCHEMAS,
    draft=st.sampled_from([f"{DRAFT}-{number}/schema#" for number in ("04", "06", "07")] + [None]),
)
def test_damaged_definitions_raise_nothing_but_the_librarys_own_errors(
    hidden: dict[str, Any], other: Any, draft: str | None
) -> None:
    for place in ("x", "$defs"):
        schema = {"$schema": draft} if draft else {}
        schema |= {place: {"y": hidden, "z": other}, "properties": {"a": {"$ref": f"#/{place}/y"}, "b": {}}}
        for mode in ("refuse", "check"):
            with contextlib.suppress(LoraloopError):
                Tool("f", "", {"type": "object", **schema}, on_unsupported=mode)
        survey(schema)


def test_bounds_beyond_what_a_float_holds_and_many_definitions_of_one_form_of_name() -> None:
    huge = 10**400
    for bounds in ({"minimum": -huge, "maximum": 0.5}, {"exclusiveMinimum": -0.5, "exclusiveMaximum": huge}):
        assert Tool("f", "", {"type": "object", "properties": {"a": {"type": "number", **bounds}}}).parameters
    taken = {f"ref{number}": True for number in range(6000)}
    assert prepared({"$defs": taken, "x": {"type": "string"}, "properties": {"a": {"$ref": "#/x"}}})


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
