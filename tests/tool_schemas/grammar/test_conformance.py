"""Schemas are enforced exactly: nothing invalid can be decoded, and what no grammar enforces is checked or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base.random_base import byte_tokenizer_json
from loraloop.cli.main import run_command
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.conformance import CASES, ConformanceCase, OurJudge, keyword_of, read_cases, score


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(byte_tokenizer_json(), 259, 0)


def test_checked_schemas_are_judged_as_json_schema_says(compiler: GrammarCompiler) -> None:
    result = score(OurJudge(compiler, "check"), read_cases(CASES))
    assert result.wrong == []
    assert not result.refused
    assert result.passed == result.schemas > 30


def test_refusing_accepts_nothing_invalid_either(compiler: GrammarCompiler) -> None:
    result = score(OurJudge(compiler, "refuse"), read_cases(CASES))
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
def test_wrong_cases_are_named_by_their_place(tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=wrong):
        list(read_cases(file))
    with pytest.raises(InputError, match="cannot read"):
        list(read_cases(tmp_path / "none.jsonl"))


def test_lines_end_at_line_breaks_alone(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text('{"schema": {}, "valid": ["a\u2028b"]}\n\n{"schema": {}}\n', encoding="utf-8")
    assert [case.id for case in read_cases(file)] == ["line 1", "line 3"]


def test_a_refusal_counts_under_its_keyword() -> None:
    assert keyword_of(SchemaError("no", "$.properties.a.uniqueItems")) == "uniqueItems"
    assert keyword_of(SchemaError("takes too long: why", "$")) == "takes too long"


def test_the_command_writes_the_agreed_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "one.jsonl", tmp_path / "out.json"
    case = {"id": "x", "schema": {"type": "array", "uniqueItems": True}, "valid": [[1, 2]], "invalid": [[1, 1]]}
    file.write_text(json.dumps(case))
    assert run_command(["eval", "grammar", "--data", str(file), "--json", str(out)]) == 0
    assert "uniqueItems 1" in capsys.readouterr().out
    document = json.loads(out.read_text())
    assert document["name"] == "out" and document["n"] == 1
    assert document["metrics"]["pass_rate"] == 1 and document["metrics"]["invalid_accepted"] == 0
    assert document["peers"]["loraloop, refuse"]["refused"] == 1


def test_a_crash_is_counted_and_the_rest_is_still_measured() -> None:
    class Crashing:
        name = "crashing"

        def compile(self, schema: dict[str, Any] | bool) -> Callable[[Any], bool]:
            if schema == {"type": "null"}:
                raise AttributeError("no such place")
            return lambda instance: True

    cases = [ConformanceCase(str(at), {"type": kind}, ((None, True),)) for at, kind in enumerate(["null", "string"])]
    result = score(Crashing(), cases)
    assert (result.schemas, result.passed, dict(result.crashed)) == (2, 1, {"AttributeError": 1})
    assert result.metrics()["crashed"] == 1
