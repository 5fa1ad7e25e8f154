"""What agents and their runs can be given by keyword."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, TypedDict

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.engine.sampler import Sampling
from loraloop.agent.guard.guard import Guard
from loraloop.agent.hooks import Hook, RunHook
from loraloop.agent.limits import Limits
from loraloop.agent.policy import Policy
from loraloop.agent.retrieval.retriever import Retriever
from loraloop.agent.sandbox.sandbox import Sandbox
from loraloop.agent.tools.calls import Approve, Deny
from loraloop.tool_schemas.tools.context import D

if TYPE_CHECKING:
    from loraloop.agent.sessions.journal import OnUnfinished
    from loraloop.agent.sessions.sessions import Session, Sessions


class Options(TypedDict, Generic[D], total=False):
    """What a run can be given besides its prompt and its output type; see `Agent.run_sync`."""

    passages: Sequence[Passage | Mapping[str, Any] | str] | None
    messages: Sequence[Message]
    skill: str | Mapping[str, float] | None
    policy: Policy | None
    tool_choice: str | Mapping[str, Any] | None
    deps: D
    guard: Guard | None
    session: Session | str | None
    on_unfinished: OnUnfinished | None


class Settings(TypedDict, Generic[D], total=False):
    """What an agent can be given besides tools, instructions and output type; see `Agent`."""

    limits: Limits | None
    policy: Policy | None
    sampling: Sampling | None
    python: bool | Sandbox
    hooks: Sequence[Hook | RunHook | Callable[[Any], object]]
    deps_type: type[D] | None
    retriever: Retriever | None
    best: int
    guard: Guard | None
    sessions: Sessions | str | PathLike[str] | None


Decisions = Mapping[str, Approve | Deny]
"""What was said of calls that wait, by their ids."""


class ResumeOptions(TypedDict, Generic[D], total=False):
    """What a run that goes on can be given besides what it keeps; see `Agent.resume_sync`."""

    policy: Policy | None
    deps: D
    guard: Guard | None
    session: Session | str | None
