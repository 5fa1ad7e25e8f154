"""What a runtime keeps in memory, and what it may keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loraloop.adapters.bank.bank import BankBytes
from loraloop.agent.engine.cache_stats import Held

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Memory:
    """What grows with use, each beside its bound. The base's weights are not in it: they do not grow.

    Attributes:
        trunks: Transcripts of past runs, for conversations that go on (`Runtime(reuse=…)`).
        contexts: Contexts under full-activation skills (`Runtime(full_reuse=…)`).
        bank: Bytes of the skills' tiers: all slots, and what has been read (`host_bytes=…`).
        grammars: Compiled grammars that are kept.
        grammars_limit: What `grammars` never exceeds; the least recently used go first.
    """

    trunks: Held
    contexts: Held
    bank: BankBytes
    grammars: int
    grammars_limit: int

    @classmethod
    def of(cls, runtime: Runtime) -> Memory:
        """What a runtime keeps now."""
        return cls(runtime.store.held, runtime.full.held, runtime.bank.bytes, *runtime.compiler.kept)

    @property
    def bytes(self) -> int:
        """Of all caches and tiers; grammars cannot be measured."""
        return self.trunks.bytes + self.contexts.bytes + self.bank.device + self.bank.host

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "bytes": self.bytes}
