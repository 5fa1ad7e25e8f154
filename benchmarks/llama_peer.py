"""llama.cpp as a peer: finds an interpreter that has it, starts `llama_worker` there, hands it an adapter as GGUF.

llama-cpp-python is no dependency of anything here. Install it (`pip install llama-cpp-python` compiles it for the
machine) in this environment or in another one, which `--llama-python` names; without either, benchmarks leave it out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from worker_process import WorkerProcess

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

WORKER = Path(__file__).resolve().parent / "llama_worker.py"


class Llama(WorkerProcess):
    """llama.cpp with a model and adapters."""

    def __init__(self, python: str, gguf: Path, threads: int, *loras: Path) -> None:
        # Its own defaults: our settings of OpenMP are none of its business.
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
        super().__init__("llama.cpp", python, WORKER, clean)
        self.facts = self.ask("open", gguf=str(gguf), threads=threads, loras=[str(path) for path in loras])


@contextmanager
def llama(python: str | None, gguf: Path, threads: int, *loras: Path) -> Iterator[Llama | None]:
    """A worker for the length of a block, able to apply the first of some adapters; None without an interpreter."""
    if python is None:
        yield None
        return
    process = Llama(python, gguf, threads, *loras)
    try:
        yield process
    finally:
        process.close()


def interpreter(given: str | None) -> str | None:
    """The interpreter to run llama.cpp with; says so on standard error where there is none.

    Raises:
        SystemExit: the interpreter that was named lacks llama-cpp-python.
    """
    if given:
        check = "import llama_cpp"
        if subprocess.run([given, "-c", check], capture_output=True, check=False).returncode:
            raise SystemExit(f"{given} cannot import llama_cpp: run `{given} -m pip install llama-cpp-python`")
        return given
    if find_spec("llama_cpp"):
        return sys.executable
    print("llama.cpp is left out: no llama-cpp-python here, and no --llama-python PYTHON given", file=sys.stderr)
    return None


def write_lora(base: Base, skill: Skill, path: Path) -> Path:
    """A skill as the GGUF adapter that llama.cpp applies to everything, whatever the prompt holds."""
    from loraloop.adapters.peft.llama_format import to_llama

    to_llama(type(skill)(skill.card.model_copy(update={"activation": "full"}), skill.tensors), path, base.config)
    return path
