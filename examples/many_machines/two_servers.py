"""Two servers that share a database: one is killed in the middle of a run, and the other goes on with it.

    python examples/many_machines/two_servers.py

It starts a temporary cluster of PostgreSQL (apt-get install postgresql) and two times `loraloop serve`, and takes all
of them down again. It needs `pip install 'loraloop[serve,postgres]'`.
"""

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

TOOLS = Path(__file__).with_name("restaurant.py")
PROMPT = "Book table 2 for tonight, please."


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
def server(sessions: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port: its process, and its address."""
    words = [sys.executable, "-m", "loraloop", "serve", "--port", "0", "--sessions", sessions]
    words += ["--tools", f"{TOOLS}:book", "--max-tokens", "64", "--max-steps", "1"]
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
    with database() as sessions, ExitStack() as stack:
        (one, first), (_, second) = (stack.enter_context(server(sessions)) for _ in range(2))
        *_, last = events(first, input="Hello!", skill="none")
        print("the first server:", last["result"]["output"])
        try:
            for event in events(first, input=PROMPT, skill="tools"):
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
