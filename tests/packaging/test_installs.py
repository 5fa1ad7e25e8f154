"""The package imports the same way from a wheel and from both editable modes, wherever Python is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ("adapters", "agent", "agent.engine", "kernels", "router", "tool_schemas")
IMPORT_ALL = (
    "import importlib, loraloop\n"
    f"for room in {ROOMS!r}:\n"
    "    module = importlib.import_module('loraloop.' + room)\n"
    "    print(room, module.__file__)\n"
    "import loraloop.__main__\n"
    "assert loraloop.__version__\n"
)
MODES = {
    "wheel": ["."],
    "editable": ["--editable", "."],
    "strict": ["--config-settings", "editable_mode=strict", "--editable", "."],
}


@pytest.mark.parametrize("mode", MODES)
def test_every_room_imports_from_the_root_and_from_elsewhere(mode, tree, environment, tmp_path):
    environment.install(*(str(tree) if part == "." else part for part in MODES[mode]))
    for where in (tree, tmp_path):
        printed = environment.run(IMPORT_ALL, where)
        assert [line.split()[0] for line in printed.splitlines()] == list(ROOMS)
    if mode == "wheel":
        assert str(tree) not in printed
    command = environment.folder / "bin" / "loraloop"
    shown = subprocess.run([command, "version"], cwd=tree, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip()


def fetch_hugging_face_kernels(target: Path) -> None:
    done = subprocess.run(
        [*(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target), "kernels"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    if done.returncode != 0:
        unreachable = ("No matching distribution", "Connection", "Temporary failure", "Max retries")
        if any(sign in done.stderr + done.stdout for sign in unreachable):
            pytest.skip("the package index is unreachable: Hugging Face's `kernels` cannot be installed")
        raise AssertionError(done.stderr)


@pytest.mark.parametrize("mode", ["wheel", pytest.param("editable", marks=pytest.mark.slow)])
def test_hugging_face_kernels_and_ours_live_side_by_side(mode, tree, environment, tmp_path):
    fetch_hugging_face_kernels(environment.site)
    environment.install(*(str(tree) if part == "." else part for part in MODES[mode]))
    code = (
        "import kernels, loraloop.kernels as ours\n"
        "from kernels import get_kernel\n"
        f"assert kernels.__file__.startswith({str(environment.site)!r}), kernels.__file__\n"
        "assert ours.__file__ != kernels.__file__ and ours.__name__ == 'loraloop.kernels'\n"
        "from transformers.utils import is_kernels_available\n"
        "assert is_kernels_available(MIN_VERSION='0.1', MAX_VERSION='99')  # theirs, whatever its version\n"
        "import io, contextlib, logging\n"
        "said = io.StringIO(); logging.basicConfig(stream=said)\n"
        "with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        "    import bitsandbytes\n"
        "assert 'get_kernel' not in said.getvalue(), said.getvalue()\n"
        "print('both')\n"
    )
    assert environment.run(code, tmp_path).strip().endswith("both")
    # -P is what PYTHONSAFEPATH=1 and console scripts do.
    assert environment.run(code, tree, "-P").strip().endswith("both")
