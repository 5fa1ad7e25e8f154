"""Texts drawn side by side, and the first of them that passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from loraloop.adapters.base import Base
from loraloop.agent import Agent, Guard, Limits, Policy, Runtime
from loraloop.agent.engine import Budget, Clock, Generated, Sampler, Sampling, Trunk
from loraloop.agent.engine.best_of_n import Draws, Tries, best_of_n
from loraloop.agent.engine.branch import Branch
from loraloop.agent.limits import MOST_TRIES
from loraloop.agent.sandbox.sandbox import Sandbox
from loraloop.agent.tools.python_tool import gets_through, python_tool
from loraloop.testing import ScriptedRuntime, code
from loraloop.tool_schemas.errors import InputError, SandboxError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import JsonSchema

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "size": {"enum": [1, 22, 333]}},
    "required": ["name", "size"],
    "additionalProperties": False,
}
REQUEST = "Write add.\nassert add(2, 3) == 5\nassert add(1, 1) == 2"
RIGHT, WRONG = "def add(a, b):\n    return a + b", "def add(a, b):\n    return a * b"


@pytest.fixture(scope="module")
def compiler(either: Base) -> GrammarCompiler:
    return GrammarCompiler(either.tokenizer.json, either.config.vocab_size, either.chat.closing[0])


@pytest.fixture
def branch(either: Base) -> Iterator[Branch]:
    trunk = Trunk(either)
    trunk.extend(either.chat.message("user", "go"))
    made = trunk.branch()
    yield made
    made.close()


def draw(
    either: Base, compiler: GrammarCompiler, branch: Branch, count: int, seed: int = 0, tokens: int = 60
) -> list[str]:
    state, sampler = compiler.compile(JsonSchema(FORM)).start(), Sampler(Sampling(1.0, seed=seed))
    draws = Draws(branch, either.chat.generation_prompt, state, either.end_ids, Clock())
    return [each.text for each in draws.texts(count, sampler, Budget(tokens))]


def tried(either: Base, compiler: GrammarCompiler, branch: Branch, tries: Tries | None) -> Generated:
    *pieces, last = best_of_n(
        branch,
        either.chat.generation_prompt,
        Sampler(Sampling()),
        Budget(60),
        tries,
        stop_ids=either.end_ids,
        constraint=compiler.compile(JsonSchema(FORM)).start(),
    )
    assert isinstance(last, Generated)
    assert "".join(piece.text for piece in pieces) == last.text
    return last


def test_all_have_the_form_differ_and_come_again_by_the_seed(
    either: Base, compiler: GrammarCompiler, branch: Branch
) -> None:
    start = branch.sequence.length
    texts = draw(either, compiler, branch, 8)
    assert len(texts) == 8 and len(set(texts)) > 4
    for text in texts:
        jsonschema.validate(json.loads(text), FORM)
    assert branch.sequence.length == start
    assert draw(either, compiler, branch, 8) == texts != draw(either, compiler, branch, 8, seed=1)


def test_what_does_not_fit_the_budget_is_left_out(either: Base, compiler: GrammarCompiler, branch: Branch) -> None:
    longest = max(len(either.tokenizer.encode(text)) for text in draw(either, compiler, branch, 8))
    assert len(draw(either, compiler, branch, 8, tokens=longest - 4)) < 8
    assert draw(either, compiler, branch, 8, tokens=3) == []


def test_the_first_that_passes_is_written(either: Base, compiler: GrammarCompiler, branch: Branch) -> None:
    greedy = tried(either, compiler, branch, None)
    branch.sequence.truncate(branch.start)
    assert (greedy.tries, greedy.passed) == (1, None)
    asked: list[str] = []

    def passes(text: str) -> bool:
        asked.append(text)
        return len(asked) == 3

    found = tried(either, compiler, branch, Tries(12, passes))
    assert asked[0] == greedy.text and len(set(asked)) == 3
    assert (found.text, found.passed) == (asked[2], True) and 3 <= found.tries <= 12
    assert either.tokenizer.decode(found.ids, skip_special=False) == found.text


@pytest.mark.parametrize(("said", "passed", "tries"), [(True, True, 1), (False, False, 5), (None, None, 1)])
def test_else_the_first_one_is(
    either: Base, compiler: GrammarCompiler, branch: Branch, said: bool | None, passed: bool | None, tries: int
) -> None:
    greedy = tried(either, compiler, branch, None)
    branch.sequence.truncate(branch.start)
    found = tried(either, compiler, branch, Tries(5, lambda text: said))
    assert (found.text, found.ids, found.passed, found.tries) == (greedy.text, greedy.ids, passed, tries)


def test_no_more_is_tried_once_the_run_is_cancelled(either: Base, compiler: GrammarCompiler, branch: Branch) -> None:
    asked: list[str] = []

    def passes(text: str) -> bool:
        asked.append(text)
        return False

    *_, last = best_of_n(
        branch,
        either.chat.generation_prompt,
        Sampler(Sampling()),
        Budget(60, cancelled=lambda: len(asked) >= 2),
        Tries(8, passes),
        stop_ids=either.end_ids,
        constraint=compiler.compile(JsonSchema(FORM)).start(),
    )
    assert isinstance(last, Generated) and len(asked) == 2
    assert (last.text, last.passed, last.tries) == (asked[0], False, 2)


def test_what_stays_after_a_try_is_what_a_bare_trunk_would_hold(either: Base, compiler: GrammarCompiler) -> None:
    trunk = Trunk(either)
    trunk.extend(either.chat.message("user", "go"))
    made = trunk.branch()
    found = tried(either, compiler, made, Tries(4, lambda text: False))
    made.close([*either.chat.generation_prompt, *found.ids])
    after = trunk.branch()
    plain = Trunk(either)
    plain.extend(trunk.ids)
    again = plain.branch()
    ids = either.chat.closing
    assert after.feed(ids).argmax() == again.feed(ids).argmax()
    assert after.sequence.ids == again.sequence.ids


def test_programs_are_run_by_the_python_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = python_tool(30.0)
    assert gets_through(tool, "assert 1 + 1 == 2") is True
    assert gets_through(tool, "assert 1 + 1 == 3") is False
    monkeypatch.setattr("loraloop.agent.tools.python_tool.EXAMPLE_SECONDS", 0.3)
    assert gets_through(tool, "while True: pass") is False

    def refuse(self: Sandbox, program: str) -> None:
        raise SandboxError("none works")

    monkeypatch.setattr(Sandbox, "run", refuse)
    assert gets_through(tool, "1") is None


@pytest.mark.parametrize("tries", [0, MOST_TRIES + 1, True])
def test_numbers_that_cannot_be(tries: int) -> None:
    with pytest.raises(InputError, match="tries is"):
        Limits(tries=tries)


@pytest.mark.parametrize(
    ("request_text", "options", "tried_at_all"),
    [
        (REQUEST, {"python": True}, True),
        (REQUEST, {"python": False}, False),
        ("Write add.", {"python": True}, False),
        (REQUEST, {"python": True, "limits": Limits(tries=1)}, False),
        (REQUEST, {"python": True, "policy": Policy(ask="python")}, False),  # nobody has approved of any run
    ],
)
def test_when_an_agent_tries(
    monkeypatch: pytest.MonkeyPatch, request_text: str, options: dict[str, Any], tried_at_all: bool
) -> None:
    runtime, seen = ScriptedRuntime(code(WRONG), "Done."), list[Tries | None]()
    plain: Callable[..., Any] = runtime.generate

    def spied(*asked: Any, **how: Any) -> Any:
        seen.append(how.get("tries"))
        return plain(*asked, **how)

    monkeypatch.setattr(runtime, "generate", spied)
    Agent(runtime, **options).run_sync(request_text, skill="code")
    assert (seen[0] is not None) == tried_at_all
    if seen[0] is not None:
        assert seen[0].passes(f"```python\n{RIGHT}\n```") and not seen[0].passes(f"```python\n{WRONG}\n```")
    assert not any(seen[1:])


def test_the_embedded_base_and_its_skill(base: Base) -> None:
    agent = Agent(Runtime.load(base), python=True, limits=Limits(step_tokens=120), guard=Guard())
    step = agent.run_sync(REQUEST, skill="code").steps[0]
    assert step.tried is not None and step.tried[0] >= 1 and step.tried[1] and "def add" in step.text
    hopeless = agent.run_sync("Write add.\nassert add(2, 3) == 5\nassert add(2, 3) == 6", skill="code").steps[0]
    assert hopeless.tried is not None and 1 < hopeless.tried[0] <= Limits().tries and not hopeless.tried[1]
