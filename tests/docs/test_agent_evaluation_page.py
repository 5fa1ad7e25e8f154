"""The page on evaluating the agent: its program runs, and it names every family, reason and system."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from loraloop.evals.agent_check import REASONS
from loraloop.evals.agent_files import FILES, PER_SKILL
from loraloop.evals.agent_scores import DRAWS
from loraloop.evals.held_out_requests import TOOLS
from loraloop.evals.task_families import all_tasks
from loraloop.evals.tasks import FAMILIES, PER_FAMILY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agent-evaluation.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(run_page: Callable[[Path], list[str]]) -> None:
    assert len(run_page(PAGE)) == 1


def test_it_says_what_the_code_says() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", TEXT, re.MULTILINE)) == FAMILIES
    assert f"{len(all_tasks())} tasks, {PER_FAMILY} of each of {len(FAMILIES)} families" in TEXT
    assert (
        f"Their {len(TOOLS)} tools" in TEXT and f"{PER_SKILL} examples a skill" in TEXT and f"{DRAWS} bootstrap" in TEXT
    )
    for name in (*REASONS, *(name for names in FILES.values() for name in names)):
        assert f"`{name}`" in TEXT, name
