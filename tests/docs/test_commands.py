"""The commands that pages and cards show exist and take the options shown."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from loraloop.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

CARDS = [*(ROOT / "adapters" / "library").rglob("card.json"), *(ROOT / "router" / "weights").rglob("router.json")]


def shown(page: Path) -> list[list[str]]:
    """Each command, as words: a line of a block of shell, or a piece of code that begins with a program."""
    text = page.read_text(encoding="utf-8").replace("\\\n", "")
    blocks = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for kind, block in blocks if kind in ("sh", "bash", "") for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [piece.replace("\n", " ") for piece in re.findall(r"`([^`]+)`", prose)]
    lines = [line.replace("[", "").replace("]", "") for line in lines if re.match(r"(loraloop|python) ", line)]
    return [shlex.split(line, comments=True) for line in lines]


def options_of(words: list[str]) -> set[str]:
    """The options that a command of ours knows; of commands that are named together (`a|b`), those that all know."""
    for place, word in enumerate(words):
        if "|" in word and not word.startswith("-"):
            each = [options_of([*words[:place], name, *words[place + 1 :]]) for name in word.split("|")]
            return set.intersection(*each)
    command: Any = main.commands()
    known = {option for parameter in command.params for option in parameter.opts}
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
        known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return known


def texts_under(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Each text in a JSON document, with the key that it or its list stands under."""
    if isinstance(value, str):
        return [(key, value)]
    inner = value.items() if isinstance(value, dict) else [(key, each) for each in value if isinstance(value, list)]
    return [found for name, each in inner if isinstance(each, dict | list | str) for found in texts_under(each, name)]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.relative_to(ROOT).as_posix())
def test_commands_on_cards_exist(card: Path) -> None:
    texts = texts_under(json.loads(card.read_text(encoding="utf-8")))
    commands = [text for key, text in texts if key in ("command", "commands")]
    assert commands
    for text in commands:
        program, *words = shlex.split(text)
        assert program == "loraloop", text
        assert {word for word in words if word.startswith("--")} <= options_of(list(words)), text
        assert all((ROOT / word).is_file() for word in words if word.startswith("recipes/")), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_their_options_exist(page: Path) -> None:
    for program, *words in shown(page):
        files = [word.partition(":")[0] for word in words if word.startswith(("examples/", "tool_schemas/"))]
        assert all((ROOT / file).exists() for file in files), files
        if program == "loraloop":
            told = " ".join(words)
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options_of(words), told
        elif words[0].startswith("benchmarks/"):
            script = (ROOT / words[0]).read_text(encoding="utf-8")
            imported = re.findall(r"^from (\w+) import", script, re.MULTILINE)
            beside = [file for name in imported if (file := ROOT / "benchmarks" / f"{name}.py").is_file()]
            known = script + "".join(file.read_text(encoding="utf-8") for file in beside)
            assert all(f'"{word}"' in known for word in words if word.startswith("--")), words
