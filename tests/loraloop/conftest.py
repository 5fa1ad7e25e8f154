"""The command line as a function."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loraloop.cli.main import run_command


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], one_base: None) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: its exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run_command(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return call
