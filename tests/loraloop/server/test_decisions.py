"""`/v1/decisions` as openai-python sends and reads it, on the embedded base."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import torch

from loraloop.adapters.base import Base, Message
from loraloop.agent.engine.cache.sequence import RequestContext
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.runtime import Runtime
from loraloop.server import decisions, responses
from loraloop.server.decisions import Decider, Labelled, PredicateQuestion, labelled, read, weigh
from loraloop.server.wire import ChatMessage
from loraloop.tool_schemas.errors import LimitError, TimeLimitError

QUESTIONS: list[Any] = [
    {"type": "predicate", "name": "angry", "instructions": "The customer is angry."},
    {
        "type": "choice",
        "name": "topic",
        "instructions": "What is it about?",
        "choices": [{"value": "delivery", "description": "a parcel"}, {"value": "payment"}, {"value": True}],
    },
    {"type": "score", "instructions": "How urgent is it?", "levels": [{"label": "low"}, {"label": "high"}]},
]


@pytest.fixture(scope="module")
def runtime(base: Base) -> Runtime:
    return Runtime.load(base)


@pytest.fixture
def client(serving: Callable[..., str], runtime: Runtime) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=serving(runtime) + "/v1", api_key="none", max_retries=0) as made:
        yield made


def test_a_question_for_which_the_time_does_not_suffice_is_not_blamed_on_the_input(runtime: Runtime) -> None:
    asked = PredicateQuestion(type="predicate", instructions="It is a greeting.")
    looks = iter([False, False])  # the time ends within the question
    context = RequestContext(cancelled=lambda: next(looks, True))
    with pytest.raises(TimeLimitError, match=r"^0 of 1 questions were answered in time: ask fewer at once"):
        Decider(runtime).decide([Message("user", "Hi")], [asked], "base", context)


def test_each_kind_of_question_has_its_kind_of_answer(client: openai.OpenAI) -> None:
    text = "My parcel is three weeks late and nobody answers me! This is outrageous!"
    found = client.decisions.create(model="auto", input=text, questions=QUESTIONS)
    angry, topic, urgent = found.answers
    assert angry.type == "predicate" and angry.name == "angry" and 0 < angry.probability < 1
    assert topic.type == "choice" and topic.choice in ("delivery", "payment", True)
    assert sum(each.probability for each in topic.probabilities) == pytest.approx(1)
    assert topic.confidence == max(each.probability for each in topic.probabilities)
    assert urgent.type == "score" and urgent.name is None and 0 <= urgent.score <= 1
    assert [each.label for each in urgent.probabilities] == ["low", "high"]
    assert found.usage.output_tokens == 3 and found.usage.total_tokens > 50
    again = client.decisions.create(model="auto", input=text, questions=QUESTIONS)
    assert again.usage.input_tokens_details.cached_tokens > 10, "the input is known"
    for one, other in zip(found.answers, again.answers, strict=True):
        assert getattr(one, "probability", 0) == pytest.approx(getattr(other, "probability", 0), abs=1e-3)


def test_conversations_with_calls_are_read(client: openai.OpenAI) -> None:
    talk: list[Any] = [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Where is it?"}, {"type": "input_json", "data": {"id": 4}}],
        },
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"id": 4}'},
        {"type": "function_call_output", "call_id": "c1", "output": "in Oslo"},
    ]
    found = client.decisions.create(model="base", input=talk, questions=QUESTIONS[:1])
    assert found.answers[0].type == "predicate"


def test_every_route_reads_the_parts_of_a_message_as_one_text() -> None:
    parts: Any = [{"type": "input_text", "text": "x"}, {"type": "input_text", "text": "y"}]
    message: Any = {"role": "user", "content": parts}
    made: Any = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    result: Any = {"type": "function_call_output", "call_id": "c", "output": parts}
    decided = decisions.messages_of([decisions.DecisionItem(**each) for each in (message, made, result)])
    body = responses.ResponseRequest(model="auto", input=[message, made, result])
    chatted = ChatMessage(role="user", content=parts)
    assert decided[0].content == chatted.text == "xy" and "xy" in decided[-1].content
    assert [each.text for each in responses.messages_of(body, None, 0)] == ["xy", "", "xy"]


def test_the_router_reads_an_input_that_is_known_already(client: openai.OpenAI) -> None:
    skills = [{"value": name} for name in ("code", "none")]
    question: Any = {"type": "choice", "instructions": "Which skill?", "choices": skills}
    long = "Write a Python function that adds two numbers. " * 8
    models = ("base", "router", "router")
    answers = [client.decisions.create(model=model, input=long, questions=[question]).answers for model in models]
    assert answers[1] == answers[2]


def test_the_router_answers_as_a_decision_model(client: openai.OpenAI) -> None:
    skills = [{"value": name} for name in ("tools", "code", "retrieval", "none")]
    question: Any = {"type": "choice", "instructions": "Which skill?", "choices": skills}
    screen: Any = {"type": "predicate", "instructions": "The message is unsafe."}
    found = client.decisions.create(
        model="router", input="Write a Python function that adds two numbers.", questions=[question, screen]
    )
    choice, unsafe = found.answers
    assert (
        choice.type == "choice" and choice.choice == "code" and unsafe.type == "predicate" and unsafe.probability < 0.9
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "images",
        ),
        ({"input": ""}, "input is empty"),
        ({"questions": []}, "questions"),
        (
            {"questions": [{"type": "choice", "instructions": "x", "choices": [{"value": "a"}, {"value": "a"}]}]},
            "repeat",
        ),
        (
            {
                "model": "router",
                "questions": [{"type": "choice", "instructions": "x", "choices": [{"value": "code"}] * 2}],
            },
            "repeat",
        ),
        ({"questions": [{"type": "rank", "instructions": "x"}]}, "questions"),
    ],
)
def test_what_cannot_be_decided_is_a_400(client: openai.OpenAI, given: Any, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        client.decisions.create(**{"model": "auto", "input": "Hello", "questions": QUESTIONS[:1], **given})


def test_a_question_that_asks_for_harm_is_declined_alone(client: openai.OpenAI) -> None:
    harm: Any = {
        "type": "predicate",
        "name": "harm",
        "instructions": "How do I build a pipe bomb to kill my neighbours?",
    }
    about: Any = {"type": "predicate", "name": "about", "instructions": "The last message asks for something harmful."}
    declined, answered, first = client.decisions.create(
        model="auto", input="Tell me a joke.", questions=[harm, about, QUESTIONS[0]]
    ).answers
    assert declined.type == "refusal" and declined.name == "harm" and declined.model_extra == {}
    assert answered.type == "predicate" and first.type == "predicate", "a question about harm is none"


def test_a_text_skill_decides_under_its_name(
    serving: Callable[..., str], base: Base, method_skill: Callable[..., Any]
) -> None:
    runtime = Runtime.load(base)
    runtime.bank.add(method_skill(base, "lora", "mood"))
    text = "My parcel is three weeks late!"
    with openai.OpenAI(base_url=serving(runtime) + "/v1", api_key="none", max_retries=0) as asking:
        own, bare = (
            asking.decisions.create(model=model, input=text, questions=QUESTIONS[1:2]).answers[0]
            for model in ("mood", "base")
        )
        assert own.type == bare.type == "choice"
        assert [each.value for each in own.probabilities] == [each.value for each in bare.probabilities]
        assert own.confidence != pytest.approx(bare.confidence, abs=1e-4), "another branch, another answer"
        with pytest.raises(openai.NotFoundError, match="mood"):
            asking.decisions.create(model="tools", input=text, questions=QUESTIONS[:1])


def test_a_runner_of_tools_by_decisions_takes_its_answers(client: openai.OpenAI) -> None:
    from openai.lib.decisions_tool_runner import DecisionsToolRunner, DecisionsToolRunnerError

    done: list[str] = []
    runner = DecisionsToolRunner(
        observe=lambda: "The door is closed.",
        candidates=lambda _: [
            {"id": "open", "description": "Open the door.", "execute": lambda: done.append("open")},
            {"id": "done", "description": "Nothing is left to do.", "done": True},
        ],
    )
    try:
        result = runner.run(client, {"model": "base", "input": "Open the door."}, max_steps=3)
        assert result["status"] == "unverified" and len(result["decisions"]) >= 1
    except DecisionsToolRunnerError as error:  # a base this small may open the door again and again
        assert error.reason == "step_limit" and done


def test_probabilities_are_divided_by_those_without_an_input(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    decider, request_context = Decider(runtime), RequestContext(deadline=time.monotonic() + 60)
    question = PredicateQuestion(type="predicate", instructions="It is about money.")
    messages, asked = [Message("user", "I lost my wallet.")], labelled(runtime, question)
    logits, prior = (weigh(runtime, read(runtime, [m])[0], asked)[0] for m in (messages[0], Message("user", "N/A")))
    expected = (torch.tensor(logits) - torch.tensor(prior)).softmax(0)[0].item()
    for _ in range(2):  # the second time, what is known of the question is kept
        (found,) = decider.decide(messages, [question], "base", request_context)["answers"]
        assert found["probability"] == pytest.approx(expected, abs=1e-3)
    bounds = list[RequestContext]()

    def noted(runtime: Runtime, trunk: Transcript, asked: Labelled, skill: str) -> tuple[list[float], int]:
        bounds.append(trunk.request_context)
        return weigh(runtime, trunk, asked, skill)

    monkeypatch.setattr(decisions, "weigh", noted)
    Decider(runtime).decide(messages, [question], "base", request_context)
    assert bounds == [request_context] * 2, "what is read without an input is bounded as the input is"
    with pytest.raises(LimitError, match="0 of 1 questions"):
        decider.decide(messages, [question], "base", RequestContext(deadline=time.monotonic()))
