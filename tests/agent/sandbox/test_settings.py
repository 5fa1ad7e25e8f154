"""What is said of a sandbox by its user: limits, running without one, and the tool that agents get."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloop import Agent, Sandbox
from loraloop.agent.sandbox import sandbox
from loraloop.agent.tools.python_tool import python_tool
from loraloop.testing import ScriptedRuntime, code
from loraloop.tool_schemas.errors import InputError, SandboxError, ToolError, UnknownNameError


@pytest.fixture
def none_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_working", lambda name: None)


@pytest.mark.usefixtures("none_works")
def test_without_a_mechanism_code_runs_only_where_that_is_allowed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    program = f"open({str(made)!r}, 'w').write('x'); print('ran')"
    with pytest.raises(SandboxError, match="was not run"):
        Sandbox().run(program)
    assert not made.exists()
    result = Sandbox(allow_unconfined=True).run(program)
    assert (result.stdout, result.mechanism) == ("ran\n", "unconfined")
    assert made.read_text() == "x"  # this is what allowing it means
    with pytest.raises(SandboxError, match="bubblewrap does not work"):
        Sandbox(mechanism="bubblewrap", allow_unconfined=True).run(program)


def test_where_a_mechanism_works_allowing_to_run_without_changes_nothing() -> None:
    assert Sandbox(allow_unconfined=True).run("").mechanism == sandbox.mechanisms()[0]


def test_without_a_sandbox_limits_and_the_filter_stay() -> None:
    bare = Sandbox(mechanism="unconfined", timeout=5, memory_mb=256, scratch_mb=4, output_bytes=1000)
    assert "unconfined" not in sandbox.mechanisms()
    for attempt in ("import socket; socket.socket()", "import os; os.fork()", "import os; os.kill(os.getppid(), 0)"):
        result = bare.run(attempt)
        assert result.returncode == 1 and "Error" in result.stderr, attempt
    assert "MemoryError" in bare.run("x = bytearray(2**30)").stderr
    assert bare.run("print('x' * 10**6)").truncated
    filling = "import time\nfor n in range(8):\n    open(f'f{n}', 'wb').write(b'x' * 2**20); time.sleep(0.1)"
    assert bare.run(filling).overfull
    assert bare.run("import os\nprint(dict(os.environ))").stdout.startswith("{'PATH': '/usr/bin:/bin'")


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"memory_mb": -1}, {"scratch_mb": 0}, {"output_bytes": 0}])
def test_limits_are_positive(settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match="must be positive"):
        Sandbox(**settings)  # type: ignore[arg-type]


def test_an_unknown_mechanism_is_an_error_at_once() -> None:
    with pytest.raises(UnknownNameError, match="sandlock"):
        Sandbox(mechanism="sandlok")


def test_an_agent_is_given_its_sandbox() -> None:
    """The tool's own timeout and the sandbox's: the shorter one holds."""
    runtime = ScriptedRuntime(code("print('x' * 50)"), "Done.", code("while True: pass"), "Done.")
    agent = Agent(runtime, python=Sandbox(output_bytes=20, timeout=0.3))
    first = agent.run_sync("Print.")
    assert first.steps[0].calls[0].error == "the program printed more than 20 bytes and was stopped"
    assert agent.run_sync("Loop.").steps[0].calls[0].error == "the program ran longer than 0.3 s and was stopped"


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1;2|payload\x1b\\after", "after"),
        ("\x1b[2J\x1b[Hcleared\x9b31m", "cleared31m"),
        ("a\x08b\rc\x00d\x1b(B", "abcd"),
        ("tab\tand\nline ä €", "tab\tand\nline ä €"),
    ],
)
def test_what_a_terminal_would_obey_is_taken_out(printed: str, seen: str) -> None:
    tool = python_tool(10)
    assert tool.call({"code": f"import sys\nsys.stdout.write({printed!r})"}) == seen
    with pytest.raises(ToolError) as error:
        tool.call({"code": f"raise SystemExit({printed!r}.splitlines()[0])"})
    assert not set("\x1b\x07\x9b\x00") & set(str(error.value))
