"""The agent: tools, instructions and limits on a shared runtime. It keeps nothing between runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.contracts import Passage
from loraloop.agent.engine.sampling import Sampling
from loraloop.agent.events import Event
from loraloop.agent.job import Job
from loraloop.agent.limits import Limits
from loraloop.agent.loop import Run
from loraloop.agent.mixture import Mixture
from loraloop.agent.outcomes import PYTHON
from loraloop.agent.policy import Policy
from loraloop.agent.python_tool import python_tool
from loraloop.agent.result import RunResult
from loraloop.agent.runtime import Runtime
from loraloop.agent.transcript import as_passages, as_tools, request, system_content
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools import Tool

_END = object()


class RunStream:
    """The events of one run, for `for` or `async for`; `result` is there after the last one."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._events = run.events()

    @property
    def result(self) -> RunResult:
        """The run's result.

        Raises:
            InputError: while the run is not over.
        """
        if self._run.result is None:
            raise InputError("the run is not over: read its events to the end first")
        return self._run.result

    def cancel(self) -> None:
        """Ends the run at its next token; the events still come to their end."""
        self._run.cancel()

    def close(self) -> None:
        """Stops without a result."""
        self._run.cancel()
        self._events.close()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, self._events, _END))
            try:
                event = await asyncio.shield(step)
            except asyncio.CancelledError:
                self._run.cancel()
                await asyncio.wait([step])
                raise
            if event is _END:
                return
            assert isinstance(event, Event)
            yield event


class Agent:
    """Runs requests on a runtime. Safe to share between threads.

    Args:
        runtime: Base, skills and router.
        tools: Tools, typed functions, or JSON forms of tools.
        instructions: What the system message says, before the tools.
        limits: Bounds of each run.
        policy: What is decided here instead of by the router.
        sampling: How tokens are drawn; greedy by default.
        python: Whether the programs that the code skill writes are run, in a sandbox.

    Raises:
        SchemaError: if a tool is unusable.
        InputError: if a tool takes the name of the `python` tool.
    """

    def __init__(
        self,
        runtime: Runtime,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]] = (),
        instructions: str = "",
        *,
        limits: Limits | None = None,
        policy: Policy | None = None,
        sampling: Sampling | None = None,
        python: bool = False,
    ) -> None:
        self.runtime = runtime
        self.tools = as_tools(tools)
        self.instructions = instructions
        self.limits = limits or Limits()
        self.policy = policy or Policy()
        self.sampling = sampling or Sampling()
        self.python = python
        if python and any(tool.name == PYTHON for tool in self.tools):
            raise InputError(f"a tool is called {PYTHON!r}, which means the sandbox where python=True: rename it")
        self._python = python_tool(self.limits.tool_timeout) if python else None
        self._system = system_content(instructions, self.tools)
        self._check(self.policy)

    def run_sync(
        self,
        prompt: str = "",
        *,
        passages: Sequence[Passage | Mapping[str, Any] | str] = (),
        messages: Sequence[Message] = (),
        skill: str | Mapping[str, float] | None = None,
        policy: Policy | None = None,
    ) -> RunResult:
        """Runs a request to its end.

        Args:
            prompt: What the user says. May be empty only where `messages` end with tool results.
            passages: Texts from which the question may be answered.
            messages: The transcript so far, usually an earlier result's `messages`.
            skill: Forces the first choice; `"none"` is the bare base, `{"code": 0.7, "tools": 0.3}` a mixture.
            policy: Instead of the agent's own.

        Raises:
            InputError: an empty prompt, or a forced skill without what it works on.
            UnknownNameError: a forced or forbidden skill that does not exist.
            ContextLengthError: the request does not fit the context.
        """
        return self._finish(self._start(prompt, passages, messages, skill, policy, None))

    async def run(
        self,
        prompt: str = "",
        *,
        passages: Sequence[Passage | Mapping[str, Any] | str] = (),
        messages: Sequence[Message] = (),
        skill: str | Mapping[str, float] | None = None,
        policy: Policy | None = None,
    ) -> RunResult:
        """`run_sync` in a thread; async tools are awaited on the caller's loop. Cancelling it cancels the run."""
        run = self._start(prompt, passages, messages, skill, policy, asyncio.get_running_loop())
        work = asyncio.ensure_future(asyncio.to_thread(self._finish, run))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.wait([work])
            raise

    def stream(
        self,
        prompt: str = "",
        *,
        passages: Sequence[Passage | Mapping[str, Any] | str] = (),
        messages: Sequence[Message] = (),
        skill: str | Mapping[str, float] | None = None,
        policy: Policy | None = None,
    ) -> RunStream:
        """The same, event by event: iterate it with `for`, or with `async for` inside a loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        return RunStream(self._start(prompt, passages, messages, skill, policy, loop))

    def _start(
        self,
        prompt: str,
        passages: Sequence[Passage | Mapping[str, Any] | str],
        messages: Sequence[Message],
        skill: str | Mapping[str, float] | None,
        policy: Policy | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> Run:
        given = as_passages(passages)
        policy = policy or self.policy
        if skill is not None:
            policy = replace(policy, skills=(skill, *policy.skills))
        self._check(policy)
        for choice in policy.choices[:1]:
            self._check_fit(choice, bool(given))
        job = Job(
            prompt,
            request(prompt, given, messages, self._system),
            given,
            self.tools,
            self.limits,
            policy,
            self.sampling,
            self._python,
        )
        return Run(self.runtime, job, loop)

    def _check(self, policy: Policy) -> None:
        for choice in (*policy.choices, *policy.forbid):
            self.runtime.check(choice)
        if NONE in policy.forbid:
            raise InputError("none cannot be forbidden: the base answers when no skill does")

    def _check_fit(self, skill: str | Mixture, passages: bool) -> None:
        contract = self.runtime.contract(skill)
        if contract == "calls" and not self.tools:
            raise InputError(f"skill {str(skill)!r} calls tools, and the agent has none: give it tools")
        if contract == "answer" and not passages:
            raise InputError(f"skill {str(skill)!r} answers from passages: give passages=[…] with the prompt")

    @staticmethod
    def _finish(run: Run) -> RunResult:
        for _ in run.events():
            pass
        assert run.result is not None
        return run.result
