"""Runs the tests of the Triton kernels in a process whose Triton interprets them on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is installed on Linux only")

HERE = Path(__file__).parent
FILES = ("test_triton_lora.py", "test_triton_nf4.py", "test_triton_attention.py")


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is that process")
@pytest.mark.timeout(600)
def test_in_the_interpreter() -> None:
    """Triton chooses between compiling and interpreting when it is first imported: hence a process of its own."""
    files = [str(HERE / name) for name in FILES]
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout and "skipped" not in done.stdout, done.stdout[-2000:]
