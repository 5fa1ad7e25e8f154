"""Whatever is decoded at random under a random schema parses, validates, and can always be brought to an end."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from loraloop.tool_schemas import (
    Bounds,
    Choice,
    GrammarCompiler,
    JsonSchema,
    Lark,
    Regex,
    State,
    Tool,
    calls_schema,
    parse_calls,
)
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.effort import Effort
from loraloop.tool_schemas.schema.few_names import few_names

LIMIT = 600  # tokens within which a text has to be closed; a small vocabulary makes long ones
NAMES = ["city", "unit", "a b", "n", "été", 'q"', "start_date", "value"]
DEFINITIONS = {
    "Node": {
        "type": "object",
        "properties": {
            "v": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            "kids": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
        },
        "required": ["next", "v"],
    },
    "Expr": {
        "oneOf": [
            {
                "type": "object",
                "properties": {
                    "op": {"const": "add"},
                    "l": {"$ref": "#/$defs/Expr"},
                    "r": {"$ref": "#/$defs/Expr"},
                },
                "required": ["op", "l", "r"],
            },
            {
                "type": "object",
                "properties": {"op": {"const": "lit"}, "v": {"type": "integer"}},
                "required": ["op", "v"],
            },
        ]
    },
}
PATTERNS = ["^[A-Z]{3}[0-9]{2}$", "^(foo|bar)+$", "^[a-z]*X$", r"^\d{3}-\d{4}$", r"^\W+$", r"^[^\w]{2}a", "^.{10,}$"]
FORMATS = ["date", "time", "date-time", "email", "ipv4", "uuid", "duration", "uri"]


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["plain", "plain", "pattern", "format"]))
    if kind == "pattern":
        return {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))}
    if kind == "format":
        return {"type": "string", "format": draw(st.sampled_from(FORMATS))}
    least, more = draw(st.sampled_from([(0, None), (0, 5), (3, 0), (20, 10), (0, 300)]))
    return {"type": "string", "minLength": least} | ({} if more is None else {"maxLength": least + more})


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["integer", "number"]))
    schema: dict[str, Any] = {"type": kind}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = draw(st.sampled_from([-5, 0, 1, 1.25, 12345]))
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = draw(st.sampled_from([12350, 10**6 + 0.5]))
    elif kind == "integer" and draw(st.booleans()):
        schema["multipleOf"] = draw(st.sampled_from([3, 7, 10]))
    return schema


literals = st.sampled_from([None, True, 1, 2.5, -0.001, "add", "ad", "x y", 'q"uo', "ünï", [1, "a"], {"k": [None]}])
scalars = st.one_of(
    texts(),
    numbers(),
    st.just({"type": "boolean"}),
    st.just({"type": ["string", "null"]}),
    st.lists(literals, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    literals.map(lambda value: {"const": value}),
    st.sampled_from([{"$ref": "#/$defs/Node"}, {"$ref": "#/$defs/Expr"}, {}, {"type": "object"}, {"type": "array"}]),
)


def containers(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.builds(
        lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
        inner,
        st.integers(0, 2),
        st.integers(0, 3),
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(lambda each: {"type": "array", "prefixItems": each})
    maps = inner.map(lambda each: {"type": "object", "additionalProperties": each})
    unions = st.lists(inner, min_size=2, max_size=3).map(lambda each: {"anyOf": each})
    return st.one_of(arrays, tuples, maps, unions, objects(inner))


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: draw(inner) for name in names},
        "required": [name for name in names if draw(st.booleans())],
    }
    extra = draw(st.sampled_from([None, None, False, True, {"type": "integer"}]))
    return schema if extra is None else {**schema, "additionalProperties": extra}


parameters = objects(st.recursive(scalars, containers, max_leaves=5)).map(lambda s: {**s, "$defs": DEFINITIONS})


def walk(state: State, vocab_size: int, end: int, seed: int, steps: int) -> list[int]:
    """Decodes at random: any allowed token with the same probability, structural ones more often."""
    dice = np.random.default_rng(seed)
    written: list[int] = []
    logits = torch.empty(vocab_size)
    while len(written) < steps and not state.done:
        step = state.forced()
        if not step:
            state.mask_(logits.zero_())
            allowed = torch.isfinite(logits).nonzero().flatten().numpy()
            allowed = allowed[allowed != end]
            short = allowed[allowed < 260]  # special tokens, then single bytes
            step = [int(dice.choice(short if len(short) and dice.random() < 0.5 else allowed))]
        state.accept(step)
        written += step
    return written


CASES = {
    "shapes": st.lists(parameters, min_size=1, max_size=3),
    "least": st.integers(0, 2),
    "seed": st.integers(0, 2**32 - 1),
    "steps": st.sampled_from([0, 5, 25, 80]),
    "bounds": st.sampled_from([Bounds(), Bounds(text=24), None]),
}


def often(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )


@often(200)
@given(**CASES)
def test_random_calls_parse_validate_and_close(compiler: GrammarCompiler, tokenizer: Tokenizer, **case: Any) -> None:
    decode(compiler, tokenizer, **case)


def decode(
    compiler: GrammarCompiler,
    tokenizer: Tokenizer,
    shapes: list[dict[str, Any]],
    least: int,
    seed: int,
    steps: int,
    bounds: Bounds | None,
    most: int = 8,
) -> None:
    tools = [Tool(f"tool_{index}", "", shape) for index, shape in enumerate(shapes)]
    state = compiler.compile(JsonSchema(calls_schema(tools, least, most), bounds)).start()
    end = tokenizer.token_to_id("<|im_end|>")
    written = walk(state, tokenizer.get_vocab_size(), end, seed, steps)
    path = state.closing(LIMIT)
    assert path is not None and len(path) <= LIMIT
    state.accept(path)
    assert state.can_stop
    text = tokenizer.decode(written + path)
    try:
        assert len(parse_calls(text, tools)) >= least
    except SchemaError as error:
        raise AssertionError(text) from error


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    term=st.sampled_from(
        [
            Regex("a*bc"),
            Regex("[a-z]{10,20}(END|STOP)"),
            Regex(r"(\d+ )*x?y{3}z"),
            Choice(("yes", "no", "not at all")),
            Lark('start: "```python\\n" body\nbody[suffix="\\n```"]: /(?s:.*)/'),
            Lark('start: "(" start ")" | "[" start start "]" | "x"'),
        ]
    ),
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(0, 30),
)
def test_other_grammars_close_as_well(
    compiler: GrammarCompiler, tokenizer: Tokenizer, term: Any, seed: int, steps: int
) -> None:
    state = compiler.compile(term).start()
    walk(state, tokenizer.get_vocab_size(), tokenizer.token_to_id("<|im_end|>"), seed, steps)
    path = state.closing(LIMIT)
    assert path is not None
    state.accept(path)
    assert state.can_stop


def test_no_path_within_the_limit(compiler: GrammarCompiler) -> None:
    state = compiler.compile({"type": "string", "minLength": 200}).start()
    assert state.closing(3) is None
    assert state.closing(LIMIT) is not None
    assert not state.can_stop


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 1000},
        {"type": "string", "minLength": 400, "maxLength": 400},
        {"type": "string", "pattern": "^[0-9a-f]{300}$"},
        {"type": "object", "properties": {"title": {}, "body": {"minLength": 600, "maxLength": 700, "type": "string"}}},
    ],
)
def test_a_long_text_has_an_end_that_is_found_at_a_bounded_effort(
    compiler: GrammarCompiler, schema: dict[str, Any]
) -> None:
    state = compiler.compile(JsonSchema(schema | {"required": [*schema.get("properties", ())]})).start()
    effort = Effort(1500)
    path = state.closing(4096, effort)
    assert path is not None and not effort.over
    state.accept(path)
    assert state.can_stop


@pytest.mark.parametrize("bounds", [Bounds(), None])
@pytest.mark.parametrize(
    ("pattern", "named"),
    [("^c$", {}), ("^(?:c|d)$", {"c": {"type": "integer"}}), ("^[c]$", {}), ("^[cd]$", {"d": {"type": "integer"}})],
)
def test_patterns_that_fit_few_names_leave_no_dead_end(
    compiler: GrammarCompiler, bounds: Bounds | None, pattern: str, named: dict[str, Any]
) -> None:
    schema = {
        "type": "object",
        "properties": {"ab": {"type": "integer"}, **named},
        "patternProperties": {pattern: {"enum": [1, "ab"]}},
        "required": ["c", *named],
        "additionalProperties": False,
    }
    for seed in range(20):
        rng, state = np.random.default_rng(seed), compiler.compile(JsonSchema(schema, bounds)).start()
        while not state.done:
            logits = torch.zeros(compiler.vocabulary.size)
            state.mask_(logits)
            state.accept([int(rng.choice(torch.isfinite(logits).nonzero().flatten().numpy()))])


@pytest.mark.parametrize("pattern", ["^a{100000}$", "^(?:a{1000}){1000}$", "^((((a{10}){10}){10}){10}){10}$"])
def test_very_long_names_are_not_looked_for(pattern: str) -> None:
    assert few_names("^x{20}$") == ("x" * 20,)
    began = time.process_time()
    assert few_names(pattern) == () and time.process_time() - began < 0.2


def test_a_name_fits_all_patterns_that_it_matches(compiler: GrammarCompiler) -> None:
    patterns = {"^[ab]$": {"type": "integer"}, "^[a]$": {"enum": ["x", 7]}, "^[b]$": False}
    schema = {"type": "object", "patternProperties": patterns, "required": ["a"], "additionalProperties": False}
    path = compiler.compile(JsonSchema(schema)).start().closing(LIMIT)
    assert path is not None and compiler.vocabulary.tokenizer.decode_str(path) == '{"a":7}'


def test_a_form_that_is_decoded_within_bounds_alone_says_so(compiler: GrammarCompiler) -> None:
    optional = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "maxProperties": 1}
    compiler.compile(JsonSchema(optional))
    with pytest.raises(SchemaError, match=r"maxProperties.*; leave out bounds=None, within bounds it can"):
        compiler.compile(JsonSchema(optional, None))
