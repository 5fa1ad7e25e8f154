"""The page in a real browser, of a server whose model writes a script."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from loraloop import Agent, Limits, tool
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerSettings
from loraloop.testing import ScriptedRuntime

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), "")
PICTURES = os.environ.get("LORALOOP_SCREENSHOTS", "")


@tool(requires_approval=True)
def pay(to: str, amount: int) -> str:
    """Pays somebody."""
    return f"paid {amount} to {to}"


@tool
def look(word: str) -> list[str]:
    """Looks a word up in the glossary."""
    return []


@tool
def balance(of: str) -> dict[str, int]:
    """Looks up what an account holds."""
    return {"euros": 120}


@tool
def history(of: str) -> dict[str, int]:
    """Looks up what came into an account."""
    return {f"day {day}": day for day in range(60)}


@tool
def weather(city: str) -> str:
    """Current weather of a city."""
    raise OSError("the service is closed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not BROWSER:
        pytest.fail("needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(serving: Callable[..., str], browser: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(*script)`: the page of a server whose model writes the script; an error on it fails the test."""
    contexts, problems = [], []

    def make(
        *script: Any,
        settings: ServerSettings | None = None,
        width: int = 1100,
        passages: Any = (),
        tools: Sequence[Any] = (pay, look, balance, history, weather),
        others: Mapping[str, HostedAgent] | None = None,
    ) -> Any:
        runtime = ScriptedRuntime(*script)
        agent = Agent(runtime, tools, "You help.", limits=Limits(step_tokens=4000, run_tokens=8000))
        if passages:
            agent.add_documents(passages)
        bank = HostedAgent("bank", agent, "Pays the bills of the house, and answers from its rules.")
        own = HostedAgent("assistant", Agent(runtime), "The agent of the command line")
        url = serving(runtime, settings, {"assistant": own, "bank": bank} | dict(others or {}))
        context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce")
        context.set_default_timeout(100_000)  # the processor may be busy with other tests
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#agent option, dialog[open]", state="attached")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def picture() -> Callable[[Any, str], None]:
    """`picture(page, name)`: keeps what the page shows, all of it, where LORALOOP_SCREENSHOTS names a folder."""

    def take(page: Any, name: str) -> None:
        if PICTURES:
            size = page.viewport_size
            page.set_viewport_size({**size, "height": page.evaluate("document.documentElement.scrollHeight")})
            page.screenshot(path=str(Path(PICTURES) / f"server-{name}.png"))
            page.set_viewport_size(size)

    return take
