"""Output contracts: grammars accept what the writers write and nothing else; the readers read it back."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from loraloop.adapters.skill import contracts
from loraloop.adapters.skill.contracts import Answer, Passage, Verdict
from loraloop.tool_schemas.errors import SchemaError

TOKENIZER = LLTokenizer("byte")


def accepts(grammar: str, text: str) -> bool:
    """Whether the grammar takes the whole text and may stop there."""
    matcher = LLMatcher(TOKENIZER, grammar)
    assert not matcher.get_error()
    tokens = TOKENIZER.tokenize_str(text)
    return matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens) and matcher.is_accepting()


def json_grammar(schema: dict[str, object]) -> str:
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})


def code_grammar() -> str:
    return LLMatcher.grammar_from_lark(contracts.code_grammar())


def test_user_content_shows_ids_and_titles():
    passages = [Passage("p3", "Rain fell.", "Weather"), Passage("7", "Sun shone.")]
    assert contracts.user_content("Did it rain?", passages) == (
        "Passages:\n[p3] Weather: Rain fell.\n[7] Sun shone.\n\nDid it rain?"
    )
    assert contracts.user_content("Did it rain?") == "Did it rain?"


def test_passage_ids_are_checked():
    with pytest.raises(ValueError, match="differ"):
        contracts.user_content("?", [Passage("1", "a"), Passage("1", "b")])
    with pytest.raises(ValueError, match="brackets"):
        Passage("a]b", "text")
    with pytest.raises(ValueError, match="at least one passage"):
        contracts.answer_schema([])


@pytest.mark.parametrize(
    "answer",
    [Answer(False), Answer(True, ("p3",), "Yes."), Answer(True, ("7", "p3"), 'He said "no" — twice')],
)
def test_answer_round_trip(answer):
    text = contracts.answer_text(answer)
    schema = contracts.answer_schema(["p3", "7"])
    jsonschema.validate(json.loads(text), schema)
    assert accepts(json_grammar(schema), text)
    assert contracts.answer_of(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        '{"answerable":true,"citations":["8"],"answer":"x"}',
        '{"answerable":true,"citations":[],"answer":"x"}',
        '{"answerable":true}',
        '{"answerable":false,"answer":"x"}',
        '{"answerable":true,"citations":["7"],"answer":""}',
        '{"answerable":true,"citations":["7"],"answer":"' + "a" * 301 + '"}',
    ],
)
def test_answer_grammar_refuses(text):
    assert not accepts(json_grammar(contracts.answer_schema(["p3", "7"])), text)


def test_answer_keeps_repeated_citations_once():
    assert contracts.answer_of('{"answerable":true,"citations":["1","2","1"],"answer":" x"}') == Answer(
        True, ("1", "2"), "x"
    )


@pytest.mark.parametrize("verdict", [Verdict(False), *(Verdict(True, c) for c in contracts.CATEGORIES)])
def test_verdict_round_trip(verdict):
    text = contracts.verdict_text(verdict)
    assert accepts(json_grammar(contracts.verdict_schema()), text)
    assert contracts.verdict_of(text) == verdict


def test_verdict_grammar_refuses_unknown_category():
    grammar = json_grammar(contracts.verdict_schema())
    assert not accepts(grammar, '{"verdict":"unsafe"}')
    assert not accepts(grammar, '{"verdict":"unsafe","category":"rude"}')
    assert not accepts(grammar, '{"verdict":"safe","category":"cyber"}')


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        "def f():\n    return 1\n\n\nprint(f())",
        's = "``"\n``\n`a',
        "'''doc ``` inside\n'''",
        "é = '🙂'",
    ],
)
def test_code_round_trip(code):
    text = contracts.code_text(code)
    assert accepts(code_grammar(), text)
    assert contracts.code_of(text) == code + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "```python\n```",
        "```python\n\n```",
        "x = 1",
        "```python\nx = 1\n``` more",
        "```\nx\n```",
        "```python\nx```",
    ],
)
def test_code_grammar_refuses(text):
    assert not accepts(code_grammar(), text)


def test_line_breaks_may_follow_the_block_where_tokens_join_them_to_the_fence():
    joined = LLMatcher.grammar_from_lark(contracts.code_grammar(trailing=True))
    text = contracts.code_text("x = 1")
    for end in ("", "\n", "\n\n"):
        assert accepts(joined, text + end) and contracts.code_of(text + end) == "x = 1\n"
    assert not accepts(joined, text + "\n\nIt sets x.") and not accepts(code_grammar(), text + "\n")


@given(st.text(alphabet="`ab \n(", min_size=1, max_size=40))
def test_code_that_the_grammar_takes_reads_back(body):
    text = f"```python\n{body}\n```"
    if accepts(code_grammar(), text):
        assert contracts.code_of(text).strip("\n") == body.strip("\n")


@pytest.mark.parametrize("read", [contracts.answer_of, contracts.verdict_of, contracts.code_of])
@pytest.mark.parametrize("text", ["", "[]", "{}", "hello", '{"answerable":true}', '{"verdict":"maybe"}'])
def test_readers_name_what_is_wrong(read, text):
    with pytest.raises(SchemaError):
        read(text)
