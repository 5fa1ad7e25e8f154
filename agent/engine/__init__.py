"""Generation: a trunk computed by the bare base, and branches from its end under a skill."""

from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.cache.ledger import Author, Ledger, LedgerError
from loraloop.agent.engine.cache.prefix_cache import FullCaches
from loraloop.agent.engine.cache.sequence import CachedSequence, MessageSpan
from loraloop.agent.engine.generate import Budget, Delta, Generated, GenerateRequest, Guide, generate
from loraloop.agent.engine.sampler import Sampler, Sampling, TwoWayChoice
from loraloop.agent.engine.step import Engine, StepOutput, StepRequest, run_step
from loraloop.agent.engine.timer import PHASES, Clock
from loraloop.agent.engine.trunk import Trunk, TrunkStore

__all__ = [
    "PHASES",
    "Author",
    "Branch",
    "Budget",
    "CachedSequence",
    "Clock",
    "Delta",
    "Engine",
    "FullCaches",
    "GenerateRequest",
    "Generated",
    "Guide",
    "Ledger",
    "LedgerError",
    "MessageSpan",
    "Sampler",
    "Sampling",
    "StepOutput",
    "StepRequest",
    "Trunk",
    "TrunkStore",
    "TwoWayChoice",
    "generate",
    "run_step",
]
