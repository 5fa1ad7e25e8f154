"""Chat templates of the kinds that Qwen, Mistral and Granite have: what we render is what the template renders."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest

from loraloop.adapters.base import Message
from loraloop.adapters.base.chat import Chat, ChatFormat
from loraloop.adapters.base.random_weights import byte_tokenizer_json
from loraloop.adapters.base.tokenizer import Tokenizer
from loraloop.tool_schemas.errors import BaseModelError

QWEN = """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
{%- else %}
    {{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {%- if messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' + m.content + '\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- elif m.role != 'system' or not loop.first %}
        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""
MISTRAL = """{{ bos_token }}{% for m in messages %}
{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}
{{ m.content + eos_token }}{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"""
FOLDING = """{%- if messages[0].role == 'system' %}{%- set told = messages[0].content %}{%- set rest = messages[1:] %}
{%- else %}{%- set rest = messages %}{%- endif %}
{{- bos_token }}
{%- for m in rest %}
    {%- if m.role == 'user' %}
        {%- if loop.last and told is defined %}{{- '[INST]' + told + '\n\n' + m.content + '[/INST]' }}
        {%- else %}{{- '[INST]' + m.content + '[/INST]' }}{%- endif %}
    {%- elif m.role == 'assistant' %}{{- m.content + eos_token }}
    {%- else %}{{- raise_exception('tool calls need ids') }}{%- endif %}
{%- endfor %}"""
GRANITE = """{%- if messages[0].role == 'system' %}{%- set told = messages[0].content %}{%- set rest = messages[1:] %}
{%- else %}{%- set told = 'Today is ' + strftime_now('%B %d, %Y') + '. You are Granite.' %}{%- set rest = messages %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + told + '<|end_of_text|>\n' }}
{%- for m in rest %}
    {{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}"""
LLAMA3 = """{%- for m in messages %}{%- if loop.first %}{{- bos_token }}{%- endif %}
{{- '<|head|>' + m.role + '<|/head|>\n\n' + m.content + '<|eot|>' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\n\n' }}{%- endif %}"""

TALK = [("user", "Hi there."), ("assistant", "Hello!"), ("user", "2 + 2?"), ("assistant", "4")]
TOLD = [("system", "Be brief."), *TALK]
TOOL = [*TOLD[:3], ("tool", '{"a":1}'), ("assistant", "It is 1.")]
SPECIAL = {
    "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]"],
    "folding": ["<s>", "</s>", "[INST]", "[/INST]"],
    "granite": ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"],
    "llama3": ["<s>", "<|eot|>", "<|head|>", "<|/head|>"],
}
TEMPLATES = {"qwen": QWEN, "mistral": MISTRAL, "folding": FOLDING, "granite": GRANITE, "llama3": LLAMA3}


def chat_of(name: str) -> Chat:
    """Our chat over bytes and the special tokens that go with the template."""
    spec = json.loads(byte_tokenizer_json())
    pieces = [*SPECIAL[name], *(piece for piece in spec["model"]["vocab"] if len(piece) == 1)]
    spec["model"]["vocab"] = {piece: index for index, piece in enumerate(pieces)}
    like = spec["added_tokens"][0]
    spec["added_tokens"] = [{**like, "id": i, "content": piece} for i, piece in enumerate(SPECIAL[name])]
    form = ChatFormat.probe(TEMPLATES[name], "<s>", "</s>")
    assert ChatFormat.from_dict(json.loads(json.dumps(form.to_dict()))) == form
    return Chat(form, Tokenizer(json.dumps(spec), (0,)))


def ours(chat: Chat, talk: list[tuple[str, str]], generation: bool = False) -> str:
    ids = chat.render([Message(role, content) for role, content in talk])
    ids += chat.generation_prompt if generation else ()
    return chat._tokenizer.decode(ids, skip_special=False)


def theirs(name: str, talk: list[tuple[str, str]], generation: bool = False) -> str:
    def refuse(message: str) -> Any:
        raise jinja2.TemplateError(message)

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATES[name], {"raise_exception": refuse})
    messages = [{"role": role, "content": content} for role, content in talk]
    return template.render(messages=messages, add_generation_prompt=generation, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("name", ["qwen", "granite", "llama3"])
@pytest.mark.parametrize("talk", [TOLD, TOOL])
def test_transcripts_with_a_system_message(name: str, talk: list[tuple[str, str]]) -> None:
    chat = chat_of(name)
    for count in range(1, len(talk) + 1):
        assert ours(chat, talk[:count]) == theirs(name, talk[:count])
        if talk[count - 1][0] == "user":
            assert ours(chat, talk[:count], True) == theirs(name, talk[:count], True)


@pytest.mark.parametrize("name", ["qwen", "mistral", "folding", "llama3"])
def test_transcripts_without_one(name: str) -> None:
    chat = chat_of(name)
    for count in (1, 3):
        assert ours(chat, TALK[:count], True) == theirs(name, TALK[:count], True)
    for count in (2, 4):
        assert ours(chat, TALK[:count]) == theirs(name, TALK[:count])
    assert chat.closing and chat.generation_prompt


def test_a_default_system_message_is_inserted_unless_it_depends_on_the_day() -> None:
    assert chat_of("qwen").format.default_system == "You are helpful."
    granite = chat_of("granite")
    assert granite.format.default_system is None
    assert ours(granite, TALK[:1]) == "<|start_of_role|>user<|end_of_role|>Hi there.<|end_of_text|>\n"


@pytest.mark.parametrize("name", ["mistral", "folding"])
def test_instructions_are_a_turn_of_the_user_where_there_is_no_system_role(name: str) -> None:
    chat = chat_of(name)
    text = ours(chat, TOLD[:2], True)
    assert text.replace("[INST] ", "[INST]").replace(" [/INST]", "[/INST]") == (
        "<s>[INST]Be brief.\n\n[INST]Hi there.[/INST]"
    )
    shorter = chat.render([Message(role, content) for role, content in TOOL[:3]])
    longer = chat.render([Message(role, content) for role, content in TOOL])
    assert longer[: len(shorter)] == shorter and '{"a":1}' in ours(chat, TOOL)


NOTED = [*TOLD[:3], ("system", "Note."), *TOLD[3:]]


@pytest.mark.parametrize("name", ["qwen", "llama3"])
def test_a_later_system_message_is_what_the_template_makes_of_it(name: str) -> None:
    chat = chat_of(name)
    for count in (4, 5):
        assert ours(chat, NOTED[:count], count == 5) == theirs(name, NOTED[:count], count == 5)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_later_system_message_begins_no_transcript(name: str) -> None:
    chat = chat_of(name)
    text = ours(chat, NOTED)
    assert text.count("<s>") == ours(chat, TOLD).count("<s>") and "Note." in text
    shorter = chat.render([Message(role, content) for role, content in NOTED[:3]])
    assert chat.render([Message(role, content) for role, content in NOTED])[: len(shorter)] == shorter
    if name in ("mistral", "folding"):  # a turn of the user, as instructions are
        assert "[INST] Note.\n\n[INST]".replace(" ", "") in text.replace(" ", "")


def test_what_begins_a_transcript_stays_out_of_later_ones_beside_a_default() -> None:
    """Templates such as that of Llama 3.1 insert a system message, and what begins the transcript stands before it."""
    default = LLAMA3.replace("{%- for m in messages %}", "{%- if messages[0].role != 'system' %}{{- bos_token }}"
        "<|head|>system<|/head|>\n\nHi.<|eot|>{%- endif %}{%- for m in messages %}", 1
    ).replace("{%- if loop.first %}", "{%- if loop.first and m.role == 'system' %}")  # fmt: skip
    form = ChatFormat.probe(default, "<s>", "</s>")
    assert form.default_system == "Hi." and form.around["system"][0].startswith("<s>")
    chat = Chat(form, chat_of("llama3")._tokenizer)
    assert ours(chat, NOTED) == ours(chat_of("llama3"), NOTED)


def test_a_template_without_anything_before_the_answer_is_refused() -> None:
    with pytest.raises(BaseModelError, match="nothing between a user's message and its answer"):
        ChatFormat.probe("{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}")


def test_a_vocabulary_that_joins_fences_and_line_breaks_says_so() -> None:
    spec = json.loads(byte_tokenizer_json())
    assert not Tokenizer(json.dumps(spec), (0,)).joins_fences
    spec["model"]["vocab"]["`ĊĊ"] = len(spec["model"]["vocab"])
    assert Tokenizer(json.dumps(spec), (0,)).joins_fences


def test_a_tokenizer_that_is_not_byte_level_is_refused() -> None:
    spec = json.loads(byte_tokenizer_json())
    spec["pre_tokenizer"] = spec["decoder"] = None
    with pytest.raises(BaseModelError, match="only byte-level BPE"):
        Tokenizer(json.dumps(spec), (0,))
