"""The example of two servers over one database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "many_machines" / "two_servers.py"


@pytest.mark.postgres
def test_a_session_moves_from_a_killed_server_to_the_other() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the first server is killed while book runs\nthe connection broke\n" in done.stdout
    assert "book {'table': 2} -> table 2 is booked (at least once)\n" in done.stdout
    assert "['system', 'user', 'assistant', 'user', 'assistant', 'tool']" in done.stdout, "one session"
