import json
import re
import time
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from loraloop.tool_schemas import Bounds, GrammarCompiler, JsonSchema, Lark, Regex, State
from loraloop.tool_schemas.engines.outlines_core_engine import OutlinesCoreEngine
from loraloop.tool_schemas.engines.outlines_core_formats import FORMATS
from loraloop.tool_schemas.engines.outlines_core_numbers import decimals, integers
from loraloop.tool_schemas.engines.outlines_core_pattern import quoted
from loraloop.tool_schemas.errors import InputError, SchemaError, UnknownNameError, Violation

UNSUPPORTED = [
    ({"type": "integer", "multipleOf": 3}, "multipleOf"),
    ({"type": "number", "minimum": 0.5}, "minimum"),
    ({"type": "string", "minLength": 2, "pattern": "^a*$"}, "minLength"),
    ({"type": "string", "pattern": "^(?=a)b"}, "pattern"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "array", "contains": {"type": "null"}}, "contains"),
    ({"allOf": [{"minimum": 1}, {"maximum": 5}]}, "allOf"),
    ({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {}]}, "anyOf"),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1}, "maxProperties"),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1}, "minProperties"),
    ({"type": "object", "patternProperties": {"^a": {}, "b$": {}}}, "patternProperties"),
    ({"type": "string", "maxLength": 100_000}, "maxLength"),
]
PATTERNS = [
    "^[A-Z]{3}[0-9]{2}$", "a|b", "^a|b$", "^(foo|bar)+$", r"^\d{3}-\d{4}$", r"^\W+$", r"^[^\w]{2}a", "^.{3,5}$", "x{0}",
    r'^["\\]+$', "^[^a-z]*$", r"\s", r"^\S\D$", "^(a|ab)(c|bcd)?$", "[\"\\n]", "^$", "é|[à-ü]+$", r"\\",
    r"^(?:a{2,}?|b)*$",
]  # fmt: skip
SHAPES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": -3, "exclusiveMaximum": 12},
        "b": {"enum": ["x", 'q"', None, 2.5, [1, {"k": "\n"}]]},
        "c": {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": False, "minItems": 1},
        "d": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2},
        "e": {"type": ["string", "null"], "minLength": 1, "maxLength": 3},
    },
    "required": ["b", "c"],
    "additionalProperties": False,
}

VALUES = st.fixed_dictionaries(
    {"b": st.sampled_from(SHAPES["properties"]["b"]["enum"]), "c": st.sampled_from([[None], [None, True]])},
    optional={
        "a": st.integers(-3, 11),
        "d": st.dictionaries(st.text(min_size=1, max_size=4), st.integers(-9, 99), min_size=1, max_size=2),
        "e": st.one_of(st.none(), st.text(min_size=1, max_size=3)),
    },
)


def spelled(compiler: GrammarCompiler, tokenizer: Tokenizer, term: Any, text: str) -> bool:
    state = compiler.compile(term).start()
    try:
        state.accept(tokenizer.encode(text, add_special_tokens=False).ids)
    except InputError:
        return False
    return state.can_stop


def walked(state: State, tokenizer: Tokenizer, choices: list[int]) -> str:
    """What is written when each choice picks among the tokens that may follow."""
    written: list[int] = []
    logits = torch.empty(tokenizer.get_vocab_size())
    end = tokenizer.token_to_id("<|im_end|>")
    for choice in choices:
        step = state.forced()
        if not step:
            state.mask_(logits.zero_())
            allowed = [token for token in torch.isfinite(logits).nonzero().flatten().tolist() if token != end]
            if not allowed:
                break
            step = [allowed[choice % len(allowed)]]
        try:
            state.accept(step)
        except Violation:
            continue
        written += step
    path = state.closing(400)
    if path is None:
        reject()
    state.accept(path)
    assert state.can_stop
    return tokenizer.decode(written + path, skip_special_tokens=False)


def valid(schema: Any, value: Any) -> bool:
    made = jsonschema.Draft202012Validator
    return bool(made(schema, format_checker=made.FORMAT_CHECKER).is_valid(value))


@pytest.mark.parametrize(("schema", "keyword"), UNSUPPORTED)
def test_what_no_regular_expression_can_say_is_refused_or_checked(
    outlines_core: GrammarCompiler, schema: dict[str, Any], keyword: str
) -> None:
    outer = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    with pytest.raises(SchemaError) as caught:
        outlines_core.compile(outer)
    assert caught.value.path == f"$.properties.v.{keyword}"
    outlines_core.compile(JsonSchema(outer, on_unsupported="check"))


