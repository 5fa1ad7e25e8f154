"""Passages of documents in SQLite's full-text index (FTS5), ranked by BM25, on disk or in memory."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.retrieval.chunking import OVERLAP, SIZE, check_sizes, cut
from loraloop.agent.retrieval.documents import Document, cleaned, one_line, read_path
from loraloop.agent.retrieval.meaning import DEPTH, Embedder, Meaning, fused
from loraloop.agent.sessions.sqlite_file import SqliteFile, create, is_ours
from loraloop.agent.values.limits import check_list
from loraloop.tool_schemas.errors import InputError

Given = Document | Mapping[str, Any] | str | os.PathLike[str]
"""What can be added: a document, its fields, or the path of a file or a folder."""

TERMS = 64
"""Most different words of a question that are looked for."""
FORMAT = 1  # of the file: PRAGMA user_version
_MARK = 0x4C4F4F50  # PRAGMA application_id
_SCHEMA = """
CREATE TABLE documents (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    digest TEXT NOT NULL, origin TEXT NOT NULL);
CREATE TABLE passages (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, text TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id));
CREATE INDEX passages_of ON passages (document);
CREATE VIRTUAL TABLE words USING fts5 (title, text, tokenize = 'porter unicode61 remove_diacritics 2');
"""
_FIND = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 2.0, 1.0), rowid LIMIT ?"
_READ = """
SELECT passages.text, passages.title, documents.source FROM passages
    JOIN documents ON documents.id = passages.document WHERE passages.id = ?
"""
_UNSPACED = re.compile("([\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_COMMON = frozenset((
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do",
    "does", "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my",
    "of", "on", "or", "our", "please", "should", "so", "some", "tell", "than", "that", "the", "their", "them",
    "there", "these", "they", "this", "to", "was", "we", "were", "what", "when", "where", "which", "who", "whom",
    "whose", "why", "will", "with", "would", "you", "your",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changes:
    """The result of adding or removing documents.

    Attributes:
        added, replaced, unchanged, removed: Documents.
        skipped: Files that were not read, with the reason.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: tuple[tuple[str, str], ...] = ()


class IndexFile(SqliteFile):
    """The file of an index, or an index in memory."""

    wait = 60.0

    def prepare(self, database: sqlite3.Connection) -> None:
        """Checks the format."""
        if not is_ours(database, _MARK):
            raise InputError(f"{self.path} is another program's database: name another file for the index")
        if self.path is not None:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            create(database, _SCHEMA, _MARK, FORMAT)
        elif version != FORMAT:
            raise InputError(f"{self.path} is an index of format {version}, not {FORMAT}: delete it and add again")

    def explained(self, error: sqlite3.Error) -> InputError:
        """The error in words: nothing was changed."""
        where = self.path or "in memory"
        reason = f"cannot open or write the index {where}: {error}; nothing was changed"
        return InputError(f"{reason}: try again when there is room and nobody else has it, or name another file")


