"""The example of two servers over one database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "many_machines" / "two_servers.py"


@pytest.mark.postgres
@pytest.mark.parametrize("vllm", [False, pytest.param(True, marks=[pytest.mark.vllm, pytest.mark.timeout(3600)])])
def test_a_session_moves_from_a_killed_server_to_the_other(vllm: bool) -> None:
    if vllm and not os.environ.get("VLLM_PYTHON"):
        pytest.fail("VLLM_PYTHON names no interpreter that has vLLM: run make test-vllm")
    more = ["--vllm", os.environ["VLLM_PYTHON"]] if vllm else []
    done = subprocess.run([sys.executable, str(EXAMPLE), *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the first server is killed while book runs\nthe connection broke\n" in done.stdout
    assert "book {'table': 2} -> table 2 is booked (at least once)\n" in done.stdout
    turn = ["user", "assistant", "tool"]
    assert f"{['system', *turn, *turn]}\n" in done.stdout, "one session"
    assert ("vLLM wrote 2 steps\n" in done.stdout) == vllm
