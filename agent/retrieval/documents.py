"""Documents that questions may be answered from: texts with a source and a title, read from files and folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from html.parser import HTMLParser
from pathlib import Path

from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.folders import files_of

SUFFIXES = (".txt", ".md", ".markdown", ".rst", ".html", ".htm")
"""Files of a folder that are read."""
FILE_BYTES = 10_000_000
"""Larger files are skipped."""
TITLE_LENGTH = 120
"""Most characters of a title."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "form", "header", "hr",
    "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul",
))  # fmt: skip


def cleaned(text: str) -> str:
    """Text without control and invisible format characters, lone surrogates and carriage returns."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub(" ", text)


def one_line(text: str, most: int = TITLE_LENGTH) -> str:
    """Text on one line, of at most so many characters."""
    line = " ".join(cleaned(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


@dataclass(frozen=True, slots=True)
class Document:
    """A text to be found.

    Attributes:
        source: Where it comes from: a path, an address, any name. It names the document: a later one of the same
            source takes its place.
        text: Plain text or Markdown; Markdown's headings become part of the titles of its passages.
        title: What is shown of it; by default nothing.
        group: Documents that are kept in step together; `PassageIndex.add_folder` uses the folder's path.

    Raises:
        InputError: if one of them is no text, or the source has no visible character.
    """

    source: str
    text: str
    title: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not isinstance(value := getattr(self, each.name), str):
                raise InputError(f"the {each.name} of a document is {value!r:.60}, and no text")
        if not cleaned(self.source).strip():
            raise InputError("a document has no source: name it by its path, its address or anything that is its own")


@dataclass(frozen=True, slots=True)
class DocumentsRead:
    """The documents that were read from files, and the files that could not be read.

    Attributes:
        documents: The texts.
        skipped: Files that were not read, with the reason.
    """

    documents: tuple[Document, ...] = ()
    skipped: tuple[tuple[str, str], ...] = field(default=())


def read_path(path: str | os.PathLike[str]) -> DocumentsRead:
    """Reads a file, or the text files of a folder and its subfolders.

    Hidden files, links that lead out of the folder, binary files and files above `FILE_BYTES` are skipped.

    Raises:
        InputError: there is no such file or folder, a folder cannot be listed, or a single file cannot be used.
    """
    place = Path(path)
    if place.is_dir():
        return _read_folder(place)
    if not place.is_file():
        raise InputError(f"there is no file or folder {str(place)!r}; for a text, give Document(source=…, text=…)")
    document = read_file(place)
    if isinstance(document, str):
        raise InputError(f"cannot use {str(place)!r}: {document}")
    return DocumentsRead((document,))


def _read_folder(folder: Path) -> DocumentsRead:
    documents, skipped = [], []
    for file in _files(folder):
        read = read_file(file, str(folder.resolve()))
        if isinstance(read, str):
            skipped.append((cleaned(str(file)), read))
        else:
            documents.append(read)
    return DocumentsRead(tuple(documents), tuple(skipped))


def _files(folder: Path) -> Iterator[Path]:
    inside = folder.resolve()
    for file in files_of(folder):
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        if not file.is_symlink() or file.resolve().is_relative_to(inside):
            yield file


def read_file(file: Path, group: str = "") -> Document | str:
    """One file as a document, or why it cannot be one."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(FILE_BYTES + 1)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    if len(raw) > FILE_BYTES:
        return f"it is larger than {FILE_BYTES} bytes: split it"
    text = _decoded(raw)
    if text is None:
        return "it is binary, not text"
    title = ""
    kind = file.suffix.lower()
    if kind in (".html", ".htm"):
        title, text = html_text(text)
    elif kind in (".md", ".markdown") and (heading := re.search(r"^# +(\S.*)$", text, re.MULTILINE)):
        title = re.sub(r"(?<=\S) +#+ *$", "", heading[1])
    return Document(cleaned(str(file)), text, one_line(title or file.stem), group)


def _decoded(raw: bytes) -> str | None:
    """Text of a file: UTF-8 with or without a mark, UTF-16 with its mark, or else Latin; None where it is no text."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return cleaned(raw.decode("utf-16", "replace"))
    if b"\0" in raw or raw.startswith(b"%PDF-"):
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    strange = len(_CONTROL.findall(text[:10_000])) + text[:10_000].count("\ufffd")
    return None if strange > 0.05 * len(text[:10_000]) + 1 else cleaned(text)


class _Text(HTMLParser):
    """Collects what a page says."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.title: list[str] = []
        self._hidden = ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("script", "style", "template", "noscript") and not self._hidden:
            self._hidden = tag
        elif tag == "title":
            self._in_title = True
        elif re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in _BLOCKS:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS or re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._hidden:
            self.parts.append(re.sub(r"\s+", " ", data))


def html_text(page: str) -> tuple[str, str]:
    """Title and text of an HTML page; headings are written as in Markdown."""
    parser = _Text()
    try:
        parser.feed(page)
        parser.close()
    except (AssertionError, ValueError):  # what Python's parser raises at some malformed declarations
        return "", cleaned(re.sub(r"<[^<>]*>", " ", page))
    return one_line("".join(parser.title)), cleaned("".join(parser.parts))
