"""A skill is replaced between two steps: nobody who uses it is disturbed, and nobody gets half of each."""

from __future__ import annotations

import importlib.util
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, random_base
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import LimitError, SkillError

_spec = importlib.util.spec_from_file_location("bank_cases", Path(__file__).with_name("test_bank.py"))
assert _spec is not None and _spec.loader is not None
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)


@pytest.fixture(scope="module")
def base() -> Base:
    return random_base(3)


def versions(base: Base) -> tuple[Skill, Skill]:
    """Two versions of one skill."""
    first, other = cases.make(base, "one"), cases.make(base, "other")
    return first, replace(other, card=other.card.model_copy(update={"name": "one"}))


def test_a_replaced_skill_computes_as_the_new_one(base: Base, tmp_path: Path) -> None:
    old, new = versions(base)
    bank = Bank(base, slots=2)
    bank.add(cases.make(base, "first"))
    bank.add(old)
    bank.add(cases.make(base, "last"))
    before = cases.states(base, bank, bank.slot("one"))[0]
    identity = bank.identity("one")
    assert bank.replace(new.save(tmp_path / "new")) == "one"
    after = cases.states(base, bank, bank.slot("one"))[0]
    assert not torch.equal(before, after) and bank.identity("one") != identity
    alone = Bank(base, slots=1)
    alone.add(new)
    assert torch.equal(cases.states(base, alone, alone.slot("one"))[0], after)
    assert bank.names == ("first", "one", "last"), "it keeps its place"
    assert bank.replace(blank_skill(base, "more", "code")) == "more" and bank.with_contract("code") == ("more",)
    assert bank.replace(blank_skill(base, "more", "calls")) == "more"
    assert bank.with_contract("code") == () and "more" in bank.with_contract("calls")


def test_a_replacement_waits_for_the_step_that_uses_the_skill(base: Base) -> None:
    old, new = versions(base)
    bank = Bank(base, slots=2)
    bank.add(old)
    slot = bank.pin("one")
    before = cases.states(base, bank, slot)[0]
    done = threading.Event()
    thread = threading.Thread(target=lambda: (bank.replace(new), done.set()))
    thread.start()
    assert not done.wait(0.1)
    assert torch.equal(cases.states(base, bank, slot)[0], before), "the step goes on with what it began on"
    began: list[int] = []
    other = threading.Thread(target=lambda: (began.append(bank.pin("one")), bank.unpin("one")))
    other.start()
    time.sleep(0.1)
    assert not began, "a step that begins meanwhile waits, so that the replacement gets its turn"
    bank.unpin("one")
    thread.join(5)
    other.join(5)
    assert done.is_set() and began
    assert not torch.equal(cases.states(base, bank, bank.slot("one"))[0], before)


def test_a_skill_that_stays_in_use_stays(base: Base) -> None:
    old, new = versions(base)
    bank = Bank(base, slots=1)
    bank.add(old)
    with bank.using("one") as slot:
        before = cases.states(base, bank, slot)[0]
        with pytest.raises(LimitError, match="is in use"):
            bank.replace(new, wait=0.05)
        assert torch.equal(cases.states(base, bank, slot)[0], before)
    assert bank.pin("one") == slot, "steps go on after it was given up"
    bank.unpin("one")
    with pytest.raises(SkillError):
        bank.replace(cases.make(random_base(4, layers=1), "one"))
    assert bank.slot("one") == slot


def test_steps_and_replacements_at_once_lose_nothing(base: Base) -> None:
    old, new = versions(base)
    bank = Bank(base, slots=1)
    bank.add(old)
    wanted = []
    for each in (old, new):
        alone = Bank(base, slots=1)
        alone.add(each)
        wanted.append(cases.states(base, alone, alone.slot("one"))[0])
    found: list[torch.Tensor] = []
    lock = threading.Lock()

    def steps() -> None:
        for _ in range(20):
            with bank.using("one") as slot, lock:
                found.append(cases.states(base, bank, slot)[0])

    threads = [threading.Thread(target=steps) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(10):
        bank.replace(new if number % 2 == 0 else old)
    for thread in threads:
        thread.join()
    assert len(found) == 60
    assert all(any(torch.allclose(state, each, atol=1e-5) for each in wanted) for state in found)
