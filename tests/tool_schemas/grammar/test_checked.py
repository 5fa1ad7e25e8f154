"""What no grammar enforces is checked as soon as the value closes, and the state stays as it was."""

import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from loraloop.tool_schemas import GrammarCompiler, JsonSchema, State, Tool, calls_schema, dumps
from loraloop.tool_schemas.errors import InputError, SchemaError, Violation
from loraloop.tool_schemas.grammar.checked import CheckedState
from loraloop.tool_schemas.grammar.reader import JsonReader
from loraloop.tool_schemas.schema.validation import check_value
from loraloop.tool_schemas.tools.survey import survey


def start(compiler: GrammarCompiler, schema: dict[str, Any]) -> State:
    return compiler.compile(JsonSchema(schema, None, "check")).start()


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


UNIQUE = {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}


def test_a_value_is_checked_when_it_closes_and_the_state_stays(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    state = start(compiler, UNIQUE)
    before = ids(tokenizer, '{"tags":["a",')
    state.accept(before)
    with pytest.raises(Violation) as caught:
        state.accept(ids(tokenizer, '"a"'))
    assert caught.value.path == "$.tags[1]"
    assert caught.value.start >= len(before) - 1
    state.accept(ids(tokenizer, '"b"]}'))
    assert state.done


def test_arguments_are_checked_before_the_list_of_calls_ends(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    tools = [
        Tool("plain", "", {"type": "object", "properties": {"xs": {"type": "array"}}}),
        Tool("strict", "", {"type": "object", "properties": {"x": {"not": {"const": "no"}}}}, on_unsupported="check"),
    ]
    state = start(compiler, calls_schema(tools))
    with pytest.raises(Violation) as caught:
        state.accept(ids(tokenizer, '[{"name":"strict","arguments":{"x":"no"'))
    assert caught.value.path == "$[0].arguments.x"


def test_a_number_at_the_end_is_checked_before_the_text_may_stop(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    state = start(compiler, {"type": "integer", "not": {"multipleOf": 2}})
    state.accept(ids(tokenizer, "1"))
    assert state.can_stop
    state.accept(ids(tokenizer, "2"))
    assert not state.can_stop
    logits = torch.zeros(tokenizer.get_vocab_size())
    state.mask_(logits)
    assert isinstance(state, CheckedState)
    assert all(logits[end] == float("-inf") for end in state._grammar.vocabulary.ends)
    state.accept(ids(tokenizer, "3"))
    assert state.can_stop


def test_forks_and_rollbacks_forget_what_was_read(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    state = start(compiler, UNIQUE)
    state.accept(ids(tokenizer, '{"tags":["a",'))
    other = state.fork()
    added = ids(tokenizer, '"b",')
    state.accept(added)
    with pytest.raises(Violation):
        state.accept(ids(tokenizer, '"b"'))
    other.accept(ids(tokenizer, '"b"]}'))
    state.rollback(len(added))
    state.accept(ids(tokenizer, '"b","c"]}'))
    assert state.done and other.done
    with pytest.raises(InputError, match="take back"):
        state.rollback(1000)


def test_a_way_out_passes_the_checks(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9, "not": {"enum": [0, 1]}}},
        "required": ["n"],
    }
    state = start(compiler, schema)
    path = state.closing(64)
    assert path is not None
    state.accept(path)
    check_value(json.loads(tokenizer.decode(path)), schema)


def test_settled_text_is_what_no_open_value_can_take_back(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    state = start(compiler, {"type": "object", "properties": {"a": {"type": "string"}, **UNIQUE["properties"]}})
    assert isinstance(state, CheckedState)
    first = ids(tokenizer, '{"a":"x",')
    state.accept(first)
    assert state.settled == len(first)
    state.accept(ids(tokenizer, '"tags":["a"'))
    assert len(first) <= state.settled < len(state._taken)


def sorted_keys(value: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(value.items()))


KEYWORDS: list[dict[str, Any]] = [
    {"uniqueItems": True},
    {"contains": {"type": "string"}},
    {"contains": {"type": "integer"}, "minContains": 2, "maxContains": 2},
    {"not": {"type": "string"}},
    {"not": {"required": ["a"]}},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
    {"propertyNames": {"enum": ["a", "b"]}},
    {"dependentRequired": {"a": ["b"]}},
    {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]},
    {"pattern": "^(?!b)"},
    {"anyOf": [{"type": "array", "uniqueItems": True}, {"not": {"type": "array"}}]},
    {"type": ["string", "object", "array", "integer"]},
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "c"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(sorted_keys)
    ),
    max_leaves=6,
)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for extra in draw(st.lists(st.sampled_from(KEYWORDS), max_size=2)):
        schema.update(extra)
    if depth and draw(st.booleans()):
        schema["properties"] = {name: draw(schemas(depth - 1)) for name in ("a", "b", "c") if draw(st.booleans())}
    if depth and draw(st.booleans()):
        schema["items"] = draw(schemas(depth - 1))
    if depth and draw(st.integers(0, 3)) == 0:
        schema["allOf"] = [draw(schemas(depth - 1))]
    return schema


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(schema=schemas(), value=values)
def test_exactly_what_is_valid_is_accepted(
    compiler: GrammarCompiler, tokenizer: Tokenizer, schema: dict[str, Any], value: Any
) -> None:
    try:
        state = start(compiler, schema)
    except SchemaError:
        return
    text = ids(tokenizer, dumps(value))
    states = [state, state._grammar.grammar.start() if isinstance(state, CheckedState) else state.fork()]
    accepted = []
    for state in states:
        try:
            state.accept(text)
            accepted.append(state.can_stop)
        except (SchemaError, InputError):
            accepted.append(False)
    try:
        check_value(value, schema)
        valid = True
    except SchemaError:
        valid = False
    assert accepted[0] <= valid  # nothing invalid
    assert (valid and accepted[1]) <= accepted[0]  # and all that is valid, as far as the grammar can write it


def test_the_survey_says_what_becomes_of_every_keyword() -> None:
    schema = {"type": "array", "uniqueItems": True, "title": "t", "items": {"type": "string", "format": "colour"}}
    checked, refused = survey(schema, "check"), survey(schema, "refuse")
    assert [note.path for note in checked.checked] == ["$.uniqueItems"]
    assert {"$.title", "$.items.format"} <= {note.path for note in checked.annotations}
    assert {"$.type", "$.items.type"} <= {note.path for note in checked.enforced}
    assert not checked.refused
    assert {note.path for note in refused.refused} == {"$.uniqueItems", "$.items.format"}
    assert survey({"type": "strin"}).refused[0].path == "$.type"
    assert "lies outside" in survey({"$ref": "https://example.com/x"}).refused[0].reason


@given(value=values | st.text() | st.floats(allow_nan=False, allow_infinity=False), cut=st.integers(1, 5))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_the_reader_reads_json_in_any_pieces(value: Any, cut: int) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    reader = JsonReader()
    for at in range(0, len(text), cut):
        reader.feed(text[at : at + cut])
        reader = reader.copy()
    reader.finish()
    assert reader.root == (value,)
