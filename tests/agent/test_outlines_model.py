"""The real `outlines` package on the real base."""

import json
import re
from typing import Any, Literal

import outlines
import pytest
from outlines.inputs import Chat
from pydantic import BaseModel, Field

from loraloop.agent import Runtime
from loraloop.tool_schemas import parse_calls
from loraloop.tool_schemas.errors import InputError, LimitError, SchemaError, UnknownNameError
from loraloop.tool_schemas.tools.tool import Tool


class City(BaseModel):
    name: str = Field(max_length=20)
    country: Literal["France", "Japan", "Peru"]
    millions: int = Field(ge=0, le=40)


@pytest.fixture(scope="module")
def runtime(base: Any) -> Runtime:
    return Runtime.load(base)


@pytest.fixture(scope="module")
def model(runtime: Runtime) -> Any:
    return runtime.as_outlines(max_tokens=60)


def test_a_generator_writes_the_type_it_was_made_for(model: Any) -> None:
    generator = outlines.Generator(model, City)
    city = City.model_validate_json(generator("Tell me about Paris."))
    assert city == City.model_validate_json(model("Tell me about Paris.", City))
    assert generator("Tell me about Paris.") == generator("Tell me about Paris.")


@pytest.mark.parametrize(
    ("output_type", "fits"),
    [
        (Literal["yes", "no"], r"yes|no"),
        (outlines.regex(r"[0-9]{2}:[0-9]{2}"), r"[0-9]{2}:[0-9]{2}"),
        (outlines.types.Choice(["red", "green"]), r"red|green"),
        (int, r"[+-]?[0-9]+"),
        (bool, r"True|False|true|false"),
        (
            outlines.json_schema({"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}),
            r"\[[12],[12]\]",
        ),
        (outlines.cfg('start: "(" inner ")"\ninner: "a" | "b" inner'), r"\(b*a\)"),
    ],
)
def test_types(model: Any, output_type: Any, fits: str) -> None:
    assert re.fullmatch(fits, model("Write something short.", output_type, temperature=1.0, seed=1))


def test_free_text_chats_and_stop_strings(model: Any) -> None:
    chat = Chat([{"role": "system", "content": "Answer briefly."}])
    chat.add_user_message("Count from one to five in digits, with commas.")
    text = model(chat, max_new_tokens=30)
    assert text and text == model(chat, max_new_tokens=30)
    chat.add_assistant_message(text)
    chat.add_user_message(["And what", "comes next?"])
    assert model(chat, Literal["6", "7"]) in ("6", "7")
    assert model("Say a, b and c.", stop=["b"], max_tokens=20).count("b") == 0


def test_a_stream_is_the_text_in_pieces(model: Any) -> None:
    pieces = list(model.stream("Tell me about Lima.", City))
    assert len(pieces) > 1
    assert "".join(pieces) == model("Tell me about Lima.", City)
    stream = outlines.Generator(model, City).stream("Tell me about Lima.")
    assert next(stream)
    stream.close()
    assert City.model_validate_json(model("Tell me about Kyoto.", City))


def test_a_batch_has_an_answer_to_each(model: Any) -> None:
    prompts = ["Is fire hot?", "Is ice hot?"]
    assert model.batch(prompts, Literal["yes", "no"]) == [model(prompt, Literal["yes", "no"]) for prompt in prompts]
    several = model("Name a colour.", Literal["red", "green", "blue"], n=3, temperature=1.5, seed=3)
    assert len(several) == 3


def test_a_skill_writes_calls(runtime: Runtime) -> None:
    from loraloop.tool_schemas import calls_schema, render_tools

    tool = Tool(
        "get_weather",
        "Weather of a city.",
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
    model = runtime.as_outlines(skill="tools", max_tokens=80)
    chat = Chat([{"role": "system", "content": render_tools([tool])}])
    chat.add_user_message("What is the weather in Paris?")
    text = outlines.Generator(model, outlines.json_schema(json.dumps(calls_schema([tool]))))(chat)
    assert [call.name for call in parse_calls(text, [tool])] == ["get_weather"]
    assert text == model(chat, calls_schema([tool]))
    with pytest.raises(UnknownNameError, match="tools"):
        runtime.as_outlines(skill="tool")


def test_what_cannot_be_enforced_is_refused_or_checked(runtime: Runtime, model: Any) -> None:
    schema = outlines.json_schema({"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "uniqueItems": True})
    with pytest.raises(SchemaError, match="uniqueItems"):
        model("Some numbers.", schema)
    values = json.loads(runtime.as_outlines(on_unsupported="check")("Some numbers.", schema, temperature=1.0, seed=0))
    assert len(set(values)) == len(values) >= 2
    nothing = outlines.json_schema({"type": "string", "maxLength": 4, "not": {"type": "string"}})
    with pytest.raises(SchemaError, match="passes its check"):
        runtime.as_outlines(on_unsupported="check")("Some text.", nothing)


def test_bad_input(model: Any) -> None:
    with pytest.raises(UnknownNameError, match="temperature"):
        model("x", int, temprature=1)
    with pytest.raises(InputError, match="max_tokens"):
        model("x", int, max_tokens=0)
    with pytest.raises(LimitError, match="token limit"):
        model("x", City, max_tokens=3)
    with pytest.raises(InputError, match="empty"):
        model("")
    with pytest.raises(InputError, match="not text"):
        model(Chat([{"role": "user", "content": ["look", {"type": "image"}]}]))
    with pytest.raises(InputError, match="not a prompt"):
        model(["a"])
    with pytest.raises(SchemaError):
        model("x", object())
