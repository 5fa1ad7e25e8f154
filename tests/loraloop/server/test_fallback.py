"""A server's fallback writes for the models and the agents that were given one, and for no others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from loraloop import Fallback
from loraloop.cli.options import AgentOptions
from loraloop.router.decision import NONE, Route, RouterState
from loraloop.server.agents import read_agents
from loraloop.server.settings import ServerSettings
from loraloop.testing import ScriptedRouter, ScriptedRuntime
from loraloop.tool_schemas.errors import InputError

ASKED = {"model": "auto", "messages": [{"role": "user", "content": "What is this?"}]}
FILE = """
agents:
  desk:
    fallback: {{url: "{url}", model: big, key_env: BIG_KEY}}
  bare: {{}}
"""


class Abstaining(ScriptedRouter):
    """Always abstains."""

    def choose(self, features: Any, state: RouterState) -> Route:
        return Route(NONE, 0.3, abstained=True, runners_up=(("code", 0.4),), masked=tuple(state.masked), threshold=0.5)


def runtime(*steps: Any) -> ScriptedRuntime:
    return ScriptedRuntime(*steps, router=Abstaining())


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_answered_by_the_fallback_where_the_router_abstains(
    serving: Callable[..., str], peer: Any, stream: bool
) -> None:
    peer.answers += ["An oxbow lake."]
    url = serving(runtime(), ServerSettings(), {}, fallback=Fallback(peer.url))
    answer = httpx.post(f"{url}/v1/chat/completions", json={**ASKED, "stream": stream}, timeout=30)
    assert answer.status_code == 200 and len(peer.bodies) == 1
    assert '"written_by":"model"' in answer.text.replace('": ', '":')
    if not stream:
        assert answer.json()["choices"][0]["message"]["content"] == "An oxbow lake."


def test_agents_of_the_file_have_their_own_or_none(
    serving: Callable[..., str], peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, made = tmp_path / "agents.yaml", runtime("My own words.")
    file.write_text(FILE.format(url=peer.url))
    with ExitStack() as stack, pytest.raises(InputError, match="BIG_KEY is empty"):
        read_agents(file, made, stack)
    monkeypatch.setenv("BIG_KEY", "long-enough")
    with ExitStack() as stack:
        agents = read_agents(file, made, stack)
        url = serving(made, ServerSettings(), agents)
        told = {
            name: httpx.post(f"{url}/v1/agents/{name}/runs", json={"input": "What is this?"}, timeout=30).text
            for name in ("desk", "bare")
        }
    assert '"written_by":"big"' in told["desk"] and "Fine." in told["desk"]
    assert '"written_by":"big"' not in told["bare"] and "My own words." in told["bare"]
    assert len(peer.bodies) == 1 and peer.keys == ["Bearer long-enough"]
    file.write_text(FILE.format(url=peer.url).replace("model:", "modle:"))
    with ExitStack() as stack, pytest.raises(InputError, match="model"):
        read_agents(file, made, stack)


def test_the_options_of_a_command(peer: Any) -> None:
    made = runtime()
    assert AgentOptions().settings(made, None)["fallback"] is None
    found = AgentOptions(fallback=peer.url, fallback_model="big").settings(made, None)["fallback"]
    assert (found.url, found.model) == (peer.url, "big")
    with pytest.raises(InputError, match="--fallback"):
        AgentOptions(fallback_model="big").settings(made, None)
