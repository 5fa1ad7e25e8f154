"""What aliases make of a YAML file."""

from __future__ import annotations

import pytest

from loraloop.tool_schemas.yamltext import MOST_VALUES, expanded, read_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 20))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [1, 2]\nb: *a\nc: {d: *a}\n", ""),
        ("{a: 1, b: [{}, []]}", ""),
        ("a: &a {b: *a}", "contain itself"),
        ("&a [[*a]]", "contain itself"),
        (BOMB, f"more than {MOST_VALUES} values"),
    ],
)
def test_cycles_and_bombs_are_found(text: str, why: str) -> None:
    assert why in expanded(read_yaml(text, "file")) and bool(why) == bool(expanded(read_yaml(text, "file")))
