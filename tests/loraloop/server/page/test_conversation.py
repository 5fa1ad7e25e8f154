"""A conversation on the page: answers once, as Markdown; steps as lines; approval, receipts, the choice of an agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent, tool
from loraloop.server.runs import HostedAgent
from loraloop.server.settings import ServerSettings
from loraloop.testing import ScriptedRuntime, answer, calls, verdict

pytestmark = pytest.mark.web
PAY = calls(pay={"to": "ann", "amount": 5})


def say(page: Any, text: str) -> None:
    page.fill("#input", text)
    page.press("#input", "Enter")


def test_the_answer_is_there_once_and_each_step_is_one_line(open_page: Callable[..., Any]) -> None:
    page = open_page(calls(balance={"of": "bank"}), "The bank has **120 euros** now.")
    say(page, "What does the bank have?")
    page.wait_for_selector(".foot")
    assert page.locator("#log").evaluate("(log) => log.textContent.split('120 euros').length") == 2
    assert page.locator(".answer strong").inner_text() == "120 euros"
    steps = page.locator(".step")
    assert steps.count() == 2 and page.locator(".step[open]").count() == 0
    lines = "(all) => all.map((each) => each.clientHeight < 2 * parseFloat(getComputedStyle(each).lineHeight))"
    assert steps.evaluate_all(lines) == [True, True]
    first = steps.first.locator("> summary").inner_text().split("\n")
    assert first[:2] == ["tools", "balance(of: bank)"] and first[2].endswith("ms")
    steps.first.locator("> summary").click()
    assert '"of": "bank"' in steps.first.locator(".call pre").first.inner_text()
    assert '"euros": 120' in steps.first.locator(".call > pre").inner_text()
    page.keyboard.press("Tab")
    steps.nth(1).locator("> summary").press("Enter")
    assert steps.nth(1).locator("p:visible:has-text('its text is the answer')").count() == 1


def test_an_answer_is_shown_as_it_is_written(open_page: Callable[..., Any]) -> None:
    page = open_page("**Numbers** " + " ".join(map(str, range(3000))))
    say(page, "Count.")
    page.wait_for_selector(".answer strong:has-text('Numbers')")
    assert page.locator("#stop:visible").count() == 1 and page.locator("#send:visible").count() == 0
    page.press("#input", "Escape")
    page.wait_for_selector(".after .error:has-text('The run was stopped.')")
    assert page.locator("#send:visible").count() == 1


MARKDOWN = """# Sorting

1. Pick a *key*
2. Use `sorted`

| call | new |
|:--|--:|
| `sorted(x)` | yes |

```python
def first(items: list[int]) -> int:
    return sorted(items)[0]
```

## Next

