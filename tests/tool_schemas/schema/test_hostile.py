"""No schema, however hostile, hangs, crashes or reaches the network: bounded time, and a clear error."""

import json
import socket
import time
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraloop.adapters.base.random_weights import byte_tokenizer_json
from loraloop.adapters.base.tokenizer import Tokenizer
from loraloop.tool_schemas import GrammarCompiler, JsonSchema, Tool, parse_calls, render_tools
from loraloop.tool_schemas.errors import LoraloopError, SchemaError
from loraloop.tool_schemas.grammar.matcher import Vocabulary
from loraloop.tool_schemas.grammar.prepare import prepared
from loraloop.tool_schemas.schema import validation
from loraloop.tool_schemas.schema.keywords import ANNOTATIONS, CHECKED, ENFORCED
from loraloop.tool_schemas.schema.places import DEEPEST
from loraloop.tool_schemas.schema.validation import SECONDS, check_value
from loraloop.tool_schemas.tools.calls import calls_term
from loraloop.tool_schemas.tools.survey import survey

BOUND = 10.0  # seconds for one schema on a busy machine; alone none takes more than one


def nested(depth: int, around: Any) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = around(schema)
    return schema


def chain(count: int, link: Any) -> dict[str, Any]:
    """Definitions of which each refers to the next."""
    links = {f"a{at}": link({"$ref": f"#/$defs/a{at + 1}"}) for at in range(count)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{count}": {"type": "string"}}}


HOSTILE: dict[str, dict[str, Any]] = {
    "deep objects": nested(150, lambda inner: {"type": "object", "properties": {"a": inner}, "required": ["a"]}),
    "very deep": nested(3000, lambda inner: {"type": "array", "items": inner}),
    "many levels of schemas": nested(55, lambda inner: {"type": "array", "items": inner}),
    "many sub-schemas": {"type": "object", "properties": {f"p{at}": {"anyOf": [{}, {}]} for at in range(2_000)}},
    "many branches": nested(14, lambda inner: {"anyOf": [inner, inner]}),
    "many conjunctions": nested(11, lambda inner: {"allOf": [inner, inner]}),
    "a huge enum": {"enum": [f"value number {at}" for at in range(50_000)]},
    "a long literal": {"enum": ["x" * 1_000_000]},
    "a deep literal": {"const": nested(150, lambda inner: [inner])},
    "many properties": {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(4_500)}},
    "many required": {
        "type": "object",
        "properties": {f"p{at}": {"type": "string"} for at in range(2_000)},
        "required": [f"p{at}" for at in range(2_000)],
    },
    "nested quantifiers": {"type": "string", "pattern": "^(a+)+$"},
    "repeated repetitions": {"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"},
    "a long pattern": {"type": "string", "pattern": "^" + "(a|b|c)?" * 2000 + "$"},
    "a large repetition": {"type": "string", "pattern": "^a{1000000}$"},
    "hostile look-around": {"type": "string", "pattern": "^(?=(a+)+$)(?!b).*$"},
    "an automaton of a million states": {"type": "string", "pattern": "^(.*a.{20})|(.*b.{20})$"},
    "patterns of keys": {"type": "object", "patternProperties": {f"^(a|b)*{at}(a|b)*$": {} for at in range(60)}},
    "names in names": nested(
        9,
        lambda inner: {"type": "object", "patternProperties": {"^(a|b|c|d|e)$": inner}, "additionalProperties": False},
    ),
    "a long text": {"type": "string", "minLength": 1_000_000, "maxLength": 10**9},
    "a long list": {"type": "array", "minItems": 10**6, "items": {"type": "integer"}},
    "a reference bomb": chain(24, lambda ref: {"allOf": [ref, ref]}),
    "a bomb of values": chain(
        30, lambda ref: {"type": "object", "properties": {"x": ref, "y": ref}, "required": ["x", "y"]}
    ),
    "a circle": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "the cloud's metadata": {"$ref": "http://169.254.169.254/latest/meta-data"},
    "a file": {"$ref": "file:///etc/passwd"},
    "an identifier elsewhere": {"$id": "http://example.com/x", "$ref": "y"},
    "a schema elsewhere": {"$schema": "http://example.com/own-dialect", "type": "string"},
    "a tiny step": {"type": "number", "multipleOf": 1e-300},
    "a large step": {"type": "integer", "multipleOf": 10**15 + 1},
    "large bounds": {"type": "number", "minimum": 1e308, "maximum": 1.7e308},
    "many alternatives": {
        "oneOf": [{"type": "object", "properties": {f"k{at}": {}}, "required": [f"k{at}"]} for at in range(300)]
    },
    "many conditions": {"dependentSchemas": {f"p{at}": {"required": ["x"]} for at in range(1000)}},
    "nothing fits": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "nots": nested(60, lambda inner: {"not": inner}),
    "half a character": {"type": "object", "properties": {"\ud800": {"type": "string"}}},
    "not a number": {"minimum": float("nan")},
    "a wrong pointer": {"$ref": "#/$defs/%ZZ"},
    "a nul": {"type": "string", "pattern": "\x00"},
    "an endless format": {"type": "string", "format": "x" * 100_000},
}


