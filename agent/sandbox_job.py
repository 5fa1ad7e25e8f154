"""What every sandbox mechanism runs: an isolated Python that limits itself and then executes the code it is handed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import IO, Protocol

# Read-only system folders; missing ones are skipped. Nothing of /etc, /home, /root, /var or /tmp.
READABLE = ("/usr", "/lib", "/lib64", "/bin", "/nix/store", "/etc/ld.so.cache")

# Runs inside the sandbox. Hard limits are set before the code is read, and the names used here do not stay behind.
_PRELUDE = """
import resource, sys
for name, value in {limits!r}.items():
    hard = resource.getrlimit(getattr(resource, name))[1]
    value = value if hard < 0 else min(value, hard)
    resource.setrlimit(getattr(resource, name), (value, value))
source = sys.stdin.buffer.read()
sys.stdin = open("/dev/null")
sys.argv = ["<python>"]
def run(source):
    space = globals()
    for name in ("resource", "sys", "name", "value", "hard", "source", "run"):
        space.pop(name, None)
    exec(compile(source, "<python>", "exec"), space)
run(source)
"""


class Running(Protocol):
    """A started job: its standard input, output and error, and the ways to end it."""

    @property
    def streams(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]: ...

    def kill(self) -> None: ...

    def wait(self, seconds: float) -> tuple[int, bool]:
        """Waits that long, kills what is left; returns the exit status and whether it came to that."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """Limits of one run.

    Attributes:
        seconds: CPU seconds, rounded up.
        memory_mb: Address space of the process in MiB.
        scratch_mb: Largest file, and the scratch folder's size where the mechanism can bound it, in MiB.
    """

    seconds: float
    memory_mb: int
    scratch_mb: int

    @property
    def command(self) -> tuple[str, ...]:
        limits = {
            "RLIMIT_CPU": int(self.seconds) + 1,
            "RLIMIT_AS": self.memory_mb << 20,
            "RLIMIT_FSIZE": self.scratch_mb << 20,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_NPROC": 64,  # threads count; the filter allows no second process. Root is exempt.
            "RLIMIT_CORE": 0,
        }
        return (python(), "-I", "-S", "-B", "-X", "utf8", "-c", _PRELUDE.format(limits=limits))

    def environment(self, scratch: str) -> dict[str, str]:
        """The whole environment of the code: nothing of the caller's is handed on."""
        return {"PATH": "/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8"}


@cache
def python() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def python_folders() -> tuple[str, ...]:
    """The folders outside `READABLE` that this Python needs to start."""
    roots = {os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}
    roots.add(os.path.dirname(os.path.dirname(python())))
    covered = tuple(f"{folder}/" for folder in READABLE)
    return tuple(sorted(root for root in roots if root != "/" and not f"{root}/".startswith(covered)))
