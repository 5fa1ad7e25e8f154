"""What is said of tools: every keyword accounted for, and examples that were decoded through the real grammar."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraloop.tool_schemas import GrammarCompiler, JsonSchema, Tool
from loraloop.tool_schemas.errors import LimitError, SchemaError
from loraloop.tool_schemas.grammar.walks import random_walk, shortest
from loraloop.tool_schemas.schema.keywords import ANNOTATIONS, CHECKED, ENFORCED
from loraloop.tool_schemas.tools.checking import ToolChecker, ToolReport
from loraloop.tool_schemas.tools.tool_lists import ToolEntry


@pytest.fixture(scope="module")
def checker(compiler: GrammarCompiler) -> ToolChecker:
    return ToolChecker(compiler)


def keywords(report: ToolReport, kind: str) -> set[str]:
    return {note.path.rsplit(".", 1)[-1] for note in getattr(report.survey, kind)}


ENTRY = {
    "name": "pick",
    "description": "Picks.",
    "parameters": {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "uniqueItems": True},
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "not": {"const": 5}, "description": "How many"},
        },
        "required": ["tags", "n"],
    },
}


def test_what_is_checked_in_check_mode_is_refused_otherwise(checker: ToolChecker) -> None:
    refused = checker.entry(ToolEntry("tool 0", ENTRY), "f.json, tool 0")
    assert {note.path for note in refused.survey.refused} == {"$.properties.tags.uniqueItems", "$.properties.n.not"}
    assert "on_unsupported='check'" in refused.survey.refused[0].reason and refused.shortest is None
    told = ToolChecker(checker.compiler, 0, "check").entry(ToolEntry("tool 0", ENTRY), "f.json, tool 0")
    assert not told.survey.refused and keywords(told, "checked") == {"uniqueItems", "not"}
    assert keywords(told, "annotations") == {"description"} and "minItems" in keywords(told, "enforced")
    for call in (told.shortest, told.random):
        jsonschema.validate(call, ENTRY["parameters"])
    assert told.compile_ms_p50 is not None and told.compiled > 1
    assert json.loads(json.dumps(told.to_dict()))["checked"][0]["path"].startswith("$.properties")


def test_mcp_entries_are_checked_by_default(checker: ToolChecker) -> None:
    entry = {"name": "pick", "inputSchema": ENTRY["parameters"]}
    assert not checker.entry(ToolEntry("tool 0", entry, foreign=True), "x").survey.refused


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ({"name": "a\nb"}, "", "one line"),
        ({"nam": "a"}, "", "did you mean 'name'"),
        ({"name": "f", "parameters": {"type": "array"}}, "$.type", "object"),
        (
            {"name": "f", "parameters": {"properties": {"a": {"$ref": "https://example.com"}}}},
            "$.properties.a.$ref",
            "",
        ),
        ({"name": "f", "parameters": {"properties": {"a": {"type": "strin"}}}}, "$.properties.a.type", "strin"),
        ({"name": "f", "type": "web_search"}, "$.type", "maker"),
        (3, "", "JSON object"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(body: Any, path: str, reason: str, checker: ToolChecker) -> None:
    report = checker.entry(ToolEntry("tool 0", body), "f.json, tool 0")
    assert any(note.path == path and reason in note.reason for note in report.survey.refused), report.survey.refused
    assert report.random is None


def test_a_call_that_is_too_rare_to_be_found_is_no_refusal(checker: ToolChecker) -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string"}, "contains": {"const": "administrator"}}},
        "required": ["a"],
    }
    report = checker.tool(Tool("rare", "", parameters, on_unsupported="check"), "x")
    assert not report.survey.refused and report.problem and report.random is None


def test_tools_that_are_not_strict(checker: ToolChecker) -> None:
    report = checker.tool(Tool("loose", "", ENTRY["parameters"], strict=False), "x")
    assert not report.survey.refused and not report.survey.enforced and report.random is not None


def test_walks_are_the_seeds(compiler: GrammarCompiler) -> None:
    vocabulary = compiler.vocabulary
    grammar = compiler.compile(JsonSchema({"type": "object", "properties": {"a": {"type": "string"}}}))
    texts = [random_walk(grammar, vocabulary, seed) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) > 1
    assert shortest(grammar, vocabulary) == "{}"
    never = compiler.compile(JsonSchema({"type": "boolean", "not": {"enum": [True, False]}}, on_unsupported="check"))
    with pytest.raises((LimitError, SchemaError)):
        shortest(never, vocabulary)


def test_a_walk_goes_back_where_what_is_forced_fails(compiler: GrammarCompiler) -> None:
    pair = {"type": "array", "prefixItems": [{"enum": [1, 2]}, {"const": 1}], "items": False, "minItems": 2}
    grammar = compiler.compile(JsonSchema({**pair, "uniqueItems": True}, on_unsupported="check"))
    assert {random_walk(grammar, compiler.vocabulary, seed) for seed in range(8)} == {"[2,1]"}


leaves = st.sampled_from(
    [
        {"type": "integer", "minimum": -3, "maximum": 40},
        {"type": "number", "multipleOf": 0.25, "minimum": 0},
        {"type": "string", "minLength": 2, "maxLength": 9},
        {"type": "string", "pattern": "^[a-f]{2,4}-[0-9]+$"},
        {"type": "string", "format": "date"},
        {"enum": ["a", 1, None]},
        {"const": "x"},
        {"type": ["boolean", "null"]},
        {"type": "array", "items": {"enum": [1, 2, 3, 4]}, "uniqueItems": True, "maxItems": 3},
        {"type": "integer", "not": {"multipleOf": 2}},
    ]
)
objects = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner),
        st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner),
        st.builds(lambda a, b: {"type": "object", "properties": {"a": a, "b": b}, "required": ["b"]}, inner, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects, st.integers(0, 1000))
def test_every_keyword_is_accounted_for_and_examples_fit(
    checker: ToolChecker, schema: dict[str, Any], seed: int
) -> None:
    parameters = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    checker.seed = seed
    report = checker.tool(Tool("f", "", parameters, on_unsupported="check"), "x")
    assert not report.survey.refused
    told = [note.path for kind in ("enforced", "checked", "annotations") for note in getattr(report.survey, kind)]
    keywords: list[str] = []

    def count(place: Any) -> None:
        if isinstance(place, dict):
            keywords.extend(key for key in place if key in ENFORCED | CHECKED | ANNOTATIONS)
            for key, inner in place.items():
                if key == "properties":
                    for each in inner.values():
                        count(each)
                elif key in ("items", "anyOf"):
                    for each in inner if isinstance(inner, list) else [inner]:
                        count(each)

    count(parameters)
    assert sorted(path.rsplit(".", 1)[-1] for path in told) == sorted(keywords)
    for call in (report.shortest, report.random):
        jsonschema.validate(call, parameters)
