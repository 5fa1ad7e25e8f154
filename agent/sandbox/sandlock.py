"""Sandboxing through the ``sandlock`` package: Landlock for files, seccomp for the network and processes.

It needs no privilege and no namespaces, so it also works inside ordinary containers, on Linux 6.7 and later. The
process itself drops what rights it has and installs our own filter as well: sockets of the machine's services, which
Landlock does not know, and other processes of the same user stay out of reach. The scratch folder is a real one,
removed afterwards.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from typing import Any

from loraloop.agent.sandbox.job import DEVICES, READABLE, Running, SandboxJob, python_folders, tasks
from loraloop.agent.sandbox.scratch import Scratch

NAME = "sandlock"


def programs() -> Iterator[str]:
    """Yields once if the package is installed."""
    if importlib.util.find_spec("sandlock") is not None:
        yield "sandlock"


class _Process(Running):
    def __init__(self, process: Any, reasons: Any, scratch: Scratch) -> None:
        super().__init__(process, scratch)
        self._reasons = reasons

    def wait(self, seconds: float) -> tuple[int, bool]:
        result = self._process.wait(timeout=max(seconds, 0.001))  # kills what is still there then
        if result.reason == self._reasons.EXITED:
            return int(result.exit_code), False
        number = result.signal if (result.signal or 0) > 0 else signal.SIGKILL
        return 128 + number, result.reason == self._reasons.TIMEOUT

    def close(self) -> None:
        self._process.__exit__(None, None, None)
        super().close()


def start(job: SandboxJob, program: str) -> Running:
    """Starts the job in a fresh scratch folder."""
    import sandlock

    scratch = Scratch(job.scratch_mb)
    try:
        readable = [folder for folder in (*READABLE, *python_folders()) if os.path.exists(folder)]
        confined = sandlock.Sandbox(
            fs_readable=[*readable, *DEVICES],
            fs_writable=[scratch.path],
            cwd=scratch.path,
            clean_env=True,
            env=job.environment(scratch.path),
            max_processes=1,
            allow_degraded=[sandlock.Protection.SIGNAL_SCOPE, sandlock.Protection.ABSTRACT_UNIX_SOCKET_SCOPE],
        )
        piped = sandlock.StdioMode.PIPED
        process = confined.popen(
            list(job.command(confine=True, tasks=tasks())), stdin=piped, stdout=piped, stderr=piped
        )
        return _Process(process, sandlock.ExitReason, scratch)
    except BaseException:
        scratch.close()
        raise
