"""What goes wrong in a tool is visible: in the log, in the result, and before anything is called."""

from __future__ import annotations

import logging

import pytest

from loraloop.agent import Agent
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import ToolError
from loraloop.tool_schemas.tools.tool import Tool


def test_an_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        """Breaks."""
        raise ValueError("disk full")

    async def broken_too() -> str:
        """Breaks later."""
        raise KeyError("x")

    def refuses() -> str:
        """Says no in its own words."""
        raise ToolError("not today")

    with caplog.at_level(logging.WARNING, logger="loraloop"):
        runtime = ScriptedRuntime(calls(("broken", {}), ("broken_too", {}), ("refuses", {})), calls(), "It failed.")
        result = Agent(runtime, [broken, broken_too, refuses]).run_sync("Do it.")
    raised = {record.getMessage(): record.exc_info for record in caplog.records}
    assert set(raised) == {"the tool broken raised", "the tool broken_too raised"}
    assert all(info is not None and info[2] is not None for info in raised.values())
    assert [call.name for call in result.failed_calls] == ["broken", "broken_too", "refuses"]


def test_an_object_is_no_result() -> None:
    for value in (object(), {"deep": [object()]}):
        tool = Tool("look", "Looks.", function=lambda value=value: value)
        result = Agent(ScriptedRuntime(calls(look={}), calls(), "It failed."), [tool]).run_sync("Look.")
        (call,) = result.failed_calls
        assert call.error is not None and "object" in call.error and "return data or a text" in call.error


def test_a_missing_description_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def undescribed_tool() -> str:
        return "x"

    with caplog.at_level(logging.WARNING, logger="loraloop"):
        for _ in range(2):
            Agent(ScriptedRuntime("Hi."), [undescribed_tool]).run_sync("Hello.")
    assert [record.getMessage() for record in caplog.records if "description" in record.getMessage()] == [
        "the tool undescribed_tool has no description: write a docstring that says when to use it"
    ]
