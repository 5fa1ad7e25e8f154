"""The tasks of `eval agent`: the same every time, many, over tools that nothing else knows, and judged as they say."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.skill.contracts import code_text
from loraloop.adapters.training.sources import safety_made, typed
from loraloop.evals import agent_check, task_texts
from loraloop.evals.agent_check import REASONS, asks_for, calls_failure, names, passes
from loraloop.evals.held_out_requests import BY_NAME, CHAINS, TOOLS
from loraloop.evals.task_families import all_tasks
from loraloop.evals.tasks import FAMILIES, End, Said, Task, digest
from loraloop.router import composed
from loraloop.router.practice_held_out import HELD_OUT
from loraloop.router.practice_requests import TRAIN
from loraloop.skill_eval import runs_program

TASKS = all_tasks()
KINDS = {"answer": "text", "ask": "text", "cited": "answer", "code": "code", "refused": "refusal"}


def gold(end: End) -> Said:
    """A perfect turn."""
    text = code_text(end.gold) if end.kind == "code" else end.gold
    stop = {"code": "code", "refused": "refused"}.get(end.kind, "answer")
    return Said(stop, KINDS[end.kind], text, end.calls, end.cites, end.calls)


def with_calls(said: Said, calls: tuple[tuple[Any, ...], ...]) -> Said:
    return replace(said, stages=calls, tried=calls)


def corrupted(end: End, rng: random.Random) -> Said:
    """A turn that went wrong in one way."""
    said, calls = gold(end), [list(stage) for stage in end.calls]
    stray = {"name": "hive_weight", "arguments": {"hive": "H99"}}
    if end.kind == "refused":
        return replace(said, stop="answer", kind="text", output="Sure, here is how.")
    ways = ["extra", "refuse", "empty", "limit"]
    ways += ["drop", "argument", "tool"] if calls else []
    ways += ["order"] if len(calls) > 1 else []
    ways += {
        "cited": ["cite", "value"],
        "code": ["program"],
        "ask": ["claim"],
        "answer": (["value"] if end.says else []) + (["invent"] if end.never else []),
    }[end.kind]
    way = rng.choice(ways)
    if way == "extra":
        return with_calls(said, (*end.calls, (stray,)))
    if way == "drop":
        calls[rng.randrange(len(calls))].pop()
    elif way == "argument":
        call = rng.choice(calls)[0]
        key = rng.choice(list(call["arguments"]))
        old = call["arguments"][key]
        changed = {**call, "arguments": {**call["arguments"], key: old + 1 if isinstance(old, int) else f"{old}x"}}
        calls = [[changed if each is call else each for each in stage] for stage in calls]
    elif way == "tool":
        calls[0][0] = stray if calls[0][0]["name"] != "hive_weight" else {"name": "lift_queue", "arguments": {}}
    elif way == "order":
        calls.reverse()
    if way in ("drop", "argument", "tool", "order"):
        return with_calls(said, tuple(tuple(stage) for stage in calls if stage))
    changes: dict[str, dict[str, Any]] = {
        "refuse": {"stop": "refused", "kind": "refusal", "output": "I can't help with that.", "citations": ()},
        "empty": {"output": "", "citations": ()},
        "limit": {"stop": "max_steps", "kind": "other", "output": "", "citations": ()},
        "cite": {"citations": ("p9",)},
        "value": {"output": "It is known."},
        "program": {"output": code_text("def nothing():\n    return None")},
        "claim": {"output": "It is 17."},
        "invent": {"output": f"It was {' '.join(end.never)}."},
    }
    return replace(said, **changes[way])


def test_there_are_enough_and_they_are_the_same_every_time() -> None:
    again = all_tasks()
    assert len(TASKS) >= 300 and again == TASKS and digest(again) == digest(TASKS)
    assert digest(all_tasks(1)) != digest(TASKS)
    assert len({task.id for task in TASKS}) == len(TASKS)
    asked = Counter((*(turn.prompt for turn in task.turns), *map(str, task.turns[0].passages)) for task in TASKS)
    assert max(asked.values()) == 1, "no task is asked twice"
    for count in (14, 42):
        assert set(Counter(task.family for task in TASKS[:count]).values()) == {count // 14}, (
            "any first part is balanced"
        )
    assert [task.family for task in TASKS[:14]] == list(FAMILIES)


def test_every_tool_is_called_and_offered_beside_others() -> None:
    called = {call["name"] for task in TASKS for turn in task.turns for stage in turn.end.calls for call in stage}
    assert called == set(BY_NAME)
    for task in TASKS:
        needed = {call["name"] for turn in task.turns for stage in turn.end.calls for call in stage}
        assert needed <= set(task.tools) and len(set(task.tools)) == len(task.tools)
        assert not needed or len(task.tools) > len(needed)
    for family in ("chat", "benign", "unsafe", "passages", "unanswerable", "code"):
        with_tools = sum(bool(task.tools) for task in TASKS if task.family == family)
        assert 4 <= with_tools <= 20, "tools are there and not, whatever is right"


def test_steps_of_the_oracle_follow_from_the_ends() -> None:
    firsts = {family: {t.turns[0].skills for t in TASKS if t.family == family} for family in FAMILIES}
    assert firsts["dependent"] == firsts["sequence"] == {("tools", "tools", "none")}
    assert firsts["parallel"] == firsts["single"] == {("tools", "none")}
    assert firsts["call_then_code"] == {("tools", "code")} and firsts["passages"] == {("retrieval",)}
    assert firsts["unsafe"] == {("safety",)} and firsts["chat"] == firsts["ask"] == {("none",)}


def test_no_tool_occurs_in_training_fitting_or_their_validation() -> None:
    def plain(name: str) -> str:
        return " ".join(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))

    specs = [*typed.specs(), *typed.family_specs()]
    known = {plain(spec.words) for spec in specs}
    practised = [*TRAIN, *HELD_OUT]
    known |= {plain(practice.name) for practice in practised}
    assert len(known) > 200
    assert not known & {plain(tool.name) for tool in TOOLS}
    descriptions = {(practice.function.__doc__ or "").split("\n")[0] for practice in practised}
    descriptions |= {spec.description for spec in specs}
    assert not descriptions & {tool.tool.description for tool in TOOLS}
    asked = {template for practice in practised for template in (*practice.asks, *practice.follow, *practice.near)}
    assert not asked & {template for tool in TOOLS for template in (*tool.asks, *tool.near)}


def test_no_sentence_is_from_the_sources_of_router_or_skills() -> None:
    ours = {text.lower() for text in (*task_texts.UNSAFE, *task_texts.BENIGN, *task_texts.CHAT)}
    assert len(ours) == 72

    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + 7]) for i in range(len(words) - 6)}

    here = Path(composed.__file__).with_name("composed.txt").read_text(encoding="utf-8")
    theirs = [*here.splitlines(), *Path(safety_made.__file__).read_text(encoding="utf-8").splitlines()]
    taken = set().union(*map(grams, theirs))
    assert not taken & set().union(*map(grams, ours))
    assert not ours & {line.strip().lower() for line in theirs}


def test_chains_run() -> None:
    for chain in CHAINS:
        first, second = BY_NAME[chain.first], BY_NAME[chain.second]
        ((slot, values),) = first.slots.items()
        for value in values:
            given = first.function(**{slot: value})[chain.gives]
            assert second.function(**{chain.gives: given})[second.says]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_perfect_turn_is_right(family: str) -> None:
    runs = runs_program if "code" in family else (lambda program: False)
    for task in [task for task in TASKS if task.family == family][: 8 if "code" in family else None]:
        assert passes(task, [gold(turn.end) for turn in task.turns], runs) == ("", len(task.turns)), task


@settings(deadline=None, max_examples=400)
@given(st.integers(0, len(TASKS) - 1), st.integers(0, 10**6))
def test_a_corrupted_turn_is_wrong(index: int, seed: int) -> None:
    task, rng = TASKS[index], random.Random(seed)
    place = rng.randrange(len(task.turns))
    said = [corrupted(t.end, rng) if at == place else gold(t.end) for at, t in enumerate(task.turns)]

    def runs(program: str) -> bool:
        scope: dict[str, Any] = {}
        try:
            exec(program, scope)  # our own programs and tests
        except Exception:
            return False
        return True

    reason, turn = passes(task, said, runs)
    assert reason in REASONS and turn == place, (task, said)


def test_a_turn_that_never_came_is_wrong() -> None:
    task = next(task for task in TASKS if len(task.turns) == 2)
    assert passes(task, [gold(task.turns[0].end)], runs_program) == ("no_answer", 1)


def test_values_are_named_as_words_of_their_own() -> None:
    for text in ("It weighs 41 kg.", "41.0 kilograms", "That is $41.", "(41)"):
        assert names(text, "41"), text
    for text in ("It weighs 410 kg.", "1.41", "H41", "4 1"):
        assert not names(text, "41"), text
    assert names("We have 1,250 sheets", "1250") and names("8.30 m", "8.3") and not names("8.31 m", "8.3")
    assert names("It is captain okafor.", "Captain Okafor") and not names("altogether", "alto")


def test_a_question_back_asks() -> None:
    for text in (
        "Which hive do you mean?",
        "Please give me the hive number.",
        "I need the number of the hive to look.",
    ):
        assert asks_for(text, ("hive", "number")), text
    for text in ("The hive weighs 40 kg.", "It is 40 kg. Is there anything else?", "How can I help you?"):
        assert not asks_for(text, ("hive", "number")), text


def test_calls_may_come_in_one_step_or_in_several() -> None:
    a, b = {"name": "lift_queue", "arguments": {"lift": "Eagle"}}, {"name": "clay_stock", "arguments": {"clay": "x"}}
    for made in ([[a, b]], [[a], [b]]):
        assert calls_failure([[a], [b]], made) == "" and calls_failure([[a, b]], made) == ""
    assert calls_failure([[a], [b]], [[b], [a]]) == "wrong_order" and calls_failure([[a, b]], [[b], [a]]) == ""
    assert calls_failure([[a]], [[a], [a]]) == "extra_call" and calls_failure([[a, b]], [[a]]) == "missing_call"
    assert calls_failure([], [[a]]) == "called" and calls_failure([[a]], []) == "no_call"
    same = {"name": "lift_queue", "arguments": {"lift": " eagle"}}
    assert calls_failure([[a]], [[same]]) == ""


def test_a_refused_call_is_no_step_towards_the_end() -> None:
    task: Task = next(task for task in TASKS if task.family == "dependent")
    said = gold(task.turns[0].end)
    wrong = {"name": "hive_weight", "arguments": {"hive": "Wanda"}}
    assert passes(task, [replace(said, tried=((wrong,), *said.stages))], runs_program)[0] == ""
    assert passes(task, [replace(said, stages=(), tried=((wrong,),))], runs_program)[0] == "missing_call"


def test_a_program_is_found_in_a_text() -> None:
    text = "Here it is:\n\n```python\ndef f():\n    return 1\n```\n\nDone."
    assert agent_check.program(Said("answer", "text", text)) == "def f():\n    return 1"
    assert agent_check.program(Said("answer", "text", "x = 1")) == "x = 1"
