"""`import loraloop` is quick, and the public names are the rooms' own."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

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


def test_errors_that_a_caller_may_catch_are_at_the_top():
    from loraloop.tool_schemas import errors

    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {"ToolError", "SchemaError", "InputError"} < kinds
    assert kinds - {"Violation"} <= set(loraloop.__all__)


def test_docs_and_examples_import_public_names_from_the_top():
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("examples/**/*.py")]
    found = [
        (page.name, module, name.split(" as ")[0].strip())
        for page in pages
        for module, names in re.findall(r"^ *from (loraloop[\w.]*) import (.+)$", page.read_text(), re.MULTILINE)
        for name in names.split(",")
    ]
    assert len(found) > 100
    assert not [place for place in found if place[1] != "loraloop" and place[2] in loraloop.__all__]


def test_the_old_name_of_the_replicas_warns() -> None:
    sys.modules.pop("loraloop.replicas", None)
    with pytest.warns(DeprecationWarning, match="loraloop.scale.replicas"):
        old = importlib.import_module("loraloop.replicas")
    assert old.application is importlib.import_module("loraloop.scale.replicas").application
