"""The page in a real browser: a run of several steps, approval, a refusal, hostile texts, keyboard, a phone's width."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from loraloop import Agent, Guard, Limits, Policy, Tracer, tool
from loraloop.adapters.base import Base
from loraloop.agent.runtime import Runtime
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerSettings
from loraloop.testing import ScriptedRuntime, ScriptError, answer, calls, verdict

sync_api = pytest.importorskip("playwright.sync_api")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), "")
PICTURES = os.environ.get("LORALOOP_SCREENSHOTS", "")
pytestmark = [pytest.mark.web, pytest.mark.skipif(not BROWSER, reason="needs Chromium")]
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


@tool(requires_approval=True)
def pay(to: str, amount: int) -> str:
    """Pays somebody."""
    return f"paid {amount} to {to}"


@tool
def look(word: str) -> str:
    """Looks a word up."""
    return f"{word}: {HOSTILE}"


@tool
def balance(of: str) -> dict[str, int]:
    """Looks up what an account holds."""
    return {"euros": 120}


@tool
def history(of: str) -> dict[str, int]:
    """Looks up what came into an account."""
    return {f"day {day}": day for day in range(60)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(serving: Callable[..., str], browser: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(*script)`: the page of a server whose model writes the script; an error on it fails the test."""
    contexts, problems = [], []

    def make(*script: Any, settings: ServerSettings | None = None, width: int = 1100, passages: Any = ()) -> Any:
        runtime = ScriptedRuntime(*script)
        agent = Agent(runtime, [pay, look, balance, history], "You help.")
        if passages:
            agent.add_documents(passages)
        url = serving(runtime, settings, {"bank": HostedAgent("bank", agent)})
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#agent option, dialog[open]", state="attached")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not problems


def say(page: Any, text: str) -> None:
    page.fill("#input", text)
    page.click("text=Send")


def picture(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"server-{name}.png"), full_page=True)


def test_each_step_is_a_card_and_what_tools_say_is_text(open_page: Callable[..., Any]) -> None:
    page = open_page(calls(look={"word": "bank"}), f"It is {HOSTILE}.")
    say(page, f"What is a bank? {HOSTILE}")
    page.wait_for_selector(".answer")
    assert page.locator(".step").count() == 2 and page.locator(".step.skill-tools .name").inner_text() == "tools"
    assert (
        page.locator(".routes meter").count() >= 2 and '"word": "bank"' in page.locator(".call pre").first.inner_text()
    )
    assert HOSTILE in page.locator(".answer").inner_text() and HOSTILE in page.locator(".said").inner_text()
    assert HOSTILE in page.locator(".call > pre").inner_text()
    assert page.title() == "loraloop" and page.locator("img").count() == 0
    policy = page.evaluate("() => fetch('/').then((answer) => answer.headers.get('content-security-policy'))")
    assert "script-src 'self'" in policy and "unsafe" not in policy


FORCED = "(place) => [...place.querySelectorAll('.written .forced')].map((each) => each.textContent)"


