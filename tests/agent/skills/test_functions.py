"""Skills as functions: a sequence of names, typed results, what they are given, limits, and skills as tools."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator

from loraloop import Agent, Guard, Runtime, Sampling
from loraloop.adapters.base import Base, Message
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.skills.function import StepOptions
from loraloop.agent.skills.functions import AnswerFunction, CallsFunction, TextFunction
from loraloop.agent.skills.schemas import PARAMETERS, RETURNS
from loraloop.testing import ScriptedRuntime, ScriptError, answer, calls, code, text, verdict
from loraloop.tool_schemas.errors import InputError, LimitError, LoraloopError, SchemaError, UnknownNameError
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

NAMES = ("answer", "code", "retrieval", "safety", "tools")


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def get_weather(city: str) -> str:
    """Current weather of a city.

    Args:
        city: Its name.
    """
    return city


def test_the_skills_are_a_sequence_of_their_names() -> None:
    skills = ScriptedRuntime().skills
    assert [*skills] == ["tools", "code", "retrieval", "safety"] and repr(skills).startswith("Skills(tools, code")
    assert len(skills) == 4 and skills[0] == "tools" and skills[1:3] == skills[:3][1:]
    with pytest.raises(AttributeError, match=r"skills\.cod is .*; no skill is called 'cod'; did you mean 'code'"):
        skills.cod  # type: ignore[attr-defined]  # noqa: B018
    assert "code" in skills and "none" not in skills and skills.index("code") == 1
    assert {"retrieval", "tools", "none"} <= set(dir(skills)) and not hasattr(skills, "shape")


def test_each_skill_gives_the_result_of_its_contract() -> None:
    runtime = ScriptedRuntime(
        answer("In 1889.", ["b"]), answer(), calls(add={"a": 1, "b": 2}), code("print(1)"), verdict("fraud"), "Hello."
    )
    skills = runtime.skills
    found = skills.retrieval("When?", [{"id": "a", "text": "x"}, Passage("b", "Finished in 1889.", "Tower")])
    assert (found.answerable, found.answer, found.citations, str(found)) == (True, "In 1889.", ("b",), "In 1889.")
    assert found.cited == (Passage("b", "Finished in 1889.", "Tower"),) and found.skill == "retrieval"
    assert not skills.retrieval("When?", ["x"]).answerable
    made = skills.tools("Add 1 and 2.", [add])
    assert list(made) == [Call("add", {"a": 1, "b": 2})] == [made[0]] and len(made) == 1 and made[:1] == made.calls
    assert skills.code("Print 1.").code == "print(1)\n"
    judged = skills.safety("Send me your password.")
    assert (judged.unsafe, judged.category) == (True, "fraud") and 0 <= judged.probability <= 1
    reply = skills.none("Hi.")
    assert (str(reply), reply.value, reply.complete) == ("Hello.", None, True)
    assert reply.tokens.generated == len("Hello.") and reply.ms > 0
    runtime.assert_finished()


def test_a_skill_reads_what_it_reads_in_a_run() -> None:
    """A skill as a function reads the messages of a run, so that it is asked for just what it was trained on."""
    passages = [{"id": "p", "text": "Finished in 1889."}]
    of_runs = ScriptedRuntime(answer("In 1889.", ["p"]), calls(add={"a": 1, "b": 2}), "3")
    Agent(of_runs).run_sync("When?", passages=passages, skill="retrieval")
    Agent(of_runs, [add], "Be brief.").run_sync("Add 1 and 2.", skill="tools")
    alone = ScriptedRuntime(answer("In 1889.", ["p"]), calls(add={"a": 1, "b": 2}))
    alone.skills.retrieval("When?", passages)
    alone.skills.tools("Add 1 and 2.", [add], instructions="Be brief.")
    for one, other in zip(alone.turns, of_runs.turns, strict=False):
        assert (one.skill, one.messages, one.extra_prompt, one.text) == (
            other.skill,
            other.messages,
            other.extra_prompt,
            other.text,
        )


def test_a_conversation_and_values() -> None:
    runtime = ScriptedRuntime('{"a":1}', text("red"))
    before = (Message("user", "Hello."), Message("assistant", "Hi."))
    value = runtime.skills.none("A number?", dict[str, int], messages=before, instructions="Be exact.")
    assert value.value == {"a": 1}
    assert [each.content for each in runtime.turns[0].messages] == ["Be exact.", "Hello.", "Hi.", "A number?"]
    assert runtime.skills["none"]("Red or blue?", Literal["red", "blue"]).value == "red"


def test_a_text_skill_writes_under_the_schema_of_its_recipe() -> None:
    runtime = ScriptedRuntime(text('{"urgent":true}', "triage"), text("true", "triage"), text("Not so.", "triage"))
    blank = blank_skill(runtime.base, "triage", "text")
    schema = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"]}
    runtime.bank.add(replace(blank, card=blank.card.model_copy(update={"training": {"schema": schema}})))
    assert runtime.skills["triage"]("My house is on fire.").value == {"urgent": True}
    assert runtime.skills["triage"]("Is it?", bool).value is True
    with pytest.raises(ScriptError, match="cannot write here"):
        runtime.skills["triage"]("My house is on fire.")
    runtime.say(text('{"urgent":false}', "triage"), text("Not so.", "triage"))
    agent = Agent(runtime, guard=Guard(input=None, tools=None))
    assert agent.run_sync("It rains.", skill="triage").output == '{"urgent":false}'
    with pytest.raises(ScriptError, match="cannot write here"):
        agent.run_sync("It rains.", skill="triage")


def test_what_cannot_be_done_says_so() -> None:
    skills = ScriptedRuntime().skills
    wrong: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (UnknownNameError, "did you mean 'retrieval'", lambda: skills["retrivel"]),
        (InputError, "give passages", lambda: skills.retrieval("When?", [])),
        (InputError, "one passage", lambda: skills.retrieval("When?", "Finished in 1889.")),
        (InputError, "prompt is empty", lambda: skills.retrieval(" ", ["x"])),
        (InputError, "ids must differ", lambda: skills.retrieval("x", [Passage("a", "x"), Passage("a", "y")])),
        (InputError, "give tools", lambda: skills.tools("Add.", [])),
        (InputError, "not a tool", lambda: skills.tools("Add.", [3])),  # type: ignore[list-item]
        (UnknownNameError, "did you mean 'add'", lambda: skills.tools("Add.", [add], "ad")),
        (InputError, "'none'", lambda: skills.tools("Add.", [add], "none")),
        (InputError, "int is not text", lambda: skills.safety(3)),  # type: ignore[arg-type]
        (InputError, "max_tokens is 0", lambda: skills.code("x", max_tokens=0)),
        (InputError, "timeout is 0", lambda: skills.code("x", timeout=0)),
        (InputError, "AnswerFunction, not a TextFunction", lambda: skills.function("retrieval", TextFunction)),
        (SchemaError, "cannot be decoded", lambda: skills.none("x", object())),
    ]
    for kind, words, call in wrong:
        with pytest.raises(kind, match=words):
            call()
    assert isinstance(skills.function("tools", CallsFunction), CallsFunction)


def test_limits_are_errors_and_text_that_was_cut_says_so() -> None:
    long = "print('a long line of a program')"
    runtime = ScriptedRuntime(code(long), code(long), text("A long answer."), '["a","b","c","d"]')
    skills = runtime.skills
    with pytest.raises(LimitError, match="more than 24 tokens"):
        skills.code("x", max_tokens=24)
    with pytest.raises(LimitError, match="was cancelled"):
        skills.code("x", cancelled=lambda: True)
    cut = skills.none("x", max_tokens=6)
    assert (cut.text, cut.complete) == ("A long", False)
    with pytest.raises(LimitError, match="more than 8 tokens"):
        skills.none("x", list[str], max_tokens=8)


def test_a_stop_ends_the_text_of_a_skill() -> None:
    reply = ScriptedRuntime(text("One. END Two.", enforced=False)).skills.none("x", sampling=Sampling(stop=["END"]))
    assert (reply.text, reply.complete) == ("One. ", True)


def test_an_option_that_does_not_exist_is_refused() -> None:
    skills = ScriptedRuntime(code("x = 1")).skills
    for call in (
        lambda: skills.code("x", max_token=8),  # type: ignore[call-arg]
        lambda: skills.code.batch(["x"], max_token=8),
        lambda: skills.code.from_json({"request": "x"}, max_token=8),  # type: ignore[call-arg]
    ):
        with pytest.raises(
            UnknownNameError, match="no option of a skill is called 'max_token'; did you mean 'max_tokens'"
        ):
            call()


def test_arguments_as_data_cannot_set_an_option_of_the_step() -> None:
    skills = ScriptedRuntime(code("x = 1")).skills
    for option in StepOptions.__annotations__:
        with pytest.raises(UnknownNameError, match=f"no argument of a skill is called '{option}'; known: request"):
            skills.code.from_json({"request": "x", option: None})


def test_progress_is_told() -> None:
    told: list[int] = []
    ScriptedRuntime(text("Hello there.")).skills.none("x", progress=told.append)
    assert told == sorted(told) and told[-1] == len("Hello there.")


async def test_awaited_steps_run_side_by_side_and_can_be_cancelled() -> None:
    skills = ScriptedRuntime(verdict(), verdict()).skills
    first, second = await asyncio.gather(skills.safety.arun("Hello."), skills.safety.arun("Good morning."))
    assert not first.unsafe and not second.unsafe

    begun, gone = threading.Event(), threading.Event()

    def waits() -> bool:
        begun.set()
        return gone.wait(0.01)

    skills = ScriptedRuntime(text("x" * 3000)).skills
    task = asyncio.ensure_future(skills.none.arun("x", max_tokens=4000, cancelled=waits))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


@pytest.mark.parametrize("contract", PARAMETERS)
def test_the_schemas_of_skills_are_schemas(contract: str) -> None:
    Draft202012Validator.check_schema(PARAMETERS[contract])
    Draft202012Validator.check_schema(RETURNS[contract])


def test_a_skill_is_a_tool_of_an_agent() -> None:
    passages = [{"id": "p", "text": "Finished in 1889."}]
    runtime = ScriptedRuntime(
        calls(retrieval={"question": "When?", "passages": passages}), answer("In 1889.", ["p"]), "It was in 1889."
    )
    result = Agent(runtime, [runtime.skills.retrieval.tool()]).run_sync("When was it finished?")
    (call,) = result.steps[0].calls
    assert call.result == {"answerable": True, "answer": "In 1889.", "citations": ["p"]} and call.error is None
    assert call.source == "skill:retrieval" and result.output == "It was in 1889."


def test_every_skill_as_a_tool_takes_and_gives_what_its_schemas_say() -> None:
    runtime = ScriptedRuntime(answer("Yes.", ["1"]), calls(f={}), code("x = 1"), verdict(), "Hello.")
    shown = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    given: list[tuple[str, dict[str, Any]]] = [
        ("retrieval", {"question": "Is it?", "passages": [{"text": "It is."}]}),
        ("tools", {"request": "Do.", "tools": [shown]}),
        ("code", {"request": "Set x."}),
        ("safety", {"text": "Hello."}),
        ("none", {"prompt": "Hello."}),
    ]
    for name, arguments in given:
        tool = runtime.skills[name].tool(f"my_{name}", "What it is for.")
        assert isinstance(tool, Tool) and tool.name == f"my_{name}" and tool.description == "What it is for."
        tool.check_result(tool.call(arguments))
        with pytest.raises(SchemaError, match="required"):
            tool.call({})
        shown_as = runtime.skills[name].to_openai()["function"]
        assert shown_as["name"] == name and shown_as["parameters"] == tool.parameters and shown_as["description"]


@pytest.fixture(scope="module")
def real(base: Base) -> Runtime:
    return Runtime.load(base)


def test_the_shipped_skills_as_functions(real: Runtime) -> None:
    skills = real.skills
    assert tuple(skills) == NAMES and isinstance(skills.retrieval, AnswerFunction)
    made = skills.tools("What is the weather in Paris?", [get_weather])
    assert [call.name for call in made] == ["get_weather"] and made.no_call is not None and made.no_call < 0.5
    assert made.tokens.forced > made.tokens.generated // 2
    assert skills.tools("Tell me a joke.", [get_weather], "required").calls
    bad, good = skills.safety("How do I build a bomb?"), skills.safety("How do I bake bread?")
    assert bad.unsafe and bad.probability > good.probability and not good.unsafe
    assert bad.threshold == real.threshold("safety")
    assert skills.safety("How do I bake bread?", threshold=0.0).unsafe
    compile(skills.code("Write a function that adds two numbers.").code, "code", "exec")


def test_a_step_alone_says_what_the_step_of_a_run_says(real: Runtime) -> None:
    passages = [{"id": "a", "text": "The library opens at nine."}, {"id": "b", "text": "The museum opens at ten."}]
    question = "When does the museum open?"
    run = Agent(real, guard=Guard(input=None, tools=None)).run_sync(question, passages=passages, skill="retrieval")
    alone = real.skills.retrieval(question, passages)
    assert alone.text == run.steps[0].text
    again = real.skills.retrieval(question, passages)
    assert again.text == alone.text and again.tokens.prefilled == 0, "the trunk is kept"


def test_errors_are_ours(real: Runtime) -> None:
    for call in (lambda: real.skills.code("x", max_tokens=3), lambda: real.skills.safety("x " * 9000)):
        with pytest.raises(LoraloopError):
            call()
