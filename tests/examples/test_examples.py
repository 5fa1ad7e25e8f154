"""Every example runs, and prints what it is about."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAYS = {
    "approval": "goes on, 2 steps",
    "citations": "'Eiffel Tower' in eiffel-tower.md",
    "conversation": "from the cache",
    "embedding": "tools",
    "handoff": "weather: get_weather",
    "function_tool": "'leaves': datetime.date(2026, 5, 5)",
    "many_agents": "4 agents, ",
    "mcp_both_ways": "(mcp:loraloop)",
    "mcp_tools": "'temperature': 64.0, 'unit': 'fahrenheit'",
    "openapi_service": "'asked with': '[redacted]'}\nthe key is somewhere in the run: False",
    "pydantic_ai_agent": "City(name=",
    "pydantic_tool": "sent 25.00 EUR to Alice",
    "sandbox": "timed out",
    "sessions": "the session is interrupted\ncalls without an end: ['book']",
    "streaming": "steps",
    "tools_folder": "order_status({'order': 4711}) -> {'order': 4711, 'status': 'shipped'",
    "typed_answer": "Report(city='Paris', celsius=18.0, sky='light clouds')",
}
ARGUMENTS = {"many_agents": ["4"]}
SERVERS = {"mcp_server"}  # run by an example


def test_every_example_is_tested():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} - SERVERS == set(SAYS)


def test_every_example_is_listed():
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"[{name}.py]({name}.py)" in listed for name in SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name, tmp_path, monkeypatch, capfd, one_base):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *ARGUMENTS.get(name, ())])
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert SAYS[name] in capfd.readouterr().out  # some print from a process of their own