REFUSED = {
    "deep objects": "nested more than 200 levels deep",
    "very deep": "nested too deeply",
    "many levels of schemas": "nested more than 50 deep",
    "many branches": "more than 500000 characters",
    "a huge enum": "more than 500000 characters",
    "a long literal": "more than 500000 characters",
    "many sub-schemas": "more than 5000 sub-schemas",
    "many properties": "more than 1000 properties",
    "a long pattern": "too many expressions",
    "a large repetition": "too many expressions",
    "a circle": "requires itself without end",
    "the cloud's metadata": "lies outside the schema",
    "a file": "lies outside the schema",
    "an identifier elsewhere": "lies outside the schema",
    "large bounds": "beyond 2**53",
    "nothing fits": "incompatible types",
    "nots": "nested more than 58 deep",
    "half a character": "half of a surrogate pair",
    "not a number": "is no JSON",
    "a wrong pointer": "not a 'uri-reference'",
    "a nul": "costs too much",
}
"""What the refusal of a schema says; the others are decoded, or checked."""


@pytest.fixture(scope="module")
def bytewise() -> GrammarCompiler:
    return GrammarCompiler(Vocabulary(Tokenizer(byte_tokenizer_json(), (0,)), 259, 0))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a schema reached the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield


def use(compiler: GrammarCompiler, schema: dict[str, Any], on_unsupported: Any) -> str:
    """Registers, compiles and begins to decode, as far as the schema lets it. Returns the refusal, or nothing."""
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    parameters = {"type": "object", "properties": {"v": inner}, "required": ["v"], "$defs": definitions}
    try:
        Tool("f", "", parameters, on_unsupported=on_unsupported)
        state = compiler.compile(JsonSchema(parameters, on_unsupported=on_unsupported)).start()
        state.accept(state.forced())
        path = state.closing(300)
        if path is not None:
            state.accept(path)
            assert state.can_stop
    except LoraloopError as error:
        assert str(error).strip()
        assert len(str(error)) < 250_000
        return str(error)
    return ""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_bounded(bytewise: GrammarCompiler, name: str) -> None:
    start = time.thread_time()
    for on_unsupported in ("refuse", "check"):
        refusal = use(bytewise, HOSTILE[name], on_unsupported)
        assert REFUSED[name] in refusal if name in REFUSED else on_unsupported == "refuse" or not refusal
    survey(HOSTILE[name])
    assert time.thread_time() - start < 3 * BOUND


def test_nothing_that_a_schema_refers_to_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: reached.append(host) or [])
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: reached.append(address))
    (tmp_path / "shape.json").write_text('{"type": "string"}')
    for address in (f"{(tmp_path / 'shape.json').as_uri()}", "http://shapes.test/a.json", "https://127.0.0.1/a.json"):
        for mode in ("refuse", "check"):
            with pytest.raises(SchemaError, match="lies outside the schema"):
                Tool("f", "", {"type": "object", "properties": {"v": {"$ref": address}}}, on_unsupported=mode)
    assert not reached


def test_validation_gives_up_a_pattern_that_runs_on() -> None:
    endless, text = "^(a|aa)+$", "a" * 60 + "!"
    start = time.thread_time()
    with pytest.raises(SchemaError, match="takes too long"):
        check_value(text, {"type": "string", "pattern": endless})
    assert time.thread_time() - start > SECONDS / 2, "it was searched"
    with pytest.raises(SchemaError, match="Additional properties"):
        check_value({text: "x"}, {"patternProperties": {endless: {}}, "additionalProperties": False})
    assert time.thread_time() - start < 8 * SECONDS, "three searches"


@pytest.mark.parametrize("around", ["properties", "items", "anyOf", "additionalProperties"])
def test_the_deepest_schema_that_is_taken_can_be_shown_decoded_and_checked(
    bytewise: GrammarCompiler, around: str
) -> None:
    shapes = {
        "properties": lambda inner: {"type": "object", "properties": {"a": inner}},
        "items": lambda inner: {"type": "array", "items": inner},
        "anyOf": lambda inner: {"anyOf": [{"type": "null"}, inner]},
        "additionalProperties": lambda inner: {"type": "object", "additionalProperties": inner},
    }
    parameters = {"type": "object", "properties": {"v": nested(DEEPEST - 1, shapes[around])}}
    tool = Tool("f", "", parameters)
    assert render_tools([tool])
    assert bytewise.compile(calls_term([tool, Tool("g")], ask=True)).start().closing(2000) is not None
    assert parse_calls('[{"name":"f","arguments":{}}]', [tool])
    with pytest.raises(SchemaError, match="nested more than 50"):
        Tool("f", "", {"type": "object", "properties": {"v": nested(DEEPEST, shapes[around])}})


