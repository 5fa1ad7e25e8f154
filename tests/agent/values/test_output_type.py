"""The final answer as a value: decoded under its type, whatever the type is said in."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import re
import sys
from collections.abc import Callable
from typing import Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, Field, field_validator

from loraloop.adapters.base import Message
from loraloop.adapters.base.prompting import Prompting
from loraloop.agent import Agent, Limits, OutputType, Policy, RunResult, Runtime, Sampling
from loraloop.agent.events import SkillActivated
from loraloop.testing import ScriptedRuntime
from loraloop.tool_schemas import Choice, JsonSchema, Lark, Regex
from loraloop.tool_schemas.errors import SchemaError

MakeRuntime = Callable[..., Runtime]


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=12)
    size: int = Field(ge=0, le=9)
    tags: list[Literal["old", "new"]] = Field(max_length=2)


@dataclasses.dataclass
class Point:
    x: int
    y: bool


DIGITS = 'start: "<" /[0-9]{1,3}/ ">"'
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


def answer(
    make_runtime: MakeRuntime, output_type: Any, seed: int = 0, tokens: int = 512, **more: Any
) -> RunResult[Any]:
    sampling = Sampling(temperature=1.0, seed=seed)
    agent = Agent(make_runtime(), sampling=sampling, limits=Limits(step_tokens=tokens), **more)
    return agent.run_sync("go", output_type=output_type)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("output_type", "fits"),
    [
        (City, lambda v: isinstance(v, City) and 0 <= v.size <= 9 and len(v.name) <= 12),
        (Point, lambda v: isinstance(v, Point) and isinstance(v.y, bool)),
        (Literal["yes", "no"], lambda v: v in ("yes", "no")),
        (Literal["a", 1, None], lambda v: v in ("a", 1, None)),
        (Colour, lambda v: isinstance(v, Colour)),
        (Level, lambda v: isinstance(v, Level)),
        (bool, lambda v: isinstance(v, bool)),
        (int | None, lambda v: v is None or isinstance(v, int)),
        (datetime.date, lambda v: isinstance(v, datetime.date)),
        (tuple[int, bool], lambda v: isinstance(v, tuple) and len(v) == 2),
        (Choice(("left", "right")), lambda v: v in ("left", "right")),
        (Regex("[ab]{2,4}"), lambda v: re.fullmatch("[ab]{2,4}", v)),
        (Lark(DIGITS), lambda v: re.fullmatch("<[0-9]{1,3}>", v)),
        (SCHEMA, lambda v: v in ({"ok": True}, {"ok": False})),
        (JsonSchema(SCHEMA), lambda v: v in ({"ok": True}, {"ok": False})),
    ],
    ids=lambda each: "fits" if getattr(each, "__name__", "") == "<lambda>" else str(each),
)
def test_an_answer_is_a_value_of_its_type(make_runtime: MakeRuntime, output_type: Any, fits: Any, seed: int) -> None:
    result = answer(make_runtime, output_type, seed)
    assert result.stop_reason == "answer" and fits(result.value), result.output
    assert result.messages[-1] == Message("assistant", result.output)
    assert json.loads(result.to_json()) == result.to_dict()


@pytest.mark.parametrize("tokens", [40, 60, 120])
def test_an_answer_closes_within_its_limit(make_runtime: MakeRuntime, tokens: int) -> None:
    for seed in range(3):
        result = answer(make_runtime, list[int], seed, tokens)
        assert result.stop_reason in ("answer", "max_tokens") and result.steps[0].tokens.generated <= tokens
        assert result.value == (json.loads(result.output) if result.complete else None)


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        (Limits(step_tokens=8), "step_tokens=8"),
        (Limits(run_tokens=8), "run_tokens=8"),
        (Limits(step_tokens=8, run_tokens=9), "step_tokens=8"),
    ],
)
def test_an_answer_that_met_a_limit_of_tokens_says_which_one_to_raise(limits: Limits, setting: str) -> None:
    result = Agent(ScriptedRuntime("[1,2,3,4,5,6]"), output_type=list[int], limits=limits).run_sync("go")
    assert (result.stop_reason, result.value, result.complete) == ("max_tokens", None, False)
    assert result.steps[-1].error == f"the answer was cut at Limits({setting}) and has no value: raise that limit"


def test_text_is_any_text(make_runtime: MakeRuntime) -> None:
    result = answer(make_runtime, str, tokens=6)
    assert result.value == result.output and result.steps[0].tokens.forced == 0
    assert answer(make_runtime, None, tokens=6).value is None


def test_the_agents_type_holds_unless_a_run_says_another(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime(), output_type=Colour, limits=Limits(step_tokens=40))
    assert isinstance(agent.run_sync("go").value, Colour)
    assert agent.run_sync("go", output_type=Level).value in Level
    assert agent.run_sync("go", output_type=str).value.__class__ is str


def test_after_tools_the_answer_has_its_type(make_runtime: MakeRuntime) -> None:
    def look() -> dict[str, int]:
        """Looks."""
        return {"celsius": 3}

    agent = Agent(make_runtime("tools"), [look], output_type=City, policy=Policy(max_calls=1, repeat_calls=True))
    result = agent.run_sync("go", tool_choice="required")
    assert [step.outcome for step in result.steps] == ["calls", "text"]
    assert isinstance(result.value, City)
    assert [m.role for m in result.messages] == ["system", "user", "assistant", "tool", "assistant"]


def test_an_answer_for_which_no_tokens_are_left_has_no_value(make_runtime: MakeRuntime) -> None:
    class Length(enum.Enum):
        SHORT = "short, and to the point of what was asked"
        LONG = "long, and with all that was to be said of it"

    def look() -> int:
        """Looks."""
        return 3

    policy = Policy(max_calls=1, tool_choice="required")
    runs = [Agent(make_runtime("tools"), [look], output_type=Length, policy=policy) for _ in range(2)]
    first = runs[0].run_sync("go").steps[0]
    runs[1].limits = Limits(run_tokens=first.tokens.generated + 1)
    result = runs[1].run_sync("go")
    assert [step.outcome for step in result.steps] == ["calls", "truncated"]
    assert result.stop_reason == "max_tokens" and result.output == "" and result.value is None


@pytest.mark.parametrize("form", [Colour, Literal["red", "green"], int, City])
def test_an_answer_that_was_cut_off_has_no_value(make_runtime: MakeRuntime, form: Any) -> None:
    stream = Agent(make_runtime(), output_type=form).stream("go")
    for event in stream:
        if isinstance(event, SkillActivated):
            stream.cancel()
    assert (stream.result.stop_reason, stream.result.value) == ("cancelled", None)


def test_a_validator_that_fails_finds_the_answer_invalid() -> None:
    known = {"FR": "France"}

    class Land(BaseModel):
        code: str

        @field_validator("code")
        @classmethod
        def look_up(cls, code: str) -> str:
            return known[code]

    result = Agent(ScriptedRuntime('{"code":"XX"}', '{"code":"FR"}'), output_type=Land).run_sync("go")
    assert result.value == Land.model_construct(code="France") and result.steps[0].outcome == "invalid"
    assert "failed with KeyError: 'XX': have it raise ValueError" in result.steps[0].error


def test_what_skills_write_keeps_its_form(make_runtime: MakeRuntime) -> None:
    result = Agent(make_runtime("code"), output_type=City).run_sync("go")
    assert result.stop_reason in ("code", "max_tokens") and result.value is None
    assert result.output.startswith("```python")


def test_a_skill_that_writes_text_writes_the_type(make_runtime: MakeRuntime) -> None:
    result = Agent(make_runtime("prose"), output_type=Colour).run_sync("go")
    assert result.steps[0].skill == "prose" and isinstance(result.value, Colour)


def test_the_base_can_be_told_the_form_in_its_branch_alone(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime()
    told = Agent(runtime, output_type=City).run_sync("go")
    monkeypatch.setattr(runtime.base, "prompting", Prompting(answer_form=False))
    silent = Agent(make_runtime(), output_type=City).run_sync("go")
    assert told.output != silent.output  # random weights write something else after other tokens
    trunk = runtime.engine.store._kept[-1]
    trunk.flush()
    assert "schema" not in runtime.base.tokenizer.decode(trunk.sequence.ids)
    assert OutputType.of(Colour).instruction() == "Answer with one of: red, green"
    assert '"maxLength":12' in OutputType.of(City).instruction() and OutputType.of(Regex("a")).instruction() == ""


def test_what_cannot_be_enforced_is_refused_before_the_run(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime())
    with pytest.raises(
        SchemaError, match=r"output type: .*uniqueItems.*; OutputType\.of\(…, on_unsupported='check'\) has it checked"
    ):
        agent.run_sync("go", output_type=set[int])
    with pytest.raises(SchemaError):
        agent.run_sync("go", output_type={"type": "object", "properties": {"a": {"type": "strin"}}})
    for wrong in (Lark("start: nowhere"), Regex("(")):
        with pytest.raises(SchemaError):
            Agent(make_runtime(), output_type=wrong)
    with pytest.raises(SchemaError, match=r"cannot be decoded: [^:]*; give a pydantic model"):
        agent.run_sync("go", output_type=object())
    with pytest.raises(SchemaError, match=r"is a function; give a type"):
        agent.run_sync("go", output_type=sorted)
    with pytest.raises(SchemaError, match="output type"):
        agent.run_sync("go", output_type=Callable[[], int])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes it there")
def test_a_typed_dict_of_the_wrong_module_is_told() -> None:
    with pytest.raises(SchemaError, match=r"output type: .* `typing_extensions\.TypedDict` instead"):
        OutputType.of(TypedDict("Town", {"name": str}))


def test_what_no_grammar_enforces_can_be_checked(make_runtime: MakeRuntime) -> None:
    output = OutputType.of(set[Literal[1, 2, 3]], on_unsupported="check")
    for seed in range(3):
        result = answer(make_runtime, output, seed)
        if result.stop_reason == "answer":
            assert isinstance(result.value, set) and len(json.loads(result.output)) == len(result.value)


def test_values_are_data_in_the_trace(make_runtime: MakeRuntime) -> None:
    result = answer(make_runtime, City)
    assert result.to_dict()["value"] == json.loads(result.output)
    assert answer(make_runtime, Colour).to_dict()["value"] in ("red", "green")
