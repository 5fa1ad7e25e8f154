"""`/v1/decisions` as openai-python sends and reads it, on the embedded base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from loraloop.adapters.base import Base
from loraloop.agent.runtime import Runtime

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


def test_each_kind_of_question_has_its_kind_of_answer(client: openai.OpenAI) -> None:
    said = "My parcel is three weeks late and nobody answers me! This is outrageous!"
    found = client.decisions.create(model="auto", input=said, questions=QUESTIONS)
    angry, topic, urgent = found.answers
    assert angry.type == "predicate" and angry.name == "angry" and 0 < angry.probability < 1
    assert topic.type == "choice" and topic.choice in ("delivery", "payment", True)
    assert sum(each.probability for each in topic.probabilities) == pytest.approx(1)
    assert topic.confidence == max(each.probability for each in topic.probabilities)
    assert urgent.type == "score" and urgent.name is None and 0 <= urgent.score <= 1
    assert [each.label for each in urgent.probabilities] == ["low", "high"]
    assert found.usage.output_tokens == 3 and found.usage.total_tokens > 50
    again = client.decisions.create(model="auto", input=said, questions=QUESTIONS)
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
    ("given", "said"),
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
        ({"questions": [{"type": "rank", "instructions": "x"}]}, "questions"),
    ],
)
def test_what_cannot_be_decided_is_a_400(client: openai.OpenAI, given: Any, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        client.decisions.create(**{"model": "auto", "input": "Hello", "questions": QUESTIONS[:1], **given})
