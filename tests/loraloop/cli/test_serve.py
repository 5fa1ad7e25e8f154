"""``loraloop serve mcp`` refuses what it cannot do, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--python"], "add --run"),
        (["--http", "--token-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is empty"),
        (["--prt", "1"], "No such option"),
    ],
)
def test_what_cannot_be_served(run: Callable[..., tuple[int, str, str]], arguments: list[str], words: str) -> None:
    code, out, err = run("serve", "mcp", *arguments)
    assert (code, out) == (2, "") and words in err