@pytest.mark.parametrize("keyword", ["default", "const", "examples"])
def test_what_is_no_schema_has_a_depth_too(keyword: str) -> None:
    deep = nested(400, lambda inner: {"a": inner})
    with pytest.raises(SchemaError, match=r"levels deep|too deeply"):
        Tool("f", "", {"type": "object", "properties": {"v": {keyword: [deep], "not": {}}}}, on_unsupported="check")


ROWS = [{"id": number, "name": str(number)} for number in range(2_500)]
NODE = {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}}}
TREE = {"$ref": "#/$defs/n", "$defs": {"n": NODE}}


def test_values_that_would_take_for_ever_are_checked_in_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.thread_time()
    check_value(ROWS, {"type": "array", "uniqueItems": True})
    check_value(ROWS[:900], {"type": "array", "items": {"enum": ROWS[:900]}})
    with pytest.raises(SchemaError, match="non-unique"):
        check_value([*ROWS, ROWS[7]], {"type": "array", "uniqueItems": True})
    with pytest.raises(SchemaError, match="uri-template"):
        check_value("{" * 130_000, {"type": "string", "format": "uri-template"})
    assert time.thread_time() - start < 5
    monkeypatch.setattr(validation, "WORK", 20_000)
    with pytest.raises(SchemaError, match="takes too long to be checked"):  # 2 ** 16 ways
        check_value(reduce(lambda inner, _: {"a": inner}, range(16), 1), TREE)
    check_value(nested(30, lambda inner: {"a": inner}), TREE)
    with pytest.raises(SchemaError, match="takes too long to be checked"):
        check_value(
            {f"k{each}": 1 for each in range(300)}, {"patternProperties": {f"^{each}": {} for each in range(99)}}
        )


def test_values_are_equal_as_json_schema_says() -> None:
    for value in ([1, True], [0, False], [[1], [True]], [{"a": 1}, {"a": True}], [None, 0, "", [], {}], ["1", 1]):
        check_value(value, {"uniqueItems": True})
    for value in ([1, 1.0], [[1], [1.0]], [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], [None, None]):
        with pytest.raises(SchemaError, match="non-unique"):
            check_value(value, {"uniqueItems": True})
    for value in (True, [True], {"a": 0}):
        with pytest.raises(SchemaError, match="is not one of"):
            check_value(value, {"enum": [1, [1], {"a": False}, "true"]})
    check_value(1.0, {"enum": [True, 1]})


def test_steps_of_numbers_that_no_float_holds() -> None:
    check_value(10**4000, {"multipleOf": 0.5})
    with pytest.raises(SchemaError, match="is not a multiple"):
        check_value(10**4000 + 1, {"multipleOf": 2.5})
    for infinite in (float("inf"), float("-inf")):
        with pytest.raises(SchemaError, match="not a multiple"):
            check_value(infinite, {"multipleOf": 0.5})


def test_a_pattern_as_a_value_may_repeat_without_end() -> None:
    with pytest.raises(SchemaError, match="is not a 'regex'"):
        check_value("a{99999999999999999999}", {"format": "regex"})


words = sorted({*ENFORCED, *CHECKED, *ANNOTATIONS} - {"$schema"})
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.sampled_from(
        ["string", "object", "array", "integer", "#", "#/$defs/a", "^a+$", "(", "date", "iri", "\x00", ""]
    )
    | st.text(max_size=4)
)
garbage = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(words), inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "", "^a"]), inner, max_size=3)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(words), garbage, min_size=1, max_size=5)


@settings(max_examples=150, deadline=20_000, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(schema=documents, on_unsupported=st.sampled_from(["refuse", "check"]))
def test_garbage_is_used_or_refused(bytewise: GrammarCompiler, schema: dict[str, Any], on_unsupported: str) -> None:
    use(bytewise, schema, on_unsupported)
    told = survey(schema)
    json.dumps([told.enforced, told.checked, told.annotations, told.refused])


@pytest.mark.parametrize("pattern", ["(a{1000}){1001}", "a{2142429678}", "a{00000000002142429678,}"])
def test_a_pattern_with_too_many_repeats_is_refused_before_it_is_compiled(pattern: str) -> None:
    with pytest.raises(SchemaError, match="repeats"):
        prepared({"properties": {"name": {"pattern": pattern}}}, "refuse")
