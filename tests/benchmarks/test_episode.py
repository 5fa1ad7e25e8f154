"""The episode on the default base: three systems, the same prompts, one document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from loraloop.adapters.base import Base

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def episode(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("episode")


def test_the_script_is_a_transcript(episode: ModuleType, base: Base) -> None:
    """Every prompt continues the one before, and the chat template makes the same tokens of the whole."""
    script = episode.read_episode(base)
    assert len(script.steps) == 10
    assert 1_400 < script.steps[0].context < 1_600
    assert {step.skill for step in script.steps} == {"safety", "retrieval", "tools", "code", "none"}
    messages = []
    for step in script.steps:
        messages += [each.message for each in step.before]
        assert [*base.chat.render(messages), *script.invocation] == list(step.prompt)
        if step.reply is not None:
            messages.append(step.reply.message)


def test_the_replies_are_what_the_schemas_allow(episode: ModuleType, base: Base) -> None:
    from loraloop.tool_schemas.grammar.compiler import GrammarCompiler

    compiler = GrammarCompiler(base.vocabulary)
    script = json.loads((FOLDER / "episode_script.json").read_text())
    for step, entry in zip(episode.read_episode(base).steps, script["steps"], strict=True):
        if step.term is not None:
            state = compiler.compile(step.term).start()
            state.accept(base.tokenizer.encode(entry["reply"]))
            assert state.can_stop, entry["reply"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # PEFT on a busy machine
def test_three_systems_see_the_same(episode: ModuleType, base: Base, tmp_path: Path) -> None:
    path = tmp_path / "episode.json"
    arguments = ["--limit", "2", "--tokens", "12", "--no-warm-up", "--random", "--json", str(path)]
    assert episode.main(arguments) == 0
    document = json.loads(path.read_text())
    assert document["name"] == "episode" and document["n"] == 2
    assert list(document["peers"]) == ["peft", "alora"]
    for numbers in (document["metrics"], *document["peers"].values()):
        assert numbers["total_ms"] > 0 and 2 <= numbers["generated_tokens"] <= 24
    assert {"peft total", "peft per token", "alora total", "alora per token"} <= document["ratios"].keys()
    details = document["details"]
    expected = [step.fingerprint for step in episode.read_episode(base, 2).steps]
    assert details["prompts"] == dict.fromkeys(("loraloop", "peft", "alora"), expected)
    # A verdict is short, so that all three, on the same weights, write one whole.
    assert all(outputs[0].startswith('{"verdict":"') for outputs in details["outputs"].values())
