"""Documents from files, and their passages: nothing is lost, nothing hostile gets through."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.agent.retrieval.chunking import cut
from loraloop.agent.retrieval.documents import FILE_BYTES, Document, html_text, read_path
from loraloop.tool_schemas.errors import InputError

PIECES = st.sampled_from(
    ["a", "word ", "\n", "\n\n", ". ", "# ", "## Head\n", "```\n", "x" * 90, "\0", "é", "\ud800", "你好。"]
)
TEXTS = st.one_of(st.text(max_size=600), st.lists(PIECES, max_size=120).map("".join))


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(50, 200), st.integers(0, 25))
def test_passages_are_short_lines_that_hold_every_word(text: str, size: int, overlap: int) -> None:
    passages = cut(Document("s", text, "T"), size, overlap)
    assert all(0 < len(body) <= size and "\n" not in title + body and "\0" not in body for title, body in passages)
    words = {word for word in cleaned_words(text) if len(word) < 20}
    held = " ".join(f"{title} {body}" for title, body in passages)
    assert all(word in held for word in words)


def cleaned_words(text: str) -> list[str]:
    from loraloop.agent.retrieval.documents import cleaned

    return [word for word in cleaned(text).split() if not set(word) <= {"#"} and "。" not in word]


def test_sections_and_overlap() -> None:
    text = "# Guide\n\nFirst one. Second one.\n\n## Prices\n\n" + " ".join(f"Sentence {n} is here." for n in range(20))
    passages = cut(Document("g", text, "Guide"), size=120, overlap=30)
    assert passages[0] == ("Guide", "First one. Second one.")
    assert {title for title, _ in passages[1:]} == {"Guide › Prices"}
    for (_, before), (_, after) in pairwise(passages[1:]):
        assert before.endswith(after.split(". ")[0] + ".")
    with pytest.raises(InputError, match="size"):
        cut(Document("g", text), size=10)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200), st.lists(st.sampled_from(["<p>", "<![", "<!--", "<script>", "x", "&#0;"])).map("".join)
    )
)
def test_any_page_is_read(page: str) -> None:
    title, text = html_text(page)
    assert "\0" not in title + text


def test_a_page_loses_its_scripts_and_keeps_its_headings() -> None:
    title, text = html_text("<title>T &amp; U</title><script>bad()</script><h2>One</h2><p>Two\n<b>three</b></p>")
    assert title == "T & U" and "bad" not in text and "## One" in text and "Two three" in text


def test_a_folder_that_cannot_be_listed_loses_nothing_in_silence(unlisted: Path) -> None:
    with pytest.raises(InputError, match=r"all/shut cannot be listed \(Permission denied\): let it be read"):
        read_path(unlisted)


def test_a_folder_gives_its_texts_and_says_what_it_skips(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.md").write_text("# Title of a\n\nText.")
    (folder / "sub" / "b.txt").write_bytes("caf\xe9 text".encode("latin-1"))
    (folder / "c.html").write_text("<p>Hi</p>")
    (folder / "wide.txt").write_text("wide", encoding="utf-16")
    (folder / "image.txt").write_bytes(bytes(range(256)))
    (folder / "large.txt").write_bytes(b"a" * (FILE_BYTES + 1))
    (folder / "data.bin").write_bytes(b"text")
    (folder / ".hidden" / "d.txt").write_text("hidden")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(folder / "pipe.txt")
    reading = read_path(folder)
    texts = {Path(document.source).name: document for document in reading.documents}
    assert set(texts) == {"a.md", "b.txt", "c.html", "wide.txt"}
    assert (
        texts["a.md"].title == "Title of a" and texts["b.txt"].text == "café text" and texts["wide.txt"].text == "wide"
    )
    assert {Path(file).name: reason.split(":")[0] for file, reason in reading.skipped} == {
        "image.txt": "it is binary, not text",
        "large.txt": f"it is larger than {FILE_BYTES} bytes",
    }
    with pytest.raises(InputError, match="binary"):
        read_path(folder / "image.txt")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\n% of plain characters")
    with pytest.raises(InputError, match="binary"):
        read_path(tmp_path / "report.pdf")
    with pytest.raises(InputError, match="no file or folder"):
        read_path(tmp_path / "absent")


def test_headings_of_a_file_with_a_byte_order_mark_and_code_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Tower\n\n```pip install x```\n\n## Size\n\nIt is tall.\n", encoding="utf-8-sig")
    (document,) = read_path(tmp_path / "a.md").documents
    assert document.title == "Tower"
    assert cut(document) == [("Tower", "```pip install x```"), ("Tower › Size", "It is tall.")]


def test_a_fence_of_four_ticks_hides_headings_too() -> None:
    fenced = Document("a", "````md\n# no heading\n````\n\n# Head\n\nText.")
    assert cut(fenced) == [("", "````md # no heading ````"), ("Head", "Text.")]
