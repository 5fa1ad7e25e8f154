"""The agent: what a user embeds. Names are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.agent.agent import Agent
    from loraloop.agent.engine.memory import Memory
    from loraloop.agent.engine.sampler import Sampling
    from loraloop.agent.following import Follower, RunFacts
    from loraloop.agent.guard.guard import Gate, Guard, GuardFacts
    from loraloop.agent.hooks import Hook, RunHook
    from loraloop.agent.limits import Limits
    from loraloop.agent.loop.iterate import Pending, RunSteps
    from loraloop.agent.loop.pending_run import PendingRun
    from loraloop.agent.loop.route import Forbid, StepFacts
    from loraloop.agent.loop.stream import RunStream
    from loraloop.agent.output_type import OutputType
    from loraloop.agent.policy import Policy
    from loraloop.agent.result import CallRecord, GateRecord, RunResult, Step, Tokens
    from loraloop.agent.retrieval.documents import Document
    from loraloop.agent.retrieval.index import PassageIndex
    from loraloop.agent.retrieval.retriever import Retriever
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.sandbox.sandbox import Sandbox, SandboxResult
    from loraloop.agent.skills.mixture import Mixture
    from loraloop.agent.tools.approval import Approve, Deny, PendingCall
    from loraloop.agent.tracing.diff import Differences, diff
    from loraloop.agent.tracing.otel import OpenTelemetry
    from loraloop.agent.tracing.replay import Replayed, replay
    from loraloop.agent.tracing.trace import Trace
    from loraloop.agent.tracing.tracer import Tracer

_HOMES = {
    "Agent": "agent",
    "Approve": "tools.approval",
    "CallRecord": "result",
    "Deny": "tools.approval",
    "Differences": "tracing.diff",
    "Document": "retrieval.documents",
    "Follower": "following",
    "Forbid": "loop.route",
    "Gate": "guard.guard",
    "GateRecord": "result",
    "Guard": "guard.guard",
    "GuardFacts": "guard.guard",
    "Hook": "hooks",
    "Limits": "limits",
    "Memory": "engine.memory",
    "Mixture": "skills.mixture",
    "OpenTelemetry": "tracing.otel",
    "OutputType": "output_type",
    "PassageIndex": "retrieval.index",
    "Pending": "loop.iterate",
    "PendingCall": "tools.approval",
    "PendingRun": "loop.pending_run",
    "Policy": "policy",
    "Replayed": "tracing.replay",
    "Retriever": "retrieval.retriever",
    "RunFacts": "following",
    "RunHook": "hooks",
    "RunResult": "result",
    "RunSteps": "loop.iterate",
    "RunStream": "loop.stream",
    "Runtime": "runtime",
    "Sampling": "engine.sampler",
    "Sandbox": "sandbox.sandbox",
    "SandboxResult": "sandbox.sandbox",
    "Step": "result",
    "StepFacts": "loop.route",
    "Tokens": "result",
    "Trace": "tracing.trace",
    "Tracer": "tracing.tracer",
    "diff": "tracing.diff",
    "replay": "tracing.replay",
}

__all__ = [
    "Agent", "Approve", "CallRecord", "Deny", "Differences", "Document", "Follower", "Forbid", "Gate", "GateRecord",
    "Guard", "GuardFacts", "Hook", "Limits", "Memory", "Mixture", "OpenTelemetry", "OutputType", "PassageIndex",
    "Pending", "PendingCall", "PendingRun", "Policy", "Replayed", "Retriever", "RunFacts", "RunHook", "RunResult",
    "RunSteps", "RunStream", "Runtime", "Sampling", "Sandbox", "SandboxResult", "Step", "StepFacts", "Tokens", "Trace",
    "Tracer", "diff", "replay",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
