"""Sandboxing through the ``sandlock`` package: Landlock for files, seccomp for the network and processes.

It needs no privilege and no namespaces, so it also works inside ordinary containers, on Linux 6.7 and later. The
scratch folder is a real one, removed afterwards; each file in it is bounded, their sum is not.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from loraloop.agent.sandbox_job import READABLE, Job, Running, python_folders

NAME = "sandlock"


def programs() -> Iterator[str]:
    """Yields once if the package is installed."""
    if importlib.util.find_spec("sandlock") is not None:
        yield "sandlock"


class _Process:
    def __init__(self, process: Any, reasons: Any, scratch: str) -> None:
        self._process = process
        self._reasons = reasons
        self._scratch = scratch
        self.streams: tuple[IO[bytes], IO[bytes], IO[bytes]] = (process.stdin, process.stdout, process.stderr)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> tuple[int, bool]:
        result = self._process.wait(timeout=max(seconds, 0.001))  # kills what is still there then
        if result.reason == self._reasons.EXITED:
            return int(result.exit_code), False
        number = result.signal if (result.signal or 0) > 0 else signal.SIGKILL
        return 128 + number, result.reason == self._reasons.TIMEOUT

    def close(self) -> None:
        self._process.__exit__(None, None, None)
        shutil.rmtree(self._scratch, ignore_errors=True)


def start(job: Job, program: str) -> Running:
    """Starts the job in a fresh scratch folder."""
    import sandlock

    scratch = tempfile.mkdtemp(prefix="loraloop-scratch-")
    try:
        readable = [folder for folder in (*READABLE, *python_folders()) if os.path.exists(folder)]
        confined = sandlock.Sandbox(
            fs_readable=[*readable, "/dev/null", "/dev/urandom"],
            fs_writable=[scratch],
            cwd=scratch,
            clean_env=True,
            env=job.environment(scratch),
            max_processes=1,
            no_coredump=True,
            allow_degraded=[sandlock.Protection.SIGNAL_SCOPE, sandlock.Protection.ABSTRACT_UNIX_SOCKET_SCOPE],
        )
        piped = sandlock.StdioMode.PIPED
        process = confined.popen(list(job.command), stdin=piped, stdout=piped, stderr=piped)
        return _Process(process, sandlock.ExitReason, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
