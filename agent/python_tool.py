"""The `python` tool: runs a code step's program in the sandbox."""

from __future__ import annotations

from loraloop.agent.outcomes import PYTHON
from loraloop.tool_schemas.errors import ToolError
from loraloop.tool_schemas.tools import Tool

OUTPUT = 2000  # characters of output that the model is shown


def python_tool(timeout: float) -> Tool:
    """A tool that runs `code` and gives what it printed.

    Args:
        timeout: Seconds that a program may run.
    """

    def run(code: str) -> str:
        from loraloop.agent.sandbox import run_python

        done = run_python(code, timeout=timeout)
        if done.timed_out:
            raise ToolError(f"the program ran longer than {timeout:g} s and was stopped")
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ToolError(_clip(last[0]))
        return _clip(done.stdout)

    schema = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    described = "Runs a Python program and gives what it prints."
    # In a sandbox without network and files.
    return Tool(PYTHON, described, schema, run, effects=False, trusted=True, idempotent=True)


def _clip(text: str) -> str:
    if len(text) <= OUTPUT:
        return text
    return f"{text[:OUTPUT]}… ({len(text) - OUTPUT} more characters)"
