"""Every example runs, and prints what it is about."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAYS = {
    "approval": "goes on, 2 steps",
    "citations": "cites p2",
    "conversation": "from the cache",
    "embedding": "tools",
    "function_tool": "'leaves': datetime.date(2026, 5, 5)",
    "mcp_both_ways": "(mcp:loraloop)",
    "mcp_tools": "'temperature': 64.0, 'unit': 'fahrenheit'",
    "openapi_service": "'asked with': '[redacted]'}\nthe key is somewhere in the run: False",
    "pydantic_ai_agent": "City(name=",
    "pydantic_tool": "sent 25.00 EUR to Alice",
    "sandbox": "timed out",
    "sessions": "the session is interrupted\ncalls without an end: ['book']",
    "smolagents_agent": "get_weather({'city': 'Rome'}) -> 18 degrees",
    "streaming": "steps",
    "typed_answer": "Report(city='Paris', celsius=18.0, sky='light clouds')",
}
SERVERS = {"mcp_server"}  # run by an example


def test_every_example_is_tested():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} - SERVERS == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
