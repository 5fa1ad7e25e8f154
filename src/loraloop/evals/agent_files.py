"""The skills' own evaluation files as tasks of one step, for whatever system; each scored by its skill's own rule."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill.contracts import Answer, Verdict, answer_text, code_text, user_content, verdict_text
from loraloop.adapters.training.data.example import Example
from loraloop.adapters.training.data.shipped import load_examples
from loraloop.adapters.training.scoring.score import right, score
from loraloop.adapters.training.sources.records import read_records
from loraloop.agent.agent import Agent
from loraloop.agent.events import Routed
from loraloop.agent.limits import Limits
from loraloop.agent.result import RunResult
from loraloop.evals.agent_check import Runs, program
from loraloop.evals.agent_runs import forget, said_of, trace_of
from loraloop.evals.agent_systems import Driver, Right, System
from loraloop.router.decision import NONE
from loraloop.router.labels import asks_for_code
from loraloop.tool_schemas import Tool, dumps, render_tools
from loraloop.tool_schemas.errors import LoraloopError

FILES: dict[str, tuple[str, ...]] = {
    "tools": ("bfcl", "sgd"),
    "retrieval": ("clapnq", "nq_open"),
    "code": ("mbpp",),
    "safety": ("xstest", "harmbench"),
    "none": ("seed_tasks",),
}
"""Files by skill; `none` are requests that the base answers."""
PER_SKILL = 40
LIMITS = Limits(max_steps=6, step_tokens=320, run_tokens=640)


@dataclass(frozen=True, slots=True)
class Step:
    """One example as a task.

    Attributes:
        id: Unique among files, and another one where the example says something else.
        skill: Whose rule scores it; `none` for a request that the base answers.
        messages: What was said; the last message is the user's.
        instructions: Of the system message.
        example: What it was made of; None for `none`.
    """

    id: str
    skill: str
    messages: tuple[Message, ...]
    instructions: str = ""
    example: Example | None = None

    @property
    def right(self) -> Right:
        """What the example says is right, for the oracle."""
        if self.example is None:
            return Right()
        gold = self.example.gold
        if self.skill == "tools":
            return Right(len(gold.get("accepts") or gold.get("calls") or ()))
        due = {"retrieval": "answerable", "safety": "unsafe"}.get(self.skill)
        return Right(0, self.skill if due is None or gold[due] else NONE)


def steps(data: Path, per_skill: int = PER_SKILL) -> list[Step]:
    """The first examples of each file, skills in turn.

    Args:
        data: Folder of the data page.
        per_skill: Examples of each skill, spread over its files.

    Raises:
        InputError: A file is missing.
    """
    found = []
    for skill, names in FILES.items():
        share = -(-per_skill // len(names))
        made = [step for name in names for step in _of_file(data, skill, name, share)]
        found.append(made[:per_skill])
    most = max(map(len, found))
    return [part[index] for index in range(most) for part in found if index < len(part)]


def do_step(system: System, step: Step, runs: Runs) -> dict[str, Any]:
    """A system's row for an example: its score in [0, 1], and what was done."""
    start = time.perf_counter()
    forget(system.runtime)
    driver = system.driver(step.right)
    row: dict[str, Any] = {"score": 0.0, "skill": step.skill}
    try:
        result, text = _run(system, step, driver)
        row |= {"score": _score(step, text, runs), "output": text, "stop": result.stop_reason}
        row["steps"] = [trace_of(result)]
    except LoraloopError as error:  # it does not fit, or its tools cannot be used
        row |= {"output": "", "stop": "error", "steps": [], "problem": str(error)}
    return row | {"seconds": round(time.perf_counter() - start, 3)}


def _run(system: System, step: Step, driver: Driver) -> tuple[RunResult[Any], str]:
    """Runs an example up to its step; a text that no rule reads is not written to its end."""
    example = step.example
    tools = [Tool.from_schema(tool, on_unsupported="check") for tool in example.tools] if example else []
    passages = example.passages if example else ()
    agent = Agent(system.runtime, tools, step.instructions, limits=LIMITS, policy=driver.policy)
    *history, last = step.messages
    prompt = str(example.gold["question"]) if example and passages else last.content
    stream = agent.stream(prompt, passages=passages, messages=history)
    cut = False
    for event in stream:
        if isinstance(event, Routed):
            text = event.skill == NONE or driver.writes == "text"
            if text and step.skill != "code":
                cut = True
                stream.cancel()
    return stream.result, _text(step, stream.result, cut, system)


def _text(step: Step, result: RunResult[Any], cut: bool, system: System) -> str:
    """What was done, in the form of the skill whose rule reads it."""
    said = said_of(result, system.runtime)
    if step.skill == "safety":
        refused = result.stop_reason == "refused"
        return verdict_text(Verdict(True, result.category or "crime") if refused else Verdict(False))
    if step.skill == "none":
        return "text" if cut else result.output
    if step.skill == "tools":
        if result.stop_reason == "tool_call":
            return dumps([{"name": call.name, "arguments": call.arguments} for call in result.calls])
        return "[]" if cut else result.output
    if step.skill == "retrieval":
        if said.citations:
            return answer_text(Answer(True, said.citations, said.output))
        return answer_text(Answer(False)) if cut else result.output
    return code_text(program(said)) if said.kind in ("code", "text") else result.output


def _score(step: Step, text: str, runs: Runs) -> float:
    """The skill's own measure of one output; of an answer the F1 of its words, since few are worded alike."""
    if step.example is None:
        return float(text == "text")
    if step.skill == "retrieval" and step.example.gold["answerable"]:
        return score("retrieval", [step.example], [text])["answer_f1"]
    return float(right(step.skill, step.example, text, runs if step.skill == "code" else None))


def _of_file(data: Path, skill: str, name: str, share: int) -> list[Step]:
    if skill == "none":
        return _general(data, name)[:share]
    return [_step(skill, name, example) for example in load_examples(skill, data, "eval", share, files=[name])]


def _step(skill: str, name: str, example: Example) -> Step:
    messages, instructions = example.messages, ""
    if messages[0].role == "system":
        shown = [Tool.from_schema(tool, on_unsupported="check") for tool in example.tools]
        instructions = messages[0].content.removesuffix(render_tools(shown, CALLS_HEADER)).strip()
        messages = messages[1:]
    return Step(_identity(name, example.id, messages), skill, messages, instructions, example)


def _general(data: Path, name: str) -> list[Step]:
    """Requests for the base; those that ask for code are left out, by the router's published rule."""
    found = []
    for record in read_records(data / "general" / f"{name}.eval.jsonl"):
        messages = tuple(Message(m["role"], m["content"]) for m in record["messages"])
        if not asks_for_code(messages[-1].content):
            found.append(Step(_identity(name, record["id"], messages), "none", messages))
    return found


def _identity(name: str, identity: str, messages: Sequence[Message]) -> str:
    text = "\x1f".join(message.content for message in messages)
    return f"{name}/{identity}#{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def same_request(step: Step) -> bool:
    """Whether the agent will show an example's passages as its file does."""
    if step.example is None or not step.example.passages:
        return True
    return user_content(str(step.example.gold["question"]), step.example.passages) == step.messages[-1].content
