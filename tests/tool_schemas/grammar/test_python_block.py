"""Blocks of Python that have to parse: lines are checked as they are completed, and taken back exactly."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base
from loraloop.adapters.skill.contracts import code_grammar, code_of, code_text
from loraloop.tool_schemas.errors import SchemaError, Violation
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import Lark
from loraloop.tool_schemas.grammar.python_block import PythonState, python_problem

REAL = sorted(Path(__file__).parents[3].glob("kernels/*.py"))[:6]
WRONG = {
    "def f(:\n    pass\n": 1,
    "x = 1\nprint 'x'\n": 2,
    "def f():\nx = 1\n": 2,
    "try:\n    x = 1\ny = 2\n": 3,
    "a = [1,\nb = 2\n": 1,
    "s = 'abc\n": 1,
    "if True:\n    x = 1\n  y = 2\n": 3,
}
INCOMPLETE = (
    "def f():\n",
    "x = (1,\n",
    "s = '''abc\n",
    "@d\n",
    "if a:\n    pass\nelse:\n",
    "x = 1 \\\n",
    "try:\n    a\n",
)


@pytest.fixture(scope="module")
def start(base: Base) -> PythonState:
    compiler = GrammarCompiler(base.vocabulary)
    state = compiler.compile(Lark(code_grammar(), python=True)).start()
    assert isinstance(state, PythonState)
    return state


@pytest.mark.parametrize("code", INCOMPLETE)
def test_what_is_only_incomplete_is_no_problem_until_the_block_closes(
    base: Base, start: PythonState, code: str
) -> None:
    assert python_problem(code, whole=False) is None and python_problem(code) is not None
    state = start.fork()
    for token in base.tokenizer.encode(f"```python\n{code}"):
        state.accept([token])
    with pytest.raises(Violation):
        for token in base.tokenizer.encode("```"):
            state.accept([token])


@pytest.mark.parametrize(("code", "line"), WRONG.items())
def test_a_wrong_line_is_found_when_it_ends_and_named(base: Base, start: PythonState, code: str, line: int) -> None:
    state, taken = start.fork(), 0
    with pytest.raises(Violation) as found:
        for token in base.tokenizer.encode(f"```python\n{code}\n```"):
            state.accept([token])
            taken += 1
    assert found.value.path == f"line {line}"
    before = base.tokenizer.decode(base.tokenizer.encode(f"```python\n{code}\n```")[: found.value.start])
    assert before.count("\n") <= line  # it begins in the line that is named, or in the token that leads to it
    assert state.settled <= taken
    state.rollback(taken)  # the failing token was not taken
    for token in base.tokenizer.encode("```python\nx = 1\n```"):
        state.accept([token])
    assert state.can_stop


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_every_line_of_real_programs_is_accepted(base: Base, start: PythonState, path: Path) -> None:
    text = code_text(path.read_text(encoding="utf-8"))
    state = start.fork()
    for token in base.tokenizer.encode(text):
        state.accept([token])
    assert state.can_stop and state.settled == len(base.tokenizer.encode(text))


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.integers(0, 30), max_size=8))
def test_rollback_is_exact(base: Base, start: PythonState, steps: list[int]) -> None:
    """However far one goes back, the state is the one of the tokens that are left."""
    ids = base.tokenizer.encode(
        "```python\ndef f(a, b):\n    if a:\n        return (a +\n            b)\n    return '''x\ny'''\n```"
    )
    state, at = start.fork(), 0
    for step in steps:
        for token in ids[at : at + 12]:
            state.accept([token])
        at = min(len(ids), at + 12)
        back = min(step, at)
        state.rollback(back)
        at -= back
        fresh = start.fork()
        for token in ids[:at]:
            fresh.accept([token])
        assert state.settled == fresh.settled and state.can_stop == fresh.can_stop
    for token in ids[at:]:
        state.accept([token])
    assert state.can_stop


def parses(text: str) -> bool:
    try:
        ast.parse(code_of(text))
    except (SyntaxError, SchemaError):
        return False
    return True


@pytest.mark.parametrize("tokens", [24, 100])
def test_what_a_model_writes_parses(base: Base, tokens: int) -> None:
    """At temperature 1.3 the small base writes wrong Python often; under the check it does not."""
    from loraloop.agent.engine.generate import Generated, GenerateRequest, generate
    from loraloop.agent.engine.sampler import Sampler, Sampling
    from loraloop.agent.engine.trunk import Trunk

    compiler = GrammarCompiler(base.vocabulary)
    retried, plain_wrong = 0, 0
    for seed in range(3):
        for checked in (True, False):
            trunk = Trunk(base)
            trunk.extend(base.chat.message("user", "Write a Python function that merges two sorted lists."))
            branch = trunk.branch()
            *_, out = generate(
                branch,
                GenerateRequest(
                    invocation=base.chat.generation_prompt,
                    sampler=Sampler(Sampling(temperature=1.3, seed=seed)),
                    max_tokens=tokens,
                    stop_ids=base.end_ids,
                    constraint=compiler.compile(Lark(code_grammar(), python=checked)).start(),
                ),
            )
            branch.close()
            assert isinstance(out, Generated) and len(out.ids) <= tokens
            if not checked:
                plain_wrong += not parses(out.text)
            elif out.reason != "unenforced":
                assert parses(out.text), out.text
                retried += out.retried
    assert plain_wrong and retried
