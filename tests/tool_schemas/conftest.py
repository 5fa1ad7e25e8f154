"""Fixtures of these tests: a small real tokenizer, and a real HTTP server that does what a test tells it to."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from loraloop.adapters.base.tokenizer import Tokenizer as BaseTokenizer
from loraloop.tool_schemas import GrammarCompiler, NetworkPolicy, Retries, Tool, http_tool
from loraloop.tool_schemas.grammar.matcher import Vocabulary

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = (
    "weather city unit celsius fahrenheit information Paris London name arguments value result true false null the "
    "of and number text integer string item date start query search event title minutes recommendation community"
)


def _texts() -> list[str]:
    words = WORDS.split()
    calls = [
        json.dumps([{"name": a, "arguments": {b: c, "n": 12}}], separators=(",", ":"))
        for a in words
        for b in words[:12]
        for c in words[::4]
    ]
    return [*calls, " ".join(words), "```python\nprint('hello')\n```\n" * 3, "Zürich, Köln, 東京 été naïve"]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(_texts(), trainer)
    return made


@pytest.fixture(scope="session")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    end = tokenizer.token_to_id("<|im_end|>")
    return GrammarCompiler(Vocabulary(BaseTokenizer(tokenizer.to_str(), (end,)), tokenizer.get_vocab_size(), end))


@dataclass
class Seen:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: tuple[str, int]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, dict(self.headers.items()), body, self.client_address)
        self.server.service.seen.append(seen)
        act = next((act for start, act in self.server.service.routes if self.path.startswith(start)), None)
        with contextlib.suppress(OSError):
            (act or echo)(self, seen)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, body: Any = b"", status: int = 200, **headers: str) -> None:
        """Sends a whole answer; a keyword's underscores stand for hyphens."""
        kind = "text/plain" if isinstance(body, str | bytes) else "application/json"
        data = (
            body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        self.send_response(status)
        fields = {"Content_Type": kind, "Content_Length": str(len(data)), **headers}
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def echo(handler: Handler, seen: Seen) -> None:
    handler.reply({"target": seen.target, "headers": seen.headers, "body": seen.body.decode("utf-8", "replace")})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what some tests are about."""


Act = Callable[[Handler, Seen], None]


class Service:
    """A running server. Paths that no route begins are answered with what was asked."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.routes: list[tuple[str, Act]] = []
        self._server = Server((host, port), Handler)
        self._server.service = self  # type: ignore[attr-defined]
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.host, self.port = host, self._server.server_port
        self.url = f"http{'s' if tls else ''}://{host}:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def on(self, start: str, act: Act) -> None:
        self.routes.insert(0, (start, act))

    def gives(self, start: str, body: Any = b"", status: int = 200, **headers: str) -> None:
        self.on(start, lambda handler, _: handler.reply(body, status, **headers))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """Starts further servers."""
    started: list[Service] = []

    def start(*args: Any, **options: Any) -> Service:
        started.append(Service(*args, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def service(serve: Callable[..., Service]) -> Service:
    return serve()


@pytest.fixture
def local() -> NetworkPolicy:
    """Lets tools reach this machine."""
    return NetworkPolicy(networks=("loopback",))


@pytest.fixture
def make(service: Any, local: NetworkPolicy) -> Callable[..., Tool]:
    """Makes a tool of a path of the service."""

    def made(path: str = "/x", method: str = "GET", **options: Any) -> Tool:
        options = {"policy": local, "retries": Retries(count=2, backoff=0.01), "timeout": 5.0} | options
        if "client" in options:
            del options["policy"]
        return http_tool(
            "f", "", {"type": "object", "properties": {"q": {"type": "string"}}}, method, service.url + path, **options
        )

    return made
