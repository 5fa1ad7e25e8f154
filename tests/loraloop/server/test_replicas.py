"""`loraloop serve --ray`: replicas under Ray Serve, on the embedded base."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loraloop.replicas import application, serve_replicas
from loraloop.server.settings import ServerSettings
from loraloop.tool_schemas.errors import InputError

TOOLS = '''
import os


def whoami(name: str) -> str:
    """Says which process answers.

    Args:
        name: Any name.
    """
    return str(os.getpid())
'''


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def url(postgres_url: str, tmp_path: Path, patient_ray: dict[str, str]) -> Iterator[str]:
    """The address of two replicas that the command line started; their agent has the tool `whoami`."""
    (tmp_path / "tools.py").write_text(TOOLS)
    port = str(free_port())
    words = [sys.executable, "-m", "loraloop", "serve", "--ray", "2", "--port", port, "--sessions", postgres_url]
    words += ["--tools", f"{tmp_path}/tools.py:whoami", "--max-steps", "1", "--max-tokens", "24"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, **patient_ray}) as process:
        assert process.stderr is not None
        lines = list[str]()
        try:
            for line in process.stderr:
                lines.append(line)
                if line.startswith("listening on "):
                    break
            else:
                pytest.fail("".join(lines))
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield f"http://127.0.0.1:{port}/v1/agents/assistant/runs"
        finally:
            process.terminate()
            assert process.wait(60) == 0


def ask(url: str, session: str, affine: bool, skill: str, text: str = "Who are you?") -> dict[str, Any]:
    """The result of a run."""
    headers = {"x-session-id": session} if affine else {}
    body = {"input": text, "session": session, "skill": skill}
    answer = httpx.post(url, json=body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    *_, last = (json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: "))
    assert last["type"] == "RunFinished", last
    result: dict[str, Any] = last["result"]
    return result


def process_of(url: str, session: str, affine: bool) -> int:
    """The process id of the replica that answered."""
    (call,) = ask(url, session, affine, "tools", "Call whoami with the name Ann.")["steps"][0]["calls"]
    return int(call["result"])


def share_reused(url: str, affine: bool) -> float:
    """The share of tokens of conversations that were not read again."""
    reused = read = 0
    for session in (f"{affine} {number}" for number in range(5)):
        for turn in range(3):
            (step,) = ask(url, session, affine, "none", f"{session}: what is {turn} + {turn}?")["steps"]
            reused, read = reused + step["tokens"]["reused"], read + step["tokens"]["prefilled"]
    return reused / (reused + read)


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_a_conversation_stays_at_one_replica_until_that_is_killed(url: str) -> None:
    spread = {process_of(url, f"talk {number}", affine=False) for number in range(10)}
    assert len(spread) == 2, "each replica answers"
    (own,) = {process_of(url, "Ann", affine=True) for _ in range(4)}
    with_affinity, without = share_reused(url, affine=True), share_reused(url, affine=False)
    print(f"tokens reused: {with_affinity:.0%} with x-session-id, {without:.0%} without")
    assert with_affinity > without
    os.kill(own, signal.SIGKILL)
    assert process_of(url, "Ann", affine=True) != own


def test_replicas_need_ray_and_a_database_and_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'loraloop\[ray\]'"):
        application(lambda: pytest.fail("opened"), ServerSettings(sessions="postgresql://x"))


@pytest.mark.ray
def test_what_replicas_cannot_share_is_refused() -> None:
    with pytest.raises(InputError, match="--sessions postgresql://"):
        application(lambda: pytest.fail("opened"), ServerSettings(sessions="sessions.db"))
    with pytest.raises(InputError, match="--port"):
        settings = ServerSettings(port=0, sessions="postgresql://x")
        serve_replicas(lambda: pytest.fail("opened"), settings, 2, print)
