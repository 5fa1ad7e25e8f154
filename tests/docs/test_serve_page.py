"""The page on the server: its clients run against a server of their own, on the embedded base."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of `loraloop serve`, as its page starts it; it has to answer soon after it is started."""
    command = [sys.executable, "-m", "loraloop", "serve", "--tools", "examples/tools/weather.json", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        line = ""
        while "listening on" not in line:
            line = process.stderr.readline()
            assert line or process.poll() is None, "the server ended"
        yield line.split()[-1]
        start = time.monotonic()
        process.terminate()
        process.wait(30)
        assert time.monotonic() - start < 15


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def run(programs: list[str], url: str) -> None:
    names: dict[str, object] = {"__name__": "serve_page"}
    for program in programs:
        exec(compile(program.replace(ADDRESS, url), "serve.md", "exec"), names)


def test_its_python_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(blocks("python"), url)
    shown = capsys.readouterr().out
    assert "get_weather" in shown and "tools 0." in shown and "name='Paris'" in shown and "score=" in shown


def test_its_curl_commands_answer(url: str) -> None:
    (commands,) = [block for block in blocks("sh") if "curl" in block]
    done = subprocess.run(["bash", "-ec", commands.replace(ADDRESS, url)], capture_output=True, text=True, timeout=120)
    first, _, events = done.stdout.partition("event: ")
    assert done.returncode == 0 and json.loads(first)["object"] == "chat.completion"
    assert "RunStarted" in events and "RunFinished" in events and "get_weather" in events


def test_its_file_of_agents_has_the_fields_that_there_are() -> None:
    from loraloop.server.agents import AgentSpec
    from loraloop.tool_schemas.yamltext import read_yaml

    (text,) = re.findall(r"^```yaml file=agents.yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    (given,) = read_yaml(text, "agents.yaml")["agents"].values()
    assert set(AgentSpec.model_validate(given).model_dump()) == {*given, "skills", "fallback"}
