"""The pages of the API are those of the code, and every public name says what it is and what it takes."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EVENTS = "loraloop.agent.events"  # docs/agent.md lists them; their fields are those of the parts that they tell of


@pytest.fixture(scope="module")
def api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_pages", ROOT / "docs" / "api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def unsaid(value: Any) -> list[str]:
    """Parameters that a docstring neither lists nor names."""
    said = inspect.getdoc(value) or ""
    if inspect.isclass(value) and (issubclass(value, Exception) or getattr(value, "_is_protocol", False)):
        return []
    names = [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]
    listed = r"^ *(\*{0,2}\w+, )*\*{0,2}(%s)(, \w+)*( \(.*?\))?:"
    return [name for name in names if not re.search(listed % name, said, re.MULTILINE) and f"`{name}" not in said]


def test_the_pages_are_current(api: ModuleType) -> None:
    written = api.written()
    stale = [path.name for path, text in written.items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "run `python docs/api.py`"
    assert set(api.FOLDER.glob("*.md")) == set(written)


def test_they_are_the_same_in_another_process() -> None:
    """Nothing in them depends on addresses, on the order of sets, or on what was imported before."""
    done = subprocess.run([sys.executable, ROOT / "docs" / "api.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_says_what_it_is_and_what_it_takes(api: ModuleType) -> None:
    problems: list[str] = []
    for names in api.pages().values():
        for name in names:
            if name.kind == "value":
                continue
            if not inspect.getdoc(name.value):
                problems.append(f"{name.home}.{name.name} has no docstring")
            elif name.home != EVENTS:
                problems += [f"{name.home}.{name.name} does not say what {each} is" for each in unsaid(name.value)]
            for member, value in api.members(name.value) if name.kind == "class" else ():
                if not inspect.getdoc(value):
                    problems.append(f"{name.home}.{name.name}.{member} has no docstring")
    assert problems == []


def test_each_name_is_on_one_page_and_linked(api: ModuleType) -> None:
    found = api.pages()
    names = [name.name for listed in found.values() for name in listed]
    assert {"Agent", "Runtime", "Policy", "Router", "Bank", "Tool", "ScriptedRuntime", "Sandbox"} <= set(names)
    index = (api.FOLDER / "README.md").read_text("utf-8")
    for target, anchor in re.findall(r"\]\(([\w.]+\.md)#([\w-]+)\)", index):
        page = (api.FOLDER / target).read_text("utf-8")
        headings = [line[4:].lower() for line in page.splitlines() if line.startswith("### ")]
        anchors = {f"{name}-{n}" if n else name for name in headings for n in range(headings.count(name))}
        assert anchor in anchors, f"{target}#{anchor}"


def test_pages_are_markdown_without_addresses_or_markup_of_another_kind(api: ModuleType) -> None:
    for path, text in api.written().items():
        assert not re.search(r"0x[0-9a-f]{6,}|:param|:class:", text), path.name
        assert str(api.FOLDER.parents[1]) not in text, f"{path.name} names this checkout's place"
        assert text.count("```") % 2 == 0 and len(text) < 64_000, path.name
