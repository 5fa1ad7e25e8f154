"""The user's own skills: registered, found by name, replaced as a whole, and routed to by their own router."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from loraloop.adapters.base import Base, random_base
from loraloop.adapters.skill import registry, store
from loraloop.adapters.skill.blank import blank_skill, is_blank
from loraloop.adapters.skill.registry import library
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Runtime
from loraloop.agent.bare import Unrouted
from loraloop.tool_schemas.errors import SkillError, UnknownNameError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "home"))
    return tmp_path / "home"


def made(base: Base, folder: Path, description: str = "Mine.") -> Path:
    return blank_skill(base, "mine", description=description).save(folder)


def test_a_registered_skill_is_found_by_its_name(tmp_path: Path, tiny_base: Base) -> None:
    assert registry.registered() == {}
    with pytest.raises(UnknownNameError, match="mine"):
        Runtime.load(tiny_base, skills=["mine"], router=Unrouted())
    place = registry.register(made(tiny_base, tmp_path / "a"), "mine")
    assert registry.registered() == {"mine": place}
    assert Runtime.load(tiny_base, skills=["mine"], router=Unrouted()).skills[:] == ("mine", "tools")
    registry.register(made(tiny_base, tmp_path / "b", "Another."), "mine")
    assert Skill.load(registry.registered()["mine"]).card.description == "Another."
    shutil.rmtree(place)
    assert registry.registered() == {}


def test_a_folder_alone_means_the_skills_and_the_router_in_it(tmp_path: Path, tiny_base: Base) -> None:
    for name in ("mine", "yours"):
        blank_skill(tiny_base, name).save(tmp_path / "out" / name)
    assert Runtime.load(tiny_base, skills=tmp_path / "out", router=Unrouted()).skills[:] == ("mine", "yours", "tools")
    assert registry.built_skills(tmp_path / "out" / "mine") == ([tmp_path / "out" / "mine"], None)
    (tmp_path / "out" / "router").mkdir()
    (tmp_path / "out" / "router" / "router.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SkillError, match=r"damaged|no router"):  # the one beside the skills is read
        Runtime.load(tiny_base, skills=str(tmp_path / "out"))
    for wrong in (tmp_path, tmp_path / "nowhere", "tools"):
        with pytest.raises(SkillError, match=r"no skills in .*skills build"):
            Runtime.load(tiny_base, skills=wrong)


def test_a_base_has_the_skills_that_were_made_for_it(tmp_path: Path, tiny_base: Base) -> None:
    other = random_base(0, layers=1)
    place = registry.register(made(other, tmp_path / "a"), "mine")
    assert "mine" not in registry.fitting_skills(tiny_base)
    assert registry.fitting_skills(other) == {**library(other.name), "mine": place}
    with pytest.raises(SkillError, match="was made for the base"):
        Runtime.load(tiny_base, skills=["mine"], router=Unrouted())
    assert Runtime.load(tiny_base, router=Unrouted()).skills[:] == ("tools",)
    assert Runtime.load(other, router=Unrouted()).skills[:] == ("mine", "tools")


def test_a_base_writes_programs_itself_where_others_ship_for_it_but_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_base: Base
) -> None:
    shipped = {"mine": made(tiny_base, tmp_path / "a")}
    monkeypatch.setattr(registry, "library", lambda base: shipped)
    runtime = Runtime.load(tiny_base, router=Unrouted())
    assert runtime.skills[:] == ("mine", "code", "tools") and runtime.contract("code") == "code"
    assert runtime.threshold("code") is None and is_blank(runtime.bank.card("code"))
    assert Runtime.load(tiny_base, skills=["code"], router=Unrouted()).skills[:] == ("code", "tools")
    assert Runtime.load(tiny_base, skills=["mine"], router=Unrouted()).skills[:] == ("mine", "tools")
    registry.register(blank_skill(tiny_base, "code", "code", "Own.").save(tmp_path / "b"), "code")
    assert Runtime.load(tiny_base, router=Unrouted()).bank.card("code").description == "Own."


def test_a_skill_of_another_base_hides_no_shipped_one(base: Base) -> None:
    shipped = library(base.name)["tools"]
    foreign = registry.register(library("qwen2.5-coder-1.5b")["tools"], "tools")
    assert Runtime.load(base, skills=["tools"]).skills[:] == ("tools",)
    assert registry.known_skills(base.name)["tools"] == registry.fitting_skills(base)["tools"] == shipped
    for other in ("qwen2.5-coder-1.5b", "elsewhere"):
        assert registry.known_skills(other)["tools"] == foreign
    own = registry.register(shipped, "tools")
    assert registry.known_skills(base.name)["tools"] == registry.fitting_skills(base)["tools"] == own


def test_a_damaged_skill_of_the_users_is_told_when_it_is_read(home: Path, base: Base) -> None:
    registry.register(library(base.name)["tools"], "tools")
    (home / "tools" / "card.json").write_text("{", encoding="utf-8")
    assert Runtime.load(base, skills=["code"]).skills[:] == ("code", "tools")
    with pytest.raises(SkillError, match="card"):
        Runtime.load(base)


def test_the_users_router_is_taken_where_it_knows_a_skill_that_is_named(home: Path, tmp_path: Path) -> None:
    router = tmp_path / "router"
    router.mkdir()
    (router / "router.json").write_text(json.dumps({"names": ["none", "mine"]}), encoding="utf-8")
    (router / "router.safetensors").write_bytes(b"")
    assert registry.own_router("arch", {"mine"}) is None, "none is registered"
    place = registry.register_router(router, "arch")
    assert place.parent == home / store.ROUTERS
    assert registry.own_router("arch", {"mine", "other"}) == place
    assert registry.own_router("arch", {"other"}) is None and registry.own_router("elsewhere", {"mine"}) is None


def test_a_runtime_reads_that_router(tmp_path: Path, base: Base) -> None:
    registry.register(made(base, tmp_path / "a"), "mine")
    router = tmp_path / "router"
    router.mkdir()
    (router / "router.json").write_text(json.dumps({"names": ["none", "mine"]}), encoding="utf-8")
    registry.register_router(router, base.fingerprints.architecture)
    for named in (["mine"], None):
        with pytest.raises(SkillError, match="no router in"):  # it is looked for there, and is damaged
            Runtime.load(base, skills=named)
    assert "mine" not in Runtime.load(base, skills=["tools"]).skills
