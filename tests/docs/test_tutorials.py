"""The tutorials run: their commands in order, then their Python as one program. Blocks that say `slow=` say why."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loraloop.cli.main import run_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


Run = Callable[[str], str]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_base: None) -> Run:
    """`run(page)`: what a page shows when its files are written, its commands run, and then all its Python."""

    def script(text: str) -> None:
        monkeypatch.chdir(folder)
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words[0] == "cd":
                monkeypatch.chdir(words[1])
            elif words[0] == "loraloop":
                assert run_command(words[1:]) == 0, line
            else:
                line = re.sub(r"^python ", f"{sys.executable} ", line)
                sys.stdout.write(
                    subprocess.run(["bash", "-ec", line], check=True, capture_output=True, text=True).stdout
                )

    def page(name: str) -> str:
        program = ""
        for language, about, text in BLOCK.findall((PAGES / name).read_text(encoding="utf-8")):
            if "slow=" in about:
                assert len(about.partition("slow=")[2]) > 10, about
            elif language == "json":
                (folder / about.partition("file=")[2]).write_text(text, encoding="utf-8")
            elif language == "python":
                program += text
            else:
                assert language == "sh"
                script(text)
        monkeypatch.chdir(folder)
        exec(compile(program, name, "exec"), {"__name__": "tutorial"})
        return capsys.readouterr().out

    return page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples" / "tools", tmp_path / "examples" / "tools")
    shutil.copytree(ROOT / "examples" / "train_a_skill", tmp_path / "examples" / "train_a_skill")
    return tmp_path


def test_embedding(folder: Path, run: Run) -> None:
    shown = run("embed.md")
    assert "complete: True" in shown and "called get_weather" in shown and "Weather(city=" in shown
    assert "2 turns" in shown and len(list((folder / "traces").iterdir())) == 1


def test_tools(folder: Path, run: Run) -> None:
    shown = run("tools.md")
    assert "1 tool, 0 refused" in shown and "$.properties.tags.uniqueItems" in shown
    assert re.search(r"^find_order \{'number': '\d{5}'.*\} -> ", shown, re.MULTILINE)


def test_training(folder: Path, run: Run) -> None:
    shown = run("train.md")
    assert json.loads((folder / "examples/train_a_skill/data/mails.jsonl").read_text().splitlines()[0])["label"]
    assert "1200 records read" in shown


def test_each_tutorial_is_tested() -> None:
    text, pages = Path(__file__).read_text(encoding="utf-8"), list(PAGES.glob("*.md"))
    assert pages and all(f'"{page.name}"' in text for page in pages)
