"""One grammar, many threads: it is compiled once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from loraloop.tool_schemas import GrammarCompiler, JsonSchema, Regex
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.single_flight import SingleFlight


def test_what_many_ask_for_at_once_is_made_once() -> None:
    made: list[str] = []
    slow, all_ask = threading.Event(), threading.Barrier(8)

    def make() -> object:
        made.append("x")
        slow.wait(5)
        return object()

    flights: SingleFlight[object] = SingleFlight(4)

    def ask() -> object:
        all_ask.wait(5)
        return flights.get("x", make)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        assert not flights.ready("x")
        slow.set()
        assert len({id(each.result(5)) for each in asked}) == 1
    assert made == ["x"] and flights.ready("x")


def test_two_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[int] = SingleFlight(4)
    started, go_on = threading.Event(), threading.Event()

    def make() -> int:
        started.set()
        go_on.wait(5)
        return 1

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flights.get, "a", make)
        started.wait(5)
        assert flights.get("b", lambda: 2) == 2 and not first.done()
        go_on.set()
        assert first.result(5) == 1


def test_a_failure_is_told_to_all_and_tried_again() -> None:
    flights: SingleFlight[int] = SingleFlight(4)

    def fail() -> int:
        raise SchemaError("no")

    for _ in range(2):
        with pytest.raises(SchemaError, match="no"):
            flights.get("x", fail)
    assert flights.get("x", lambda: 3) == 3


def test_the_least_recently_used_goes_first() -> None:
    flights: SingleFlight[int] = SingleFlight(2)
    for key in "aba":
        flights.get(key, lambda: 1)
    flights.get("c", lambda: 1)
    assert [flights.ready(key) for key in "abc"] == [True, False, True]


def test_a_compiler_compiles_a_term_once(compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = compiler.compile_anew, []

    def counting(term: Any) -> Any:
        count.append(term)
        return real(term)

    monkeypatch.setattr(compiler, "compile_anew", counting)
    schema = {"type": "object", "properties": {"only_here": {"type": "integer"}}, "required": ["only_here"]}
    assert not compiler.compiled(schema)
    with ThreadPoolExecutor(6) as pool:
        grammars = list(pool.map(lambda _: compiler.compile(dict(schema)), range(12)))
    assert len(count) == 1 and len({id(grammar) for grammar in grammars}) == 1
    assert compiler.compiled(JsonSchema(schema)) and not compiler.compiled(JsonSchema(schema, None))
    assert not compiler.compiled(Regex("only here"))
