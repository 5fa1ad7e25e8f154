"""Index building in a process of its own, which can be stopped: outlines_core can do neither in ours.

The automaton of a regular expression may be exponentially larger than the expression, and outlines_core builds it in
one call that knows no limit. The child process gets the vocabulary once, then expressions, and answers with indices.
This file is also the child's program; it imports nothing of loraloop.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import threading
import weakref
from typing import IO, Any

_HEADER = struct.Struct("<cQ")


MOST_STATES = 8000


class TooCostly(Exception):
    """The index takes more states, time or memory than it may."""


class IndexWorker:
    """Builds indices, one at a time, each within limits.

    Args:
        end: Id of the end token.
        tokens: The ids of each token's bytes.
        seconds: What one index may take.
        megabytes: What the child process may use.
    """

    def __init__(self, end: int, tokens: dict[bytes, list[int]], seconds: float, megabytes: int) -> None:
        self._vocabulary = pickle.dumps((end, tokens, megabytes))
        self._seconds, self._megabytes = seconds, megabytes
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def build(self, regex: str) -> Any:
        """The `outlines_core.Index` of an expression.

        Raises:
            TooCostly: It takes too long or too much memory.
            ValueError: The expression is none, or the vocabulary cannot write it.
        """
        with self._lock:
            child = self._started()
            late = threading.Event()

            def stop() -> None:
                late.set()
                child.kill()

            timer = threading.Timer(self._seconds, stop)
            timer.daemon = True
            timer.start()
            try:
                _send(child.stdin, b"r", regex.encode())
                kind, payload = _receive(child.stdout)
            except (OSError, EOFError):
                self._child = None
                child.kill()
                child.wait()
                what = f"{self._seconds:g} seconds" if late.is_set() else f"{self._megabytes} MB of memory"
                raise TooCostly(f"takes more than {what} to compile") from None
            finally:
                timer.cancel()
        if kind == b"s":
            raise TooCostly(f"needs {payload.decode()} states, and may have {MOST_STATES}, to compile")
        if kind != b"i":
            raise ValueError(payload.decode(errors="replace"))
        return pickle.loads(payload)

    def _started(self) -> subprocess.Popen[bytes]:
        child = self._child
        if child is not None and child.poll() is None:
            return child
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        child = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        weakref.finalize(self, child.kill)
        _send(child.stdin, b"v", self._vocabulary)
        self._child = child
        return child


def _send(pipe: IO[bytes] | None, kind: bytes, payload: bytes) -> None:
    assert pipe is not None
    pipe.write(_HEADER.pack(kind, len(payload)) + payload)
    pipe.flush()


def _receive(pipe: IO[bytes] | None) -> tuple[bytes, bytes]:
    assert pipe is not None
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    kind, size = _HEADER.unpack(header)
    payload = pipe.read(size)
    if len(payload) < size:
        raise EOFError
    return kind, payload


def main() -> None:
    """Answers until its input ends."""
    from outlines_core import Index, Vocabulary

    source, sink = sys.stdin.buffer, sys.stdout.buffer
    end, tokens, megabytes = pickle.loads(_receive(source)[1])
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    except (ImportError, OSError, ValueError):  # not every system can bound memory; time is bounded everywhere
        pass
    vocabulary = Vocabulary(end, tokens)
    bytewise = Vocabulary(end, {text: ids for text, ids in tokens.items() if len(text) == 1})
    while True:
        try:
            regex = _receive(source)[1].decode()
        except EOFError:
            return
        try:
            # Quick, because a state then has hundreds of transitions instead of tens of thousands.
            states = len(Index(regex, bytewise).get_transitions())
            if states > MOST_STATES:
                kind, answer = b"s", str(states).encode()
            else:
                kind, answer = b"i", pickle.dumps(Index(regex, vocabulary))
        except ValueError as error:
            kind, answer = b"e", str(error).encode()
        _send(sink, kind, answer)


if __name__ == "__main__":
    main()
