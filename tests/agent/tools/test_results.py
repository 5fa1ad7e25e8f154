"""Results that a run cannot keep: iterators, which may have no end, and what is nested too deeply."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
import threading
from collections import UserDict, UserString
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel, computed_field

from loraloop import Agent
from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.tools.runner import ToolRunner
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.tools.calls import Call


@dataclass
class Rows:
    rows: Any


class Page(BaseModel):
    rows: Any


class Open(BaseModel, extra="allow"):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def counted(self) -> Any:
        return itertools.count() if self.model_extra == {} else 1


def endless() -> Iterator[int]:
    yield from itertools.count()


async def endless_async() -> AsyncIterator[int]:
    yield 1


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        endless,
        endless_async,
        lambda: {"rows": endless()},
        lambda: [1, (2, {"x": map(str, endless())})],
        lambda: Rows(endless()),
        lambda: Page(rows=[endless()]),
        lambda: Open(rows=endless()),  # type: ignore[call-arg]
        lambda: Open(),
    ],
)
def test_an_iterator_is_no_result(make: Callable[[], Any]) -> None:
    record = ToolRunner().run(Tool("rows", function=make), Call("rows", {}), 20)
    assert record.error is not None and "iterator" in record.error and "list(…)" in record.error


def test_a_moment_without_an_offset_is_a_result() -> None:
    """As pydantic writes a naive one, which many MCP servers send under the schema that it makes."""
    schema = {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}
    tool = Tool("now", function=lambda: {"at": "2024-01-01T00:00:00"}, returns=schema)
    record = ToolRunner().run(tool, Call("now", {}), 20)
    assert record.error is None and record.result == {"at": "2024-01-01T00:00:00"}


async def fetch() -> int:
    return 1


@pytest.mark.filterwarnings("ignore:coroutine 'fetch' was never awaited")
@pytest.mark.parametrize("make", [lambda: [fetch()], lambda: Rows({"row": fetch()})])
def test_what_was_not_awaited_is_no_result(make: Callable[[], Any]) -> None:
    record = ToolRunner().run(Tool("rows", function=make), Call("rows", {}), 20)
    assert record.error == "the result holds what nobody has awaited (coroutine): await it in the tool"


def test_a_process_that_was_given_an_endless_result_ends(tmp_path: Path) -> None:
    program = """
        import itertools, resource
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        from loraloop.agent.tools.runner import ToolRunner
        from loraloop.tool_schemas import Tool
        from loraloop.tool_schemas.tools.calls import Call
        print(ToolRunner().run(Tool("count", function=lambda: itertools.count()), Call("count", {}), 0.5).error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "iterator" in done.stdout, done.stderr


@pytest.mark.parametrize("levels", [101, 200, 5000])
def test_a_result_that_is_nested_too_deeply_leaves_the_session_usable(levels: int, tmp_path: Path) -> None:
    def deep() -> Any:
        """Deep."""
        return nested(levels)

    with Sessions(tmp_path / "s.db") as store:
        session = store.session("s")
        runtime = ScriptedRuntime(calls(deep={}), "It was too deep.", "Yes.")
        result = Agent(runtime, [deep]).run_sync("Go.", session=session)
        assert "nested more than 100" in (result.steps[0].calls[0].error or "")
        assert Agent(runtime, [deep]).run_sync("Really?", session=session).output == "Yes."
        assert len(store["s"].turns) == 2


def test_a_result_of_a_hundred_levels_is_kept_and_one_that_holds_itself_is_refused(tmp_path: Path) -> None:
    record = ToolRunner().run(Tool("deep", function=lambda: nested(100)), Call("deep", {}), 20)
    assert record.error is None and record.result == nested(100)
    itself: list[Any] = []
    itself += [itself, itself]
    record = ToolRunner().run(Tool("itself", function=lambda: itself), Call("itself", {}), 20)
    assert record.error is not None and "nested" in record.error


@pytest.mark.parametrize("make", [lambda: {"\ud800": "\udfff"}, lambda: Page(rows={"\ud800": b"x"})])
def test_half_of_a_surrogate_pair_in_a_key_is_kept_as_a_replacement(make: Callable[[], Any], tmp_path: Path) -> None:
    def odd() -> Any:
        """Odd."""
        return make()

    with Sessions(tmp_path / "s.db") as store:
        result = Agent(ScriptedRuntime(calls(odd={}), "Odd."), [odd]).run_sync("Go.", session=store.session("s"))
        assert result.output == "Odd." and "\ufffd" in str(store["s"].turns[0].calls[0].record)


def test_what_a_tool_does_later_with_the_list_that_it_returned_changes_no_record() -> None:
    notes: list[str] = []

    def add_note(text: str) -> list[str]:
        """Adds a note, and gives all of them."""
        notes.append(text)
        return notes

    async def add_later(text: str) -> dict[str, list[str]]:
        """Adds a note, and gives all of them."""
        return {"notes": add_note(text)}

    model = ScriptedRuntime(
        calls(add_note={"text": "milk"}), calls(add_later={"text": "eggs"}), calls(add_note={"text": "tea"}), "Done."
    )
    result = Agent(model, [add_note, add_later]).run_sync("Note milk, then eggs, then tea.")
    assert [call.result for step in result.steps for call in step.calls] == [
        ["milk"],
        {"notes": ["milk", "eggs"]},
        ["milk", "eggs", "tea"],
    ]
    assert result.receipts[0].text == "Done: add note (text: milk). Result: 1 item: milk."


def test_what_a_tool_does_with_its_arguments_changes_no_record() -> None:
    listed = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "string"}}}}
    taken: list[str] = []

    def order(items: list[str]) -> int:
        while items:
            taken.append(items.pop(0))
        return len(taken)

    two: dict[str, Any] = {"items": ["tea", "milk"]}
    result = Agent(ScriptedRuntime(calls(order=two), "Done."), [Tool("order", "Orders.", listed, order)]).run_sync("go")
    assert taken == ["tea", "milk"] and result.steps[0].calls[0].arguments == {"items": ["tea", "milk"]}


def test_a_result_that_cannot_be_copied_is_kept_as_it_is() -> None:
    class Busy:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __str__(self) -> str:
            return "busy"

    made = Busy()
    record = ToolRunner().run(Tool("look", function=lambda: made), Call("look", {}), 20)
    assert record.error is None and record.result is made


@pytest.mark.parametrize(
    "made, data",
    [
        (range(3), [0, 1, 2]),
        ({"pears": 12}.keys(), ["pears"]),
        ({"pears": 12}.values(), [12]),
        (MappingProxyType({"at": date(2026, 5, 4)}), {"at": "2026-05-04"}),
        ({"rows": [UserDict(pears=12)]}, {"rows": [{"pears": 12}]}),
        (UserString("pears"), "pears"),
    ],
)
def test_a_mapping_or_sequence_of_any_class_is_told_as_its_data(made: Any, data: Any) -> None:
    def rows() -> Any:
        """Rows."""
        return made

    result = Agent(ScriptedRuntime(calls(rows={}), "Done."), [rows]).run_sync("Go.")
    assert json.loads(result.messages[-2].content)["result"] == data


def test_a_mapping_of_any_class_is_looked_through() -> None:
    record = ToolRunner().run(Tool("rows", function=lambda: UserDict(rows=endless())), Call("rows", {}), 20)
    assert record.error is not None and "iterator" in record.error


def test_a_method_that_was_not_called_is_no_result() -> None:
    record = ToolRunner().run(Tool("rows", function=lambda: {"rows": [1].count}), Call("rows", {}), 20)
    assert record.error == "the result is or holds a function (list.count): call it, and return what it gives"
