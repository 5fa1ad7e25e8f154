"""Skill folders that are read while others replace them, and names that lead out of the folder of skills."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill import registry, store
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill, SkillFolder
from loraloop.tool_schemas.errors import SkillError

SIZES = {"hidden_size": 64, "intermediate_size": 96, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32}


def made(rank: int) -> Skill:
    """Skills of different ranks have cards and tensors that do not fit each other."""
    method = Lora(rank, 4, ("q_proj", "down_proj"))
    tensors = {name: tensor.detach() for name, tensor in method.init(MethodContext(_Config())).items()}
    card = Card.checked(
        {
            "name": "tools", "description": "A test.", "rank": rank, "alpha": 4, "targets": method.targets,
            "invocation": (1,), "contract": "calls", "base": "small",
            "fingerprints": {"architecture": "a1", "weights": "b2"},
        }
    )  # fmt: skip
    return Skill(card, tensors)


class _Config:
    hidden_size, intermediate_size, layers, heads, kv_heads, head_dim = SIZES.values()


def read_while(write: Callable[[int], object], read: Callable[[], object], seconds: float = 2.0) -> None:
    """Reads in three threads while this one writes: for so long, and until each was done often. Errors are raised."""
    end, errors, reads, over = time.monotonic() + seconds, list[Exception](), [0, 0, 0], threading.Event()

    def reader(number: int) -> None:
        while not over.is_set():
            try:
                read()
            except Exception as error:
                errors.append(error)
                return
            reads[number] += 1

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    writes = 0
    while not errors and (time.monotonic() < end or sum(reads) <= 20 or writes <= 20):
        write(writes)
        writes += 1
    over.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("others", [False, True], ids=["alone", "beside other files"])
def test_readers_never_fail_while_a_skill_is_registered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "skills"))
    sources = [made(rank).save(tmp_path / f"rank-{rank}") for rank in (2, 8)]
    place = registry.register(sources[0], "tools")
    if others:
        (place / "notes.txt").write_text("mine")

    def write(number: int) -> None:
        registry.register(sources[number % 2], "tools")
        time.sleep(0.005)

    def read() -> None:
        assert Skill.load(place).card.rank in (2, 8)
        assert SkillFolder.open(registry.registered()["tools"]).card.name == "tools"

    read_while(write, read)
    assert sorted(path.name for path in place.parent.iterdir()) == [".history", "tools"]
    assert (place / "notes.txt").exists() == others


def test_a_folder_is_exchanged_as_a_whole(tmp_path: Path) -> None:
    folder = made(2).save(tmp_path / "tools")
    before = folder.stat().st_ino
    made(8).save(folder)
    assert folder.stat().st_ino != before and Skill.load(folder).card.rank == 8


def test_without_an_exchange_files_are_replaced_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_exchange", lambda *_: False)
    folder = made(2).save(tmp_path / "tools")
    before = folder.stat().st_ino
    made(8).save(folder)
    assert folder.stat().st_ino == before and Skill.load(folder).card.rank == 8
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", ".hidden", "Tools", "routers", "x" * 65, "a\nb"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "skills"))
    source = made(2).save(tmp_path / "source")
    with pytest.raises(SkillError, match="not a name of a skill"):
        registry.register(source, name)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_is_no_skill_is_not_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "skills"))
    with pytest.raises(SkillError, match="cannot be registered"):
        registry.register(tmp_path / "nowhere", "tools")
