"""The agent: what a user embeds. Names are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.agent.agent import Agent
    from loraloop.agent.approval import Approve, Deny, PendingCall
    from loraloop.agent.choosing import Forbid, StepFacts
    from loraloop.agent.documents import Document
    from loraloop.agent.engine.sampling import Sampling
    from loraloop.agent.following import Follower, RunFacts
    from loraloop.agent.guard import Gate, Guard, GuardFacts
    from loraloop.agent.hooks import Hook, RunHook
    from loraloop.agent.limits import Limits
    from loraloop.agent.memory import Memory
    from loraloop.agent.mixture import Mixture
    from loraloop.agent.otel import OpenTelemetry
    from loraloop.agent.output_type import OutputType
    from loraloop.agent.passage_index import PassageIndex
    from loraloop.agent.pending_run import PendingRun
    from loraloop.agent.policy import Policy
    from loraloop.agent.replaying import Replayed, replay
    from loraloop.agent.result import CallRecord, GateRecord, RunResult, Step, Tokens
    from loraloop.agent.retrieval import Retriever
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.sandbox import Sandbox, SandboxResult
    from loraloop.agent.stepping import Pending, RunSteps
    from loraloop.agent.stream import RunStream
    from loraloop.agent.trace import Trace
    from loraloop.agent.trace_diff import Differences, diff
    from loraloop.agent.tracing import Tracer

_HOMES = {
    "Agent": "agent",
    "Approve": "approval",
    "CallRecord": "result",
    "Deny": "approval",
    "Differences": "trace_diff",
    "Document": "documents",
    "Follower": "following",
    "Forbid": "choosing",
    "Gate": "guard",
    "GateRecord": "result",
    "Guard": "guard",
    "GuardFacts": "guard",
    "Hook": "hooks",
    "Limits": "limits",
    "Memory": "memory",
    "Mixture": "mixture",
    "OpenTelemetry": "otel",
    "OutputType": "output_type",
    "PassageIndex": "passage_index",
    "Pending": "stepping",
    "PendingCall": "approval",
    "PendingRun": "pending_run",
    "Policy": "policy",
    "Replayed": "replaying",
    "Retriever": "retrieval",
    "RunFacts": "following",
    "RunHook": "hooks",
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
    "Trace": "trace",
    "Tracer": "tracing",
    "diff": "trace_diff",
    "replay": "replaying",
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
