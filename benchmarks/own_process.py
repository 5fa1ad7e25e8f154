"""Jobs of a benchmark, each in a process of its own; what they found is kept, so a killed run goes on."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def found_before(kept: Path) -> dict[str, Any]:
    """What an earlier run kept there; empty if nothing."""
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    return found


def found_now(script: str, job: dict[str, Any], kept: Path) -> dict[str, Any]:
    """The job, and the last line of what a script of this folder prints of it; both are kept.

    Args:
        script: The file's name; it is given the job as JSON.
        job: With the number of `threads`.
        kept: Where to keep it; the file's stem names the job in errors.

    Raises:
        RuntimeError: The script failed.
    """
    program = [sys.executable, str(Path(__file__).with_name(script)), json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{kept.stem} failed:\n{done.stderr[-3_000:]}")
    found = {"job": job, **json.loads(done.stdout.strip().splitlines()[-1])}
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(found), encoding="utf-8")
    part.replace(kept)
    return found


def die_with_parent() -> None:
    """Has Linux kill this process when the one that started it dies: two must not work on the same files."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
