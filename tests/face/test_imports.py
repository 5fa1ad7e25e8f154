"""`import loraloop` is quick, and the public names are the rooms' own."""

from __future__ import annotations

import subprocess
import sys

import pytest

import loraloop

HEAVY = ("torch", "transformers", "tokenizers", "llguidance", "outlines", "bitsandbytes", "peft", "rich", "typer")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_importing_loads_nothing_heavy_and_takes_under_300_ms():
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport loraloop\nms = (time.perf_counter() - start) * 1e3\n"
        f"print(ms, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    best = min((python(code) for _ in range(3)), key=lambda printed: float(printed.split()[0]))
    assert float(best.split()[0]) < 300
    assert best.split(maxsplit=1)[1].strip() == "[]"


def test_help_and_lists_do_not_load_torch():
    code = (
        "import sys\nfrom loraloop.cli.main import run_command\n"
        "for words in (['run', '--help'], ['bases'], ['skills', 'list']):\n"
        "    assert run_command(words) == 0\n"
        "    assert 'torch' not in sys.modules and 'transformers' not in sys.modules, words"
    )
    assert "--tools" in python(code)


@pytest.mark.parametrize("name", [*loraloop.__all__])
def test_every_public_name_resolves(name):
    assert getattr(loraloop, name) is not None
    assert name in dir(loraloop)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Runtme"):
        loraloop.Runtme  # noqa: B018
