"""A sandboxed program as a child process of ours."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from loraloop.agent.sandbox.job import Running
from loraloop.agent.sandbox.scratch import Scratch


class Child(Running):
    """A job that runs as a child process; see `Running`.

    Args:
        command: Program and arguments.
        folder: Where it starts.
        environment: All of its environment.
        pass_fds: Descriptors that it is given besides the three streams.
        scratch: Folder of the process on disk. A process that fills it is killed; the folder goes when it is closed.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: str,
        environment: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        scratch: Scratch | None = None,
    ) -> None:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            pass_fds=pass_fds,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        super().__init__(process, scratch)

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
        if self._process.poll() is None:
            self.kill()
            self._process.wait()
        for stream in self.streams:
            stream.close()
        super().close()