#### Deep
See https://docs.python.org/3/ and [that](https://docs.python.org/3/howto/sorting.html).
One line
and the next."""


def test_markdown_and_code(open_page: Callable[..., Any]) -> None:
    page = open_page(MARKDOWN)
    say(page, "How do I sort?")
    page.wait_for_selector(".foot")
    place = page.locator(".answer")
    assert place.locator("h3, h4, h5").evaluate_all("(all) => all.map((each) => each.tagName)") == ["H3", "H4", "H5"]
    assert place.locator("ol > li").count() == 2 and place.locator("table td").nth(1).get_attribute("align") == "right"
    assert place.locator("pre .hljs-keyword").first.inner_text() == "def", "the syntax of code is coloured"
    assert place.locator(".code-head span").first.inner_text() == "python" and place.locator("p:last-child br").count()
    assert place.locator("a").count() == 2 and place.locator(".host").all_inner_texts() == [" (docs.python.org)"]
    place.locator(".code .copy").click()
    page.wait_for_selector(".code .copy:has-text('Copied')")
    code = "def first(items: list[int]) -> int:\n    return sorted(items)[0]"
    assert page.evaluate("navigator.clipboard.readText()") == code
    page.click(".foot .copy")
    page.wait_for_selector(".foot .copy:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == MARKDOWN


def test_a_structured_answer_is_shown_as_json(open_page: Callable[..., Any]) -> None:
    runtime = ScriptedRuntime('{"city":"Paris","name":"*x*"}')
    other = HostedAgent("form", Agent(runtime, output_type=dict[str, str]))
    page = open_page(others={"form": other})
    page.select_option("#agent", "form")
    say(page, "Where?")
    page.wait_for_selector(".foot")
    assert json.loads(page.locator(".answer pre").inner_text()) == {"city": "Paris", "name": "*x*"}


def test_what_was_done_stands_beside_the_answer(open_page: Callable[..., Any]) -> None:
    """Found, empty, failed and denied calls, whatever the answer says; all in words, not in colours alone."""
    looked = calls(("balance", {"of": "bank"}), ("look", {"word": "x"}), ("weather", {"city": "Rome"}))
    page = open_page(looked, PAY, "All went well.")
    say(page, "Look at all of it.")
    page.click("text=Deny")
    page.wait_for_selector(".foot")
    assert page.locator(".receipts > summary").inner_text() == "4 calls: 1 done, 1 no result, 1 failed, 1 denied"
    lines = [line.inner_text().split("\n")[:2] for line in page.locator(".receipt:visible summary").all()]
    assert lines == [
        ["Done", "balance (of: bank). Result: euros: 120."],
        ["No result", "look (word: x)."],
        ["Failed", "weather (city: Rome). Error: OSError: the service is closed."],
        ["Denied", "pay (to: ann, amount: 5)."],
    ]
    page.click(".receipt.denied summary")
    assert page.locator(".receipt p:visible").inner_text().startswith("Not done, because it was denied: pay")


def test_receipts_of_many_calls_that_went_well_are_closed_at_first(open_page: Callable[..., Any]) -> None:
    page = open_page(calls(*(("balance", {"of": name}) for name in "abcde")), "They have 120 each.")
    say(page, "What do they have?")
    page.wait_for_selector(".foot")
    assert page.locator(".receipts > summary").inner_text() == "5 calls: 5 done"
    assert page.locator(".receipt:visible").count() == 0 and page.locator(".receipt").count() == 5


def test_where_the_answer_check_fired_it_is_said(open_page: Callable[..., Any]) -> None:
    page = open_page(calls(balance={"of": "bank"}), "The bank has 999 euros.")
    say(page, "What does the bank have?")
    page.wait_for_selector(".foot")
    notices = page.locator(".checked").all_inner_texts()
    assert notices == ["What the records say is the answer: no record has “999”."]
    assert page.locator(".answer").inner_text() == "Done: balance (of: bank). Result: euros: 120."


def test_three_steps_with_approval_and_citations(open_page: Callable[..., Any], picture: Callable[..., None]) -> None:
    documents = [{"source": "rules", "title": "Rules", "text": "Ann is paid five euros a day."}]
    script = calls(balance={"of": "bank"}), PAY, answer("Five euros a day.", ["p1"])
    page = open_page(*script, passages=documents)
    say(page, "Pay Ann what the rules say, and tell me what that is.")
    page.wait_for_selector(".approval:focus")
    page.locator(".step > summary").first.click()
    assert '"of"' in page.locator(".call details[open] pre").first.inner_text(), "the call stands beside its schema"
    thresholds = (
        page.locator(".routes").first.locator("meter").evaluate_all("(bars) => bars.map((bar) => bar.ariaLabel)")
    )
    assert thresholds[:3] == ["tools 80.0 %, threshold 50.0 %", "none 20.0 %", "screen 10.0 %, threshold 50.0 %"]
    assert page.locator(".threshold").first.evaluate("(mark) => mark.style.left") == "50%"
    page.click("text=Edit the arguments")
    page.fill(".approval textarea", '{"to": "ann", "amount": 4}')
    page.click("text=Approve")
    page.wait_for_selector(".foot")
    assert "paid 4 to ann" in page.locator(".call > pre").nth(1).text_content()
    assert "edited" in page.locator(".call > p").nth(1).text_content() and page.locator(".step").count() == 3
    assert page.locator(".step").first.locator(".phases span").count() >= 3, "the time by phase"
    assert page.locator(".answer").inner_text() == "Five euros a day." and page.locator(".approval").count() == 0
    page.click("summary:has-text('cites')")
    assert page.locator(".cited[open] p").inner_text() == "Ann is paid five euros a day."
    picture(page, "run")
    page.click("nav a:has-text('Runs')")
    page.wait_for_selector("#run-list .prompt")
    page.fill("#search", "nothing like it")
    page.wait_for_selector("#run-list :text('no run is like it')")
    page.fill("#search", "pay ann")
    page.click("#run-list .prompt")
    page.wait_for_selector("#run-view .answer")
    assert page.locator("#run-view :is(.approval, :text('was awaited'))").count() == 0, "it is not asked for again"
    page.focus("#run-list input")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.matches('#run-list input:checked')"), "the mark keeps the focus"


def test_a_denied_call_and_a_refusal(open_page: Callable[..., Any]) -> None:
    page = open_page(PAY, "Then not.", verdict("crime"))
    say(page, "Pay Ann 5.")
    page.wait_for_selector(".approval:focus")
    for key in ("Tab", "Tab", "Tab", "Enter"):  # to the arguments, to Approve, to Deny
        page.keyboard.press(key)
    page.wait_for_selector(".answer:has-text('Then not.')")
    page.wait_for_selector("#input:focus")
    say(page, "Help me to steal.")
    page.wait_for_selector(".answer.refused")
    assert "crime" in page.locator("p.refused").last.inner_text()
    assert page.locator(".step").last.locator("p:has-text('the gate of the input: refused')").count() == 1


def test_an_approval_is_asked_for_again_where_the_server_does_not_take_it(open_page: Callable[..., Any]) -> None:
    page = open_page(PAY, "Paid.")
    say(page, "Pay Ann.")
    page.click("text=Edit the arguments")
    page.fill(".approval textarea", "{")
    page.click("text=Approve")
    page.wait_for_selector(".approval .error:has-text('no JSON')")
    page.fill(".approval textarea", '{"to": 5}')
    page.click("text=Approve")
    page.wait_for_selector("p.error >> visible=true")
    page.reload()
    page.click("#waiting button")
    page.wait_for_selector(".approval:focus")
    with page.expect_request("**/approve") as asked:
        page.click("#log :text('Approve')")
    (decision,) = asked.value.post_data_json["decisions"].values()
    assert decision == {"approve": True}, "what nobody changed is not sent: the page would round large numbers"
    page.wait_for_selector(".answer:has-text('Paid.')")


def test_what_waits_stands_at_the_top_of_each_view(open_page: Callable[..., Any]) -> None:
    page = open_page(PAY, PAY, "Not paid.", "Paid.")
    say(page, "Pay Ann.")
    page.wait_for_selector("#waiting:has-text('1 run waits for your approval')")
    page.click("#clear")
    page.route("**/runs", lambda route: route.abort(), times=1)
    say(page, "Lost on the way.")
    page.wait_for_selector("#log .error")
    say(page, "Pay Ann again.")
    page.wait_for_selector("#waiting:has-text('2 runs wait for your approval')")
    colour = "(place) => getComputedStyle(place).backgroundColor"
    assert page.locator("#waiting").evaluate(colour) != page.locator("#top").evaluate(colour)
    for view in ("Runs", "Skills", "Load"):
        page.click(f"nav a:has-text('{view}')")
        assert page.locator("#waiting").evaluate("(place) => place.getBoundingClientRect().top < 60"), view
        assert page.locator("#waiting button").all_inner_texts() == ["Pay Ann again.", "Pay Ann."]
    page.click("#waiting button >> nth=0")  # of the conversation
    page.wait_for_selector("#log .approval:focus")
    page.click("#log :text('Deny')")
    page.wait_for_selector("#log .answer:visible")
    page.wait_for_selector("#waiting:has-text('1 run waits for your approval')")
    page.click("#waiting button")  # of one before it
    page.wait_for_selector("#run-view .approval:focus")
    assert page.locator("#run-list li").first.get_attribute("class") == "waits", "what waits comes first"
    page.click("#run-view :text('Approve')")
    page.wait_for_selector("#run-view .answer")
    page.wait_for_selector("#waiting:not(:has(*))", state="attached")


def test_a_call_that_waits_is_approved_after_a_restart(open_page: Callable[..., Any], tmp_path: Path) -> None:
    settings = ServerSettings(folder=tmp_path)
    page = open_page(PAY, settings=settings)
    say(page, "Pay Ann.")
    page.wait_for_selector(".approval")
    page = open_page("Paid.", settings=settings)
    page.click("#waiting button")
    page.click("#run-view :text('Approve')")
    page.wait_for_selector("#run-view .answer:has-text('Paid.')")


def test_a_hosted_agent_is_chosen_above_the_conversation(open_page: Callable[..., Any]) -> None:
    @tool
    def brew(cups: int) -> str:
        """Brews tea."""
        return "tea"

    runtime = ScriptedRuntime("Tea it is.")
    page = open_page("Hello.", others={"kitchen": HostedAgent("kitchen", Agent(runtime, [brew]), "Cooks.")})
    assert page.input_value("#agent") == "bank", "the agent of the command line is not the first one"
    assert page.locator("#agent option").all_inner_texts() == ["bank", "kitchen", "assistant"]
    above = "() => document.getElementById('choice').compareDocumentPosition(document.getElementById('log'))"
    assert page.evaluate(above) == 4  # DOCUMENT_POSITION_FOLLOWING
    assert "pay" in page.locator("#welcome").inner_text()
    say(page, "Hi")
    page.wait_for_selector(".answer:has-text('Hello.')")
    assert page.locator("#welcome:visible").count() == 0
    page.select_option("#agent", "kitchen")
    with page.expect_request("**/runs") as asked:
        say(page, "Tea?")
    assert "/v1/agents/kitchen/runs" in asked.value.url and len(asked.value.post_data_json["messages"]) == 2
    page.wait_for_selector(".answer:has-text('Tea it is.')")
    assert page.locator(".agent").all_inner_texts() == ["bank", "kitchen"]
    page.click("#clear")
    page.click("#welcome summary:has-text('brew')")
    assert '"cups"' in page.locator("#welcome pre").inner_text()


def test_a_conversation_is_there_again_after_a_reload(open_page: Callable[..., Any]) -> None:
    page = open_page("The first answer.", "The second answer.", PAY)
    for number, word in enumerate(("first", "second"), 1):
        say(page, f"Ask {number}")
        page.wait_for_selector(f".answer:has-text('{word}')")
    say(page, "Pay Ann.")
    page.wait_for_selector(".approval")
    page.reload()
    page.wait_for_selector(".approval")
    assert page.locator(".said").all_inner_texts() == ["Ask 1", "Ask 2", "Pay Ann."]
    assert page.locator(".answer:visible").all_inner_texts() == ["The first answer.", "The second answer."]
    with page.expect_request("**/runs") as asked:
        say(page, "Ask 3")
    contents = [each["content"] for each in asked.value.post_data_json["messages"]]
    assert contents == ["Ask 1", "The first answer.", "Ask 2", "The second answer."]


def test_a_new_conversation_knows_nothing_of_the_old_one(open_page: Callable[..., Any]) -> None:
    page = open_page(" ".join(map(str, range(3000))), "Hello.")
    say(page, "Count.")
    page.wait_for_selector(".answer:has-text('5')")
    page.click("#clear")
    page.wait_for_selector("#send:visible")
    with page.expect_request("**/runs") as asked:
        say(page, "Hi.")
    assert asked.value.post_data_json["messages"] == []
    page.wait_for_selector(".answer:has-text('Hello.')")
    page.reload()
    page.wait_for_selector(".answer:has-text('Hello.')")
    assert page.locator(".said").all_inner_texts() == ["Hi."]


def test_by_keyboard_alone_with_a_key_on_a_phone(open_page: Callable[..., Any]) -> None:
    page = open_page("Hello.", settings=ServerSettings(keys=frozenset(("long-enough",))), width=360)
    page.fill("#key", "ключ")  # which no header can carry
    page.keyboard.press("Enter")
    assert page.locator("#key:invalid").count() == 1
    page.fill("#key", "a-wrong-key")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-problem:visible")
    page.fill("#key", "long-enough")
    page.keyboard.press("Enter")
    page.wait_for_selector("#agent option", state="attached")
    page.focus("#input")
    page.keyboard.type("Hi")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("there")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer")
    assert page.locator(".said").inner_text() == "Hi\nthere"
    assert page.locator(".answer").inner_text() == "Hello."
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is wider than a phone"
