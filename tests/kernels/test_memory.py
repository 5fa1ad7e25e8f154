"""Memory that a CPU streams: private to its process."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKS = """
import os
from loraloop.kernels.cpu.memory import block
memory = block(1 << 22)
memory[0] = 1
child = os.fork()
if not child:
    memory[0] = 2
    os._exit(0)
os.waitpid(child, 0)
print(memory[0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks")
def test_what_a_forked_child_writes_is_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "1\n"
