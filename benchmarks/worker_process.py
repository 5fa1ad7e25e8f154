"""A worker in an interpreter of its own, which has what this one lacks: one JSON document a line in, one a line out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any


class WorkerProcess:
    """A worker process; `ask` blocks until it has answered, and between requests it sleeps.

    Args:
        name: What it is, for errors.
        python: The interpreter.
        worker: The script, beside this module.
        env: Environment of the process; this process's own where None.
    """

    def __init__(self, name: str, python: str, worker: Path, env: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._turn = Lock()  # a tool that is past its time may still wait for its answer in another thread
        self._process = subprocess.Popen(
            [python, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """The worker's answer to one request.

        Raises:
            RuntimeError: it reports an error, or has died.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._turn:
            try:
                self._process.stdin.write(json.dumps({"do": do, **given}) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            raise RuntimeError(f"the {self._name} process has ended; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self._name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
