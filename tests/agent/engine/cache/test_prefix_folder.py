"""Beginnings of transcripts on disk: the same to the bit, private, bounded, and never trusted when damaged."""

from __future__ import annotations

import logging
import os
import resource
import stat
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraloop import Agent, Limits
from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.agent import Runtime
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.prefix_folder import PrefixFolder
from loraloop.agent.engine.cache.sequence import CachedSequence
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.testing import ScriptedRouter

IDS = [5 + n * 37 % 240 for n in range(300)]


@pytest.fixture
def author(native_base: Base) -> Author:
    return Author(native_base.fingerprints.weights)


def computed(base: Base, author: Author, ids: list[int]) -> CachedSequence:
    sequence = CachedSequence(Scheduler(base, None))
    sequence.feed(author, ids)
    return sequence


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.prefix"))


@pytest.mark.parametrize("count", [64, 127, 128, 129, 300])
def test_a_beginning_comes_back_to_the_bit(native_base: Base, author: Author, tmp_path: Path, count: int) -> None:
    kept, longer = PrefixFolder(tmp_path, native_base), computed(native_base, author, IDS)
    kept.save(longer, count)
    found = PrefixFolder(tmp_path, native_base).load(IDS[:count], longer.scheduler, author)
    assert found is not None and found.ids == IDS[:count] and found.ledger.length == count
    for layer in range(native_base.config.layers):
        for ours, theirs in zip(found.cache.planes(layer), longer.fork(count).cache.planes(layer), strict=True):
            assert torch.equal(ours, theirs)
    more = [7, 8, 9]
    again = longer.fork(count).feed(author, more, logits=True).scores
    assert torch.equal(found.feed(author, more, logits=True).scores, again)


def test_other_tokens_other_bases_and_short_texts_find_nothing(
    native_base: Base, small: Base, author: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, sequence = PrefixFolder(tmp_path, native_base), computed(native_base, author, IDS)
    kept.save(sequence, len(IDS))
    kept.save(sequence, 63)
    assert len(files(tmp_path)) == 1
    for ids in (IDS[:-1], [*IDS, 4], [4, *IDS[1:]], []):
        assert kept.load(ids, sequence.scheduler, author) is None
    assert PrefixFolder(tmp_path, small).load(IDS, sequence.scheduler, author) is None
    with monkeypatch.context() as patched:
        patched.setattr(native_base.decoder.native, "build", "another build of the kernels")
        assert PrefixFolder(tmp_path, native_base).load(IDS, sequence.scheduler, author) is None
    assert kept.load(IDS, sequence.scheduler, author) is not None


def test_what_a_skill_computed_is_not_kept(native_base: Base, author: Author, tmp_path: Path) -> None:
    sequence = computed(native_base, author, IDS)
    sequence.ledger.spans[:] = []
    sequence.ledger.record(Author(author.weights, "tools", 1, "full"), len(IDS))
    PrefixFolder(tmp_path / "new", native_base).save(sequence, sequence.length)
    assert not (tmp_path / "new").exists()


def test_files_are_their_owners_alone(native_base: Base, author: Author, tmp_path: Path) -> None:
    kept = PrefixFolder(tmp_path / "new", native_base)
    kept.save(computed(native_base, author, IDS), len(IDS))
    (file,) = files(kept.folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(kept.folder.stat().st_mode) == 0o700


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_removed_and_named(
    native_base: Base, author: Author, tmp_path: Path, data: st.DataObject, caplog: pytest.LogCaptureFixture
) -> None:
    kept, sequence = PrefixFolder(tmp_path, native_base), computed(native_base, author, IDS[:80])
    kept.save(sequence, sequence.length)
    (file,) = files(tmp_path)
    whole = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(whole)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = kept.load(IDS[:80], sequence.scheduler, author)
    if found is not None:  # a byte of the header that says nothing, such as a space
        assert all(
            torch.equal(ours, theirs)
            for layer in range(native_base.config.layers)
            for ours, theirs in zip(found.cache.planes(layer), sequence.cache.planes(layer), strict=True)
        )
        file.unlink()
        return
    assert not files(tmp_path) and "is not used" in caplog.text


def test_the_folder_is_bounded_and_the_least_recently_used_go(
    native_base: Base, author: Author, tmp_path: Path
) -> None:
    sequence = computed(native_base, author, IDS)
    PrefixFolder(tmp_path, native_base).save(sequence, 100)
    size = files(tmp_path)[0].stat().st_size
    kept = PrefixFolder(tmp_path, native_base, most=size * 5 // 2)
    kept.save(sequence, 101)
    os.utime(kept._path(IDS[:100]), (1000, 1000))
    os.utime(kept._path(IDS[:101]), (2000, 2000))
    assert kept.load(IDS[:100], sequence.scheduler, author) is not None  # now 101 is the older one
    kept.save(sequence, 102)
    found = [count for count in (100, 101, 102) if kept.load(IDS[:count], sequence.scheduler, author)]
    assert found == [100, 102] and len(files(tmp_path)) == 2


def test_files_that_another_process_removes_at_the_same_time_are_passed_over(
    native_base: Base, author: Author, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("gone.prefix", ".gone.prefix.1-1.part"):
        (tmp_path / name).symlink_to(tmp_path / "nothing")  # listed, and not there any more
    kept, sequence = PrefixFolder(tmp_path, native_base, most=1), computed(native_base, author, IDS)
    for count in (100, 101):
        kept.save(sequence, count)
    assert not caplog.text and [count for count in (100, 101) if kept._path(IDS[:count]).exists()] == [101]


def test_the_next_process_reads_instructions_and_tools_no_more(native_base: Base, tmp_path: Path) -> None:
    """The second of two runtimes, as of two processes, computes the question alone, and answers the same."""

    def asked(question: str, prefixes: Path | None) -> tuple[str, int, int]:
        runtime = Runtime(native_base, Bank(native_base), ScriptedRouter(), keep_prefixes=prefixes)
        agent = Agent(
            runtime, [], instructions="You sell tickets of the harbour ferry. " * 8, limits=Limits(step_tokens=8)
        )
        result = agent.run_sync(question)
        return result.output, result.steps[0].tokens.reused, result.steps[0].tokens.prefilled

    text, reused, prefilled = asked("Does it go on Sundays?", tmp_path)
    assert reused == 0 and prefilled > 300 and len(files(tmp_path)) == 1
    kept = files(tmp_path)[0].read_bytes()
    again, reused, computed = asked("Does it go on Sundays?", tmp_path)
    assert again == text and reused > 300 and computed + reused == prefilled
    other, reused, _ = asked("And on Mondays, for a dog?", tmp_path)
    assert reused > 300 and other == asked("And on Mondays, for a dog?", None)[0]
    assert [file.read_bytes() for file in files(tmp_path)] == [kept], "what users say is not kept"


def test_a_folder_that_cannot_be_written_is_a_warning(
    native_base: Base, author: Author, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with caplog.at_level(logging.WARNING):
        PrefixFolder(blocked / "inside", native_base).save(computed(native_base, author, IDS), len(IDS))
    assert "cannot be kept" in caplog.text


def test_a_disk_without_room_is_a_warning(
    native_base: Base, author: Author, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sequence, limits = computed(native_base, author, IDS), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with caplog.at_level(logging.WARNING):
            PrefixFolder(tmp_path, native_base).save(sequence, len(IDS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be kept" in caplog.text and not [*tmp_path.iterdir()], "nor is a part left"
