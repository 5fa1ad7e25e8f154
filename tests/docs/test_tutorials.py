"""The tutorials run: their commands in order, then their Python as one program. Blocks that say `slow=` say why."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run(page: Path, folder: Path) -> str:
    """What a page shows when it runs in a folder: its files are written, its commands run, then all its Python."""
    program, shown = "", []
    for language, about, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if "slow=" in about:
            assert len(about.partition("slow=")[2]) > 10, about
        elif language == "json":
            (folder / about.partition("file=")[2]).write_text(text, encoding="utf-8")
        elif language == "python":
            program += text
        else:
            assert language == "sh"
            script = re.sub(r"^loraloop ", f"{sys.executable} -m loraloop ", text, flags=re.MULTILINE)
            script = re.sub(r"^python ", f"{sys.executable} ", script, flags=re.MULTILINE)
            shown.append(_shown(["bash", "-ec", script], folder))
    if program:
        shown.append(_shown([sys.executable, "-c", program], folder))
    return "\n".join(shown)


def _shown(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples" / "tools", tmp_path / "examples" / "tools")
    shutil.copytree(ROOT / "examples" / "train_a_skill", tmp_path / "examples" / "train_a_skill")
    return tmp_path


def test_embedding(folder: Path) -> None:
    shown = run(ROOT / "docs" / "tutorials" / "embed.md", folder)
    assert "complete: True" in shown and "called get_weather" in shown and "Weather(city=" in shown
    assert "2 turns" in shown and len(list((folder / "traces").iterdir())) == 1


def test_tools(folder: Path) -> None:
    shown = run(ROOT / "docs" / "tutorials" / "tools.md", folder)
    assert "1 tool, 0 refused" in shown and "$.properties.tags.uniqueItems" in shown
    assert re.search(r"^find_order \{'number': '\d{5}'.*\} -> ", shown, re.MULTILINE)


def test_training(folder: Path) -> None:
    shown = run(ROOT / "docs" / "tutorials" / "train.md", folder)
    assert json.loads((folder / "examples/train_a_skill/data/mails.jsonl").read_text().splitlines()[0])["label"]
    assert "1200 records read" in shown


def test_demos(folder: Path) -> None:
    shown = run(ROOT / "docs" / "tutorials" / "demos.md", folder)
    assert shown.count("by router") > 6 and "no difference" in shown


def test_each_tutorial_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert PAGES and all(f'"{page.name}"' in text for page in PAGES)
