"""What a type checker sees of skills as functions. `make types` reads this file; nothing runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from pydantic import BaseModel

from loraloop import Runtime
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.skills.functions import TextFunction
from loraloop.agent.skills.results import AnswerResult, CallsResult, CodeResult, TextResult, VerdictResult
from loraloop.tool_schemas import Call


class City(BaseModel):
    name: str


def of_skills(runtime: Runtime) -> None:
    skills = runtime.skills
    names: Sequence[str] = skills
    assert_type(skills[0], str)
    assert_type(skills[:2], tuple[str, ...])
    found = assert_type(skills.retrieval("x", ["y"], max_tokens=9), AnswerResult)
    assert_type(found.cited, tuple[Passage, ...])
    made = assert_type(skills.tools("x", [of_skills]), CallsResult)
    for call in made:
        assert_type(call, Call)
    assert_type(skills.code("x").code, str)
    assert_type(skills.safety("x").probability, float)
    assert_type(skills.none("x").value, None)
    assert_type(skills.none("x", City).value, City | None)
    assert_type(skills.function("mine", TextFunction)("x", list[int]), TextResult[list[int]])
    assert_type(skills["mine"], Any)
    skills.retrieval("x")  # type: ignore[call-arg]
    skills.code("x", max_token=9)  # type: ignore[call-arg]
    print(names)


async def of_awaited_skills(runtime: Runtime) -> None:
    assert_type(await runtime.skills.code.arun("x"), CodeResult)
    assert_type(await runtime.skills.safety.arun("x"), VerdictResult)
