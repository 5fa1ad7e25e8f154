"""The pages as a website: each is in the navigation and is found by the search, and every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import loraloop
from loraloop.agent.events import EVENTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The website, built as `make site` builds it; a link that leads nowhere fails the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    unlisted = re.findall(r"^  - (?!source/)(.*)$", done.stderr, re.MULTILINE)
    assert not unlisted, f"not in the navigation of mkdocs.yml: {unlisted}"
    return folder


def test_every_page_is_built_and_found(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name).is_file() and name in found


def test_the_reference_has_every_public_name_and_no_private_one(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'<h3 id="([\w.]+)"', page))
    assert anchors >= {f"loraloop.{name}" for name in loraloop.__all__}
    assert anchors >= {f"loraloop.agent.events.{event.__name__}" for event in EVENTS}
    assert {"loraloop.tool_schemas.http_tool", "loraloop.testing.ScriptedRuntime"} <= anchors
    assert not re.findall(r'<h\d id="(loraloop[\w.]*\._[a-z][\w.]*)"', page)


def test_the_readme_is_the_first_page_and_files_outside_the_docs_have_pages(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    assert "Four uses" in first and 'src="trace.svg"' in first and 'href="source/CHANGELOG.html"' in first
    assert "FROM docker.io" in (site / "source/examples/deploy/Containerfile.html").read_text(encoding="utf-8")


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(https?://[^\s\">]+)", text)
