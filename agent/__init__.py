"""The agent: what a user embeds. Names are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.agent.agent import Agent
    from loraloop.agent.choosing import Forbid, StepFacts
    from loraloop.agent.documents import Document
    from loraloop.agent.engine.sampling import Sampling
    from loraloop.agent.hooks import Hook
    from loraloop.agent.limits import Limits
    from loraloop.agent.memory import Memory
    from loraloop.agent.mixture import Mixture
    from loraloop.agent.output_type import OutputType
    from loraloop.agent.passage_index import PassageIndex
    from loraloop.agent.policy import Policy
    from loraloop.agent.result import CallRecord, RunResult, Step, Tokens
    from loraloop.agent.retrieval import Retriever
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.sandbox import Sandbox, SandboxResult
    from loraloop.agent.stepping import Pending, RunSteps
    from loraloop.agent.stream import RunStream

_HOMES = {
    "Agent": "agent",
    "CallRecord": "result",
    "Document": "documents",
    "Forbid": "choosing",
    "Hook": "hooks",
    "Limits": "limits",
    "Memory": "memory",
    "Mixture": "mixture",
    "OutputType": "output_type",
    "PassageIndex": "passage_index",
    "Pending": "stepping",
    "Policy": "policy",
    "Retriever": "retrieval",
    "RunResult": "result",
    "RunSteps": "stepping",
    "RunStream": "stream",
    "Runtime": "runtime",
    "Sampling": "engine.sampling",
    "Sandbox": "sandbox",
    "SandboxResult": "sandbox",
    "Step": "result",
    "StepFacts": "choosing",
    "Tokens": "result",
}

__all__ = [
    "Agent", "CallRecord", "Document", "Forbid", "Hook", "Limits", "Memory", "Mixture", "OutputType", "PassageIndex",
    "Pending", "Policy", "Retriever", "RunResult", "RunSteps", "RunStream", "Runtime", "Sampling", "Sandbox",
    "SandboxResult", "Step", "StepFacts", "Tokens",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