def test_a_keyword_is_checked_when_its_value_closes(outlines_core: GrammarCompiler, tokenizer: Tokenizer) -> None:
    schema = {"type": "array", "items": {"type": "integer", "multipleOf": 7}}
    state = outlines_core.compile(JsonSchema(schema, on_unsupported="check")).start()
    state.accept(tokenizer.encode("[14").ids)
    state.accept(tokenizer.encode(",").ids)
    with pytest.raises(Violation):
        state.accept(tokenizer.encode("15]").ids)
    state.accept(tokenizer.encode("21]").ids)
    assert state.can_stop


def test_grammars_are_refused(outlines_core: GrammarCompiler) -> None:
    with pytest.raises(SchemaError, match="context-free"):
        outlines_core.compile(Lark('start: "a"'))
    for schema in ({"type": "object"}, {"type": "object", "properties": {"a": {"type": "null"}}}):
        with pytest.raises(SchemaError, match="bounds"):
            outlines_core.compile(JsonSchema(schema, None))


def test_an_unknown_engine_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'outlines_core'"):
        GrammarCompiler("", 0, 0, engine="outlines")


def test_compiling_is_bounded_in_time_and_memory(tokenizer: Tokenizer) -> None:
    arguments = tokenizer.to_str(), tokenizer.get_vocab_size(), tokenizer.token_to_id("<|im_end|>")
    start = time.monotonic()
    with pytest.raises(SchemaError, match="seconds"):
        OutlinesCoreEngine(*arguments, seconds=1).compile(Regex("(a|b)*a(a|b){28}"))
    small = OutlinesCoreEngine(*arguments, megabytes=400)
    with pytest.raises(SchemaError, match=r"memory|seconds"):
        small.compile(Regex("(a|b)*a(a|b){22}"))
    assert time.monotonic() - start < 30
    small.compile(Regex("ab"))  # the next one gets a new process
    large = {"type": "array", "items": {"type": "string", "format": "email"}, "maxItems": 400}
    with pytest.raises(SchemaError, match="states"):
        small.compile(JsonSchema(large))
    bomb: dict[str, Any] = {
        f"d{n}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}] * 4} for n in range(30)
    }
    with pytest.raises(SchemaError, match="too large"):
        small.compile(JsonSchema({"$ref": "#/$defs/d0", "$defs": {**bomb, "d30": {"type": "null"}}}))


def test_no_alternative_hides_a_longer_one(outlines_core: GrammarCompiler, tokenizer: Tokenizer) -> None:
    for text in ("a", "ab", "abc"):
        assert spelled(outlines_core, tokenizer, Regex("a|ab|abc"), text)
    assert spelled(outlines_core, tokenizer, Regex("(ab)*"), "")


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(pattern=st.sampled_from(PATTERNS), choices=st.lists(st.integers(0, 10**6), max_size=12))
def test_texts_under_a_pattern_match_in_python(
    outlines_core: GrammarCompiler, tokenizer: Tokenizer, pattern: str, choices: list[int]
) -> None:
    state = outlines_core.compile({"type": "string", "pattern": pattern}).start()
    value = json.loads(walked(state, tokenizer, choices))
    assert re.search(pattern, value)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(pattern=st.sampled_from(PATTERNS), value=st.text(st.characters(codec="utf-8"), max_size=6), data=st.data())
