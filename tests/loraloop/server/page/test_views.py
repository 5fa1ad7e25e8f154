"""The other views of the page: runs and traces, skills, load; and that everybody can use each of them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from loraloop import Agent, Guard, Limits, Policy, Tracer, tool
from loraloop.adapters.base import Base
from loraloop.agent.runtime import Runtime
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerSettings
from loraloop.testing import ScriptedRuntime, ScriptError, answer, calls, verdict

pytestmark = pytest.mark.web
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


@tool(requires_approval=True)
def pay(to: str, amount: int) -> str:
    """Pays somebody."""
    return f"paid {amount} to {to}"


@tool
def look(word: str) -> str:
    """Looks a word up."""
    return f"{word}: {HOSTILE}"


def say(page: Any, text: str) -> None:
    page.fill("#input", text)
    page.press("#input", "Enter")


FORCED = "(place) => [...place.querySelectorAll('.written .forced')].map((each) => each.textContent)"


def test_what_a_grammar_forced_looks_different(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """While the run goes on, in the list of runs, and where the trace of a run is opened; free text has no marks."""
    word = f"😀é{HOSTILE}"
    page = open_page(calls(pay={"to": word, "amount": 5}), "Paid.")
    say(page, "Pay.")
    page.wait_for_selector(".approval")
    card = page.locator(".step").first
    card.locator("> summary").click()
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
    page.wait_for_selector("#run-view .call:has-text('look')", state="attached")
    opened = page.locator("#run-view .step").first.evaluate(FORCED)
    assert '","arguments":{"word":"' in "".join(opened) and word not in "".join(opened)
    assert page.title() == "loraloop" and page.locator("img").count() == 0


def test_skills_load_and_a_saved_trace(open_page: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    Agent(ScriptedRuntime(calls(look={"word": "x"}), "Saved."), [look], hooks=[Tracer(file)]).run_sync("Look x up.")
    page = open_page("x")
    page.click("nav a:has-text('Skills')")
    page.wait_for_selector("#skill-list h3:has-text('retrieval')")
    page.click("nav a:has-text('Load')")
    page.wait_for_selector("#load-list dt:has-text('waiting')")
    page.click("nav a:has-text('Runs')")
    page.set_input_files("#file", str(file))
    page.click("#run-view .step summary >> nth=0")
    assert "Saved." in page.locator("#run-view").inner_text() and "look" in page.locator("#run-view .call").inner_text()
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"a": HOSTILE}))
    page.set_input_files("#file", str(bad))
    page.wait_for_selector("#run-view .error:has-text('is no trace')")


def test_what_a_step_of_a_long_trace_holds_is_laid_out_when_it_is_opened(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    """All that thousands of steps hold would keep the page busy for minutes."""
    file = tmp_path / "trace.json"
    Agent(ScriptedRuntime(calls(look={"word": "x"}), "Saved."), [look], hooks=[Tracer(file)]).run_sync("Look x up.")
    trace = json.loads(file.read_text())
    step = json.dumps(trace["steps"][0])
    trace["steps"] = [json.loads(step.replace("call_0_", f"call_{at}_")) | {"index": at} for at in range(300)]
    file.write_text(json.dumps(trace))
    page = open_page("x")
    page.click("nav a:has-text('Runs')")
    page.set_input_files("#file", str(file))
    steps = page.locator("#run-view .step")
    steps.nth(299).wait_for(state="attached")
    visible = "[...each.querySelectorAll('*')].filter((inner) => inner.checkVisibility()).length"
    counts = steps.evaluate_all(f"(all) => all.map((each) => {visible})")
    assert len(counts) == 300 and min(counts) > 0 and max(counts) < 8
    steps.nth(7).locator("summary").first.click()
    assert steps.nth(7).evaluate(f"(each) => {visible}") > 12


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
    documents = {"a": first, "b": second, "waits": waits, "limited": limited, "failed": failed}
    documents["bare"] = first.without_contents()
    texts = {name: trace.to_json() for name, trace in documents.items()}
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
    assert "Ada wrote it." in page.locator("#run-view .cited[open] p").first.inner_text()
    shown = {
        "waits": "pay: approval was awaited",
        "bare": "retrieval",
        "limited": "the guard leaves these tools: none",
        "failed": "ScriptError",
    }
    for name, text in shown.items():
        page.set_input_files("#file", files[name])
        page.wait_for_selector(f"#run-view:has-text('{text}')", state="attached")
        assert page.locator("#run-view .buttons").count() == 0
    page.set_input_files("#file", files["new"])
    page.wait_for_selector("#run-view .error:has-text('loraloop.trace/3')")
    assert page.title() == "loraloop" and page.locator("img").count() == 0


def test_skills_on_a_phone(serving: Callable[..., str], browser: Any, base: Base) -> None:
    """The embedded base's skills, with the scores of their cards as tables; nothing is cut off or scrolled."""
    url = serving(Runtime.load(base))
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        page.goto(f"{url}/#skills")
        page.wait_for_selector("#skill-list article")
        assert page.locator("#skill-list h3").all_inner_texts() == ["answer", "code", "retrieval", "safety", "tools"]
        for opened in page.locator("#skill-list summary:has-text('scores')").all():
            opened.evaluate("(summary) => (summary.parentElement.open = true)")
        code = page.locator("article:has(h3:text-is('code')) table")
        assert code.locator("th").all_inner_texts() == ["measured", "base", "skill", "cases"]
        assert code.locator("tr:has-text('syntax valid') >> nth=0").locator("td").all_inner_texts() == [
            "syntax valid",
            "0.98",
            "1",
            "100",
        ]
        widths = "(all) => all.map((each) => [each.getBoundingClientRect().right, each.scrollWidth - each.clientWidth])"
        cells = page.locator("#skill-list :is(td, p, li):visible").evaluate_all(widths)
        assert len(cells) > 40 and all(right <= 390 and over <= 0 for right, over in cells)
        sizes = page.locator("#skill-list td").evaluate_all(
            "(all) => all.map((each) => parseFloat(getComputedStyle(each).fontSize))"
        )
        assert min(sizes) >= 13


