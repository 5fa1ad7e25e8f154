"""What a request for a program holds by way of examples."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.agent.sandbox.sandbox import Sandbox
from loraloop.agent.tools.examples import examples_in

REQUEST = """Write a function `double`.
It should pass:
    assert double(1) == 2
    assert double([1,
        2]) == [1, 2, 1, 2]
For example:
>>> double(3)
6
>>> for n in range(2):
...     print(double(n))
0
2

Thank you."""
RIGHT = "def double(x):\n    return x * 2\n"


@pytest.mark.parametrize(
    ("program", "through"),
    [
        (RIGHT, True),
        ("def double(x):\n    return 2 if x == 1 else x * 3\n", False),  # an assert fails
        ("def double(x):\n    return x * 2 if x in (1, [1, 2]) else 0\n", False),  # a doctest fails
        ("def twice(x):\n    return x * 2\n", False),
    ],
)
def test_a_program_gets_through_where_all_examples_hold(program: str, through: bool) -> None:
    assert Sandbox(5).run(f"{program}\n\n{examples_in(REQUEST)}").ok == through


@pytest.mark.parametrize("half", [REQUEST[: REQUEST.index("For example")], REQUEST[REQUEST.index("For example") :]])
def test_either_kind_alone_is_one(half: str) -> None:
    examples = examples_in(half)
    assert Sandbox(5).run(f"{RIGHT}\n\n{examples}").ok
    assert not Sandbox(5).run(f"def double(x):\n    return x\n\n\n{examples}").ok


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "Write a program that prints the first ten primes.",
        "Please assert that it works.",
        "assert f(1) == ",
        "assert f(1) == 2; import os",
        ">>> 1 +\n2",
        ">>> x = 3",  # nothing is printed, so nothing is told
        "asserted f(1) == 2",
        ">>>f(1)\n2",
    ],
)
def test_what_is_none(request_text: str) -> None:
    assert examples_in(request_text) == ""


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.sampled_from("asert f(1)=='\"\\\n>. 2\t\0é"), max_size=80), st.booleans())
def test_no_text_is_too_strange_and_what_is_found_parses(text: str, begun: bool) -> None:
    compile(examples_in(f"assert {text}" if begun else text), "examples", "exec")
