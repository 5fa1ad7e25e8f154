"""Adapters of a running server: they are loaded, found by the names of `skills export`, and loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent, Runtime
from loraloop.adapters.base.chat import renderer
from loraloop.adapters.base.messages import Message
from loraloop.adapters.peft.merge import chat_template
from loraloop.agent.engine.remote.adapters import adapters_of, load_adapters, skill_of
from loraloop.agent.engine.remote.server import RemoteServer
from loraloop.tool_schemas.errors import BaseModelError, InputError


def double(n: int) -> int:
    """Doubles a number."""
    return 2 * n


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a server takes for an exported skill."""
    made = tmp_path / "tools-0123456789ab"
    made.mkdir()
    (made / "adapter_config.json").write_text("{}")
    return made


def test_the_name_of_an_exported_skill_tells_the_skill() -> None:
    assert skill_of("tools-0123456789ab") == skill_of("tools") == "tools"
    assert skill_of("tools-0123") == "tools-0123" and skill_of("a-b-0123456789ab") == "a-b"
    listed = ["tools", "tools-000000000000", "code-111111111111", "tools-222222222222", "other-333333333333"]
    assert adapters_of(listed, ("tools", "code"), "tools") == {
        "tools": "tools-222222222222",
        "code": "code-111111111111",
    }


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_adapters_are_loaded_once(adapter_server: Any, folder: Path, kind: Any) -> None:
    server = RemoteServer(adapter_server.url)
    assert load_adapters(server, kind, {folder.name: folder}) == [folder.name]
    assert adapter_server.adapters == {folder.name: str(folder)}
    assert load_adapters(server, kind, {folder.name: folder}) == []


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize(
    ("field", "words"),
    [("loads", "--enable-lora"), ("blind", "has to see it at"), ("forgets", "does not list it")],
)
def test_a_server_that_does_not_load_says_why(
    adapter_server: Any, folder: Path, kind: Any, field: str, words: str
) -> None:
    setattr(adapter_server, field, field != "loads")
    with pytest.raises(BaseModelError, match=words) as caught:
        load_adapters(RemoteServer(adapter_server.url), kind, {folder.name: folder})
    if field == "loads" and kind == "vllm":
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in str(caught.value)
    if field == "blind":
        assert "No adapter found" in str(caught.value) and str(folder) in str(caught.value)


def test_other_servers_load_no_adapters(adapter_server: Any, folder: Path, one_base: None) -> None:
    with pytest.raises(InputError, match="vLLM and SGLang alone"):
        Runtime.connect(adapter_server.url, skills={"tools": folder})


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_a_server_that_was_restarted_gets_its_adapters_again(
    adapter_server: Any, folder: Path, one_base: None, kind: Any
) -> None:
    agent = Agent(Runtime.connect(adapter_server.url, engine=kind, skills={"tools": folder}), [double])
    assert list(adapter_server.adapters) == [folder.name]
    adapter_server.adapters.clear()
    assert agent.run_sync("Hi.", skill="tools").output == "Fine."
    assert adapter_server.models == [folder.name, folder.name, "model"] and adapter_server.adapters
    found = Agent(Runtime.connect(adapter_server.url, engine=kind), [double])
    assert found.run_sync("Hi.", skill="tools").output == "Fine." and adapter_server.models[3] == folder.name
    adapter_server.adapters.clear()  # nobody told this one where they lie
    with pytest.raises(BaseModelError, match="does not exist"):
        found.run_sync("Hi.", skill="tools")


def test_a_server_with_our_skills_reads_what_they_learnt_to_read(
    adapter_server: Any, folder: Path, base: Any, one_base: None
) -> None:
    """Its chat template makes of the messages what a transcript here is; a date stands in a second system message."""
    roles = ("system", "system", "user", "assistant", "tool", "tool", "system", "user")
    messages = [Message(role, f"text {place}") for place, role in enumerate(roles)]
    here = [base.chat.message(each.role, each.content, not place) for place, each in enumerate(messages)]
    render = renderer(chat_template(base.chat.format), "", "")
    with_skills = Runtime.connect(adapter_server.url, engine="vllm", skills={"tools": folder})
    text = render(with_skills.engine.laid_out(messages), False)
    assert base.tokenizer.backend.encode(text, add_special_tokens=False).ids == [token for ids in here for token in ids]
    adapter_server.adapters.clear()
    without = Runtime.connect(adapter_server.url, engine="vllm")
    assert [each["role"] for each in without.engine.laid_out(messages)] == ["system", "user", "assistant", "user"]
