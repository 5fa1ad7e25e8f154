"""docs/approval.md: its blocks run and print what it shows, and its commands do what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from loraloop.cli.main import run_command
from loraloop.testing import ScriptedRuntime, calls

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "approval.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_blocks_run_and_print_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "approval_page"}
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == TEXT.count("```python") == 4
    for block, shown in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        assert capsys.readouterr().out == shown


def test_the_commands_pause_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    step, done = calls(send_money={"to": "Ann", "euros": 50}), "Done."
    wanted = [(step, 3, "call_0_0 send_money"), (done, 0, "sent 50 euros")]
    for command, (script, code, says) in zip(commands, wanted, strict=True):
        monkeypatch.setattr(
            "loraloop.cli.options.open_runtime", lambda *_, script=script, **__: ScriptedRuntime(script)
        )
        assert run_command(shlex.split(command)[1:]) == code, command
        assert says in capsys.readouterr().out, command
