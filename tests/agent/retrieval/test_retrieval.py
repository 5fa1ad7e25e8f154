"""The index and what runs get from it."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent import Agent, Document, Limits, PassageIndex, Policy, Retriever, Runtime
from loraloop.agent.bare import bare_runtime
from loraloop.agent.retrieval.documents import cleaned
from loraloop.agent.retrieval.retriever import find_passages
from loraloop.testing import ScriptedRuntime
from loraloop.tool_schemas.errors import InputError

TOWER = Document("tower.txt", "The Eiffel Tower was finished in 1889. It is 330 metres tall.", "Eiffel Tower")
LOUVRE = Document("louvre.txt", "The Louvre is the largest museum of the world.", "Louvre")
SYNTAX = [
    '"',
    "'",
    "(",
    ")",
    "*",
    "^",
    ":",
    "-",
    "+",
    "NEAR(",
    "AND",
    "OR",
    "NOT",
    "title:",
    "\0",
    "\ud800",
    "_",
    "a",
    "é",
    "你",
    ";--",
]


@pytest.fixture(scope="module")
def index() -> PassageIndex:
    made = PassageIndex()
    made.add([TOWER, LOUVRE])
    return made


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(st.sampled_from(SYNTAX)).map(" ".join),
        st.lists(st.sampled_from(SYNTAX)).map("".join),
    )
)
def test_no_question_breaks_the_index(index: PassageIndex, question: str) -> None:
    assert len(index.retrieve(question, 3)) <= 3
    assert index.retrieve(f"{question} museum", 1)[0].title == "Louvre" or question.strip()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.text(min_size=1, max_size=30), st.text(max_size=50))
def test_no_document_breaks_the_index(text: str, source: str, title: str) -> None:
    with PassageIndex() as index:
        if not cleaned(source).strip():
            with pytest.raises(InputError, match="no source"):
                Document(source, text)
            return
        index.add(Document(source, f"{text} needle", title))
        (passage,) = index.retrieve("needle", 1)
        assert "needle" in passage.text and index.remove(source).removed == 1 and len(index) == 0


@pytest.mark.parametrize(
    "field, value", [("text", b"pears"), ("text", ["pears"]), ("title", ["Fruit"]), ("text", {"a": "pears"})]
)
def test_what_is_no_text_is_no_document(field: str, value: Any) -> None:
    fields = {"source": "s", "text": "pears", field: value}
    with PassageIndex() as index:
        with pytest.raises(InputError, match=f"the {field} of a document is .*, and no text"):
            index.add(fields)
        with pytest.raises(InputError, match=f"the {field} of a document is .*, and no text"):
            index.add(Document(**fields))
        assert index.add({"source": 7, "text": "pears", "title": None}).added == 1 and index.sources == ("7",)


def test_the_best_passage_comes_first_whatever_its_form(index: PassageIndex) -> None:
    first = index.retrieve("When was the Eiffel tower FINISHED?", 2)[0]
    assert first == Passage(first.id, TOWER.text, "Eiffel Tower", "tower.txt")
    assert index.retrieve("largest museums", 1)[0].source == "louvre.txt"
    assert index.retrieve("What is the weather?", 4) == [] and index.retrieve("  ", 4) == []
    with PassageIndex() as other:
        other.add(Document("zh", "埃菲尔铁塔建于一八八九年。"))
        assert other.retrieve("铁塔", 1)


def test_only_what_changed_is_indexed_again(tmp_path: Path) -> None:
    folder, file = tmp_path / "docs", tmp_path / "index.db"
    folder.mkdir()
    (folder / "a.txt").write_text("apples grow on trees")
    (folder / "b.txt").write_text("bread is baked")
    with PassageIndex(file) as index:
        assert index.add(folder).added == 2
        kept = index.retrieve("apples", 1)[0].id
    with PassageIndex(file) as index:
        again = index.add(folder)
        assert (again.added, again.unchanged) == (0, 2) and index.retrieve("apples", 1)[0].id == kept
        (folder / "a.txt").write_text("pears grow on trees")
        (folder / "b.txt").unlink()
        index.add(LOUVRE)
        changed = index.add(str(folder))
        assert (changed.replaced, changed.removed, changed.unchanged) == (1, 1, 0)
        assert not index.retrieve("apples bread", 4) and index.retrieve("pears", 1)[0].id != kept
        assert index.sources == (str(folder / "a.txt"), "louvre.txt") and len(index) == 2


def test_what_is_there_but_cannot_be_read_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(file: Path, group: str = "") -> str:
        return "it cannot be read (Permission denied)"

    (tmp_path / "a.txt").write_text("apples grow on trees")
    with PassageIndex() as index:
        index.add(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr("loraloop.agent.retrieval.documents.read_file", denied)
            changed = index.add(tmp_path)
        assert (changed.removed, len(changed.skipped)) == (0, 1) and index.sources == (str(tmp_path / "a.txt"),)
        assert index.add(tmp_path).unchanged == 1


@pytest.mark.parametrize("alone", ["a.txt", "sub", "sub/b.txt"])
def test_what_was_also_added_alone_goes_with_its_folder(alone: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".own").mkdir()
    for name in ("a.txt", "sub/b.txt", ".own/c.txt"):
        (tmp_path / name).write_text("apples grow on trees")
    with PassageIndex() as index:
        index.add([tmp_path, tmp_path / ".own", Document(str(tmp_path / "note"), "plums are blue")])
        index.add(tmp_path / alone)
        gone = tmp_path / ("a.txt" if alone == "a.txt" else "sub/b.txt")
        gone.unlink()
        assert index.add(tmp_path).removed == 1
        assert str(gone) not in index.sources and len(index.sources) == 3


def test_what_is_no_index_or_no_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database at all " * 100)
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)")
    for name, message in (("text.db", "cannot open"), ("other.db", "another program"), ("no/such.db", "cannot open")):
        with pytest.raises(InputError, match=message):
            PassageIndex(tmp_path / name)
    with PassageIndex() as index, pytest.raises(InputError, match="documents is 3: give a list"):
        index.add(3)  # type: ignore[arg-type]
    with PassageIndex() as index, pytest.raises(InputError, match="not a document"):
        index.add([LOUVRE, {"text": "no source"}])
    with PassageIndex() as index:
        with pytest.raises(InputError, match="no source"):
            index.add({"source": "", "text": "x"})
        with pytest.raises(InputError, match=r"not a document .*'text'"):
            index.add({"source": "a", "text": None})
        assert len(index) == 0


def test_a_field_that_is_none_is_left_out() -> None:
    with PassageIndex() as index:
        index.add({"source": "a", "text": "The tower is tall.", "title": None})
        assert index.retrieve("tower", 1)[0].title == ""


def fill(file: Path, name: str, count: int) -> None:
    with PassageIndex(file) as index:
        for number in range(count):
            index.add(Document(f"{name}-{number}", f"shared word and {name}word{number}"))
            assert index.retrieve(f"{name}word{number}", 1)


def test_threads_and_processes_share_an_index(tmp_path: Path) -> None:
    file = tmp_path / "index.db"
    workers: list[threading.Thread | multiprocessing.process.BaseProcess] = [
        multiprocessing.get_context("fork").Process(target=fill, args=(file, f"p{n}", 8)) for n in range(2)
    ]
    for worker in workers:
        worker.start()
    with PassageIndex(file) as index:
        threads = [
            threading.Thread(target=lambda n=n: [index.add(Document(f"t{n}-{i}", "shared word")) for i in range(8)])
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for each in (*threads, *workers):
            each.join()
        assert [worker.exitcode for worker in workers if not isinstance(worker, threading.Thread)] == [0, 0]
        assert len(index) == 40 and len(index.retrieve("shared", 99)) == 40


@pytest.fixture(scope="module")
def bare(tiny_base: Base) -> Runtime:
    return bare_runtime(tiny_base)


def test_a_run_is_given_the_best_passages_and_cites_only_them(bare: Runtime, index: PassageIndex) -> None:
    agent = Agent(
        bare, retriever=index, limits=Limits(step_tokens=800, passages=1), policy=Policy(skills=("retrieval",))
    )
    assert agent.best == 1
    result = agent.run_sync("When was the Eiffel Tower finished?")
    assert TOWER.text in result.messages[-2].content + result.messages[-1].content + result.messages[0].content
    assert LOUVRE.text not in str(result.messages)
    assert all(passage.source == "tower.txt" and passage.text == TOWER.text for passage in result.cited)
    assert [passage.id for passage in result.cited] == list(result.citations)


def test_given_passages_take_the_place_of_found_ones(
    make_runtime: Callable[..., tuple[Runtime, object]], index: PassageIndex
) -> None:
    runtime = make_runtime()
    agent = Agent(runtime, retriever=index, limits=Limits(step_tokens=4))  # type: ignore[arg-type]
    for passages, held in ((None, True), ([], False), (["Other text."], False)):
        result = agent.run_sync("How tall is the tower?", passages=passages)
        assert (TOWER.text in str(result.messages)) is held


def test_a_loop_goes_on_while_the_retriever_of_a_run_looks(bare: Runtime) -> None:
    class Slow:
        def retrieve(self, question: str, k: int) -> Sequence[Passage]:
            assert asked.wait(5), "the loop stood still"
            return [Passage("tower", TOWER.text)]

    async def main(read: Callable[[], Awaitable[Any]]) -> None:
        asked.clear()
        asyncio.get_running_loop().call_later(0.05, asked.set)
        await read()
        assert asked.is_set()

    async def stream() -> None:
        async with agent.stream("How tall is the tower?") as events:
            assert [event.type async for event in events][-1] == "RunFinished"
        assert TOWER.text in str(events.result.messages)

    async def steps() -> None:
        async with agent.iter("How tall is the tower?") as pending:
            assert [each.index async for each in pending]
        assert TOWER.text in str(pending.result.messages)

    async def left() -> None:
        run = asyncio.create_task(agent.run("How tall is the tower?"))
        await asyncio.sleep(0.02)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asked, agent = threading.Event(), Agent(bare, retriever=Slow(), limits=Limits(step_tokens=4, max_steps=1))
    for read in (lambda: agent.run("How tall is the tower?"), stream, steps, left):
        asyncio.run(main(read))


def test_documents_make_a_retriever(bare: Runtime, tmp_path: Path) -> None:
    agent = Agent(bare, limits=Limits(step_tokens=4))
    assert agent.add_documents([TOWER, {"source": "s", "text": "Salt."}]).added == 2
    assert isinstance(agent.retriever, Retriever) and agent.add_documents(TOWER).unchanged == 1
    agent.run_sync("xylophone", skill="retrieval")  # nothing is found: the base answers

    class Own:
        def retrieve(self, question: str, k: int) -> Sequence[Passage]:
            return [Passage(f"o{n}", "tower " * 40) for n in range(k)]

    own = Agent(bare, retriever=Own())
    with pytest.raises(InputError, match="your own"):
        own.add_documents(TOWER)
    assert len(find_passages(bare, Own(), "q", 2)) <= 2
    many = find_passages(bare, Own(), "q", 500)
    assert len(many) < 500 and [passage.id for passage in many] == [f"o{n}" for n in range(len(many))]
    with pytest.raises(InputError, match="passages"):
        Limits(passages=0)

    class Awaited:
        async def retrieve(self, question: str, k: int) -> list[Passage]:
            return []

    with pytest.raises(InputError, match="is async: await it yourself, and give the run passages"):
        Agent(bare, retriever=Awaited()).run_sync("tower")  # type: ignore[arg-type]

    class Forgetful:
        def retrieve(self, question: str, k: int) -> None:
            pass

    with pytest.raises(InputError, match=r"retrieved is None: give a list"):
        Agent(bare, retriever=Forgetful()).run_sync("tower")  # type: ignore[arg-type]


def test_a_search_counts_against_the_deadline() -> None:
    class Slow:
        def retrieve(self, question: str, k: int) -> list[Passage]:
            time.sleep(0.4)
            return [Passage("1", "Found late.")]

    runtime = ScriptedRuntime("Never written.")
    result = Agent(runtime, retriever=Slow(), limits=Limits(deadline=0.3)).run_sync("What?")
    assert result.stop_reason == "deadline" and not runtime.turns
