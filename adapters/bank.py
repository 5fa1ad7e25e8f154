"""The bank: the skills that a runtime can activate, and the slots in which some of them are resident."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from loraloop.adapters.attached import BankAttached, NativeAttached, SegmentedAttached
from loraloop.adapters.card import BARE, Card
from loraloop.adapters.skill import Skill, SkillFolder, check_base
from loraloop.adapters.slots import BUCKETS, Prepared, SlotStack, bucket_of
from loraloop.tool_schemas.errors import InputError, LimitError, SkillError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.kernels.native import Native


@dataclass(slots=True)
class _Entry:
    card: Card
    source: SkillFolder | Skill
    prepared: Prepared | None = None
    pins: int = 0


@dataclass(frozen=True, slots=True)
class BankBytes:
    """Memory of a bank.

    Attributes:
        device: of all slots, used or not.
        host: of the skills that have been read, in the layout that slots want.
    """

    device: int
    host: int


class Bank:
    """Skills by name. Registering one reads its card and header; its tensors are read when it is first activated.

    Activating a resident skill is a dictionary look-up. Another one replaces the skill that was used least recently
    and is not pinned; its matrices are written in place. Every method may be called from any thread. A caller that
    runs forwards while other threads activate skills holds a pin (`using`) for as long as it needs the slot.

    Args:
        base: the base that the skills must fit.
        slots: how many skills can be resident. Slot 0, the bare base, is not counted.
        rank: the largest rank that fits, rounded up to a bucket of `slots.BUCKETS`; or, by rank, how many slots to
            make (then `slots` is ignored), so that one wide skill does not widen all: `{16: 7, 64: 1}`.
    """

    def __init__(self, base: Base, slots: int = 8, rank: int | Mapping[int, int] = 16) -> None:
        self._base = base
        wanted = {rank: slots} if isinstance(rank, int) else dict(rank)
        native = _native(base)
        # torch's bf16 products cost more than they save on a CPU: see kernels.lora.
        dtype = torch.float32 if base.device.type == "cpu" and native is None else base.dtype
        self._stacks: list[SlotStack] = []
        first = 1
        for width, count in sorted(wanted.items()):
            bucket = bucket_of(width) if width > 0 else None
            if bucket is None or count < 1:
                raise InputError(f"a bank needs slots of ranks in 1..{BUCKETS[-1]}, not {count} of rank {width}")
            self._stacks.append(SlotStack(base.config, range(first, first + count), bucket, dtype, base.device))
            first += count
        self.attached: BankAttached
        if base.device.type != "cpu":
            self.attached = SegmentedAttached(first, self._stacks)
        else:
            self.attached = NativeAttached(first, native) if native else BankAttached(first)
        self._entries: dict[str, _Entry] = {}
        self._writing: dict[str, dict[str, None]] = {}
        self._resident: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all registered skills, in the order in which they were added."""
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
            return dict(self._resident)

    @property
    def bytes(self) -> BankBytes:
        with self._lock:
            host = sum(entry.prepared.bytes for entry in self._entries.values() if entry.prepared)
            return BankBytes(sum(stack.bytes for stack in self._stacks), host)

    def add(self, skill: Skill | str | Path) -> str:
        """Registers a skill, or the folder of one, and returns its name.

        Raises:
            SkillError: damaged, made for another base, or wider than every slot.
            InputError: a skill of that name is already there.
        """
        source = skill if isinstance(skill, Skill) else SkillFolder.open(skill)
        card, base = source.card, self._base
        check_base(card, source.pairs, base.config, base.fingerprints, base.name)
        widest = self._stacks[-1].rank
        if card.rank > widest:
            fitting = bucket_of(card.rank)
            cure = f"make the bank with rank={fitting}" if fitting else f"ranks above {BUCKETS[-1]} are not served"
            raise SkillError(f"skill {card.name!r} has rank {card.rank}, but no slot holds more than {widest}: {cure}")
        prompt = tuple(base.chat.generation_prompt)
        if card.activation == "branch" and card.invocation != prompt:
            raise SkillError(
                f"skill {card.name!r} is invoked by the tokens {list(card.invocation)}, but {base.name!r} replies "
                f"after {list(prompt)}: train it with this base's generation prompt, or use activation 'full'"
            )
        with self._lock:
            if card.name in self._entries:
                raise InputError(f"the bank already has a skill {card.name!r}: remove it first, or rename one of them")
            self._entries[card.name] = _Entry(card, source)
            self._writing.setdefault(card.contract, {})[card.name] = None
        return card.name

    def remove(self, name: str) -> None:
        """Forgets a skill; its slot becomes free.

        Raises:
            UnknownNameError: no such skill.
            InputError: it is pinned.
        """
        with self._lock:
            if self._entry(name).pins:
                raise InputError(f"skill {name!r} is in use: unpin it before removing it")
            slot = self._resident.pop(name, None)
            if slot is not None:
                self.attached.clear(slot)
            del self._writing[self._entries.pop(name).card.contract][name]

    def card(self, name: str) -> Card:
        """A skill's card; UnknownNameError names the nearest skill."""
        with self._lock:
            return self._entry(name).card

    def slot(self, name: str) -> int:
        """The slot of a skill, which is made resident if it is not; 0 for "none".

        Raises:
            UnknownNameError: no such skill.
            LimitError: every slot that could hold it is pinned.
            SkillError: its file is damaged.
        """
        with self._lock:
            slot = self._resident.get(name)
            if slot is not None:
                self._resident.move_to_end(name)
                return slot
            return 0 if name == BARE else self._activate(name)

    def pin(self, name: str) -> int:
        """Makes a skill resident and keeps it so until `unpin` was called as often; returns its slot."""
        with self._lock:
            slot = self.slot(name)
            if slot:
                self._entries[name].pins += 1
            return slot

    def unpin(self, name: str) -> None:
        """Takes back one `pin`; InputError if there is none."""
        if name == BARE:
            return
        with self._lock:
            entry = self._entry(name)
            if not entry.pins:
                raise InputError(f"skill {name!r} is not pinned")
            entry.pins -= 1

    @contextmanager
    def using(self, name: str) -> Iterator[int]:
        """The slot of a skill, pinned for the duration of the block."""
        slot = self.pin(name)
        try:
            yield slot
        finally:
            self.unpin(name)

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise unknown("skill", name, [*self._entries, BARE])
        return entry

    def _activate(self, name: str) -> int:
        entry = self._entry(name)
        if entry.prepared is None:
            skill = entry.source if isinstance(entry.source, Skill) else entry.source.load()
            entry.prepared = Prepared.of(skill.payload(self._base.config))
        stack, slot = self._place(name, entry.card.rank)
        self.attached.put(slot, stack.load(slot, entry.prepared), entry.prepared)
        self._resident[name] = slot
        return slot

    def _place(self, name: str, rank: int) -> tuple[SlotStack, int]:
        """A free slot that holds a rank, or the one whose skill was used least recently; narrow slots first."""
        stacks = [stack for stack in self._stacks if stack.rank >= rank]
        taken = {slot: other for other, slot in self._resident.items()}
        for stack in stacks:
            for slot in stack.slots:
                if slot not in taken:
                    return stack, slot
        for stack in stacks:
            for other, slot in self._resident.items():
                if slot in stack.slots and not self._entries[other].pins:
                    del self._resident[other]
                    self.attached.clear(slot)
                    return stack, slot
        count = sum(len(stack.slots) for stack in stacks)
        raise LimitError(
            f"skill {name!r} cannot be activated: all {count} slots that hold rank {rank} are pinned; "
            "unpin a skill, or make the bank with more slots"
        )


def _native(base: Base) -> Native | None:
    """The C kernel, where it serves this base's activations."""
    from loraloop.adapters.base.convert import cache_root
    from loraloop.kernels import native

    if base.device.type != "cpu" or base.dtype is not torch.bfloat16:
        return None
    return native.load(cache_root() / "native")
