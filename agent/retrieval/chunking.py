"""Cuts a document into passages: whole paragraphs where they fit, sentences or words of them where they do not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from loraloop.agent.retrieval.documents import TITLE_LENGTH, Document, cleaned, one_line
from loraloop.tool_schemas.errors import InputError

SIZE = 700
"""Most characters of a passage."""
OVERLAP = 120
"""Most characters at a passage's beginning that are the end of the one before."""
_HEADING = re.compile(r"#{1,6} +(\S.*)")
_FENCE = re.compile(r"```+[^`]*$|~~~")  # not *```code```* on one line
_SENTENCE = re.compile(r"(?<=[.!?…。！？]) +|(?<=[。！？])")


def check_sizes(size: int, overlap: int) -> None:
    """Raises InputError if passages cannot have these sizes."""
    if size < 50 or not 0 <= overlap <= size // 2:
        raise InputError(f"size is {size} and overlap {overlap}: give 50 <= size and 0 <= overlap <= size / 2")


def cut(document: Document, size: int = SIZE, overlap: int = OVERLAP) -> list[tuple[str, str]]:
    """Titles and texts of a document's passages, in its order; none for an empty one.

    A passage is one line, stays within a section (Markdown's headings), and ends at a paragraph, a sentence or a word
    where that can be. Each word of the document is in one of them; headings are in the titles.

    Args:
        document: The text.
        size: Most characters of a passage.
        overlap: Most characters that it repeats from the passage before in its section.

    Raises:
        InputError: sizes that cannot be.
    """
    check_sizes(size, overlap)
    passages: list[tuple[str, str]] = []
    for heading, paragraphs in _sections(cleaned(document.text)):
        title = document.title if heading in ("", document.title) else f"{document.title} › {heading}".lstrip(" ›")
        passages.extend((one_line(title, TITLE_LENGTH + 90), text) for text in _packed(paragraphs, size, overlap))
    return passages


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Headings and the paragraphs below them, each on one line."""
    heading, paragraphs, lines = "", list[str](), list[str]()
    fenced = False
    for line in [*text.split("\n"), ""]:
        fenced ^= bool(_FENCE.match(line.lstrip()))
        found = None if fenced else _HEADING.match(line)
        if (found or not line.strip()) and lines:
            paragraphs.append(" ".join(" ".join(lines).split()))
            lines = []
        if found:
            if paragraphs or heading:
                yield heading, paragraphs or [heading]
            heading, paragraphs = one_line(re.sub(r"(?<=\S) +#+ *$", "", found[1]), 10**9), []
            if len(heading) > 80:  # no heading, or one whose words would be lost from the title
                paragraphs.append(heading)
        elif line.strip():
            lines.append(line)
    if paragraphs:
        yield heading, paragraphs
    elif heading:
        yield heading, [heading]


def _packed(paragraphs: list[str], size: int, overlap: int) -> Iterator[str]:
    """Passages of one section."""
    held = ""
    fresh = False  # whether what is held has more than the overlap
    for piece in (piece for paragraph in paragraphs for piece in _pieces(paragraph, size)):
        if held and len(held) + 1 + len(piece) > size:
            if fresh:
                yield held
                held = _tail(held, min(overlap, size - 1 - len(piece)))
            else:
                held = ""
        held, fresh = (f"{held} {piece}" if held else piece), True
    if fresh:
        yield held


def _pieces(paragraph: str, size: int) -> Iterator[str]:
    """A paragraph, or its sentences, or pieces of them, each of at most `size` characters."""
    if len(paragraph) <= size:
        if paragraph:
            yield paragraph
        return
    for sentence in _SENTENCE.split(paragraph):
        while len(sentence) > size:
            at = sentence.rfind(" ", 1, size + 1)
            at = size if at < 1 else at
            yield sentence[:at]
            sentence = sentence[at:].lstrip(" ")
        if sentence:
            yield sentence


def _tail(text: str, most: int) -> str:
    """The last sentences, or words, of a text in at most so many characters."""
    if most < 1:
        return ""
    if len(text) <= most:
        return text
    tail = text[-most:]
    found = _SENTENCE.search(tail)
    if found and found.end() < len(tail):
        return tail[found.end() :]
    return tail.partition(" ")[2] if text[-most - 1] != " " else tail
