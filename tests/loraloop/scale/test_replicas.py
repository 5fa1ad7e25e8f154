"""`loraloop serve --ray`: replicas under Ray Serve, on the embedded base."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloop.scale.replicas import application, serve_replicas
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


@pytest.fixture
def url(postgres_url: str, tmp_path: Path, benchmark: Any) -> Iterator[str]:
    """The address of two replicas that the command line started; their agent has the tool `whoami`."""
    (tmp_path / "tools.py").write_text(TOOLS)
    more = ("--tools", f"{tmp_path}/tools.py:whoami", "--max-steps", "1", "--max-tokens", "24")
    with benchmark("replicas").replicas(2, postgres_url, *more) as (address, _):
        yield address


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_a_conversation_stays_at_one_replica_until_that_is_killed(url: str, benchmark: Any) -> None:
    measure = benchmark("replicas")

    def process_of(session: str, affine: bool) -> int:
        """The process id of the replica that answered."""
        result = measure.ask(url, session, affine, "tools", "Call whoami with the name Ann.")
        return int(result["steps"][0]["calls"][0]["result"])

    spread = {process_of(f"talk {number}", affine=False) for number in range(10)}
    assert len(spread) == 2, "each replica answers"
    (own,) = {process_of("Ann", affine=True) for _ in range(4)}
    assert measure.share_reused(url, True, 5) > measure.share_reused(url, False, 5)
    os.kill(own, signal.SIGKILL)
    assert process_of("Ann", affine=True) != own


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


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_other_applications_of_the_cluster_stay(monkeypatch: pytest.MonkeyPatch, benchmark: Any) -> None:
    for name, value in benchmark("replicas").PATIENT.items():
        monkeypatch.setenv(name, value)
    from ray import serve

    async def answer(request: Any) -> str:
        return "Fine."

    app = serve.deployment(type("App", (), {"__call__": answer}))
    monkeypatch.setattr("loraloop.scale.replicas.application", lambda *_, **__: app.bind())
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [one.getsockname()[1], other.getsockname()[1]]
    told: list[str] = []

    def ended(url: str) -> None:
        told.append(url)
        raise KeyboardInterrupt

    def until_ended(port: int) -> None:
        settings = ServerSettings(port=port, sessions="postgresql://x")
        with pytest.raises(KeyboardInterrupt):
            serve_replicas(lambda: pytest.fail("opened"), settings, 1, ended)

    importlib.import_module("ray").init(include_dashboard=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": ports[0]})
        serve.run(app.bind(), name="other", route_prefix="/other")
        until_ended(ports[1])
        assert told == [f"http://127.0.0.1:{ports[0]}"], "Serve keeps its address"
        assert list(serve.status().applications) == ["other"]
        serve.shutdown()
        until_ended(ports[1])
        assert told[1] == f"http://127.0.0.1:{ports[1]}" and not serve.status().proxies, "Serve was started for it"
    finally:
        serve.shutdown()
        importlib.import_module("ray").shutdown()
