"""The bank's tiers: what is held where, what makes room, what happens in the background, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.bank.entry import BankEntry
from loraloop.adapters.bank.host import HostTier
from loraloop.adapters.base import Base, Row, random_base
from loraloop.adapters.skill import store
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import InputError, LimitError, SkillError

from .test_bank import TOKENS, make


@pytest.fixture(scope="module")
def base() -> Base:
    return random_base(3)


def output(base: Base, bank: Bank, slot: int) -> torch.Tensor:
    return base.forward([Row(TOKENS[:4], base.new_cache(), slot)], attached=bank.attached).hidden


def size_of(base: Base, skill: Skill) -> int:
    bank = Bank(base, slots=1)
    bank.slot(bank.add(skill))
    return bank.bytes.host


# --- what is held where ---


def test_memory_is_bounded_and_shown(base: Base, tmp_path: Path) -> None:
    one = size_of(base, make(base, "one"))
    bank = Bank(base, slots=2, host_bytes=3 * one)
    for name in "abcdef":
        bank.add(make(base, name).save(tmp_path / name))
    shown = bank.bytes
    assert (shown.host, shown.device_used, shown.host_limit) == (0, 0, 3 * one) and shown.device > 0
    for name in "abcdefabc":
        assert bank.tier(name) in ("host", "disk")
        bank.slot(name)
        assert bank.tier(name) == "device" and bank.bytes.host <= 3 * one
    assert bank.bytes.host == 3 * one and bank.bytes.device_used == bank.bytes.device
    assert [bank.tier(name) for name in "abcdef"] == ["host", "device", "device", "disk", "disk", "disk"]
    bank.remove("b")
    assert bank.bytes.device_used * 2 == bank.bytes.device and bank.bytes.host == 2 * one
    none = Bank(base, slots=1, host_bytes=0)
    assert none.slot(none.add(make(base, "one"))) == 1 and none.bytes.host == 0
    with pytest.raises(InputError, match="host_bytes is -1"):
        Bank(base, host_bytes=-1)


def test_a_skill_that_was_let_go_and_read_again_is_the_same(base: Base, tmp_path: Path) -> None:
    bank = Bank(base, slots=1, host_bytes=0)
    for name in ("one", "two"):
        bank.add(make(base, name).save(tmp_path / name))
    first = output(base, bank, bank.slot("one"))
    known = bank.identity("one")
    bank.slot("two")
    assert torch.equal(output(base, bank, bank.slot("one")), first)
    assert bank.identity("one") == known != bank.identity("two")


def test_equal_weights_have_equal_identities_whatever_their_name(base: Base) -> None:
    bank = Bank(base, slots=3)
    skill = make(base, "one")
    for name, tensors in (
        ("one", skill.tensors),
        ("two", dict(skill.tensors)),
        ("three", {key: value + 1e-6 for key, value in skill.tensors.items()}),
    ):
        bank.slot(bank.add(Skill(skill.card.model_copy(update={"name": name}), tensors)))
    assert bank.identity("one") == bank.identity("two") != bank.identity("three")


# --- what is refused ---


@pytest.mark.parametrize(
    "change",
    [{"rank": 5}, {"method": "rslora"}, {"targets": ["q_proj"]}, {"invocation": [9]}, {"alpha": 3.0},
     {"fingerprints": {"architecture": "x", "weights": "y"}}, {"activation": "full"}, {"description": "Other."}],
)  # fmt: skip
def test_a_card_that_changed_after_registering(base: Base, tmp_path: Path, change: dict[str, object]) -> None:
    bank = Bank(base, slots=1)
    folder = make(base, "one").save(tmp_path / "one")
    bank.add(folder)
    card = json.loads((folder / store.CARD).read_text())
    (folder / store.CARD).write_text(json.dumps(card | change))
    with pytest.raises(SkillError, match=r"has changed since it was registered|the card says 5|targets are"):
        bank.slot("one")
    assert bank.resident == {} and bank.bytes.host == 0
    (folder / store.CARD).write_text(json.dumps(card))
    assert bank.slot("one") == 1


@pytest.mark.parametrize("hashed", [True, False])
def test_tensors_that_changed_after_registering(base: Base, tmp_path: Path, hashed: bool) -> None:
    bank = Bank(base, slots=1)
    folder = make(base, "one").save(tmp_path / "one")
    if not hashed:
        card = json.loads((folder / store.CARD).read_text())
        (folder / store.CARD).write_text(json.dumps(card | {"sha256": ""}))
    bank.add(folder)
    content = bytearray((folder / store.TENSORS).read_bytes())
    content[-3] ^= 1
    (folder / store.TENSORS).write_bytes(bytes(content))
    message = "sha256 is not the one" if hashed else r"has changed since it was registered \(skill\.safetensors\)"
    with pytest.raises(SkillError, match=message):
        bank.slot("one")
    bank.remove("one")
    if not hashed:
        assert bank.slot(bank.add(folder)) == 1


def test_another_skill_in_the_same_folder(base: Base, tmp_path: Path) -> None:
    bank = Bank(base, slots=1, host_bytes=0)
    folder = make(base, "one").save(tmp_path / "one")
    bank.add(folder)
    bank.add(make(base, "two"))
    bank.slot("one")
    bank.slot("two")
    changed = make(base, "two")
    Skill(changed.card.model_copy(update={"name": "one"}), changed.tensors).save(folder)
    with pytest.raises(SkillError, match="has changed since it was registered"):
        bank.slot("one")
    assert bank.slot("two") == 1


# --- from several threads ---


def test_nobody_waits_for_another_skills_file(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = Bank(base, slots=2)
    for name in ("quick", "slow"):
        bank.add(make(base, name).save(tmp_path / name))
    bank.slot("quick")
    go, began, read = threading.Event(), threading.Event(), BankEntry.read
    reads: list[str] = []

    def slow(self: BankEntry, *args: object) -> object:
        reads.append(self.card.name)
        began.set()
        assert go.wait(10)
        return read(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(BankEntry, "read", slow)
    reader = threading.Thread(target=bank.read, args=("slow",))
    reader.start()
    assert began.wait(10)
    start = monotonic()
    for _ in range(100):
        bank.slot("quick")
    assert monotonic() - start < 1 and bank.tier("slow") == "disk"
    slots: list[int] = []
    waiting = [threading.Thread(target=lambda: slots.append(bank.slot("slow"))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    sleep(0.05)
    go.set()
    for thread in (reader, *waiting):
        thread.join(10)
    assert len(set(slots)) == 1 and len(slots) == 3 and reads == ["slow"], "one thread reads for all"


def test_threads_never_touch_a_slot_in_use(base: Base, tmp_path: Path, race: Callable[..., None]) -> None:
    """Every output under a pin is that of the skill asked for, while others activate and read all the time."""
    names = [f"skill-{i}" for i in range(8)]
    one = size_of(base, make(base, names[0], 2))
    bank = Bank(base, slots=3, rank=8, host_bytes=3 * one)
    expected = {}
    for name in names:
        bank.add(make(base, name, 2).save(tmp_path / name))
        expected[name] = output(base, bank, bank.slot(name))
    failures: list[str] = []

    def work(seed: int) -> None:
        try:
            for step in range(25):
                name = names[(seed * 5 + step * 3) % len(names)]
                bank.read(names[(seed + step) % len(names)])
                try:
                    with bank.using(name) as slot:
                        if not torch.equal(output(base, bank, slot), expected[name]):
                            failures.append(name)
                except LimitError:
                    pass  # three threads may pin all three slots
                assert bank.bytes.host <= 3 * one
        except Exception as error:
            failures.append(repr(error))

    race(work)
    assert not failures


def test_the_host_tier_forgets_the_least_recently_used() -> None:
    class Fake:
        def __init__(self, size: int) -> None:
            self.bytes = size

    tier = HostTier(10)
    for name, size in (("a", 4), ("b", 4), ("c", 11)):
        tier.put(name, Fake(size))  # type: ignore[arg-type]
    assert "c" not in tier and tier.used == 8
    assert tier.get("a") is not None and tier.get("z") is None
    tier.put("d", Fake(3))  # type: ignore[arg-type]
    assert "b" not in tier and "a" in tier and tier.used == 7 and len(tier) == 2
    tier.put("a", Fake(10))  # type: ignore[arg-type]
    assert len(tier) == 1 and tier.used == 10
