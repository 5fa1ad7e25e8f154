"""Versions of the user's skills: kept with where they came from, rolled back, removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base
from loraloop.adapters.skill import history, registry, store
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import InputError, SkillError, UnknownNameError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "home"))
    return tmp_path / "home"


def made(base: Base, folder: Path, description: str) -> Path:
    return blank_skill(base, "mine", description=description).save(folder / description)


def used() -> str:
    return Skill.load(registry.registered()["mine"]).card.description


def test_each_version_is_kept_and_can_be_used_again(tmp_path: Path, tiny_base: Base) -> None:
    for number, name in enumerate(("one", "two", "three"), 1):
        registry.register(made(tiny_base, tmp_path, name), "mine", {"command": f"made {name}"})
        assert used() == name
        assert [version.current for version in history.versions("mine")] == [False] * (number - 1) + [True]
    assert [version.origin["command"] for version in history.versions("mine")] == ["made one", "made two", "made three"]
    assert history.rollback("mine").number == 2 and used() == "two"
    assert history.rollback("mine").number == 1 and used() == "one"
    with pytest.raises(InputError, match="no version before 1"):
        history.rollback("mine")
    assert history.rollback("mine", 3).number == 3 and used() == "three"
    with pytest.raises(UnknownNameError, match="version of mine"):
        history.rollback("mine", 7)
    history.rollback("mine", 1)
    registry.register(made(tiny_base, tmp_path, "four"), "mine")
    assert [(v.number, v.current) for v in history.versions("mine")] == [(1, 0), (2, 0), (3, 0), (4, 1)]
    assert Skill.load(history.version_folder("mine", 2)).card.description == "two"
    assert "mine" in registry.registered() and len(registry.registered()) == 1, "versions are no skills of their own"


def test_the_same_skill_once_more_is_no_new_version(tmp_path: Path, tiny_base: Base) -> None:
    folder = made(tiny_base, tmp_path, "one")
    registry.register(folder, "mine")
    registry.register(folder, "mine")
    assert len(history.versions("mine")) == 1
    assert history.versions("mine")[0].origin == {"command": "register"}


def test_a_skill_from_before_becomes_the_first_version(tmp_path: Path, tiny_base: Base, home: Path) -> None:
    made(tiny_base, tmp_path, "old").rename(tmp_path / "x")
    home.mkdir()
    (tmp_path / "x").rename(home / "mine")
    assert history.versions("mine") == []
    for number in (None, 1):
        with pytest.raises(InputError, match="mine was registered before versions were kept"):
            history.rollback("mine", number)
    registry.register(made(tiny_base, tmp_path, "new"), "mine")
    assert history.versions("mine")[0].origin["command"] == "registered before versions were kept"
    history.rollback("mine")
    assert used() == "old"


def test_a_removed_skill_is_gone_with_its_versions(tmp_path: Path, tiny_base: Base, home: Path) -> None:
    for name in ("one", "two"):
        registry.register(made(tiny_base, tmp_path, name), "mine")
    assert history.remove("mine") == 2
    assert registry.registered() == {} and history.versions("mine") == []
    assert not [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]
    for action in (history.remove, history.rollback):
        with pytest.raises(UnknownNameError, match="mine"):
            action("mine")
    for name in ("../mine", "a/b", ""):
        with pytest.raises(UnknownNameError):
            history.remove(name)
    for action in (history.remove, history.rollback):
        with pytest.raises(UnknownNameError):
            action("nobodys")
    assert not list(home.rglob("nobodys*"))


def test_what_is_damaged_is_said(tmp_path: Path, tiny_base: Base, home: Path) -> None:
    for name in ("one", "two"):
        registry.register(made(tiny_base, tmp_path, name), "mine")
    (history.version_folder("mine", 1) / store.CARD).unlink()
    with pytest.raises(SkillError, match="is gone"):
        history.rollback("mine")
    assert used() == "two" and history.versions("mine")[1].current
    file = home / ".history" / "mine" / "history.json"
    (row, *_) = json.loads(file.read_text(encoding="utf-8"))["versions"]
    for wrong in (3, {"number": 1}, row | {"origin": None}, row | {"number": "one"}):
        file.write_text(json.dumps({"current": 1, "versions": [wrong]}), encoding="utf-8")
        with pytest.raises(InputError, match="is damaged"):
            history.rollback("mine", 1)
    file.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="is damaged"):
        history.versions("mine")


@given(st.lists(st.one_of(st.integers(0, 4), st.just("back")), max_size=12))
@settings(max_examples=30, deadline=None)
def test_the_current_folder_is_always_the_current_version(steps: list[int | str]) -> None:
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.environ["LORALOOP_SKILLS"] = folder
        known: list[int] = []
        for step in steps:
            if step == "back":
                try:
                    history.rollback("mine")
                except (InputError, UnknownNameError):
                    assert not history.versions("mine") or history.versions("mine")[0].current
                    continue
            else:
                card = json.dumps({"name": "mine", "n": step}).encode()
                history.put("mine", {store.TENSORS: b"x", store.CARD: card}, {"n": step})
                known.append(int(step))
            (current,) = (version for version in history.versions("mine") if version.current)
            written = json.loads((Path(folder) / "mine" / store.CARD).read_text(encoding="utf-8"))
            assert written["n"] == current.origin["n"]
        numbers = [version.number for version in history.versions("mine")]
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) <= len(known)
