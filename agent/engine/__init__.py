"""Generation: a trunk computed by the bare base, and branches from its end under a skill."""

from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.full import FullCaches
from loraloop.agent.engine.generate import Budget, Delta, Generated, generate
from loraloop.agent.engine.ledger import Author, Ledger, LedgerError
from loraloop.agent.engine.prefix_cache import TrunkStore
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.timer import PHASES, Clock
from loraloop.agent.engine.trunk import MessageSpan, Trunk

__all__ = [
    "PHASES",
    "Author",
    "Branch",
    "Budget",
    "Clock",
    "Delta",
    "FullCaches",
    "Generated",
    "Ledger",
    "LedgerError",
    "MessageSpan",
    "Sampler",
    "Sampling",
    "Trunk",
    "TrunkStore",
    "generate",
]
