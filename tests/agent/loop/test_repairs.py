"""Invalid calls and answers: dropped, told to the model in its branch alone, and written again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from loraloop.adapters.base import Message
from loraloop.adapters.base.prompting import SMALL
from loraloop.agent import Agent, Limits, Policy, Runtime, Sampling
from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.generate import Delta, Generated, GenerateRequest
from loraloop.agent.events import Routed
from loraloop.agent.loop.outcome import Facts, outcome_of
from loraloop.testing import ScriptedRouter, ScriptedRuntime, Written, text
from loraloop.tool_schemas.tools.tool import Tool

MakeRuntime = Callable[..., Runtime]
Play = Callable[..., ScriptedRuntime]
SCHEMA = {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}, "required": ["day"]}
GOOD = '[{"name":"book","arguments":{"day":"2026-03-01"}}]'
BAD = '[{"name":"book","arguments":{"day":"tomorrow"}}]'
ERROR = "$[0].arguments.day: 'tomorrow' is not a 'date'"


def worse(number: int) -> str:
    """Another invalid call."""
    return BAD.replace("tomorrow", f"tomorrow + {number}")


def book() -> tuple[Tool, list[Any]]:
    seen: list[Any] = []
    return Tool("book", "Books.", SCHEMA, lambda day: seen.append(day) or "booked", strict=False), seen


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("must be even")
        return n


def heard(runtime: ScriptedRuntime) -> list[str]:
    """What each step was told in its branch alone."""
    opening = runtime.base.tokenizer.decode(list(runtime.base.chat.generation_prompt), skip_special=False)
    return [turn.extra_prompt.removesuffix(opening) for turn in runtime.turns]


def loose(*texts: str) -> list[Written]:
    """Calls that no grammar looks at: under it, the last try could not be invalid in this way."""
    return [text(each, "tools", enforced=False) for each in texts]


class Unenforced(ScriptedRuntime):
    """A runtime whose first step ends without a value that passes its checks."""

    def __init__(self, *steps: Any, **options: Any) -> None:
        super().__init__(*steps, **options)
        plain = self.engine.generate

        def generate(branch: Branch, request: GenerateRequest) -> Iterator[Delta | Generated]:
            for piece in plain(branch, request):
                if isinstance(piece, Generated) and len(self.turns) == 1:
                    piece.reason = "unenforced"
                yield piece

        self.engine.generate = generate  # type: ignore[method-assign]


def test_an_invalid_call_is_told_and_written_again(play: Play) -> None:
    tool, seen = book()
    runtime = play([BAD, GOOD, "Booked."], "tools")
    agent = Agent(runtime, [tool])
    stream = agent.stream("book it")
    routed = [event for event in stream if isinstance(event, Routed)]
    result = stream.result
    assert [(step.outcome, step.decided_by, step.kept) for step in result.steps] == [
        ("invalid", "router", False), ("calls", "repair", True), ("text", "router", True),
    ]  # fmt: skip
    assert result.steps[0].error == ERROR and result.steps[1].error == "" and seen == ["2026-03-01"]
    assert routed[1].decided_by == "repair" and routed[1].skill == "tools"
    told = heard(runtime)
    assert told[0] == "" and ERROR in told[1] and "<|im_start|>user" in told[1]
    assert [m.role for m in result.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert not any("tomorrow" in m.content for m in result.messages)
    trunk = agent.runtime.engine.store._kept[-1]
    trunk.flush()
    assert "tomorrow" not in agent.runtime.base.tokenizer.decode(trunk.sequence.ids)


def test_after_the_last_repair_the_run_goes_on_without_tools(play: Play) -> None:
    tool, seen = book()
    runtime = play([*loose(BAD, worse(1), worse(2)), "Which day?"], "tools", "tools")
    result = Agent(runtime, [tool]).run_sync("book it")
    assert [step.outcome for step in result.steps] == ["invalid"] * 3 + ["text"]
    assert [step.decided_by for step in result.steps] == ["router", "repair", "repair", "router"]
    assert result.output == "Which day?" and result.complete and not seen
    assert "tools" in runtime.router.states[-1].masked and runtime.router.states[-1].after == "dropped"
    assert len(runtime.router.states) == 2  # a repair asks the router nothing


def test_a_required_call_that_stays_invalid_ends_the_run(play: Play) -> None:
    tool, _ = book()
    result = Agent(play(loose(BAD, worse(1))), [tool], policy=Policy(repairs=1)).run_sync("book it", tool_choice="book")
    assert (result.stop_reason, result.output, result.complete) == ("invalid", worse(1), False)
    assert [step.decided_by for step in result.steps] == ["policy", "repair"]
    assert result.messages[1:] == (Message("user", "book it"),)


def test_a_required_call_may_be_repaired_and_is_still_required(play: Play) -> None:
    tool, seen = book()
    result = Agent(play([BAD, *loose("[]"), GOOD, "Booked."]), [tool]).run_sync("book it", tool_choice="required")
    assert [step.outcome for step in result.steps] == ["invalid", "invalid", "calls", "text"]
    assert result.steps[1].error == "at least 1 calls are needed, not 0" and len(seen) == 1


def test_each_step_has_its_own_repairs(play: Play) -> None:
    tool, seen = book()
    other = GOOD.replace("03", "04")
    result = Agent(play([BAD, worse(1), GOOD, BAD, worse(1), other, "Booked."], "tools", "tools"), [tool]).run_sync(
        "book it"
    )
    assert [step.outcome for step in result.steps].count("invalid") == 4 and len(seen) == 2


def test_without_repairs_an_invalid_call_is_dropped_at_once(play: Play) -> None:
    tool, _ = book()
    result = Agent(play([BAD, "Which day?"], "tools"), [tool], policy=Policy(repairs=0)).run_sync("book it")
    assert [step.outcome for step in result.steps] == ["invalid", "text"]


def test_what_would_be_written_once_more_is_not(play: Play) -> None:
    result = Agent(play(['{"n":3}', '{"n":3}']), output_type=Even, policy=Policy(repairs=9)).run_sync("an even number")
    assert len(result.steps) == 2 and result.stop_reason == "invalid"
    tool, _ = book()
    # the third one has another grammar
    result = Agent(play([*loose(BAD, BAD, BAD), "Which day?"], "tools"), [tool], policy=Policy(repairs=9)).run_sync(
        "book it"
    )
    assert [step.outcome for step in result.steps] == ["invalid", "invalid", "invalid", "text"]
    warm = Agent(
        play([*loose(BAD, BAD, BAD), GOOD, "Booked."], "tools"),
        [tool],
        sampling=Sampling(temperature=1.0),
        policy=Policy(repairs=9),
    )
    assert [step.outcome for step in warm.run_sync("book it").steps] == ["invalid"] * 3 + ["calls", "text"]


def test_repairs_count_as_steps(play: Play) -> None:
    tool, _ = book()
    result = Agent(play(loose(BAD, worse(1)), "tools"), [tool], limits=Limits(max_steps=2)).run_sync("book it")
    assert result.stop_reason == "max_steps" and len(result.steps) == 2


def test_what_checks_cannot_reach_counts_as_invalid(play: Play) -> None:
    tool, seen = book()
    result = Agent(
        Unenforced(GOOD, "Hm.", router=ScriptedRouter(["tools"])), [tool], policy=Policy(repairs=0)
    ).run_sync("book it")
    assert result.steps[0].outcome == "invalid" and "checks" in result.steps[0].error and not seen


@pytest.mark.parametrize("seed", range(3))
def test_checks_hold_while_decoding_and_the_trace_counts_them(make_runtime: MakeRuntime, seed: int) -> None:
    listed = {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "maxItems": 3, "uniqueItems": True}
    schema = {"type": "object", "properties": {"all": listed}, "required": ["all"], "additionalProperties": False}
    seen: list[Any] = []
    tool = Tool("sort", "", schema, lambda all: seen.append(all), on_unsupported="check")
    agent = Agent(
        make_runtime("tools"),
        [tool],
        sampling=Sampling(temperature=1.0, seed=seed),
        limits=Limits(max_steps=1),
        policy=Policy(max_calls=2, repeat_calls=True),
    )
    (step,) = agent.run_sync("go", tool_choice="required").steps
    assert seen and all(sorted(each) == [1, 2, 3] for each in seen) and step.outcome == "calls"
    assert step.tokens.retried >= 0 and step.tokens.generated >= 1


def test_a_check_that_nothing_meets_is_an_invalid_call(make_runtime: MakeRuntime) -> None:
    never = {"type": "integer", "minimum": 1, "maximum": 3, "not": {"enum": [1, 2, 3]}}
    schema = {"type": "object", "properties": {"n": never}, "required": ["n"], "additionalProperties": False}
    seen: list[Any] = []
    tool = Tool("count", "", schema, lambda n: seen.append(n), on_unsupported="check")
    agent = Agent(make_runtime(), [tool], policy=Policy(max_calls=1), sampling=Sampling(temperature=1.0, seed=0))
    result = agent.run_sync("go", tool_choice="required")
    assert [step.outcome for step in result.steps] == ["invalid"] * 3 and result.stop_reason == "invalid" and not seen
    assert all(".n" in step.error and step.tokens.retried for step in result.steps)


def test_an_answer_that_its_type_refuses_is_written_again(play: Play) -> None:
    runtime = play(['{"n":3}', '{"n":4}'])
    result = Agent(runtime, output_type=Even).run_sync("an even number")
    assert [(step.outcome, step.decided_by) for step in result.steps] == [("invalid", "router"), ("text", "repair")]
    assert "must be even" in result.steps[0].error and result.steps[0].error.startswith("$.n")
    assert result.value == Even(n=4) and result.output == '{"n":4}'
    assert "must be even" in heard(runtime)[1]
    assert [m.content for m in result.messages] == ["an even number", '{"n":4}']


def test_an_answer_that_stays_invalid_ends_the_run(play: Play) -> None:
    result = Agent(play(['{"n":3}', '{"n":5}', '{"n":7}']), output_type=Even).run_sync("an even number")
    assert (result.stop_reason, result.value, result.output) == ("invalid", None, '{"n":7}')


def test_a_repair_after_a_tool_still_has_the_cue(play: Play) -> None:
    tool, _ = book()
    runtime = play([GOOD, '{"n":3}', '{"n":4}'], "tools")
    runtime.base.prompting = replace(SMALL, answer_form=True)
    result = Agent(runtime, [tool], output_type=Even).run_sync("book it")
    told = heard(runtime)
    assert result.value == Even(n=4)
    assert "using the result above" in told[1] and "using the result above" in told[2]
    assert "Answer with JSON" in told[1]


def test_an_answer_after_a_dropped_branch_still_has_the_cue(play: Play) -> None:
    """The skill finds nothing more to call; what the base reads then is the tool's result, as if it had been routed."""
    tool, _ = book()
    runtime = play([GOOD, "[]", "booked"], "tools")
    runtime.base.prompting = SMALL
    policy = Policy(decide=lambda facts: "tools" if "tools" in facts.open else "none")
    result = Agent(runtime, [tool], policy=policy).run_sync("book it")
    assert [step.outcome for step in result.steps] == ["calls", "no_call", "text"]
    cued = ["using the result above" in told for told in heard(runtime)]
    assert cued == [False, False, True]


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        (BAD, Facts(repairs=1), ("invalid", False, None, False, True)),
        (BAD, Facts(), ("invalid", False, None, True, False)),
        (BAD, Facts(required=True), ("invalid", False, "invalid", False, False)),
        (GOOD, Facts(least=2), ("invalid", False, None, True, False)),
        ('[{"name":"bok","arguments":{}}]', Facts(repairs=1), ("invalid", False, None, False, True)),
        ("no JSON", Facts(repairs=1), ("invalid", False, None, False, True)),
        (GOOD, Facts(required=True, least=1), ("calls", True, None, False, False)),
    ],
)
def test_the_table_of_invalid_calls(text: str, facts: Facts, expected: tuple[Any, ...]) -> None:
    import dataclasses

    outcome = outcome_of("calls", text, dataclasses.replace(facts, tools=(book()[0],)))
    assert (outcome.name, outcome.keep, outcome.stop, outcome.mask, outcome.again) == expected
    assert bool(outcome.error) == (outcome.name == "invalid")


