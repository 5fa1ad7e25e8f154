"""The bank: the skills that a runtime can activate, on disk, in memory and in the slots of the device."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

import torch

from loraloop.adapters.bank.device import DeviceTier, SlotClaim
from loraloop.adapters.bank.entry import BankEntry
from loraloop.adapters.bank.host import HOST_BYTES, HostTier
from loraloop.adapters.payload.attached import BankAttached
from loraloop.adapters.payload.attached_native import NativeAttached
from loraloop.adapters.payload.slots import HostPayload, bucket_of
from loraloop.adapters.skill.card import BARE, Card
from loraloop.adapters.skill.skill import Skill, SkillFolder
from loraloop.kernels.cpu.serial import serial
from loraloop.tool_schemas.errors import InputError, LimitError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base import Base


@dataclass(frozen=True, slots=True)
class BankBytes:
    """Memory of a bank's tiers.

    Attributes:
        device: of all slots, used or not.
        host: of the skills that have been read, in the layout that slots want.
        device_used: of the slots that hold a skill.
        host_limit: what `host` never exceeds.
    """

    device: int
    host: int
    device_used: int = 0
    host_limit: int = 0


class Bank:
    """Skills by name, in three tiers: registered (on disk), read (in memory), resident (in a slot).

    A skill of any method takes one slot. What it has besides low-rank pairs lies in places of its own (`extras`), which
    are made when the first skill needs them.

    Registering a skill reads its card and header. Activating a resident one is a dictionary look-up; another one is
    read if it must be, and replaces the skill that was used least recently and is not pinned; its matrices are written
    in place. Every method may be called from any thread, and none waits for another skill's file. A caller that runs
    forwards while other threads activate skills holds a pin (`using`) for as long as it needs the slot.

    Args:
        base: the base that the skills must fit.
        slots: how many skills can be resident. Slot 0, the bare base, is not counted.
        rank: the largest rank that fits, rounded up to a bucket of `slots.BUCKETS`; or, by rank, how many slots to
            make (then `slots` is ignored), so that one wide skill does not widen all: `{16: 7, 64: 1}`.
        host_bytes: how much of what has been read is kept, the most recently used first.
    """

    def __init__(
        self, base: Base, slots: int = 8, rank: int | Mapping[int, int] = 16, *, host_bytes: int = HOST_BYTES
    ) -> None:
        if host_bytes < 0:
            raise InputError(f"host_bytes is {host_bytes}: give the bytes that skills may take in memory, or 0")
        self._base = base
        wanted = {rank: slots} if isinstance(rank, int) else dict(rank)
        # torch's bf16 products cost more than they save on a CPU: see kernels.lora.
        self._dtype = torch.float32 if base.device.type == "cpu" and not base.native else base.dtype
        self._device = DeviceTier(base.config, wanted, self._dtype, base.device)
        self._stacks = self._device.stacks
        self._host = HostTier(host_bytes)
        count = self._device.count
        self.attached: BankAttached
        if base.device.type != "cpu":
            from loraloop.adapters.payload.attached_gpu import SegmentedAttached

            self.attached = SegmentedAttached(count, self._stacks)
        else:
            self.attached = NativeAttached(count, base.config.layers) if base.native else BankAttached(count)
        self._entries: dict[str, BankEntry] = {}
        self._writing: dict[str, dict[str, None]] = {}
        self._reading: set[str] = set()
        self._replaced: set[str] = set()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all registered skills, in the order in which they were added."""
        with self._lock:
            return tuple(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def with_contract(self, contract: str) -> tuple[str, ...]:
        """Names of the skills that write this; a look-up, however many skills there are."""
        with self._lock:
            return tuple(self._writing.get(contract, ()))

    @property
    def resident(self) -> dict[str, int]:
        """Slot of each resident skill, the least recently used first."""
        with self._lock:
            return dict(self._device.resident)

    @property
    def bytes(self) -> BankBytes:
        """The bytes that each tier holds, and their bounds."""
        with self._lock:
            device, host = self._device, self._host
            return BankBytes(device.bytes, host.used, device.used, host.limit)

    def tier(self, name: str) -> Literal["device", "host", "disk"]:
        """Where a skill is ready to be taken from; UnknownNameError names the nearest skill."""
        with self._lock:
            self._entry(name)
            if name in self._device.resident:
                return "device"
            return "host" if name in self._host else "disk"

    def add(self, skill: Skill | SkillFolder | str | Path) -> str:
        """Registers a skill, or the folder of one (opened or not), and returns its name.

        Raises:
            SkillError: damaged, made for another base, or wider than every slot.
            InputError: a skill of that name is already there.
        """
        name, entry = self._fitting(skill)
        with self._lock:
            if name in self._entries:
                raise InputError(f"the bank already has a skill {name!r}: remove it first, or rename one of them")
            self._entries[name] = entry
            self._writing.setdefault(entry.card.contract, {})[name] = None
        return name

    def remove(self, name: str) -> None:
        """Forgets a skill; its slot becomes free.

        Raises:
            UnknownNameError: no such skill.
            InputError: it is pinned.
        """
        with self._changed:
            self._changed.wait_for(lambda: name not in self._reading and name not in self._device.claimed)
            entry = self._entry(name)
            if entry.pins:
                raise InputError(f"skill {name!r} is in use: unpin it before removing it")
            self._forget(name, entry)
            del self._entries[name]

    def replace(self, skill: Skill | SkillFolder | str | Path, wait: float = 60.0) -> str:
        """Puts a skill in the place of the one of its name, between two steps; returns the name.

        Steps that use the old one end on it, and those that begin meanwhile wait. Where no skill has that name it is
        added.

        Args:
            skill: As `add` takes it.
            wait: Seconds to wait for the steps that use the old one.

        Raises:
            SkillError: damaged, made for another base, or wider than every slot; the old one stays.
            LimitError: the old one was in use for as long as that, and stays.
        """
        name, entry = self._fitting(skill)

        def idle() -> bool:
            old = self._entries.get(name)
            return name not in self._reading and name not in self._device.claimed and (old is None or not old.pins)

        with self._changed:
            self._changed.wait_for(lambda: name not in self._replaced)
            self._replaced.add(name)
            try:
                if not self._changed.wait_for(idle, wait):
                    raise LimitError(
                        f"skill {name!r} is in use: it was not replaced within {wait:g} s; try again later"
                    )
                if (old := self._entries.get(name)) is not None:
                    self._forget(name, old)
                self._entries[name] = entry  # in its old place among the names
                self._writing.setdefault(entry.card.contract, {})[name] = None
            finally:
                self._replaced.discard(name)
                self._changed.notify_all()
        return name

    def card(self, name: str) -> Card:
        """A skill's card; UnknownNameError names the nearest skill."""
        with self._lock:
            return self._entry(name).card

    def identity(self, name: str) -> str:
        """Names the weights of a skill that has been activated: equal weights, equal identity."""
        with self._lock:
            return self._entry(name).identity

    def slot(self, name: str) -> int:
        """The slot of a skill, which is made resident if it is not; 0 for "none".

        Raises:
            UnknownNameError: no such skill.
            LimitError: every slot that could hold it is pinned.
            SkillError: its folder is damaged, or has changed since it was registered.
        """
        return self._activate(name, 0)

    def pin(self, name: str, wait: float = 0.0) -> int:
        """Makes a skill resident and keeps it so until `unpin` was called as often; returns its slot.

        Args:
            name: The skill's.
            wait: Seconds to wait for a slot where others have pinned all that could hold it.
        """
        return self._activate(name, 1, wait)

    def unpin(self, name: str) -> None:
        """Takes back one `pin`; InputError if there is none."""
        if name == BARE:
            return
        with self._lock:
            entry = self._entry(name)
            if not entry.pins:
                raise InputError(f"skill {name!r} is not pinned")
            entry.pins -= 1
            if not entry.pins:
                self._changed.notify_all()

    @contextmanager
    def using(self, name: str) -> Iterator[int]:
        """The slot of a skill, pinned for the duration of the block."""
        slot = self.pin(name)
        try:
            yield slot
        finally:
            self.unpin(name)

    def read(self, name: str) -> None:
        """Reads a skill into memory, so that its first step does not wait for the disk.

        Raises:
            UnknownNameError: no such skill.
            SkillError: it is damaged.
        """
        with self._lock:
            entry = self._entry(name)
        self._prepared(name, entry)

    def _fitting(self, skill: Skill | SkillFolder | str | Path) -> tuple[str, BankEntry]:
        """A skill's name, and an entry for it; raises SkillError where it does not fit."""
        source = skill if isinstance(skill, Skill | SkillFolder) else SkillFolder.open(skill)
        entry = BankEntry.of(source, self._base, self._stacks[-1].rank, bucket_of(source.card.width))
        return entry.card.name, entry

    def _entry(self, name: str) -> BankEntry:
        entry = self._entries.get(name)
        if entry is None:
            raise unknown("skill", name, [*self._entries, BARE])
        return entry

    def _forget(self, name: str, entry: BankEntry) -> None:
        """Frees the slot and the memory of a skill that nobody uses."""
        slot = self._device.resident.pop(name, None)
        if slot is not None:
            self.attached.clear(slot)
        self._host.drop(name)
        del self._writing[entry.card.contract][name]

    def _activate(self, name: str, pins: int, wait: float = 0.0) -> int:
        """The slot of a skill; `pins` is added while nobody else can take it."""
        if name == BARE:
            return 0
        end = monotonic() + wait
        while True:
            with self._changed:
                self._changed.wait_for(lambda: name not in self._replaced)
                entry = self._entry(name)
                slot = self._device.touch(name)
                if slot is not None:
                    entry.pins += pins
                    return slot
                if name in self._device.claimed:
                    self._changed.wait()
                    continue
            prepared = self._prepared(name, entry)
            with self._changed:
                if self._entries.get(name) is not entry or self._device.has(name):
                    continue
                place = self._device.claim(name, entry.card.width, self._idle)
                if place is None:
                    if not self._device.claimed and monotonic() >= end:
                        raise self._full(name, entry.card.width)
                    # Whoever writes a slot now may leave it free or unpinned; and pins are taken back.
                    self._changed.wait(None if self._device.claimed else end - monotonic())
                    continue
                if place.before is not None:
                    self.attached.clear(place.slot)
            self._write(entry, place, prepared, pins)
            return place.slot

    def _write(self, entry: BankEntry, place: SlotClaim, prepared: HostPayload, pins: int) -> None:
        """Writes a claimed slot and lets it contribute."""
        written = False
        try:
            with serial(), self.attached.writing(place.slot):
                extras = self._device.extras.load(place.slot, prepared.extras)
                self.attached.put(place.slot, place.stack.load(place.slot, prepared), prepared, extras)
            written = True
        finally:
            with self._changed:
                self._device.settle(entry.card.name, written)
                entry.pins += pins if written else 0
                self._changed.notify_all()

    def _prepared(self, name: str, entry: BankEntry) -> HostPayload:
        """Takes a skill from memory, or reads it; one thread reads, others that want the same skill wait for it."""
        with self._changed:
            while True:
                held = self._host.get(name)
                if held is not None:
                    return held
                if name not in self._reading:
                    break
                self._changed.wait()
            self._reading.add(name)
        made = None
        try:
            with serial():
                made = entry.read(self._base, self._dtype)
            return made
        finally:
            with self._changed:
                self._reading.discard(name)
                if made is not None and self._entries.get(name) is entry:
                    self._host.put(name, made)
                self._changed.notify_all()

    def _idle(self, name: str) -> bool:
        """Whether a resident skill may make room."""
        return not self._entries[name].pins

    def _full(self, name: str, rank: int) -> LimitError:
        return LimitError(
            f"skill {name!r} cannot be activated: all {self._device.holding(rank)} slots that hold rank {rank} are "
            "pinned; unpin a skill, or make the bank with more slots"
        )
