"""loraloop as a model of pydantic-ai: real agents on scripted steps for what goes in and out, and on the real base."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    BinaryContent,
    ImageUrl,
    ModelAPIError,
    ModelRetry,
    NativeOutput,
    PromptedOutput,
    RunUsage,
    ToolOutput,
    UserError,
)
from pydantic_ai import ModelSettings as Settings
from pydantic_ai.exceptions import ContentFilterError, ModelContextWindowExceededError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters, override_allow_model_requests
from pydantic_ai.settings import ToolOrOutput
from pydantic_ai.tools import ToolDefinition

from loraloop import Guard, Policy, Runtime
from loraloop.adapters.base import Base
from loraloop.integrations.pydantic_ai import LoraloopModel, LoraloopModelSettings
from loraloop.testing import ScriptedRuntime, calls, text, verdict
from loraloop.tool_schemas.errors import InputError


class City(BaseModel):
    name: str
    country: Literal["France", "Italy"]


PARIS = '{"name":"Paris","country":"France"}'


def agent_of(runtime: Runtime, **options: Any) -> Agent[None, Any]:
    made: Agent[None, Any] = Agent(LoraloopModel(runtime), **options)

    @made.tool_plain
    def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, Any]:
        """Current weather of a city.

        Args:
            city: Its name.
            unit: Temperature unit.
        """
        return {"city": city, "temperature": 18, "unit": unit}

    return made


def last_response(messages: list[ModelMessage]) -> ModelResponse:
    last = messages[-1]
    assert isinstance(last, ModelResponse)
    return last


def test_a_loop_of_tools() -> None:
    runtime = ScriptedRuntime(calls(get_weather={"city": "Paris"}), "It is 18 degrees.")
    result = agent_of(runtime, instructions="Be brief.").run_sync("What is the weather in Paris?")
    assert result.output == "It is 18 degrees."
    first, second = (turn.messages for turn in runtime.turns)
    assert first[0].content.startswith("Be brief.\n\n# Tools\n") and "- city: string - Its name." in first[0].content
    assert [(each.role, each.content) for each in second[1:]] == [
        ("user", "What is the weather in Paris?"),
        ("assistant", '[{"name":"get_weather","arguments":{"city":"Paris"}}]'),
        ("tool", '{"name":"get_weather","result":{"city":"Paris","temperature":18,"unit":"celsius"}}'),
    ]
    call, last = (each for each in result.all_messages() if isinstance(each, ModelResponse))
    assert (call.finish_reason, last.finish_reason) == ("tool_call", "stop")
    assert last.model_name == "scripted" and last.provider_name == "loraloop"
    details = last.provider_details
    assert details is not None and details["steps"] == [{"skill": "none", "outcome": "text"}]
    assert last.usage.cache_read_tokens > 0, "what the call's request read is not read again"
    usage: RunUsage = result.usage
    assert usage.requests == 2 and usage.output_tokens > len(result.output) and usage.input_tokens > 0


def test_a_history_goes_on() -> None:
    runtime = ScriptedRuntime("Hello.", "Your name is Ann.")
    agent: Agent[None, str] = Agent(LoraloopModel(runtime), system_prompt="Be kind.")
    first = agent.run_sync("I am Ann.")
    agent.run_sync("Who am I?", message_history=first.all_messages())
    assert [(each.role, each.content) for each in runtime.turns[1].messages] == [
        ("system", "Be kind."),
        ("user", "I am Ann."),
        ("assistant", "Hello."),
        ("user", "Who am I?"),
    ]


@pytest.mark.parametrize("output", [City, NativeOutput(City), PromptedOutput(City)])
def test_structured_output_is_written_by_the_base_under_its_schema(output: Any) -> None:
    runtime = ScriptedRuntime(PARIS)
    agent: Agent[None, City] = Agent(LoraloopModel(runtime), output_type=output)
    assert agent.run_sync("Where?").output == City(name="Paris", country="France")
    wrong: Agent[None, City] = Agent(LoraloopModel(ScriptedRuntime("Paris is nice.")), output_type=output)
    with pytest.raises(AssertionError, match="cannot write here"):
        wrong.run_sync("Where?")


def test_structured_output_beside_tools() -> None:
    runtime = ScriptedRuntime(calls(get_weather={"city": "Paris"}), PARIS)
    assert agent_of(runtime, output_type=City).run_sync("Where?").output.country == "France"


def test_output_tools_are_called_by_the_tools_skill() -> None:
    runtime = ScriptedRuntime(
        calls(get_weather={"city": "Paris"}), calls(final_result={"name": "Paris", "country": "France"})
    )
    result = agent_of(runtime, output_type=ToolOutput(City)).run_sync("Where?")
    assert result.output == City(name="Paris", country="France")
    with pytest.raises(AssertionError, match="cannot write here"):
        agent_of(ScriptedRuntime(calls()), output_type=ToolOutput(City)).run_sync("Where?")


def test_a_tool_asks_for_another_try_and_the_same_call_may_be_made() -> None:
    runtime = ScriptedRuntime(calls(reserve={"table": 2}), calls(reserve={"table": 2}), "Done.")
    agent: Agent[None, str] = Agent(LoraloopModel(runtime))
    tries: list[int] = []

    @agent.tool_plain(retries=2)
    def reserve(table: int) -> str:
        tries.append(table)
        if len(tries) == 1:
            raise ModelRetry("the line was busy")
        return "reserved"

    assert agent.run_sync("Reserve table 2.").output == "Done." and tries == [2, 2]
    assert runtime.turns[1].messages[-1].content == '{"name":"reserve","retry":"the line was busy"}'
    assert runtime.turns[1].skill == "tools"


def test_an_output_that_is_refused_is_told() -> None:
    runtime = ScriptedRuntime(PARIS, '{"name":"Rome","country":"Italy"}')
    agent: Agent[None, City] = Agent(LoraloopModel(runtime), output_type=City, retries=1)

    @agent.output_validator
    def italian(city: City) -> City:
        if city.country != "Italy":
            raise ModelRetry("it has to be in Italy")
        return city

    assert agent.run_sync("Where?").output.name == "Rome"
    told = runtime.turns[1].messages
    assert told[-2].content == PARIS and told[-1].role == "user" and "it has to be in Italy" in told[-1].content


async def ask(runtime: Runtime, settings: Settings | None = None, **fields: Any) -> ModelResponse:
    """One request, without an agent."""
    messages: list[ModelMessage] = [ModelRequest([UserPromptPart("Hi.")])]
    return await LoraloopModel(runtime).request(messages, settings, ModelRequestParameters(**fields))


CHOICES: list[tuple[Any, bool]] = [
    ("required", True),
    (["look"], True),
    (ToolOrOutput(function_tools=["look"]), False),
    ("auto", False),
    (None, False),
    ("none", False),
]


def test_a_choice_of_tools_that_requests_would_overwrite_is_refused() -> None:
    with pytest.raises(InputError, match=r"model_settings=.*tool_choice"):
        LoraloopModel(ScriptedRuntime(), policy=Policy(tool_choice="required"))


async def test_a_timeout_of_httpx_counts_as_what_an_answer_may_take() -> None:
    late = ScriptedRuntime("Hi.")
    with pytest.raises(ModelAPIError, match="took longer"):
        await ask(late, Settings(timeout=httpx.Timeout(5.0, read=1e-9)))
    assert (await ask(ScriptedRuntime("Hi."), Settings(timeout=httpx.Timeout(None)))).text == "Hi."


@pytest.mark.parametrize(("choice", "forced"), CHOICES)
async def test_tool_choice(choice: Any, forced: bool) -> None:
    tools = [ToolDefinition(name="look"), ToolDefinition(name="find")]
    settings = Settings(tool_choice=choice)
    if not forced:
        done = await ask(ScriptedRuntime("Hello."), settings, function_tools=tools)
        assert done.parts == [TextPart("Hello.")]
        return
    made = await ask(ScriptedRuntime(calls(look={})), settings, function_tools=tools)
    assert [part.tool_name for part in made.parts if isinstance(part, ToolCallPart)] == ["look"]
    with pytest.raises(AssertionError, match="cannot write here"):
        await ask(ScriptedRuntime(calls()), settings, function_tools=tools)
    other = await ask(ScriptedRuntime(calls(find={})), Settings(tool_choice="required"), function_tools=tools)
    assert len(other.parts) == 1
    with pytest.raises(UserError, match="'lok', which is not a tool here: look, find"):
        await ask(ScriptedRuntime(), Settings(tool_choice=["lok"]), function_tools=tools)


async def test_settings() -> None:
    cut = await ask(ScriptedRuntime(text("A long answer.")), Settings(max_tokens=6))
    assert cut.parts == [TextPart("A long")] and cut.finish_reason == "length"
    stopped = await ask(ScriptedRuntime(text("One. END Two.", enforced=False)), Settings(stop_sequences=["END"]))
    assert stopped.parts == [TextPart("One. ")] and stopped.finish_reason == "stop"
    named = LoraloopModelSettings(loraloop_skill="code")
    runtime = ScriptedRuntime(text("```python\nx = 1\n```", "code"))
    assert (await ask(runtime, named)).parts == [TextPart("```python\nx = 1\n```")]
    with pytest.raises(UserError, match="did you mean 'code'"):
        await ask(ScriptedRuntime(), LoraloopModelSettings(loraloop_skill="cod"))
    with pytest.raises(UserError, match="temperature is -1"):
        await ask(ScriptedRuntime(), Settings(temperature=-1))


async def test_screening_is_the_policys() -> None:
    model = LoraloopModel(ScriptedRuntime(verdict("crime")), guard=Guard(refusal="No."))
    assert (await Agent(model).run("Rob a bank.")).output == "No."
    model = LoraloopModel(ScriptedRuntime(verdict("crime")), guard=Guard(refusal="No."))
    with pytest.raises(ContentFilterError):
        await Agent(model, output_type=City).run("Rob a bank.")


async def test_what_cannot_be_read_says_so() -> None:
    agent: Agent[None, str] = Agent(LoraloopModel(ScriptedRuntime()))
    for item in (ImageUrl("https://example.com/a.png"), BinaryContent(b"x", media_type="image/png")):
        with pytest.raises(UserError, match="reads text only"):
            await agent.run(["What is this?", item])
    with pytest.raises(ModelContextWindowExceededError, match="the context holds 400"):
        await Agent(LoraloopModel(ScriptedRuntime(context=400))).run("x" * 500)
    with pytest.raises(ModelAPIError, match="needs at least"):
        await ask(
            ScriptedRuntime(PARIS),
            Settings(max_tokens=3),
            output_mode="native",
            output_object=_object_of(City),
        )
    with pytest.raises(UserError, match="nothing to reply to"):
        await Agent(LoraloopModel(ScriptedRuntime())).run(instructions="Be brief.")
    with override_allow_model_requests(False), pytest.raises(RuntimeError, match="not allowed"):
        await agent.run("Hi.")


def _object_of(model: type[BaseModel]) -> Any:
    from pydantic_ai.output import OutputObjectDefinition

    return OutputObjectDefinition(model.model_json_schema())


async def test_messages_of_others_are_read() -> None:
    history: list[ModelMessage] = [
        ModelRequest([SystemPromptPart("Be kind."), UserPromptPart(["One.", "Two."])], instructions="Be brief."),
        ModelResponse([ThinkingPart("Hm."), TextPart("I look."), ToolCallPart("look", '{"at":1}', tool_call_id="a")]),
        ModelRequest([ToolReturnPart("look", "12", tool_call_id="a", outcome="failed")]),
    ]
    runtime = ScriptedRuntime("Done.")
    await LoraloopModel(runtime).request(history, None, ModelRequestParameters())
    assert [(each.role, each.content) for each in runtime.turns[0].messages] == [
        ("system", "Be kind.\n\nBe brief."),
        ("user", "One.\n\nTwo."),
        ("assistant", "I look."),
        ("assistant", '[{"name":"look","arguments":{"at":1}}]'),
        ("tool", '{"name":"look","error":"12"}'),
    ]
    counted = await LoraloopModel(runtime).count_tokens(history, None, ModelRequestParameters())
    assert counted.input_tokens == len(runtime.base.chat.render(runtime.turns[0].messages))


async def test_a_stream_of_text_and_one_of_calls() -> None:
    runtime = ScriptedRuntime(calls(get_weather={"city": "Rome"}), "It is warm.")
    started: list[Any] = []
    async with agent_of(runtime).run_stream_events("What is the weather in Rome?") as events:
        async for event in events:
            if isinstance(event, PartStartEvent):
                started.append(event.part)
    assert isinstance(started[0], ToolCallPart) and started[0].args == {"city": "Rome"}
    assert isinstance(started[1], TextPart)
    runtime = ScriptedRuntime("It is warm.")
    async with agent_of(runtime).run_stream("Hi.") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == "It is warm." and len(pieces) > 1 and stream.usage.output_tokens == len("It is warm.")


async def test_a_stream_of_structured_output_grows() -> None:
    agent: Agent[None, City] = Agent(LoraloopModel(ScriptedRuntime(PARIS)), output_type=City)
    async with agent.run_stream("Where?") as stream:
        seen = [part async for part in stream.stream_output(debounce_by=None)]
    assert seen[-1] == City(name="Paris", country="France")


async def test_a_stream_that_is_left_ends_the_run() -> None:
    runtime = ScriptedRuntime(text("x" * 400), "Again.")
    async with Agent(LoraloopModel(runtime)).run_stream("Hi.") as stream:
        async for _ in stream.stream_text(delta=True, debounce_by=None):
            break
    assert (await Agent(LoraloopModel(runtime)).run("Hi.")).output == "Again."


async def test_a_cancelled_request_ends_the_run() -> None:
    runtime = ScriptedRuntime(text("x" * 3000), "Again.")
    task = asyncio.ensure_future(Agent(LoraloopModel(runtime)).run("Hi.", model_settings=Settings(max_tokens=4000)))
    while not runtime.turns:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await Agent(LoraloopModel(runtime)).run("Hi.")).output == "Again."


def test_the_real_base_in_a_loop_of_tools(base: Base) -> None:
    runtime = Runtime.load(base)
    made: list[str] = []
    agent: Agent[None, str] = Agent(
        LoraloopModel(runtime), model_settings=LoraloopModelSettings(loraloop_skill="tools", max_tokens=40)
    )

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Current weather of a city.

        Args:
            city: Its name.
        """
        made.append(city)
        return f"18 degrees and sunny in {city}"

    result = agent.run_sync("What is the weather in Rome?")
    assert made == ["Rome"] and isinstance(result.output, str)
    assert last_response(result.all_messages()).finish_reason in ("stop", "length")
    typed: Agent[None, City] = Agent(LoraloopModel(runtime), output_type=City)
    assert isinstance(typed.run_sync("Tell me about Paris.").output, City)
