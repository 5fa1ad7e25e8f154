"""Two servers that share a database: one is killed in the middle of a run, and the other goes on with it.

    python examples/many_machines/two_servers.py
    python examples/many_machines/two_servers.py --vllm PYTHON

It starts a temporary cluster of PostgreSQL (apt-get install postgresql) and two times `loraloop serve`, and takes all
of them down again. It needs `pip install 'loraloop[serve,postgres]'`. With `--vllm`, a vLLM server writes the steps of
both: PYTHON is an interpreter that has vLLM, such as `build/vllm/bin/python` after `make build/vllm/.ready`.
"""

import argparse
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from loraloop import Base
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.peft.merge import merge_payload

TOOLS = Path(__file__).with_name("restaurant.py")
LUNCH, DINNER = "Book table 1 for lunch, please.", "Book table 2 for tonight, please."


@contextmanager
def database() -> Iterator[str]:
    """The URL of a temporary cluster, which listens on a socket in its folder."""
    found = [shutil.which("initdb"), *glob.glob("/usr/lib/postgresql/*/bin/initdb")]
    binaries = next((Path(each).resolve().parent for each in found if each), None)
    if binaries is None:
        raise SystemExit("there is no PostgreSQL: apt-get install postgresql")
    user = "nobody" if os.getuid() == 0 else None  # it does not run as root
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, user)
        make = [binaries / "initdb", "-D", f"{folder}/data", "--auth", "trust", "--username", "shop", "--no-sync"]
        subprocess.run(make, check=True, user=user, stdout=subprocess.DEVNULL)
        run = [binaries / "postgres", "-D", f"{folder}/data", "-k", folder, "-c", "listen_addresses="]
        with subprocess.Popen(run, user=user, stderr=subprocess.DEVNULL) as process:
            try:
                while not Path(folder, ".s.PGSQL.5432").exists():
                    time.sleep(0.1)
                yield f"postgresql://shop@/postgres?host={folder}"
            finally:
                process.send_signal(signal.SIGINT)


@contextmanager
def vllm(python: str) -> Iterator[str]:
    """The address of a vLLM server of the embedded base, which has got the tools skill."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port, model = str(free.getsockname()[1]), f"{folder}/model"
        merge_payload(Base.load(device="cpu"), Payload(), model)  # the base itself, as vLLM reads models
        free.close()
        words = [python, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--dtype", "bfloat16"]
        words += ["--served-model-name", "smollm2-135m", "--max-model-len", "2048", "--max-num-seqs", "2"]
        words += ["--enable-lora", "--max-lora-rank", "16", "--enforce-eager", "--num-gpu-blocks-override", "64"]
        words += ["--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}']
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "PYTHON"))}
        own |= {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        words += ["--host", "127.0.0.1", "--port", port]
        with (
            open(f"{folder}/log", "w") as log,
            subprocess.Popen(words, env=own, stdout=log, stderr=log, start_new_session=True) as process,
        ):
            try:
                url, begin = f"http://127.0.0.1:{port}/v1", time.monotonic()
                while not answers(f"{url}/models"):
                    if process.poll() is not None:
                        raise SystemExit(Path(folder, "log").read_text())
                    time.sleep(1)
                print(f"vLLM is there after {time.monotonic() - begin:.0f} s")
                push = [sys.executable, "-m", "loraloop", "skills", "push", url, "tools", "--out", f"{folder}/skills"]
                subprocess.run(push, check=True)
                yield url
                lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
                steps = sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total"))
                print(f"vLLM wrote {steps:.0f} steps")
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@contextmanager
def server(sessions: str, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port: its process, and its address."""
    words = [sys.executable, "-m", "loraloop", "serve", "--port", "0", "--sessions", sessions]
    words += ["--tools", f"{TOOLS}:book", "--max-tokens", "64", "--max-steps", "1", "--tool-choice", "required", *more]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("listening on "))
        try:
            yield process, line.removeprefix("listening on ").strip()
        finally:
            process.kill()


def events(server: str, **body: Any) -> Iterator[dict[str, Any]]:
    """The events of a run in the session `dinner`, as they come; none while another server holds the session."""
    address = f"{server}/v1/agents/assistant/runs"
    with httpx.stream("POST", address, json={"session": "dinner", **body}, timeout=300) as answer:
        if answer.status_code == 409:
            return
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm", metavar="PYTHON", help="have a vLLM server write the steps")
    python = parser.parse_args().vllm
    with database() as sessions, ExitStack() as stack:
        more = ["--connect", stack.enter_context(vllm(python)), "--engine", "vllm"] if python else []
        (one, first), (_, second) = (stack.enter_context(server(sessions, *more)) for _ in range(2))
        *_, last = events(first, input=LUNCH, skill="tools")
        print("the first server:", [call["result"] for call in last["result"]["steps"][-1]["calls"]])
        try:
            for event in events(first, input=DINNER, skill="tools"):
                if event["type"] == "ToolCallStarted":
                    time.sleep(1)  # the tool works for three seconds
                    print("the first server is killed while", event["name"], "runs")
                    one.kill()
        except httpx.RemoteProtocolError:
            print("the connection broke")
        begin = time.monotonic()
        while not (rest := list(events(second, resume=True))):  # until the lease of the first server has run out
            time.sleep(1)
        print(f"the second server finished the run {time.monotonic() - begin:.0f} s later")
        result = rest[-1]["result"]
        for call in result["steps"][-1]["calls"]:
            marked = "(at least once)" if call["at_least_once"] else ""
            print(call["name"], call["arguments"], "->", call["result"], marked)
        print("messages of the session:", [message["role"] for message in result["messages"]])


if __name__ == "__main__":
    main()
