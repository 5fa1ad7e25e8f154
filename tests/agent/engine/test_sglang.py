"""SGLang's own types (`make test-sglang` fetches its package): what it is asked, and what it answers. It is not run."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loraloop import Agent, Runtime
from loraloop.agent.engine.remote.adapters import load_adapters
from loraloop.agent.engine.remote.server import RemoteServer
from loraloop.agent.engine.sampler import Sampling
from loraloop.tool_schemas.grammar.grammar import Choice, Regex

PACKAGE = Path(__file__).resolve().parents[3] / "build" / "sglang"
pytestmark = pytest.mark.skipif(not PACKAGE.is_dir(), reason="needs SGLang's package: make test-sglang")


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of its types. The package itself cannot be imported without the libraries of a GPU."""
    monkeypatch.syspath_prepend(PACKAGE)
    utils: Any = ModuleType("sglang.utils")
    utils.convert_json_schema_to_str = None
    monkeypatch.setitem(sys.modules, "sglang", ModuleType("sglang"))
    monkeypatch.setitem(sys.modules, "sglang.utils", utils)
    place = PACKAGE / "sglang" / "srt" / "entrypoints" / "openai" / "protocol.py"
    spec = importlib.util.spec_from_file_location("sglang_protocol", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def fields(name: str) -> set[str]:
    """The fields of a structure that its server reads or sends, from the source."""
    source = (PACKAGE / "sglang" / "srt" / "managers" / "io_struct.py").read_text(encoding="utf-8")
    (found,) = (each for each in ast.parse(source).body if isinstance(each, ast.ClassDef) and each.name == name)
    return {ast.unparse(each.target) for each in found.body if isinstance(each, ast.AnnAssign)}


def double(n: int) -> int:
    """Doubles a number."""
    return 2 * n


def test_sglang_knows_every_field_that_it_is_sent(protocol: ModuleType, peer: Any, one_base: None) -> None:
    peer.answers += ["[]", "Fine.", "yes", "42"]
    peer.models += [{"id": "t", "parent": "model"}]
    runtime = Runtime.connect(peer.url, engine="sglang", skills={"tools": "t"})
    sampling = Sampling(temperature=0.5, top_p=0.9, min_p=0.1, seed=7)
    Agent(runtime, [double], sampling=sampling).run_sync("Hi.", skill="tools")
    for term in (Choice(("yes", "no")), Regex("[0-9]+")):
        Agent(runtime, output_type=term).run_sync("Hi.", skill="none")
    read = [protocol.ChatCompletionRequest.model_validate(body) for body in peer.bodies]
    for body in peer.bodies:
        assert body.keys() <= protocol.ChatCompletionRequest.model_fields.keys()
    assert [each.lora_path for each in read] == ["t", None, None, None]
    assert read[0].response_format.json_schema.schema_ == peer.bodies[0]["response_format"]["json_schema"]["schema"]
    assert (read[0].top_p, read[0].min_p, read[0].seed, read[0].stream_options.include_usage) == (0.9, 0.1, 7, True)
    assert [each.regex for each in read[2:]] == ["yes|no", "[0-9]+"]


@pytest.mark.parametrize(("reason", "stop_reason"), [("stop", "answer"), ("length", "max_tokens")])
def test_what_sglang_streams_is_read(
    protocol: ModuleType, peer: Any, one_base: None, reason: str, stop_reason: str
) -> None:
    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        made = protocol.ChatCompletionStreamResponse(id="1", model="m", choices=choices, **more)
        return f"data: {made.model_dump_json()}\n\n".encode()

    def answers(handler: Any) -> None:
        handler.begin()
        for piece in ("Hel", "lo.", None):
            delta = {"content": piece}
            handler.wfile.write(chunk([{"index": 0, "delta": delta, "finish_reason": None if piece else reason}]))
        usage = {"prompt_tokens": 40, "total_tokens": 42, "prompt_tokens_details": {"cached_tokens": 30}}
        handler.wfile.write(chunk([], usage=usage) + b"data: [DONE]\n\n")

    peer.answers.append(answers)
    result = Agent(Runtime.connect(peer.url, engine="sglang")).run_sync("Hi.", skill="none")
    assert (result.output, result.stop_reason) == ("Hello.", stop_reason)
    assert (result.steps[0].tokens.prefilled, result.steps[0].tokens.reused) == (10, 30)


def test_adapters_are_loaded_by_the_fields_that_sglang_reads(
    adapter_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, str]] = []
    load: Callable[..., Any] = adapter_server.load
    monkeypatch.setattr(adapter_server, "load", lambda body, path: (sent.append(body), load(body, path))[1])
    (tmp_path / "adapter_config.json").write_text("{}")
    load_adapters(RemoteServer(adapter_server.url), "sglang", {"tools": tmp_path})
    assert sent[0].keys() <= fields("LoadLoRAAdapterReqInput")
    _, answer = load(sent[0], "/load_lora_adapter")
    assert answer.keys() <= fields("LoRAUpdateOutput")
