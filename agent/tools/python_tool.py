"""The `python` tool: runs a code step's program in the sandbox."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from loraloop.agent.values.calls import PYTHON
from loraloop.tool_schemas.errors import ToolError
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.agent.sandbox.sandbox import Sandbox

OUTPUT = 2000  # characters of output that the model is shown
_CONTROL = re.compile(  # sequences that a terminal obeys (ECMA-48), and single control characters
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f-\x9f]", re.DOTALL
)


def python_tool(timeout: float, sandbox: Sandbox | None = None) -> Tool:
    """A tool that runs `code` and gives what it printed, without what a terminal would obey.

    Args:
        timeout: Seconds that a program may run.
        sandbox: Limits and mechanism; those of `Sandbox()` where None. The shorter of the two timeouts holds.
    """

    def run(code: str) -> str:
        from loraloop.agent.sandbox.sandbox import Sandbox

        place = sandbox or Sandbox(timeout)
        confined = replace(place, timeout=min(timeout, place.timeout))
        done = confined.run(code)
        if done.timed_out:
            raise ToolError(f"the program ran longer than {confined.timeout:g} s and was stopped")
        if done.truncated:
            raise ToolError(f"the program printed more than {confined.output_bytes} bytes and was stopped")
        if done.overfull:
            raise ToolError(f"the program wrote more than {confined.scratch_mb} MiB of files and was stopped")
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ToolError(_clip(last[0]))
        return _clip(done.stdout)

    schema = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    described = "Runs a Python program and gives what it prints."
    # In a sandbox without network and files.
    return Tool(PYTHON, described, schema, run, effects=False, trusted=True, idempotent=True)


def _clip(text: str) -> str:
    text = _CONTROL.sub("", text)
    if len(text) <= OUTPUT:
        return text
    return f"{text[:OUTPUT]}… ({len(text) - OUTPUT} more characters)"
