"""loraloop: an agent runtime in which every step runs on the right LoRA skill.

The names below are all that most programs need. They are imported on first use, so that ``import loraloop``
itself is quick and needs neither torch nor a model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank as Bank
    from loraloop.adapters.base import Base as Base
    from loraloop.adapters.base import Message as Message
    from loraloop.adapters.skill.skill import Skill as Skill
    from loraloop.adapters.skill.skill import library as library
    from loraloop.agent import Agent as Agent
    from loraloop.agent import Approve as Approve
    from loraloop.agent import Deny as Deny
    from loraloop.agent import Document as Document
    from loraloop.agent import Forbid as Forbid
    from loraloop.agent import Gate as Gate
    from loraloop.agent import Guard as Guard
    from loraloop.agent import Hook as Hook
    from loraloop.agent import Limits as Limits
    from loraloop.agent import Mixture as Mixture
    from loraloop.agent import OpenTelemetry as OpenTelemetry
    from loraloop.agent import PassageIndex as PassageIndex
    from loraloop.agent import PendingRun as PendingRun
    from loraloop.agent import Policy as Policy
    from loraloop.agent import RunResult as RunResult
    from loraloop.agent import Runtime as Runtime
    from loraloop.agent import Sampling as Sampling
    from loraloop.agent import Trace as Trace
    from loraloop.agent import Tracer as Tracer
    from loraloop.agent import diff as diff
    from loraloop.agent import replay as replay
    from loraloop.agent.sandbox.sandbox import Sandbox as Sandbox
    from loraloop.agent.sandbox.sandbox import run_python as run_python
    from loraloop.agent.sessions.sessions import Sessions as Sessions
    from loraloop.recipe_run import run_recipe as run_recipe
    from loraloop.router import Router as Router
    from loraloop.tool_schemas import McpServer as McpServer
    from loraloop.tool_schemas import Tool as Tool
    from loraloop.tool_schemas import load_tools as load_tools
    from loraloop.tool_schemas import tool as tool
    from loraloop.tool_schemas.errors import LoraloopError as LoraloopError
    from loraloop.tool_schemas.errors import ToolRetry as ToolRetry
    from loraloop.tool_schemas.tools.context import Context as Context

    __version__: str

_HOMES = {
    "Agent": "loraloop.agent",
    "Approve": "loraloop.agent",
    "Bank": "loraloop.adapters.bank.bank",
    "Base": "loraloop.adapters.base",
    "Context": "loraloop.tool_schemas.tools.context",
    "Deny": "loraloop.agent",
    "Document": "loraloop.agent",
    "Forbid": "loraloop.agent",
    "Gate": "loraloop.agent",
    "Guard": "loraloop.agent",
    "Hook": "loraloop.agent",
    "Limits": "loraloop.agent",
    "LoraloopError": "loraloop.tool_schemas.errors",
    "McpServer": "loraloop.tool_schemas",
    "Message": "loraloop.adapters.base",
    "Mixture": "loraloop.agent",
    "OpenTelemetry": "loraloop.agent",
    "PassageIndex": "loraloop.agent",
    "PendingRun": "loraloop.agent",
    "Policy": "loraloop.agent",
    "Router": "loraloop.router",
    "RunResult": "loraloop.agent",
    "Runtime": "loraloop.agent",
    "Sampling": "loraloop.agent",
    "Sessions": "loraloop.agent.sessions.sessions",
    "Sandbox": "loraloop.agent.sandbox.sandbox",
    "Skill": "loraloop.adapters.skill.skill",
    "Tool": "loraloop.tool_schemas",
    "ToolRetry": "loraloop.tool_schemas.errors",
    "Trace": "loraloop.agent",
    "Tracer": "loraloop.agent",
    "diff": "loraloop.agent",
    "library": "loraloop.adapters.skill.skill",
    "load_tools": "loraloop.tool_schemas",
    "replay": "loraloop.agent",
    "run_python": "loraloop.agent.sandbox.sandbox",
    "run_recipe": "loraloop.recipe_run",
    "tool": "loraloop.tool_schemas",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("loraloop")
    if name not in _HOMES:
        raise AttributeError(f"module 'loraloop' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
