"""The job of a run: everything that it is asked to do. And the interface of the journal that records what it did."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.engine.remote.fallback import Fallback
from loraloop.agent.engine.sampler import Sampling
from loraloop.agent.guard.guard import Guard
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.calls import PYTHON, CallRecord
from loraloop.agent.values.checkpoint import Checkpoint
from loraloop.agent.values.limits import Limits
from loraloop.agent.values.output_type import FREE, OutputType
from loraloop.agent.values.policy import Policy
from loraloop.agent.values.result import RunResult
from loraloop.agent.values.step import GateRecord
from loraloop.agent.values.tool_choice import WORDS, choice_of
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything a run is asked to do.

    Attributes:
        prompt: What the user said.
        messages: What the run begins with: system message, history, and the prompt with its passages.
        passages: Passages that an answer may use and cite.
        tools: Tools that may be called.
        limits: Bounds of the run.
        policy: Decisions that the caller made instead of the router.
        sampling: Sampling of tokens.
        python: The tool that runs the programs of code steps; None where they are not run.
        output: The type of the final answer.
        deps: The object that tools find in their `Context`.
        guard: Gates, and which tools a step may call.
        gates: What the guard decided about its documents.
        dates: Whether notes say what the user's calendar words mean.
        today: The current date by the agent's clock or its instructions; None where nobody said it.
        fallback: Writes a step where the router abstains, an answer is flawed or another check has failed twice.
    """

    prompt: str
    messages: tuple[Message, ...]
    passages: tuple[Passage, ...] = ()
    tools: tuple[Tool, ...] = ()
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    sampling: Sampling = field(default_factory=Sampling)
    python: Tool | None = None
    output: OutputType[Any] = FREE
    deps: Any = None
    guard: Guard = field(default_factory=Guard)
    gates: tuple[GateRecord, ...] = ()
    dates: bool = True
    today: date | None = None
    fallback: Fallback | None = None

    @property
    def callable(self) -> dict[str, Tool]:
        """Everything that a step can call, by name: the tools, and `python` where programs are run."""
        return {tool.name: tool for tool in (*self.tools, *((self.python,) if self.python else ()))}


class Journal:
    """Records what a run does, before the run goes on. This one records nothing; that of a session writes a file.

    `begun` and `ended` may be called from several threads at once.

    Attributes:
        interrupted: The run to go on with; None for a new one.
        objects: What whoever resumes a run that waits for approval has to give again: `session`, if it is one of a
            session.
    """

    interrupted: Checkpoint | None = None
    objects: tuple[str, ...] = ()

    def hold(self) -> AbstractContextManager[object]:
        """A lock that is held from the run's first event to its last, or until the run is given up."""
        return nullcontext()

    def ids(self, index: int, message: Message) -> list[int] | None:
        """The tokens of message `index` of the history, if they are known."""
        return None

    def opened(self, now: Checkpoint) -> None:
        """The run is opened, and has done nothing yet, or waited for approval of the calls that it is about to run.

        Not called for a run that goes on after an interruption.
        """

    def written(self, now: Checkpoint) -> None:
        """A step's calls are about to run."""

    def begun(self, index: int, number: int, call: Call, tool: Tool) -> CallRecord | None:
        """Call `number` of step `index` is about to run. Returns its record if it must not: it ran before.

        Args:
            index: Index of the step in its run, from 0.
            number: Number of the call in its step, from 0.
            call: The call, with the arguments that it runs with.
            tool: Its tool, which says whether a call that was interrupted may be made again.
        """
        return None

    def ended(self, index: int, number: int, record: CallRecord) -> CallRecord:
        """The call has run. Returns its record, to which the journal may add."""
        return record

    def stepped(self, now: Checkpoint) -> None:
        """A step is over, and the next one has not begun."""

    def finished(self, result: RunResult[Any]) -> None:
        """The run is over."""


NO_JOURNAL = Journal()


def check_policy(policy: Policy, tools: tuple[Tool, ...], limits: Limits, runtime: Runtime) -> None:
    """Checks that every name in a policy exists, and that its tool choice can be kept.

    Args:
        policy: What is to be checked.
        tools: All tools of the agent; the `python` tool is not among them.
        limits: The limits of each run, of which the number of calls counts here.
        runtime: Knows the skills, and what each of them writes.

    Raises:
        UnknownNameError: It names a skill or a tool that does not exist; the message names the nearest one.
        InputError: There is nothing to call, or the policy or the limits contradict it.
    """
    names = [tool.name for tool in tools]
    for name in policy.approval_names - {"*", PYTHON, *names}:
        raise unknown("tool to ask about", name, (*names, PYTHON))
    for each in (*policy.skills, *policy.forbid):
        runtime.check(each)
    if NONE in policy.forbid:
        raise InputError("none cannot be forbidden: the base answers when no skill does")
    choice, first = choice_of(policy.tool_choice), next(iter(policy.skills), None)
    if choice not in WORDS and choice not in names:
        raise unknown("tool or tool choice", choice, (*names, *WORDS))
    if policy.min_calls > limits.max_tool_calls and choice != "none":
        raise InputError(
            f"min_calls is {policy.min_calls}, but the limits allow {limits.max_tool_calls} calls: raise max_tool_calls"
        )
    if choice == "auto":
        return
    if choice == "none":
        for forced in policy.skills:
            if runtime.contract(forced) == "calls":
                raise InputError(f"tool_choice is 'none', but skill {forced!r}, which calls tools, is forced: choose")
        return
    if not tools:
        raise InputError(f"tool_choice is {choice!r}, and the agent has no tools: give it tools")
    callers = runtime.with_contract("calls")
    if limits.max_tool_calls < 1:
        raise InputError(f"tool_choice is {choice!r}, but the limits allow no call: raise max_tool_calls")
    if first is not None and runtime.contract(first) != "calls":
        raise InputError(f"tool_choice is {choice!r}, but skill {first!r} is forced, which calls no tools: choose")
    if first is None and policy.forbid.issuperset(callers):
        raise InputError(f"tool_choice is {choice!r}, but {', '.join(callers)} is forbidden: allow a skill that calls")


def unavailable_skills(runtime: Runtime, job: Job) -> set[str]:
    """Skills that cannot be chosen in a run: forbidden ones, those without tools or passages, and missing ones."""
    skills = set(job.policy.forbid)
    if not job.tools or job.policy.tool_choice == "none":
        skills.update(runtime.with_contract("calls"))
    if not job.passages:
        skills.update(runtime.with_contract("answer"))
    absent = set(getattr(runtime.router, "skills", ())) - {NONE} - set(runtime.skills)
    return skills | absent
