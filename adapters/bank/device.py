"""The bank's device tier: which skill is in which slot, and which skill makes room for the next."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch

from loraloop.adapters.payload.extras import ExtraSlots
from loraloop.adapters.payload.sites import Dimensions
from loraloop.adapters.payload.slots import BUCKETS, SlotStack, bucket_of
from loraloop.tool_schemas.errors import InputError


class SlotClaim(NamedTuple):
    """A slot that is about to be written.

    Attributes:
        stack: Where it lies.
        slot: Number of the slot.
        before: The skill that it held; None if it was free.
    """

    stack: SlotStack
    slot: int
    before: str | None


class DeviceTier:
    """Residents of the slots, the least recently used first. Not thread-safe: its owner holds a lock.

    A slot goes through three states: free; *claimed*, while somebody writes it, when nobody may read or take it;
    and resident.

    Attributes:
        stacks: the slots by rank, narrow ones first.
        count: of slots, slot 0 counted.
        extras: what they hold besides pairs.
        resident: slot of each skill that can be used, the least recently used first.
        claimed: slot of each skill that is being written.
    """

    def __init__(self, config: Dimensions, wanted: Mapping[int, int], dtype: torch.dtype, device: torch.device) -> None:
        self.stacks: list[SlotStack] = []
        self.resident: OrderedDict[str, int] = OrderedDict()
        self.claimed: dict[str, int] = {}
        self.count = 1
        for width, count in sorted(wanted.items()):
            bucket = bucket_of(width) if width > 0 else None
            if bucket is None or count < 1:
                raise InputError(f"a bank needs slots with ranks in 1..{BUCKETS[-1]}, not {count} of rank {width}")
            self.stacks.append(SlotStack(config, range(self.count, self.count + count), bucket, dtype, device))
            self.count += count
        self.extras = ExtraSlots(self.count, device)

    @property
    def bytes(self) -> int:
        """Bytes of all slots, used or not."""
        return sum(stack.bytes for stack in self.stacks) + self.extras.bytes

    @property
    def used(self) -> int:
        """Bytes of the slots that hold a skill."""
        taken = {*self.resident.values(), *self.claimed.values()}
        pairs = sum(stack.slot_bytes for stack in self.stacks for slot in stack.slots if slot in taken)
        return pairs + sum(self.extras.used(slot) for slot in taken)

    def touch(self, name: str) -> int | None:
        """The slot of a resident skill, which becomes the most recently used one."""
        slot = self.resident.get(name)
        if slot is not None:
            self.resident.move_to_end(name)
        return slot

    def has(self, name: str) -> bool:
        """Whether a skill is in a slot, or on its way into one."""
        return name in self.resident or name in self.claimed

    def holding(self, rank: int) -> int:
        """How many slots hold a rank."""
        return sum(len(stack.slots) for stack in self.stacks if stack.rank >= rank)

    def claim(self, name: str, rank: int, may_go: Callable[[str], bool]) -> SlotClaim | None:
        """Takes a free slot for a skill, or that of the least recently used skill that may go; narrow slots first.

        Returns:
            The slot; None if there is none.
        """
        stacks = [stack for stack in self.stacks if stack.rank >= rank]
        taken = {*self.resident.values(), *self.claimed.values()}
        for stack in stacks:
            for slot in stack.slots:
                if slot not in taken:
                    self.claimed[name] = slot
                    return SlotClaim(stack, slot, None)
        for stack in stacks:
            for other, slot in self.resident.items():
                if slot in stack.slots and may_go(other):
                    del self.resident[other]
                    self.claimed[name] = slot
                    return SlotClaim(stack, slot, other)
        return None

    def settle(self, name: str, written: bool) -> None:
        """Ends a claim: the skill is resident, or the slot is free again."""
        slot = self.claimed.pop(name)
        if written:
            self.resident[name] = slot


def slots_for(widths: Iterable[int], slots: int, usual: int = 16) -> dict[int, int]:
    """How many slots of which rank serve skills of these ranks: `slots` of the usual one, and wide ones as needed.

    Each skill that is wider adds one slot of its bucket, up to `slots` of them; what no bucket holds is left out.
    """
    wide = Counter(bucket for width in widths if width > usual and (bucket := bucket_of(width)) is not None)
    return {usual: slots} | {bucket: min(count, slots) for bucket, count in wide.items()}
