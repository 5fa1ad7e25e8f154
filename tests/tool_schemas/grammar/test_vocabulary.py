"""The tokens of grammars are what llguidance itself reads in the tokenizer's JSON."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from llguidance import LLTokenizer

from loraloop.adapters.base import Base


@pytest.fixture(scope="module")
def read(base: Base) -> LLTokenizer:
    return LLTokenizer(base.tokenizer.json, n_vocab=base.vocabulary.size, eos_token=base.vocabulary.ends)


def test_every_token_stands_for_the_same_bytes(base: Base, read: LLTokenizer) -> None:
    made = base.vocabulary.tokenizer
    assert made.vocab_size == read.vocab_size and made.eos_tokens == read.eos_tokens and made.is_canonical
    every = range(read.vocab_size)
    assert [made.decode_bytes([token]) for token in every] == [read.decode_bytes([token]) for token in every]
    special = [token for token in every if made.is_special_token(token)]
    assert special == [token for token in every if read.is_special_token(token)] and len(special) > 2


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_texts_are_split_into_the_same_tokens(base: Base, read: LLTokenizer, text: str) -> None:
    assume(base.tokenizer.decode(base.tokenizer.encode(text)) == text)  # not where a character cannot be spelled
    assert base.vocabulary.tokenizer.tokenize_str(text) == read.tokenize_str(text)


def test_a_text_that_spells_a_special_token_stays_text(base: Base) -> None:
    (name, *_), tokenizer = sorted(base.tokenizer.special), base.vocabulary.tokenizer
    tokens = tokenizer.tokenize_str(f"say {name} twice")
    assert len(tokens) > 3 and not any(map(tokenizer.is_special_token, tokens))
    assert tokenizer.decode_str(tokens) == f"say {name} twice"
