"""Traces: what is in them, that they read back as they were, and what may be left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base.messages import ROLES, Message
from loraloop.agent import Agent, Guard, Hook, Limits, Policy, Sampling, Thresholds
from loraloop.agent.events import EVENTS, StepFinished
from loraloop.agent.tracing.redact import LEFT_OUT
from loraloop.agent.tracing.replay_settings import policy_of
from loraloop.agent.tracing.schema import trace_schema
from loraloop.agent.tracing.trace import SCHEMA, EventRecord, RunEnd, Trace
from loraloop.agent.tracing.tracer import GIVEN_UP, Tracer
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.step import Compaction, RouteRecord, Step, Tokens, Weighed
from loraloop.router import Router
from loraloop.testing import ScriptedRuntime, answer, calls, text, verdict
from loraloop.tool_schemas.errors import ContextLengthError, HookError, InputError
from loraloop.tool_schemas.tools.calls import Call


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def traced(*steps: Any, prompt: str = "How is Oslo?", tracer: Tracer | None = None, **options: Any) -> Trace:
    """The trace of a run that writes these steps."""
    tracer = tracer or Tracer()
    runtime = ScriptedRuntime(*(steps or (calls(weather={"city": "Oslo"}), "It is sunny.")))
    Agent(runtime, [weather], hooks=[tracer]).run_sync(prompt, **options)
    return tracer.last


def test_a_trace_says_what_ran_and_what_happened() -> None:
    tracer = Tracer()
    runtime = ScriptedRuntime(calls(weather={"city": "Oslo"}), "It is sunny.")
    policy, limits = Policy(max_calls=2, decide=lambda facts: None), Limits(max_steps=5)
    agent = Agent(runtime, [weather], "Be brief.", policy=policy, limits=limits, hooks=[tracer], output_type=str)
    result = agent.run_sync("How is Oslo?", passages=["Oslo is cold."])
    trace = tracer.last
    assert (trace.schema, trace.run_id, trace.prompt) == (SCHEMA, result.run_id, "How is Oslo?")
    used = trace.runtime
    assert used.base.name == "scripted" and used.base.architecture == runtime.base.fingerprints.architecture
    assert [skill.name for skill in used.skills] == list(runtime.skills) and used.router.kind == "FollowingRouter"
    assert trace.tools[0].parameters["properties"]["city"] == {"type": "string"}
    assert trace.settings.policy["max_calls"] == 2 and trace.settings.limits["max_steps"] == 5
    assert "lambda" in trace.settings.policy["decide"]["function"]
    assert [message.role for message in trace.messages] == ["system", "user"] and trace.passages[0].id == "1"
    assert trace.steps == result.steps and trace.end is not None and trace.end.messages == result.messages
    assert [event.type for event in trace.events if event.step == 0] == [
        "Screened", "Routed", "SkillActivated", "ToolCallStarted", "ToolCallFinished", "StepFinished"
    ]  # fmt: skip
    times = [event.at for event in trace.events]
    assert times == sorted(times) and times[-1] <= trace.end.ms + 1000
    assert used.versions["python"] and used.machine["cores"] and trace.started.endswith("+00:00")


def test_skills_and_routers_are_named_by_their_weights(make_runtime: Callable[..., Any]) -> None:
    from loraloop.agent.tracing.provenance import router_used, runtime_used

    router = Router.load()
    router_record = router_used(router)
    assert len(router_record.sha256) == 64 and router_used(Router.load()) == router_record
    assert router_used(router.with_threshold(0.3)).sha256 != router_record.sha256
    assert {used.method for used in runtime_used(make_runtime()).skills} == {"lora"}


def test_what_was_drawn_as_a_seed_is_told() -> None:
    tracer = Tracer()
    agent = Agent(ScriptedRuntime("a", "b", "c"), sampling=Sampling(temperature=1.0), hooks=[tracer])
    agent.run_sync("one")
    agent.run_sync("two")
    seeds = [trace.settings.sampling["seed"] for trace in tracer.traces]
    assert all(isinstance(seed, int) for seed in seeds) and seeds[0] != seeds[1]
    Agent(agent.runtime, hooks=[tracer]).run_sync("three")
    assert tracer.last.settings.sampling["seed"] is None  # greedy: nothing is drawn


def test_a_drawn_seed_gives_the_same_draws_again() -> None:
    import torch

    from loraloop.agent.engine.sampler import Sampler

    logits = torch.zeros(1000)
    drawn = Sampler(Sampling(temperature=1.0))
    first = [drawn.pick(logits) for _ in range(20)]
    again = Sampler(Sampling(temperature=1.0, seed=drawn.seed))
    assert [again.pick(logits) for _ in range(20)] == first and len(set(first)) > 1


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
messages = st.builds(Message, st.sampled_from(ROLES), names)
records = st.builds(
    CallRecord, names, st.dictionaries(names, data, max_size=3), data, st.none() | names, st.floats(0, 1e6),
    st.booleans(), st.integers(0, 9), names, st.booleans(),
)  # fmt: skip
pairs = st.lists(st.tuples(names, st.floats(0, 1)), max_size=2).map(tuple)
routes = st.builds(
    RouteRecord, st.floats(0, 1), names, st.booleans(), pairs, st.lists(names, max_size=2).map(tuple),
)  # fmt: skip
steps = st.builds(
    Step, index=st.integers(0, 9), skill=names, decided_by=names, route=routes, outcome=names, kept=st.booleans(),
    text=names, calls=st.lists(records, max_size=2).map(tuple), tokens=st.builds(Tokens, *[st.integers(0, 99)] * 6),
    ms=st.dictionaries(names, st.floats(0, 1e6), max_size=3), error=names,
    weighed=st.none() | st.builds(Weighed, names, st.floats(0, 1), st.none() | st.floats(0, 1)),
)  # fmt: skip
ends = st.builds(
    RunEnd, names, st.sampled_from(["answer", "refused", "cancelled"]), st.lists(messages, max_size=2).map(tuple),
    st.lists(st.builds(Call, names, st.dictionaries(names, data, max_size=2)), max_size=2).map(tuple),
    st.lists(names, max_size=2).map(tuple), names, data,
    st.lists(st.builds(Compaction, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
                       st.lists(messages, max_size=1).map(tuple), st.lists(messages, max_size=1).map(tuple)),
             max_size=1).map(tuple),
    st.floats(0, 1e9),
)  # fmt: skip
happenings = st.builds(
    EventRecord, st.floats(0, 1e6), names, st.none() | st.integers(0, 9), st.dictionaries(names, data, max_size=3)
)
MADE = traced()
FITS = jsonschema.Draft202012Validator(trace_schema()).validate


@settings(max_examples=40, deadline=None)
@given(
    run=st.lists(steps, max_size=3).map(tuple), end=st.none() | ends, events=st.lists(happenings, max_size=2).map(tuple)
)
def test_a_trace_reads_back_as_it_was(
    run: tuple[Step, ...], end: RunEnd | None, events: tuple[EventRecord, ...]
) -> None:
    trace = replace(MADE, steps=run, end=end, events=events, error="" if end else "gone")
    assert Trace.from_json(trace.to_json()) == trace
    assert Trace.from_json(trace.to_json(indent=1)) == trace
    FITS(json.loads(trace.to_json()))


@pytest.mark.parametrize("threshold", ["ask", "ask_user"])
def test_the_fields_of_an_old_policy_have_their_new_names_or_are_gone(threshold: str) -> None:
    policy = Policy(needs_approval="weather", thresholds=Thresholds(no_call=0.25))
    data = traced("Hi.", policy=policy).to_dict()
    old = data["settings"]["policy"]
    old["ask"], old["thresholds"][threshold] = old.pop("needs_approval"), 0.75
    trace = Trace.from_dict(data)
    read = trace.settings.policy
    assert read["needs_approval"] == ["weather"] and "ask" not in read
    assert read["thresholds"] == {"no_call": 0.25, "no_answer": None}
    assert policy_of(trace).thresholds == policy.thresholds


def test_what_is_no_trace_is_refused_and_says_why(tmp_path: Path) -> None:
    data = MADE.to_dict()
    with pytest.raises(InputError, match=r"'loraloop.trace/3'.*reads 'loraloop.trace/2'"):
        Trace.from_dict({**data, "schema": "loraloop.trace/3"})
    with pytest.raises(InputError, match="not a trace: its schema is None"):
        Trace.from_dict({"messages": []})
    with pytest.raises(InputError, match=r"damaged at \$\.steps\[0\]\.route\.probability"):
        Trace.from_dict({**data, "steps": [{**data["steps"][0], "route": {"probability": "likely"}}]})
    with pytest.raises(InputError, match=r"damaged at \$\.prompt: Field required"):
        Trace.from_dict({name: value for name, value in data.items() if name != "prompt"})
    assert Trace.from_dict({**data, "later": 1}) == MADE  # what a later version may add
    (tmp_path / "cut.json").write_text(MADE.to_json()[:100])
    with pytest.raises(InputError, match=r"cut\.json: not a trace: invalid JSON"):
        Trace.load(tmp_path / "cut.json")
    with pytest.raises(InputError, match="cannot read the trace"):
        Trace.load(tmp_path / "absent.json")


def test_files_are_written_whole_and_one_a_run_into_a_folder(tmp_path: Path) -> None:
    one = traced(tracer=Tracer(tmp_path / "last.json"))
    assert Trace.load(tmp_path / "last.json") == one
    tracer = Tracer(tmp_path / "all", keep=0)
    runtime = ScriptedRuntime("a", "b")
    ids = [Agent(runtime, hooks=[tracer]).run_sync("hi").run_id for _ in range(2)]
    assert {path.stem for path in (tmp_path / "all").iterdir()} == set(ids) and tracer.traces == ()
    with pytest.raises(InputError, match="no trace yet"):
        _ = tracer.last


def test_a_file_that_cannot_be_written_is_a_failed_hook(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "file" / "under.json")
    (tmp_path / "file").rmdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write traces to .*under\.json.*: give another place"):
        Tracer(tmp_path / "file" / "under.json")
    agent = Agent(ScriptedRuntime("a", "b"), hooks=[tracer])
    failed = [event for event in agent.stream("hi") if event.type == "HookFailed"]
    assert [event.event for event in failed] == ["RunFinished"]
    with pytest.raises(HookError, match="TraceOfRun failed at RunFinished"):
        Agent(agent.runtime, hooks=[Hook(tracer, fatal=True)]).run_sync("hi")


SECRET = "sk-1234"


def secret_run(tracer: Tracer) -> Trace:
    def lookup(key: str) -> dict[str, str]:
        """Look a key up."""
        if key == "bad":
            raise ValueError(f"{SECRET} is bad")
        return {"found": SECRET}

    lookups = calls(("lookup", {"key": SECRET}), ("lookup", {"key": "bad"}))
    agent = Agent(ScriptedRuntime(lookups, f"It is {SECRET}."), [lookup], f"Know {SECRET}.", hooks=[tracer])
    agent.run_sync(f"What is {SECRET}?", passages=[{"id": "1", "text": SECRET, "title": SECRET, "source": SECRET}])
    return tracer.last


def test_contents_can_be_left_out_or_masked() -> None:
    whole = secret_run(Tracer())
    assert whole.to_json().count(SECRET) > 10 and whole.steps[0].tokens.spans
    empty = secret_run(Tracer(content=False))
    assert SECRET not in empty.to_json() and empty.content == "none"
    assert [call.name for call in empty.steps[0].calls] == ["lookup", "lookup"] and empty.steps[0].tokens.generated
    assert [call.error for call in empty.steps[0].calls] == [None, LEFT_OUT]
    assert empty.events[0].data["tools"] == ["lookup"] and empty.steps[0].route.runners_up
    masked = secret_run(Tracer(mask=lambda text: text.replace(SECRET, "•••")))
    assert SECRET not in masked.to_json() and masked.content == "masked"
    assert masked.steps[0].calls[0].arguments == {"key": "•••"} and masked.prompt == "What is •••?"
    for trace in (empty, masked):
        assert Trace.from_json(trace.to_json()) == trace
        FITS(trace.to_dict())
        assert trace.steps[0].tokens.forced and not trace.steps[0].tokens.spans, "places in a text that is another now"
    with pytest.raises(InputError, match="give one"):
        Tracer(content=False, mask=str.upper)


def test_runs_that_fail_or_are_given_up_leave_a_trace() -> None:
    tracer = Tracer()
    runtime = ScriptedRuntime(calls(weather={"city": "Oslo"}), "never", context=400)
    agent = Agent(runtime, [weather], hooks=[tracer])
    stream = agent.stream("How is Oslo?")
    for event in stream:
        if isinstance(event, StepFinished):
            stream.close()
    trace = tracer.last
    assert trace.end is None and trace.error == GIVEN_UP and [step.skill for step in trace.steps] == ["tools"]
    with pytest.raises(ContextLengthError):
        agent.run_sync("x" * 500)
    assert tracer.last.error.startswith("ContextLengthError: ") and not tracer.last.steps
    assert Trace.from_json(tracer.last.to_json()) == tracer.last


def test_the_events_of_refusals_and_of_steps_that_wait_are_in_a_trace() -> None:
    tracer = Tracer()
    runtime = ScriptedRuntime(verdict("crime"), answer("Ada.", ["1"]), text("[]", "tools"), "Which city?")
    agent = Agent(runtime, [weather], hooks=[tracer])
    agent.run_sync("bad?")
    seen = {event.type for event in tracer.last.events}
    agent.run_sync("Who?", passages=["Ada wrote it."])
    assert tracer.last.end is not None and tracer.last.end.citations == ("1",)
    with agent.iter("How is it?") as pending:
        for each in pending:
            each.tell("hm")
    seen |= {event.type for event in tracer.last.events}
    runtime.say(calls(weather={"city": "Oslo"}), "I cannot say.")
    agent.run_sync("How is Oslo?", guard=Guard(allow=["weather"]), policy=Policy(needs_approval="weather"), passages=[])
    seen |= {event.type for event in tracer.last.events}
    agent.run_sync("How is Oslo?", guard=Guard(allow=[]))
    seen |= {event.type for event in tracer.last.events}
    assert seen == {event.__name__ for event in EVENTS} - {
        "TokenGenerated", "HookFailed", "Compacted", "ToolCallStarted", "ToolCallFinished", "Ungrounded",
        "AnswerFlawed",
    }  # fmt: skip
