"""What every sandbox mechanism runs: an isolated Python that limits itself and then executes the code it is handed."""

from __future__ import annotations

import glob
import os
import sys
import sysconfig
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

from loraloop.agent.sandbox.scratch import Scratch
from loraloop.agent.sandbox.seccomp import OWN_PID, filter_program

# Read-only system folders; missing ones are skipped. Nothing of /etc, /home, /root, /var or /tmp.
READABLE = ("/usr", "/lib", "/lib64", "/bin", "/nix/store", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

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
{confine}
def run(source):
    space = globals()
    for name in [name for name in space if not name.startswith("__")]:
        del space[name]
    exec(compile(source, "<python>", "exec"), space)
run(source)
"""
# For mechanisms that leave it to the process: no way to gain rights, none that root has, and the filter. An error
# here ends the process before the code is compiled.
_CONFINE = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def check(failed, what):
    if failed:
        raise OSError(ctypes.get_errno(), "the sandbox could not " + what)
check(libc.prctl(38, 1, 0, 0, 0), "set no_new_privs")
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)  # from the bounding set; refused to those who have none
check(libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)), "drop capabilities")
steps = bytes.fromhex({program!r}).replace(struct.pack("I", {own_pid}), struct.pack("I", os.getpid()))
if steps:
    check(libc.prctl(22, 2, struct.pack("@HP", len(steps) // 8, ctypes.addressof(
        kept := ctypes.create_string_buffer(steps, len(steps)))), 0, 0), "install its filter")
"""


class Running(ABC):
    """A started job, and the ways to end it.

    Args:
        process: What it runs as, with its standard streams, which are bytes.
        scratch: Folder of the process on disk. A process that fills it is killed; the folder goes when it is closed.

    Attributes:
        streams: Its standard input, output and error.
    """

    def __init__(self, process: Any, scratch: Scratch | None = None) -> None:
        self._process, self._scratch = process, scratch
        self.streams: tuple[IO[bytes], IO[bytes], IO[bytes]] = (process.stdin, process.stdout, process.stderr)
        if scratch is not None:
            scratch.watch(process.pid, self.kill)

    @property
    def overfull(self) -> bool:
        """Whether the process was killed for the size of its scratch folder."""
        return self._scratch is not None and self._scratch.overfull

    def kill(self) -> None:
        """Kills the process."""
        self._process.kill()

    @abstractmethod
    def wait(self, seconds: float) -> tuple[int, bool]:
        """Waits that long, kills what is left; returns the exit status and whether it came to that."""

    def close(self) -> None:
        """Removes what is left of it."""
        if self._scratch is not None:
            self._scratch.close()


@dataclass(frozen=True, slots=True)
class SandboxJob:
    """Limits of one run.

    Attributes:
        seconds: CPU seconds, rounded up.
        memory_mb: Address space of the process in MiB.
        scratch_mb: Largest file, and the scratch folder's size where the mechanism can bound it, in MiB.
    """

    seconds: float
    memory_mb: int
    scratch_mb: int

    def command(self, *, confine: bool, tasks: int = 0) -> tuple[str, ...]:
        """The command line that the mechanism starts.

        Args:
            confine: Whether the process drops its rights and installs the filter itself.
            tasks: Threads that the user has already, where they count against those of the process.
        """
        limits = {
            "RLIMIT_CPU": int(self.seconds) + 1,
            "RLIMIT_AS": self.memory_mb << 20,
            "RLIMIT_FSIZE": self.scratch_mb << 20,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_NPROC": 64 + tasks,  # threads count; the filter allows no second process. Root is exempt.
            "RLIMIT_SIGPENDING": 64,  # signals that wait are counted together with those of the user's other processes
            "RLIMIT_CORE": 1,  # no file is that short, and the kernel starts no handler for it; 0 would start one
        }
        program = filter_program(shared=True) or b""
        confining = _CONFINE.format(program=program.hex(), own_pid=OWN_PID) if confine else ""
        return (python(), "-I", "-S", "-B", "-X", "utf8", "-c", _PRELUDE.format(limits=limits, confine=confining))

    def environment(self, scratch: str) -> dict[str, str]:
        """The whole environment of the code: nothing of the caller's is handed on."""
        return {"PATH": "/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8"}


@cache
def python() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def python_folders() -> tuple[str, ...]:
    """The folders and files outside `READABLE` that this Python needs to start.

    That is its prefix. If the home folder is the prefix or lies below it, only the interpreter, the standard library
    and the shared libraries beside it are readable.
    """
    roots = {os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}
    roots.add(os.path.dirname(os.path.dirname(python())))
    home = f"{os.path.realpath(os.path.expanduser('~'))}/"
    wide = {root for root in roots if root == "/" or home.startswith(f"{root}/")}
    needed = roots - wide
    if wide:
        needed |= {python(), *(os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))}
        needed.update(path for root in wide for path in glob.glob(f"{root}/lib/*.so*"))
    covered = tuple(f"{folder}/" for folder in READABLE)
    return tuple(sorted(each for each in needed if not f"{each}/".startswith(covered)))


def tasks() -> int:
    """Threads of all processes of this user, which the kernel counts together outside of namespaces; 0 for root."""
    mine = os.getuid()
    if mine == 0:
        return 0
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                count += len(os.listdir(f"{entry.path}/task")) if entry.stat().st_uid == mine else 0
            except OSError:
                continue  # it has just ended
    return count
