"""The bank's books: any order of activations, pins, reads and removals keeps them right."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, random_base
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import InputError, LimitError, UnknownNameError

from .test_bank import make


class Tiers(RuleBasedStateMachine):
    """Any order of activations, pins, reads and removals keeps the books right."""

    names = ("a", "b", "c", "d", "wide")

    def __init__(self) -> None:
        super().__init__()
        self.base = _small()
        self.bank = Bank(self.base, rank={8: 2, 16: 1}, host_bytes=40_000)
        self.pins: list[str] = []
        for name in self.names:
            self.bank.add(_skill(name))

    @rule(name=st.sampled_from(names))
    def add(self, name: str) -> None:
        if name in self.bank:
            with pytest.raises(InputError):
                self.bank.add(_skill(name))
        else:
            self.bank.add(_skill(name))

    @rule(name=st.sampled_from(names), pin=st.booleans())
    def use(self, name: str, pin: bool) -> None:
        before = self.bank.resident
        if name not in self.bank:
            with pytest.raises(UnknownNameError):
                self.bank.slot(name)
            return
        try:
            slot = self.bank.pin(name) if pin else self.bank.slot(name)
        except LimitError:
            assert name not in before
            fitting = {3} if name == "wide" else {1, 2, 3}
            assert fitting <= {before[other] for other in self.pins if other in before}
            return
        if pin:
            self.pins.append(name)
        assert name not in before or before[name] == slot
        assert self.bank.resident[name] == slot and (name != "wide" or slot == 3)
        gone = before.keys() - self.bank.resident.keys()
        assert len(gone) <= 1 and not gone & set(self.pins)

    @rule(name=st.sampled_from(names))
    def read(self, name: str) -> None:
        if name in self.bank:
            held = self.bank.resident
            self.bank.read(name)
            assert self.bank.resident == held

    @precondition(lambda self: self.pins)
    @rule()
    def unpin(self) -> None:
        self.bank.unpin(self.pins.pop())

    @rule(name=st.sampled_from(names))
    def remove(self, name: str) -> None:
        if name not in self.bank:
            return
        if name in self.pins:
            with pytest.raises(InputError, match="in use"):
                self.bank.remove(name)
        else:
            self.bank.remove(name)
            assert name not in self.bank.resident and name not in self.bank

    @invariant()
    def books(self) -> None:
        slots = list(self.bank.resident.values())
        assert len(set(slots)) == len(slots) <= 3 and set(slots) <= {1, 2, 3}
        assert self.bank.bytes.host <= 40_000
        for slot in {1, 2, 3} - set(slots):
            assert not self.bank.attached.views[slot]


TestTiers = Tiers.TestCase
TestTiers.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

_cache: dict[str, object] = {}


def _small() -> Base:
    if "base" not in _cache:
        _cache["base"] = random_base(3)
    return _cache["base"]  # type: ignore[return-value]


def _skill(name: str) -> Skill:
    if name not in _cache:
        _cache[name] = make(_small(), name, 12 if name == "wide" else 2)
    return _cache[name]  # type: ignore[return-value]
