"""Schemas are enforced exactly: nothing invalid can be decoded, and what no grammar enforces is checked or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loraloop.adapters.base.random_weights import byte_tokenizer_json
from loraloop.adapters.base.tokenizer import Tokenizer
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.matcher import Vocabulary

MODES = ("check", "refuse")


@pytest.fixture(scope="module")
def exact(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("conformance")


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(Vocabulary(Tokenizer(byte_tokenizer_json(), (0,)), 259, 0))


def test_checked_schemas_are_judged_as_json_schema_says(exact: ModuleType, compiler: GrammarCompiler) -> None:
    result = exact.score(exact.OurJudge(compiler, "check"), exact.read_cases(exact.CASES))
    assert result.wrong == []
    assert not result.refused
    assert result.passed == result.schemas > 30


def test_refusing_accepts_nothing_invalid_either(exact: ModuleType, compiler: GrammarCompiler) -> None:
    result = exact.score(exact.OurJudge(compiler, "refuse"), exact.read_cases(exact.CASES))
    assert result.wrong == []
    assert {"uniqueItems", "contains", "not", "if", "dependentRequired", "oneOf", "format"} <= result.refused.keys()
    assert result.passed + result.refused.total() == result.schemas


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"schema": {}}\n{"schema": 3}', "line 2"),
        ('[{"tests": []}]', "entry 0"),
        ('{"schema": {}, "tests": [{"data": 1}]}', "line 1.*valid"),
        ("{", "no JSON"),
    ],
)
def test_wrong_cases_are_named_by_their_place(exact: ModuleType, tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=wrong):
        list(exact.read_cases(file))
    with pytest.raises(InputError, match="cannot read"):
        list(exact.read_cases(tmp_path / "none.jsonl"))


def test_lines_end_at_line_breaks_alone(exact: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text('{"schema": {}, "valid": ["a\u2028b"]}\n\n{"schema": {}}\n', encoding="utf-8")
    assert [case.id for case in exact.read_cases(file)] == ["line 1", "line 3"]


def test_a_refusal_counts_under_its_keyword(exact: ModuleType) -> None:
    assert exact.keyword_of(SchemaError("no", "$.properties.a.uniqueItems")) == "uniqueItems"
    assert exact.keyword_of(SchemaError("takes too long: why", "$")) == "takes too long"


def test_the_report_counts_a_systems_refusals(exact: ModuleType, compiler: GrammarCompiler, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    case = {"id": "x", "schema": {"type": "array", "uniqueItems": True}, "valid": [[1, 2]], "invalid": [[1, 1]]}
    file.write_text(json.dumps(case))
    checking, refusing = (exact.score(exact.OurJudge(compiler, mode), exact.read_cases(file)) for mode in MODES)
    assert checking.metrics()["pass_rate"] == 1 and checking.metrics()["invalid_accepted"] == 0
    assert refusing.metrics()["refused"] == 1 and refusing.refused == {"uniqueItems": 1}


def test_a_crash_is_counted_and_the_rest_is_still_measured(exact: ModuleType) -> None:
    class Crashing:
        name = "crashing"

        def compile(self, schema: dict[str, Any] | bool) -> Callable[[Any], bool]:
            if schema == {"type": "null"}:
                raise AttributeError("no such place")
            return lambda instance: True

    cases = [
        exact.ConformanceCase(str(at), {"type": kind}, ((None, True),)) for at, kind in enumerate(["null", "string"])
    ]
    result = exact.score(Crashing(), cases)
    assert (result.schemas, result.passed, dict(result.crashed)) == (2, 1, {"AttributeError": 1})
    assert result.metrics()["crashed"] == 1