def test_a_pattern_takes_every_plain_text_that_python_takes(pattern: str, value: str, data: st.DataObject) -> None:
    value = data.draw(st.one_of(st.just(value), st.from_regex(pattern)))
    written = quoted(pattern)
    assert written is not None
    # Rust's \x{…} is Python's \U…, here and there.
    python = re.sub(r"\\x\{([0-9a-f]+)\}", lambda found: re.escape(chr(int(found[1], 16))), written)
    fits = re.fullmatch(python, json.dumps(value, ensure_ascii=False)) is not None
    if fits:
        assert re.search(pattern, value)
    elif value.isascii() and value.isprintable():
        assert not re.search(pattern, value)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    low=st.one_of(st.none(), st.integers(-(10**6), 10**6)),
    size=st.one_of(st.none(), st.integers(0, 10**7)),
    value=st.integers(-(10**8), 10**8),
    near=st.integers(-2, 2),
)
def test_integers_between_bounds(low: int | None, size: int | None, value: int, near: int) -> None:
    high = None if size is None else (low or 0) + size
    pattern = integers(low, high)
    assert pattern is not None
    for each in (value, (low or 0) + near, (high or 0) + near):
        inside = (low is None or each >= low) and (high is None or each <= high)
        assert bool(re.fullmatch(pattern, str(each))) == inside


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    low=st.integers(-1000, 1000),
    size=st.integers(0, 2000),
    above=st.booleans(),
    below=st.booleans(),
    value=st.decimals(-2100, 3100, allow_nan=False, places=3),
)
def test_decimals_between_bounds(low: int, size: int, above: bool, below: bool, value: Decimal) -> None:
    high = low + size
    pattern = decimals(low, high, above, below)
    assume(pattern is not None)
    for each in (value, Decimal(low), Decimal(high), low + abs(value) / 10**4, high - abs(value) / 10**4):
        text = f"{each:f}"
        number = float(text)
        inside = (number > low or (number == low and not above)) and (number < high or (number == high and not below))
        fits = bool(re.fullmatch(pattern or "", text))
        assert fits <= inside
        if abs(each) >= 1 and low not in (0, -1) and high not in (0, 1):
            assert fits == inside


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(choices=st.lists(st.integers(0, 10**6), max_size=30), value=VALUES)
def test_a_schema_takes_its_values_and_nothing_else(
    outlines_core: GrammarCompiler, tokenizer: Tokenizer, choices: list[int], value: Any
) -> None:
    state = outlines_core.compile(JsonSchema(SHAPES, None)).start()
    assert valid(SHAPES, json.loads(walked(state, tokenizer, choices)))
    ordered = {name: value[name] for name in SHAPES["properties"] if name in value}
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))
    assert valid(SHAPES, ordered)
    if not re.search(r"\\u|[\x7f-\x9f\ud800-\udfff]", text):
        assert spelled(outlines_core, tokenizer, JsonSchema(SHAPES, None), text)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(form=st.sampled_from(sorted(FORMATS)), choices=st.lists(st.integers(0, 10**6), max_size=40))
def test_texts_of_a_format_are_valid(
    outlines_core: GrammarCompiler, tokenizer: Tokenizer, form: str, choices: list[int]
) -> None:
    schema = {"type": "string", "format": form}
    assert valid(schema, json.loads(walked(outlines_core.compile(schema).start(), tokenizer, choices)))


ANY_SCHEMA = st.deferred(
    lambda: st.one_of(
        st.sampled_from([True, {}, {"type": "null"}, {"type": "number"}, {"type": ["integer", "string"]}]),
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["string", "integer", "number", "array", "object", ["object", "null"]]),
                "minimum": st.sampled_from([-2, 0, 1.5, 10**9]),
                "exclusiveMaximum": st.sampled_from([5, 2.25, 10**10]),
                "multipleOf": st.sampled_from([2, 0.5]),
                "minLength": st.integers(0, 3),
                "maxLength": st.integers(2, 5),
                "pattern": st.sampled_from(PATTERNS),
                "format": st.sampled_from(["date", "uri", "ipv6", "email", "duration", "hostname", "int32"]),
                "minItems": st.integers(0, 2),
                "maxItems": st.integers(1, 3),
                "uniqueItems": st.booleans(),
                "items": ANY_SCHEMA,
                "prefixItems": st.lists(ANY_SCHEMA, min_size=1, max_size=2),
                "properties": st.dictionaries(st.sampled_from(["a", "b", 'ü"']), ANY_SCHEMA, max_size=3),
                "required": st.lists(st.sampled_from(["a", "b", "z"]), unique=True, max_size=2),
                "additionalProperties": ANY_SCHEMA,
                "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$", "[0-9]"]), ANY_SCHEMA, max_size=1),
                "minProperties": st.integers(0, 1),
                "maxProperties": st.integers(0, 3),
                "anyOf": st.lists(ANY_SCHEMA, min_size=1, max_size=2),
                "oneOf": st.lists(ANY_SCHEMA, min_size=1, max_size=2),
                "not": ANY_SCHEMA,
                "enum": st.lists(st.sampled_from([0, 1.0, "a", None, [1], {"a": 1}, True]), min_size=1, max_size=3),
            },
        ).map(lambda schema: dict(list(schema.items())[:4])),
    )
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    schema=ANY_SCHEMA,
    choices=st.lists(st.integers(0, 10**6), max_size=25),
    mode=st.sampled_from(["refuse", "check"]),
    bounds=st.sampled_from([Bounds(), None]),
)
def test_no_text_that_is_taken_is_invalid(
    outlines_core: GrammarCompiler,
    tokenizer: Tokenizer,
    schema: Any,
    choices: list[int],
    mode: Any,
    bounds: Bounds | None,
) -> None:
    try:
        state = outlines_core.compile(JsonSchema(schema, bounds, mode)).start()
    except SchemaError as error:
        assert error.path.startswith("$")
        reject()
    assert valid(schema, json.loads(walked(state, tokenizer, choices)))