class PassageIndex:
    """Finds passages by their words, and also by meaning if it has an embedder.

    A retriever; safe for threads, and on disk for processes (WAL).

    Args:
        path: The file, made where there is none; None keeps the index in memory.
        size: Most characters of a passage.
        overlap: Most characters that a passage repeats from the one before.
        embedder: Ranks by meaning too: an object with `encode(texts)`, or the folder or hub id of a model2vec model.

    Raises:
        InputError: sizes that cannot be, a file that is no index of this format, or an unusable embedder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        size: int = SIZE,
        overlap: int = OVERLAP,
        embedder: Embedder | str | os.PathLike[str] | None = None,
    ) -> None:
        check_sizes(size, overlap)
        self.path = None if path is None else Path(path)
        self._size, self._overlap = size, overlap
        self._meaning = None if embedder is None else Meaning(embedder)
        self._file = IndexFile(self.path)

    def retrieve(self, question: str, k: int = 4) -> list[Passage]:
        """The `k` best passages for a question, the best first; without an embedder none where no word of it occurs.

        Args:
            question: Any text: nothing in it is an operator.
            k: Most passages.
        """
        terms = terms_of(question)
        if not terms or k < 1:
            return []
        words = " OR ".join(f'"{term}"' for term in terms)
        with self._file.reading() as database:
            keys = [key for (key,) in database.execute(_FIND, (words, k if self._meaning is None else DEPTH))]
            if self._meaning is not None:
                keys = fused([keys, self._meaning.best(database, question)], k)
            return [Passage(f"p{key}", *database.execute(_READ, (key,)).fetchone()) for key in keys]

    def add(self, documents: Given | Iterable[Given]) -> Changes:
        """Adds documents in one transaction: unchanged ones are left alone, changed ones replaced.

        Args:
            documents: One or several documents, mappings with their fields, or paths. Of a folder, documents whose
                files are gone are removed.

        Raises:
            InputError: something that is no document, a path that does not exist, or an index that cannot be written,
                such as on a full disk; it is as it was then.
        """
        if isinstance(documents, Document | Mapping | str | os.PathLike):
            documents = [documents]
        check_list("documents", documents)
        read: list[Document] = []
        skipped: list[tuple[str, str]] = []
        folders, files = set[str](), set[Document]()
        for each in documents:
            if isinstance(each, str | os.PathLike):
                reading = read_path(each)
                read.extend(reading.documents)
                skipped.extend(reading.skipped)
                if Path(each).is_dir():
                    folders.add(str(Path(each).resolve()))
                else:
                    files.update(reading.documents)
            else:
                read.append(as_document(each))
        counts = {"added": 0, "replaced": 0, "unchanged": 0}
        with self._file.writing() as database:
            for document in read:
                counts[self._put(database, document, document in files)] += 1
            present = {cleaned(document.source) for document in read} | {file for file, _ in skipped}
            gone = self._gone(database, folders, present)
            for source in gone:
                self._drop(database, source)
        return Changes(**counts, removed=len(gone), skipped=tuple(skipped))

    def remove(self, *sources: str) -> Changes:
        """Removes the documents of these sources; others are ignored."""
        with self._file.writing() as database:
            return Changes(removed=sum(self._drop(database, cleaned(str(source))) for source in sources))

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of the documents, sorted."""
        with self._file.reading() as database:
            return tuple(row[0] for row in database.execute("SELECT source FROM documents ORDER BY source"))

    def __len__(self) -> int:
        """The number of passages."""
        with self._file.reading() as database:
            return int(database.execute("SELECT count(*) FROM passages").fetchone()[0])

    def close(self) -> None:
        """Closes the file; an index in memory is gone."""
        self._file.close()

    def __enter__(self) -> PassageIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, database: sqlite3.Connection, document: Document, alone: bool) -> str:
        """Writes a document; a file that was added alone stays in the group of the folder that it was added with."""
        source, title = cleaned(document.source), one_line(document.title)
        parts = (title, document.text.encode("utf-8", "replace"), self._size, self._overlap)
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()
        known = database.execute("SELECT digest, origin FROM documents WHERE source = ?", (source,)).fetchone()
        origin = known[1] if known and alone else cleaned(document.group)
        if known and known[0] == digest:
            database.execute("UPDATE documents SET origin = ? WHERE source = ?", (origin, source))
            return "unchanged"
        self._drop(database, source)
        row = (source, title, digest, origin)
        key = database.execute("INSERT INTO documents (source, title, digest, origin) VALUES (?, ?, ?, ?)", row)
        for heading, text in cut(Document(source, document.text, title), self._size, self._overlap):
            made = database.execute(
                "INSERT INTO passages (title, text, document) VALUES (?, ?, ?)", (heading, text, key.lastrowid)
            )
            words = (made.lastrowid, _spaced(heading), _spaced(text))
            database.execute("INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)", words)
        return "replaced" if known else "added"

    @staticmethod
    def _drop(database: sqlite3.Connection, source: str) -> int:
        within = "(SELECT passages.id FROM passages JOIN documents ON documents.id = document WHERE source = ?)"
        database.execute(f"DELETE FROM words WHERE rowid IN {within}", (source,))
        database.execute(f"DELETE FROM passages WHERE id IN {within}", (source,))
        return database.execute("DELETE FROM documents WHERE source = ?", (source,)).rowcount

    @staticmethod
    def _gone(database: sqlite3.Connection, folders: set[str], present: set[str]) -> list[str]:
        if not folders:
            return []
        rows = database.execute("SELECT source, origin FROM documents WHERE origin != ''").fetchall()
        return [
            source
            for source, origin in rows
            if source not in present and any(_reads(cleaned(folder), origin) for folder in folders)
        ]


def _reads(folder: str, group: str) -> bool:
    """Whether the files of a group are read with a folder: it is the folder, or below it and not hidden."""
    place = PurePath(group)
    return place.is_relative_to(folder) and not any(part.startswith(".") for part in place.relative_to(folder).parts)


def as_document(document: Document | Mapping[str, Any]) -> Document:
    """A document from its fields.

    Raises:
        InputError: if it is none.
    """
    if isinstance(document, Document):
        return document
    no_texts = (bytes, list, tuple, Mapping)  # Python's words for these are not to be read
    try:
        given: dict[str, Any] = {key: value for key, value in dict(document).items() if value is not None}
        given |= {key: str(value) for key, value in given.items() if not isinstance(value, no_texts)}
        return Document(**given)
    except (TypeError, ValueError) as error:
        raise InputError(f"{document!r:.80} is not a document ({error}): give source, text and maybe title") from None


def terms_of(question: str) -> list[str]:
    """The words of a question that are looked for: without the commonest, unless it has no others."""
    words = list(dict.fromkeys(re.findall(r"[^\W_]+", _spaced(cleaned(question[:20_000])).lower())))
    return ([word for word in words if word not in _COMMON] or words)[:TERMS]


def _spaced(text: str) -> str:
    """Text in which each character of a script without spaces is a word."""
    return _UNSPACED.sub(r" \1 ", text)
