"""What the README shows works: its example runs, its make targets and links exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_it_opens_with_the_two_commands():
    first = blocks("sh")[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


def test_the_embedding_example_is_short():
    example, _ = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10


def test_the_blocks_run_one_after_the_other(run_page, tmp_path, capsys):
    run_page(ROOT / "README.md")
    shown = capsys.readouterr().out
    answered, streamed = shown.splitlines()
    assert "tools" in answered and streamed and list((tmp_path / "traces").iterdir())


def test_make_targets_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        named = set(re.findall(r"`make ([a-z-]+)", page)) | set(re.findall(r"^make ([a-z-]+)", page, re.MULTILINE))
        assert named <= targets, named - targets


def test_make_help_names_the_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True)
    assert phony and done.returncode == 0, done.stderr
    assert not [
        name
        for name in phony[1].split()
        if name not in ("help", "clean") and not re.search(rf"\b{name}\b", done.stdout)
    ]


def test_links_into_the_tree_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