def test_the_load_of_sixteen_agents(
    serving: Callable[..., str], browser: Any, base: Base, picture: Callable[..., None]
) -> None:
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


MARKDOWN = """### Sorting

```python
def first(items: list[int], key: str = "name") -> int:  # of a very long list of things that one would have sorted
    return sorted(items)[0]
```

| call | new | what it is for, in a sentence of its own | and another | and one more |
|--|--:|--|--|--|
| `sorted(averyveryverylongname)` | 1 | [docs](https://docs.python.org/3/) | aVeryLongWordThatCannotBeBroken | yes |

> quoted, https://docs.python.org/3/howto/sorting.html#a-very-long-address-that-has-no-place-on-the-width-of-a-phone"""


def check_accessible(page: Any, place: str) -> None:
    """What axe-core finds on the page as it is: light on a wide screen, and dark at a narrow phone's width."""
    axe = Axe()
    size = page.viewport_size
    for scheme, width in (("light", 1100), ("dark", 320)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        height = page.evaluate("document.documentElement.scrollHeight")  # nothing is hidden below the form
        page.set_viewport_size({"width": width, "height": height})
        found = axe.run(page, options={"rules": {"target-size": {"enabled": True}}})
        assert found.violations_count == 0, f"{place}, {scheme}, {width}: {found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{place}, {width}"
    page.set_viewport_size(size)


def test_accessible(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """Each view, with all that a run can show."""
    documents = [{"source": "rules", "title": "Rules", "text": "Ann is paid five euros a day."}]
    looked = calls(history={"of": "bank"}), calls(history={"of": "ann"})
    script = *looked, calls(pay={"to": "ann", "amount": 5}), answer("Five euros.", ["p1"]), verdict("crime"), MARKDOWN
    page = open_page(*script, passages=documents)
    check_accessible(page, "an empty chat")
    page.locator("#welcome summary").first.click()
    check_accessible(page, "a tool of an agent")
    say(page, "Pay Ann what the rules say.")
    page.wait_for_selector(".approval")
    check_accessible(page, "an approval")
    page.click("text=Edit the arguments")
    page.click("text=Approve")
    page.wait_for_selector(".foot")
    say(page, "Help me to steal.")
    page.wait_for_selector(".answer.refused")
    say(page, "How do I sort?")
    page.wait_for_selector(".answer pre")
    page.locator(".foot").nth(2).wait_for()
    check_accessible(page, "a chat")
    for opened in page.locator("#log summary").all():
        opened.evaluate("(summary) => (summary.parentElement.open = true)")
    check_accessible(page, "a chat of which everything is opened")
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
    for view, there in {"Skills": "#skill-list article", "Load": "#load-list dt"}.items():
        page.click(f"nav a:has-text('{view}')")
        page.wait_for_selector(there)
        for opened in page.locator("#skill-list summary:visible").all():
            opened.click()
        check_accessible(page, view)
    page = open_page(settings=ServerSettings(keys=frozenset(("long-enough",))))
    check_accessible(page, "the question for a key")
