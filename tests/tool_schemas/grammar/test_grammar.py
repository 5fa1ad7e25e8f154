import json
from enum import Enum
from typing import Any, Literal

import jsonschema
import pytest
import torch
from pydantic import BaseModel
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
    term_of,
)
from loraloop.tool_schemas.errors import InputError, SchemaError

WEATHER = Tool(
    "get_weather",
    "",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city"],
    },
)
CALL = '[{"name":"get_weather","arguments":{"city":"Köln","unit":"celsius"}}]'


def follow(state: State, tokenizer: Tokenizer, text: str) -> bool:
    try:
        state.accept(tokenizer.encode(text, add_special_tokens=False).ids)
    except InputError:
        return False
    return state.can_stop


def takes(compiler: GrammarCompiler, tokenizer: Tokenizer, term: Any, text: str) -> bool:
    return follow(compiler.compile(term).start(), tokenizer, text)


def allowed(state: State, size: int) -> set[int]:
    logits = torch.zeros(size)
    state.mask_(logits)
    return set(torch.isfinite(logits).nonzero().flatten().tolist())


def test_a_call_is_mostly_forced(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    state = compiler.compile(JsonSchema(calls_schema([WEATHER], min_calls=1))).start()
    wanted = tokenizer.encode(CALL, add_special_tokens=False).ids
    written: list[int] = []
    forced = 0
    while not state.done:
        ahead = state.forced()
        if ahead:
            assert ahead == wanted[len(written) : len(written) + len(ahead)]
            forced += len(ahead)
        step = ahead or [wanted[len(written)]]
        assert step[0] in allowed(state, tokenizer.get_vocab_size())
        state.accept(step)
        written += step
    assert written == wanted and state.can_stop and state.forced() == []
    assert forced > len(wanted) // 3


def test_the_mask_lets_only_what_can_be_accepted_through(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    state = compiler.compile(JsonSchema(calls_schema([WEATHER]))).start()
    state.accept(tokenizer.encode('[{"name":"get_weather","arguments":{"city":"').ids)
    open_tokens = allowed(state, size)
    for token in range(size):
        trial = state.fork()
        try:
            trial.accept([token])
            assert token in open_tokens
        except InputError:
            assert token not in open_tokens
    assert not open_tokens & {tokenizer.token_to_id(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")}


def test_the_end_token_is_allowed_exactly_where_the_text_may_stop(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    end, size = tokenizer.token_to_id("<|im_end|>"), tokenizer.get_vocab_size()
    state = compiler.compile(Regex("ab*")).start()
    assert end not in allowed(state, size) and not state.can_stop
    state.accept(tokenizer.encode("ab").ids)
    assert end in allowed(state, size) and state.can_stop and not state.done
    longer = torch.zeros(size + 5)
    state.mask_(longer)
    assert torch.isinf(longer[size:]).all()


def test_rollback_and_fork(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    state = compiler.compile(JsonSchema(calls_schema([WEATHER]))).start()
    tokens = tokenizer.encode(CALL).ids
    masks = []
    for token in tokens:
        masks.append(allowed(state, size))
        state.accept([token])
    assert state.done
    for count in range(1, len(tokens) + 1):
        fork = state.fork()
        fork.rollback(count)
        assert allowed(fork, size) == masks[len(tokens) - count] and not fork.done
        fork.accept(tokens[len(tokens) - count :])
        assert fork.done
    with pytest.raises(InputError):
        state.rollback(len(tokens) + 1)
    with pytest.raises(InputError, match="cannot follow"):
        state.accept([tokens[0]])
    state.rollback(1)
    with pytest.raises(InputError):
        state.accept([tokens[-1], tokens[-1]])
    state.accept([tokens[-1]])
    assert state.done


def test_a_text_that_has_to_be_long_need_not_stop_at_its_least_length(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    for least in (250, 300, 1000):
        written = json.dumps("It is so. " * (least // 8))
        assert takes(compiler, tokenizer, {"type": "string", "minLength": least}, written)


def test_terms(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    class Size(Enum):
        SMALL = "small"

    class Shirt(BaseModel):
        size: Size
        count: int = 1

    def good(term: Any, text: str) -> bool:
        return takes(compiler, tokenizer, term, text)

    assert good(Shirt, '{"size":"small","count":2}') and not good(Shirt, '{"size":"large"}')
    assert good(Literal["yes", "no"], "no") and not good(Literal["yes", "no"], "maybe")
    assert good(Choice(('a"b', "c|d")), 'a"b') and good(Choice(('a"b', "c|d")), "c|d")
    assert good(Choice(tuple(f"o{n}" for n in range(3000))), "o2999"), "however many there are"
    assert good(Regex("[a-c]{2}"), "ab") and not good(Regex("[a-c]{2}"), "abc")
    assert good(Lark('start: "x" start "y" | "z"'), "xxzyy")
    assert good(int, "12") and not good(int, "a")
    assert good({"type": "boolean"}, "true") and good(JsonSchema(True), '{"a":[1,null]}')
    assert term_of(Regex("a")) == Regex("a")
    for term in (object(), Regex("("), Lark("start: nothing"), Choice(()), JsonSchema(False)):
        with pytest.raises(SchemaError):
            compiler.compile(term)


def test_outlines_terms(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    import outlines

    assert takes(compiler, tokenizer, outlines.regex("a{2}"), "aa")
    assert takes(compiler, tokenizer, outlines.cfg('start: "a" start | "b"'), "aab")
    assert takes(compiler, tokenizer, outlines.json_schema('{"type": "integer"}'), "3")


def test_no_key_can_be_spelled_twice(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}}
    assert takes(compiler, tokenizer, schema, '{"a":"x","b":1}')
    assert not takes(compiler, tokenizer, schema, '{"\\u0061":1}')


def test_bounds_close_what_the_schema_leaves_open(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "number"}, "f": {}}}
    exact = JsonSchema(schema, None)
    for text in ('{"a":"' + "x" * 300 + '"}', '{"b":1}', '{"n":1e400}', '{"f":[[[[1]]]]}'):
        assert takes(compiler, tokenizer, exact, text)
        assert not takes(compiler, tokenizer, schema, text)
    assert takes(compiler, tokenizer, schema, '{"a":"x","n":-1.5,"f":{"k":[1,"t"]}}')


@pytest.mark.parametrize(
    ("schema", "digit", "longest"),
    [
        ({"type": "number"}, "3", 40),
        ({"type": "array", "items": {"type": "number"}, "maxItems": 2}, "0", 70),
        ({"type": "object", "properties": {"x": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}}}, "0", 400),
        ({"type": "integer"}, "7", 20),
    ],
)
def test_a_model_that_repeats_a_digit_comes_to_an_end(
    compiler: GrammarCompiler, tokenizer: Tokenizer, schema: dict[str, Any], digit: str, longest: int
) -> None:
    state, size = compiler.compile(JsonSchema(schema)).start(), tokenizer.get_vocab_size()
    liked = [*map(tokenizer.token_to_id, (digit, ".", "]", "}"))]
    text: list[int] = []
    while not state.done and len(text) < 1000:
        allows = allowed(state, size)
        text.append(next((token for token in liked if token in allows), None) or min(allows))
        if state.can_stop and text[-1] not in liked:
            break
        state.accept(text[-1:])
    written = tokenizer.decode(text)
    assert state.can_stop and len(written) < longest, written


@pytest.mark.parametrize(
    ("begun", "bounded"),
    [('{"n":0.', True), ('{"t":"n:0.', False), (r'{"t":"a\"b\\:0.', False), (r'{"t":"a\"b\\","n":0.', True)],
)
def test_digits_after_a_point_are_bounded_in_numbers_alone(
    compiler: GrammarCompiler, tokenizer: Tokenizer, begun: str, bounded: bool
) -> None:
    kinds = {"type": "object", "properties": {"t": {"type": "string"}, "n": {"type": "number"}}}
    state = compiler.compile(JsonSchema(kinds)).start()
    state.accept(tokenizer.encode(begun + "1" * 24, add_special_tokens=False).ids)
    assert (tokenizer.token_to_id("1") in allowed(state, tokenizer.get_vocab_size())) is not bounded


def test_a_bound_that_contradicts_the_schema_is_dropped(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    text = '"' + "a" * 300 + '"'
    assert takes(compiler, tokenizer, {"type": "string", "pattern": "^a{300}$"}, text)


def test_discriminated_unions(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    class Cat(BaseModel):
        kind: Literal["cat"] = "cat"
        lives: int

    class Dog(BaseModel):
        kind: Literal["dog"] = "dog"
        name: str

    from typing import Annotated

    from pydantic import Field

    class Owner(BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="kind")]

    assert takes(compiler, tokenizer, Owner, '{"pet":{"kind":"dog","name":"Rex"}}')
    assert not takes(compiler, tokenizer, Owner, '{"pet":{"name":"Rex"}}')
    assert not takes(compiler, tokenizer, Owner, '{"pet":{"kind":"cat","name":"Rex"}}')

    class Bird(BaseModel):
        kind: Literal["bird"] = "bird"
        voice: Annotated[Cat | Dog, Field(discriminator="kind")]

    class Zoo(BaseModel):
        beast: Annotated[Annotated[Cat | Dog, Field(discriminator="kind")] | Bird, Field(discriminator="kind")]

    assert takes(compiler, tokenizer, Zoo, '{"beast":{"kind":"bird","voice":{"kind":"dog","name":"Rex"}}}')


def test_compiled_grammars_are_kept(compiler: GrammarCompiler) -> None:
    assert compiler.compile({"type": "null"}) is compiler.compile({"type": "null"})


@pytest.mark.parametrize(
    "form",
    [
        "date",
        "time",
        "date-time",
        "time-local",
        "date-time-local",
        "email",
        "ipv4",
        "ipv6",
        "uuid",
        "duration",
        "uri",
        "relative-json-pointer",
    ],
)
def test_formats(compiler: GrammarCompiler, tokenizer: Tokenizer, form: str) -> None:
    good = {
        "date": ["2024-02-29", "0001-01-31", "2000-02-29"],
        "time": ["23:59:59Z", "00:00:00.5+01:00"],
        "date-time": ["2024-12-31T00:00:00Z"],
        "time-local": ["23:59:59", "00:00:00.5"],
        "date-time-local": ["2024-12-31T00:00:00"],
        "email": ["a.b@example.com"],
        "ipv4": ["255.0.10.1"],
        "ipv6": ["::1", "2001:db8::ff00:42:8329"],
        "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
        "duration": ["P1DT12H"],
        "uri": ["https://example.com/a?b=c#d"],
        "relative-json-pointer": ["0#", "10/a"],
    }
    bad = {
        "date": ["2023-02-29", "1900-02-29", "0000-01-01", "2024-04-31", "2024-13-01", "24-01-01"],
        "time": ["24:00:00Z", "12:00Z", "23:59:60Z", "12:00:00"],
        "date-time": ["2024-12-31 00:00:00Z", "2023-02-29T00:00:00Z"],
        "time-local": ["24:00:00", "12:00", "12:00:00Z"],
        "date-time-local": ["2024-12-31T00:00:00Z", "2023-02-29T00:00:00"],
        "email": ["a.example.com"],
        "ipv4": ["256.0.0.1", "1.2.3"],
        "ipv6": ["1::2::3", "12345::"],
        "uuid": ["123e4567e89b12d3a456426614174000"],
        "duration": ["P", "1D"],
        "uri": ["no scheme"],
        "relative-json-pointer": ["/a", "01", "102/a"],
    }
    schema = {"type": "string", "format": form}
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for text in good[form]:
        assert takes(compiler, tokenizer, schema, json.dumps(text)), text
        assert validator.is_valid(text)
    for text in bad[form]:
        assert not takes(compiler, tokenizer, schema, json.dumps(text)), text


def test_a_type_that_pydantic_does_not_finish_is_refused(compiler: GrammarCompiler) -> None:
    class Open(BaseModel):
        next: "Missing"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SchemaError, match=r"Missing|fully defined"):
        compiler.compile(Open)


@pytest.mark.parametrize("form", ["json-pointer", "relative-json-pointer"])
def test_a_format_without_an_end_is_bounded(compiler: GrammarCompiler, tokenizer: Tokenizer, form: str) -> None:
    state = compiler.compile(JsonSchema({"type": "string", "format": form}, Bounds(text=8))).start()
    with pytest.raises(InputError):
        state.accept(tokenizer.encode('"0/aaaaaaaaaaaa"' if form[0] == "r" else '"/aaaaaaaaaaaa"').ids)
