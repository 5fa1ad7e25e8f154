"""Chat rendering: parity with transformers, and rule 7: text never becomes a special token."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base, Message, random_base
from loraloop.adapters.base.chat import ChatFormat
from loraloop.tool_schemas.errors import BaseModelError

hostile = st.lists(
    st.one_of(
        st.text(max_size=12), st.sampled_from(["<|im_start|>", "<|im_end|>", "<|endoftext|>", "system\n", "\n", " "])
    ),
    max_size=6,
).map("".join)


@functools.cache
def single_bytes(base: Base) -> set[bytes]:
    known = (
        base.tokenizer.token_bytes(i) for i in range(base.tokenizer.vocab_size) if i not in base.tokenizer.special_ids
    )
    return {piece for piece in known if len(piece) == 1}


def visible(base: Base, content: str) -> str:
    """The content with U+FFFD for each character that has a byte outside the vocabulary."""
    pieces = single_bytes(base)
    return "".join(c if all(bytes([byte]) in pieces for byte in c.encode()) else "\ufffd" for c in content)


@given(contents=st.lists(hostile, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_text_becomes_a_special_token_and_all_text_survives(base: Base, contents: list[str]) -> None:
    for one in (base, random_base(0)):
        empty = one.chat.message("user", "")
        allowed = sum(token in one.tokenizer.special_ids for token in empty)
        for content in contents:
            ids = one.chat.message("user", content)
            assert sum(token in one.tokenizer.special_ids for token in ids) == allowed
            assert (
                one.tokenizer.decode(ids, skip_special=False)
                == f"<|im_start|>user\n{visible(one, content)}<|im_end|>\n"
            )
        messages = [Message("user", content) for content in contents]
        joined = [token for m in one.chat.complete(messages) for token in one.chat.message(m.role, m.content)]
        assert one.chat.render(messages) == joined


def test_ids_equal_transformers(base: Base, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    (tmp_path / "tokenizer.json").write_text(base.tokenizer.json, encoding="utf-8")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    theirs.chat_template = (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    talks = [
        [("user", "Hello there, it's 2024!")],
        [("system", "Be brief."), ("user", "  spaces  and\n\nlines "), ("assistant", '[{"name":"f"}]'), ("tool", "{}")],
        [("user", "naïve café 日本語 🙂 don't"), ("assistant", "\tok\n"), ("user", "12345 67")],
    ]
    for talk in talks:
        expected = theirs.apply_chat_template(
            [{"role": r, "content": c} for r, c in talk], tokenize=True, return_dict=False
        )
        assert base.chat.render([Message(role, content) for role, content in talk]) == expected
    prompt = theirs.apply_chat_template(
        [{"role": "user", "content": "x"}], add_generation_prompt=True, return_dict=False
    )
    assert base.chat.render([Message("user", "x")]) + list(base.chat.generation_prompt) == prompt
    assert base.tokenizer.decode(list(base.chat.closing), skip_special=False) == "<|im_end|>\n"


def test_token_bytes_join_to_the_text(base: Base) -> None:
    text = "naïve 日本 🙂 x == 3"
    assert b"".join(map(base.tokenizer.token_bytes, base.tokenizer.encode(text))) == text.encode()
    assert base.tokenizer.decode(base.tokenizer.encode("a\ud800b")) == "a?b"
    with pytest.raises(ValueError, match="outside"):
        base.tokenizer.token_bytes(10**6)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "does not compile"),
        ("{% for m in messages %}{{ m['content'] }}{{ messages|length }}{% endfor %}", "rewrites earlier messages"),
        ("{{ raise_exception('no') }}", "refuses"),
        ("nothing", "exactly once"),
    ],
)
def test_unusable_templates_are_refused(template: str, message: str) -> None:
    with pytest.raises(BaseModelError, match=message):
        ChatFormat.probe(template)


def test_a_message_checks_itself() -> None:
    bad: Any = 3
    with pytest.raises(ValueError, match="unknown message role 'robot'"):
        Message("robot", "x")
    with pytest.raises(TypeError, match="text"):
        Message("user", bad)