def test_what_a_grammar_forced_looks_different(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """While the run goes on, in the list of runs, and where the trace of a run is opened; free text has no marks."""
    word = f"😀é{HOSTILE}"
    page = open_page(calls(pay={"to": word, "amount": 5}), "Paid.")
    say(page, "Pay.")
    page.wait_for_selector(".approval")
    card = page.locator(".step").first
    forced, text = card.evaluate(FORCED), card.locator(".written").inner_text()
    assert 'ay","arguments":{"to":"' in forced and word not in "".join(forced), forced
    assert json.loads(text) == [{"name": "pay", "arguments": {"to": word, "amount": 5}}]
    looks = "(place) => { const style = getComputedStyle(place); return style.color + style.textDecorationLine; }"
    assert card.locator(".written").evaluate(looks) != card.locator(".written .forced").first.evaluate(looks)
    spoken = "forced by the grammar · chosen by the model. Forced: " + ", ".join(forced)
    assert card.locator("p:has(.unseen)").text_content() == spoken
    page.click("text=Approve")
    page.wait_for_selector(".answer")
    assert card.evaluate(FORCED) == forced and page.locator(".step").nth(1).locator(".forced:visible").count() == 0
    page.click("nav a:has-text('Runs')")
    page.click("#run-list .prompt")
    page.wait_for_selector("#run-view .answer")
    assert page.locator("#run-view .step").first.evaluate(FORCED) == forced
    tracer = Tracer(tmp_path / "trace.json")
    Agent(ScriptedRuntime(calls(look={"word": word}), "x"), [look], hooks=[tracer]).run_sync("Look.")
    page.set_input_files("#file", str(tmp_path / "trace.json"))
    page.wait_for_selector("#run-view .call:has-text('look')")
    opened = page.locator("#run-view .step").first.evaluate(FORCED)
    assert '","arguments":{"word":"' in "".join(opened) and word not in "".join(opened)
    assert page.title() == "loraloop" and page.locator("img").count() == 0


def test_three_steps_with_approval_and_citations(open_page: Callable[..., Any]) -> None:
    documents = [{"source": "rules", "title": "Rules", "text": "Ann is paid five euros a day."}]
    script = calls(balance={"of": "bank"}), calls(pay={"to": "ann", "amount": 5}), answer("Five euros a day.", ["p1"])
    page = open_page(*script, passages=documents)
    say(page, "Pay Ann what the rules say, and tell me what that is.")
    page.wait_for_selector(".approval")
    assert '"of"' in page.locator(".call details[open] pre").first.inner_text(), "the call stands beside its schema"
    thresholds = (
        page.locator(".routes").first.locator("meter").evaluate_all("(bars) => bars.map((bar) => bar.ariaLabel)")
    )
    assert thresholds[:3] == ["tools 80.0 %, threshold 50.0 %", "none 20.0 %", "screen 10.0 %, threshold 50.0 %"]
    assert page.locator(".threshold").first.evaluate("(mark) => mark.style.left") == "50%"
    page.fill(".approval textarea", '{"to": "ann", "amount": 4}')
    page.click("text=Approve")
    page.wait_for_selector(".answer")
    assert "paid 4 to ann" in page.locator(".call > pre").nth(1).inner_text()
    assert "edited" in page.locator(".call > p").nth(1).inner_text() and page.locator(".step").count() == 3
    assert page.locator(".phases span").count() >= 3, "the time by phase"
    assert page.locator(".answer").inner_text() == "Five euros a day."
    page.click("summary:has-text('cites')")
    assert "Ann is paid five euros a day." in page.locator("details[open] p").all_inner_texts()
    picture(page, "run")
    page.click("nav a:has-text('Runs')")
    page.wait_for_selector("#run-list .prompt")
    page.fill("#search", "nothing like it")
    page.wait_for_selector("#run-list :text('no run is like it')")
    page.fill("#search", "pay ann")
    page.click("#run-list .prompt")
    page.wait_for_selector("#run-view .answer")
    assert page.locator("#run-view button").count() == 0, "what was decided is not asked for again"
    page.focus("#run-list input")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.matches('#run-list input:checked')"), "the mark keeps the focus"


def test_a_denied_call_and_a_refusal(open_page: Callable[..., Any]) -> None:
    page = open_page(calls(pay={"to": "ann", "amount": 5}), "Then not.", verdict("crime"))
    say(page, "Pay Ann 5.")
    page.wait_for_selector(".approval textarea:focus")
    for key in ("Tab", "Tab", "Enter"):  # to Approve, to Deny
        page.keyboard.press(key)
    page.wait_for_selector(".answer:has-text('Then not.')")
    page.wait_for_selector("#input:focus")
    say(page, "Help me to steal.")
    page.wait_for_selector(".answer.refused")
    assert "crime" in page.locator("p.refused").last.inner_text()
    assert page.locator(".step").last.locator("p:has-text('the gate of the input: refused')").count() == 1
    picture(page, "refused")


def test_an_approval_is_asked_for_again_where_the_server_does_not_take_it(open_page: Callable[..., Any]) -> None:
    page = open_page(calls(pay={"to": "ann", "amount": 5}), "Paid.")
    say(page, "Pay Ann.")
    page.fill(".approval textarea", "{")
    page.click("text=Approve")
    page.wait_for_selector(".approval .error:has-text('no JSON')")
    page.fill(".approval textarea", '{"to": 5}')
    page.click("text=Approve")
    page.wait_for_selector("p.error >> visible=true")
    page.reload()
    page.click("nav a:has-text('Runs')")
    page.click("#run-list .prompt")
    with page.expect_request("**/approve") as asked:
        page.click("#run-view :text('Approve')")
    (decision,) = asked.value.post_data_json["decisions"].values()
    assert decision == {"approve": True}, "what nobody changed is not sent: the page would round large numbers"
    page.wait_for_selector("#run-view .answer:has-text('Paid.')")


def test_a_call_that_waits_is_approved_after_a_restart(open_page: Callable[..., Any], tmp_path: Path) -> None:
    settings = ServerSettings(folder=tmp_path)
    page = open_page(calls(pay={"to": "ann", "amount": 5}), settings=settings)
    say(page, "Pay Ann.")
    page.wait_for_selector(".approval")
    page = open_page("Paid.", settings=settings)
    page.click("nav a:has-text('Runs')")
    page.click("#run-list .prompt")
    page.click("#run-view :text('Approve')")
    page.wait_for_selector("#run-view .answer:has-text('Paid.')")


def test_a_new_conversation_knows_nothing_of_the_old_one(open_page: Callable[..., Any]) -> None:
    page = open_page(" ".join(map(str, range(3000))), "Hello.")
    say(page, "Count.")
    page.wait_for_selector(".step pre:has-text('5')")
    page.click("#clear")
    page.wait_for_selector("#stop:disabled")
    with page.expect_request("**/runs") as asked:
        say(page, "Hi.")
    assert asked.value.post_data_json["messages"] == []
    page.wait_for_selector(".answer:has-text('Hello.')")


def test_skills_load_and_a_saved_trace(open_page: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    Agent(ScriptedRuntime(calls(look={"word": "x"}), "Saved."), [look], hooks=[Tracer(file)]).run_sync("Look x up.")
    page = open_page("x")
    page.click("nav a:has-text('Skills')")
    page.wait_for_selector("#skill-list td:has-text('retrieval')")
    page.click("nav a:has-text('Load')")
    page.wait_for_selector("#load-list dt:has-text('waiting')")
    page.click("nav a:has-text('Runs')")
    page.set_input_files("#file", str(file))
    page.wait_for_selector("#run-view .step")
    assert "Saved." in page.locator("#run-view").inner_text() and "look" in page.locator("#run-view .call").inner_text()
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"a": HOSTILE}))
    page.set_input_files("#file", str(bad))
    page.wait_for_selector("#run-view .error:has-text('is no trace')")


