"""docs/tools.md: its blocks run and print what it shows, its commands work, its tables are the code's."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loraloop.cli.main import run_command
from loraloop.tool_schemas.tools.survey import Survey, survey

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tools.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_blocks_run_and_print_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    shutil.copy(ROOT / "examples" / "mcp_server.py", tmp_path)
    names: dict[str, object] = {"__name__": "tools_page"}
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == TEXT.count("```python")
    for block, shown in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        assert capsys.readouterr().out == shown


def test_the_commands_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_base: None) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines() if line
    ]
    assert len(commands) >= 7
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "loraloop"
        if arguments[0] == "tools":
            assert run_command(arguments) == 0, command
        else:
            assert run_command(["route", *arguments[1:]]) == 0, command  # as far as the tools are concerned
    capsys.readouterr()


def test_the_lists_are_those_of_the_code() -> None:
    script = ROOT / "docs" / "keywords.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def became(told: Survey) -> str:
    if told.refused:
        return "refused"
    if told.checked:
        return "checked"
    return "annotation" if any(note.reason for note in told.annotations) else "enforced"


def test_the_table_of_values_is_what_happens() -> None:
    found = re.search(r"<!-- values -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    assert found is not None
    rows = [re.findall(r"`(\{.*\})` \| (\w+) \| (\w+) \|", line) for line in found[1].splitlines()[2:]]
    assert len(rows) >= 10 and all(rows)
    for ((schema, otherwise, with_check),) in rows:
        tool = {"type": "object", "properties": {"x": json.loads(schema)}}
        assert became(survey(tool, "refuse")) == otherwise, schema
        assert became(survey(tool, "check")) == with_check, schema