def test_what_is_told_of_an_error_is_short(play: Play) -> None:
    tool, _ = book()
    long = '[{"name":"book","arguments":{"day":"' + "".join(map(str, range(150))) + '"}}]'
    result = Agent(play([*loose(long), GOOD, "Booked."], "tools"), [tool]).run_sync("book it")
    assert result.steps[0].outcome == "invalid" and len(result.steps[0].error) < 450


@pytest.mark.parametrize("seed", range(4))
def test_the_last_repair_is_decoded_under_the_schema(make_runtime: MakeRuntime, seed: int) -> None:
    tool, seen = book()
    agent = Agent(
        make_runtime(),
        [tool],
        sampling=Sampling(temperature=1.0, seed=seed),
        limits=Limits(step_tokens=2000, run_tokens=9000, max_steps=3),
        policy=Policy(max_calls=1),
    )
    steps = agent.run_sync("book it", tool_choice="required").steps
    assert [step.outcome for step in steps[:3]] == ["invalid", "invalid", "calls"] and len(seen) == 1


LONG = Limits(step_tokens=2000, run_tokens=30_000, max_steps=9)


def test_a_greedy_try_that_changes_nothing_is_followed_by_the_last(make_runtime: MakeRuntime) -> None:
    tool, seen = book()
    agent = Agent(make_runtime(), [tool], policy=Policy(max_calls=1, repairs=7), limits=LONG)
    steps = agent.run_sync("book it", tool_choice="required").steps
    tries = [step for step in steps if step.skill == "tools"]
    assert tries[-1].outcome == "calls" and len(seen) == 1
    for earlier, later in itertools.pairwise(tries):
        assert earlier.text != later.text or later is tries[-2]