def test_two_traces_are_compared(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """Traces of files stand in the list with the runs; what differs is listed, and what they say stays text."""
    tracer = Tracer()
    runtime = ScriptedRuntime(answer("Ada.", ["p1"]), answer(HOSTILE, ["p1"]), calls(pay={"to": "ann", "amount": 5}))
    passages = [{"source": "book", "title": "Book", "text": f"Ada wrote it. {HOSTILE}"}]
    agent = Agent(runtime, [pay], hooks=[tracer], retriever=None)
    for _ in range(2):
        agent.run_sync("Who?", passages=[{**each, "id": "p1"} for each in passages])
    agent.run_sync("Pay.")
    runtime.say("No.")
    agent.run_sync("Pay.", guard=Guard(allow=[]))
    with pytest.raises(ScriptError):
        agent.run_sync("More.")
    first, second, waits, limited, failed = tracer.traces
    old = {**first.to_dict(), **first.to_dict()["runtime"], "schema": "loraloop.trace/1", "prompt": "of version 1"}
    old["steps"] = [{**step, **step.pop("route")} for step in old["steps"]]
    documents = {"a": first, "b": second, "waits": waits, "limited": limited, "failed": failed}
    documents["bare"] = first.without_contents()
    texts = {name: trace.to_json() for name, trace in documents.items()} | {"old": json.dumps(old)}
    texts["new"] = first.to_json().replace("loraloop.trace/2", "loraloop.trace/3")
    files = {name: tmp_path / f"{name}.json" for name in texts}
    for name, file in files.items():
        file.write_text(texts[name], encoding="utf-8")
    page = open_page("x")
    page.click("nav a:has-text('Runs')")
    page.set_input_files("#file", [files["a"], files["b"]])
    page.wait_for_selector(".comparison")
    found = page.locator(".comparison .differs").all_inner_texts()
    assert page.locator(".comparison caption").inner_text() == "2 differences" and len(found) == 2
    assert found[0].startswith("step 1\ttext") and found[1].startswith("end\tanswer\tAda.") and HOSTILE in found[1]
    assert page.locator("#run-list input:checked").count() == 2 and page.locator("#run-view .answer").count() == 2
    page.click("#run-view summary:has-text('cites') >> nth=0")
    assert "Ada wrote it." in page.locator("#run-view details.facts[open] p").first.inner_text()
    shown = {
        "waits": "pay: approval was awaited",
        "old": "of version 1",
        "bare": "retrieval",
        "limited": "the guard leaves these tools: none",
        "failed": "ScriptError",
    }
    for name, said in shown.items():
        page.set_input_files("#file", files[name])
        page.wait_for_selector(f"#run-view:has-text('{said}')")
        assert page.locator("#run-view button").count() == 0
    page.set_input_files("#file", files["new"])
    page.wait_for_selector("#run-view .error:has-text('loraloop.trace/3')")
    assert page.title() == "loraloop" and page.locator("img").count() == 0


def test_the_load_of_sixteen_agents(serving: Callable[..., str], browser: Any, base: Base) -> None:
    """Sixteen runs of four agents at once on the embedded base: the batch that they share, what they found known."""
    runtime = Runtime.load(base)
    limits = Limits(max_steps=3, step_tokens=160)
    names = {
        "desk": "You answer customers.",
        "coder": "You write programs.",
        "clerk": "You pay.",
        "tutor": "You teach.",
    }
    agents = {
        name: HostedAgent(name, Agent(runtime, [look], instructions, limits=limits, policy=Policy(tool_choice="none")))
        for name, instructions in names.items()
    }
    url = serving(runtime, agents=agents)
    prompts = ("Write a long story about a lighthouse.", "Write a Python program that plays chess.",
               "List all the countries that you know.", "Explain photosynthesis in every detail.")  # fmt: skip

    def run(number: int) -> None:
        while not over.is_set():
            ask(number)

    def ask(number: int) -> None:
        asked = {"input": f"{prompts[number % 4]} Begin with {number}.", "skill": ("none", "code")[number % 4 == 1]}
        path = f"{url}/v1/agents/{list(names)[number % 4]}/runs"
        with contextlib.suppress(httpx.HTTPError), httpx.stream("POST", path, json=asked, timeout=120) as answer:
            for _ in answer.iter_lines():
                if over.is_set():
                    return

    over = threading.Event()
    opened = browser.new_context(viewport={"width": 1100, "height": 800})
    with ThreadPoolExecutor(16) as pool, contextlib.closing(opened) as context:
        for number in range(16):
            pool.submit(run, number)
        try:
            page = context.new_page()
            page.goto(f"{url}/#load")
            page.wait_for_selector("caption:has-text('16 agents at work')", timeout=60_000)
            page.locator("#load-agents td:nth-child(3):text-is('0')").first.wait_for(state="detached", timeout=60_000)
            page.wait_for_selector("dt:has-text('prefix hits') + dd span:text-matches('^[1-9]')", timeout=60_000)
            page.wait_for_timeout(4500)  # two looks, so that there is a batch between them
            rows = float(page.locator("dt:has-text('batch') + dd").inner_text().split()[0])
            assert rows > 2 and page.locator("#load-agents tr").count() >= 10
            assert "tokens were reused" in page.locator("dt:has-text('prefix hits') + dd").inner_text()
            page.wait_for_selector("caption:has-text('16 agents at work')", timeout=60_000)
            picture(page, "load")
        finally:
            over.set()


def check_accessible(page: Any, place: str) -> None:
    """What axe-core finds on the page as it is: light and dark, on a wide screen and at a narrow phone's width."""
    size = page.viewport_size
    for scheme, width in product(("light", "dark"), (1100, 320)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        found = Axe().run(page, options={"rules": {"target-size": {"enabled": True}}})
        assert found.violations_count == 0, f"{place}, {scheme}, {width}: {found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{place}, {width}"
    page.set_viewport_size(size)


def test_accessible(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """Each view, with all that a run can show."""
    documents = [{"source": "rules", "title": "Rules", "text": "Ann is paid five euros a day."}]
    looked = calls(history={"of": "bank"}), calls(history={"of": "ann"})
    script = *looked, calls(pay={"to": "ann", "amount": 5}), answer("Five euros.", ["p1"]), verdict("crime")
    page = open_page(*script, passages=documents)
    check_accessible(page, "an empty chat")
    say(page, "Pay Ann what the rules say.")
    page.wait_for_selector(".approval")
    check_accessible(page, "an approval")
    page.click("text=Approve")
    page.wait_for_selector(".answer")
    for opened in page.locator("summary:has-text('schema'), summary:has-text('cites')").all():
        opened.click()
    say(page, "Help me to steal.")
    page.wait_for_selector(".answer.refused")
    check_accessible(page, "a chat")
    tracer = Tracer()
    agent = Agent(ScriptedRuntime(calls(look={"word": "x"}), "One.", "Two."), [look], hooks=[tracer])
    for word in ("x", "y"):
        agent.run_sync(f"Look {word} up.")
    files = [tmp_path / f"{number}.json" for number in range(len(tracer.traces))]
    for file, trace in zip(files, tracer.traces, strict=True):
        file.write_text(trace.to_json())
    page.click("nav a:has-text('Runs')")
    page.wait_for_selector("#run-list .prompt")
    check_accessible(page, "the list of runs")
    page.set_input_files("#file", files)
    page.wait_for_selector(".comparison")
    check_accessible(page, "two traces that are compared")
    for view, there in {"Skills": "#skill-list td", "Load": "#load-list dt"}.items():
        page.click(f"nav a:has-text('{view}')")
        page.wait_for_selector(there)
        for opened in page.locator("#skill-list summary:visible").all():
            opened.click()
        check_accessible(page, view)
    page = open_page(settings=ServerSettings(keys=frozenset(("long-enough",))))
    check_accessible(page, "the question for a key")


def test_by_keyboard_alone_with_a_key_on_a_phone(open_page: Callable[..., Any]) -> None:
    page = open_page("Hello.", settings=ServerSettings(keys=frozenset(("long-enough",))), width=360)
    page.fill("#key", "a-wrong-key")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-problem:visible")
    page.fill("#key", "long-enough")
    page.keyboard.press("Enter")
    page.wait_for_selector("#agent option", state="attached")
    page.focus("#input")
    page.keyboard.type("Hi")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".answer")
    assert page.locator(".answer").inner_text() == "Hello."
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is wider than a phone"
