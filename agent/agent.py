"""The agent: tools, instructions and limits on a shared runtime. It keeps nothing between runs but its documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from loraloop.adapters.base.messages import Message
from loraloop.adapters.contracts import Passage
from loraloop.agent.engine.sampling import Sampling
from loraloop.agent.hooks import Hook, as_hooks
from loraloop.agent.job import Job
from loraloop.agent.limits import Limits
from loraloop.agent.loop import Run
from loraloop.agent.mixture import Mixture
from loraloop.agent.outcomes import PYTHON
from loraloop.agent.output_type import OutputType
from loraloop.agent.passage_index import Changes, Given, PassageIndex
from loraloop.agent.policy import Policy
from loraloop.agent.python_tool import python_tool
from loraloop.agent.result import RunResult, T
from loraloop.agent.retrieval import Retriever, found
from loraloop.agent.runtime import Runtime
from loraloop.agent.sandbox import Sandbox
from loraloop.agent.stepping import RunSteps
from loraloop.agent.stream import RunStream
from loraloop.agent.tool_choice import check_choice, check_names_free
from loraloop.agent.transcript import as_passages, as_tools, request, system_content
from loraloop.router.decision import NONE
from loraloop.tool_schemas.context import D, check_deps
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.grammar import Choice, Lark, Regex
from loraloop.tool_schemas.tools import Tool

R = TypeVar("R")


class Options(TypedDict, Generic[D], total=False):
    """What a run can be given besides its prompt and its output type; see `Agent.run_sync`."""

    passages: Sequence[Passage | Mapping[str, Any] | str] | None
    messages: Sequence[Message]
    skill: str | Mapping[str, float] | None
    policy: Policy | None
    tool_choice: str | Mapping[str, Any] | None
    deps: D


class Settings(TypedDict, Generic[D], total=False):
    """What an agent can be given besides tools, instructions and output type; see `Agent`."""

    limits: Limits | None
    policy: Policy | None
    sampling: Sampling | None
    python: bool | Sandbox
    hooks: Sequence[Hook | Callable[[Any], object]]
    deps_type: type[D] | None
    retriever: Retriever | None
    best: int


class Agent(Generic[T, D]):
    """Runs requests on a runtime. Safe to share between threads.

    `T` is what its answers are values of, and `D`, which may be left out, what runs are given as `deps`.

    Args:
        runtime: Base, skills and router.
        tools: Tools, typed functions, or JSON forms of tools.
        instructions: What the system message says, before the tools.
        limits: Bounds of each run.
        policy: What is decided here instead of by the router.
        sampling: How tokens are drawn; greedy by default.
        python: Whether the programs that the code skill writes are run, in a sandbox; a `Sandbox` also says its limits.
        retriever: Where requests without passages of their own get them from, such as a `PassageIndex`.
        best: Most passages that a request gets from there.
        output_type: What the base's final answer has to be: a pydantic model, a dataclass, ``Literal``, an enum,
            ``list[int]``, a JSON Schema, `Choice`, `Regex`, `Lark` …; see `OutputType.of`. The result's `value` is the
            answer as such a value. What skills write (calls, code, an answer from passages, a refusal) keeps its form.
        hooks: Functions that are told events as they happen, or `Hook`s, which say which events and what an error of
            theirs means.
        deps_type: The class of the `deps` that each run is given, for tools with a `Context`.

    Raises:
        SchemaError: if a tool or the output type is unusable.
        UnknownNameError: if the policy names a skill or a tool that does not exist.
        InputError: if a tool has a name with a meaning of its own, or the policy's tool choice cannot be kept.
    """

    @overload
    def __init__(
        self: Agent[None, D],
        runtime: Runtime,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]] = (),
        instructions: str = "",
        *,
        output_type: None = None,
        **settings: Unpack[Settings[D]],
    ) -> None: ...
    @overload
    def __init__(
        self,
        runtime: Runtime,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]] = (),
        instructions: str = "",
        *,
        output_type: type[T] | OutputType[T],
        **settings: Unpack[Settings[D]],
    ) -> None: ...
    @overload
    def __init__(
        self: Agent[Any, D],
        runtime: Runtime,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]] = (),
        instructions: str = "",
        *,
        output_type: Any,
        **settings: Unpack[Settings[D]],
    ) -> None: ...
    def __init__(
        self,
        runtime: Runtime,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]] = (),
        instructions: str = "",
        *,
        limits: Limits | None = None,
        policy: Policy | None = None,
        sampling: Sampling | None = None,
        python: bool | Sandbox = False,
        retriever: Retriever | None = None,
        best: int = 4,
        output_type: Any = None,
        hooks: Sequence[Hook | Callable[[Any], object]] = (),
        deps_type: type[Any] | None = None,
    ) -> None:
        self.runtime = runtime
        self.tools = as_tools(tools)
        self.instructions = instructions
        self.limits = limits or Limits()
        self.policy = policy or Policy()
        self.sampling = sampling or Sampling()
        self.python = bool(python)
        self.hooks = as_hooks(hooks)
        self.deps_type = deps_type
        self.retriever = retriever
        self.best = best
        self._making = Lock()
        if best < 1:
            raise InputError(f"best is {best}: give the most passages of a request, 1 or more")
        if python and any(tool.name == PYTHON for tool in self.tools):
            raise InputError(f"a tool is called {PYTHON!r}, which means the sandbox where python=True: rename it")
        check_names_free(self.tools)
        self.output: OutputType[Any] = self._output(output_type)
        sandbox = None if isinstance(python, bool) else python
        self._python = python_tool(self.limits.tool_timeout, sandbox) if python else None
        self._system = system_content(instructions, self.tools)
        self._check(self.policy)

    def add_documents(self, documents: Given | Iterable[Given]) -> Changes:
        """Adds documents that requests may be answered from; see `PassageIndex.add`.

        They go into the agent's retriever, which is made, in memory, where there is none. Add a folder again to have
        its changes: what has not changed is not indexed again.

        Args:
            documents: One or several of: `Document`, a mapping with its fields, the path of a file or a folder.

        Raises:
            InputError: something that is no document, a path that does not exist, or a retriever of your own.
        """
        with self._making:
            if self.retriever is None:
                self.retriever = PassageIndex()
        if not isinstance(self.retriever, PassageIndex):
            raise InputError("the agent's retriever is your own: add the documents to it, or give a PassageIndex")
        return self.retriever.add(documents)

    @overload
    def run_sync(
        self, prompt: str = "", *, output_type: type[R] | OutputType[R], **options: Unpack[Options[D]]
    ) -> RunResult[R]: ...
    @overload
    def run_sync(
        self, prompt: str = "", *, output_type: None = None, **options: Unpack[Options[D]]
    ) -> RunResult[T]: ...
    @overload
    def run_sync(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunResult[Any]: ...
    def run_sync(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunResult[Any]:
        """Runs a request to its end.

        Args:
            prompt: What the user says. May be empty only where `messages` end with tool results.
            passages: Texts from which the question may be answered; where None, the best that the agent's retriever
                finds, and `[]` for none.
            messages: The transcript so far, usually an earlier result's `messages`.
            skill: Forces the first choice; `"none"` is the bare base, `{"code": 0.7, "tools": 0.3}` a mixture.
            policy: Instead of the agent's own.
            tool_choice: Instead of the policy's: `auto`, `required`, `none`, or a tool's name; see `Policy`.
            output_type: Instead of the agent's; ``str`` is any text. See `Agent`.
            deps: What tools with a `Context` find in it.

        Raises:
            InputError: an empty prompt, a forced skill without what it works on, a tool choice that cannot be kept,
                deps that are not what a tool says.
            UnknownNameError: a forced or forbidden skill, or a chosen tool, that does not exist.
            SchemaError: an unusable output type.
            ContextLengthError: the request does not fit the context.
        """
        return self._finish(self._start(prompt, output_type, **options))

    @overload
    async def run(
        self, prompt: str = "", *, output_type: type[R] | OutputType[R], **options: Unpack[Options[D]]
    ) -> RunResult[R]: ...
    @overload
    async def run(
        self, prompt: str = "", *, output_type: None = None, **options: Unpack[Options[D]]
    ) -> RunResult[T]: ...
    @overload
    async def run(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunResult[Any]: ...
    async def run(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunResult[Any]:
        """`run_sync` in a thread; async tools are awaited on the caller's loop. Cancelling it cancels the run."""
        loop = asyncio.get_running_loop()
        run = self._start(prompt, output_type, loop, **options)
        work = asyncio.ensure_future(asyncio.to_thread(self._finish, run))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.wait([work])
            raise

    @overload
    def stream(
        self, prompt: str = "", *, output_type: type[R] | OutputType[R], **options: Unpack[Options[D]]
    ) -> RunStream[R]: ...
    @overload
    def stream(self, prompt: str = "", *, output_type: None = None, **options: Unpack[Options[D]]) -> RunStream[T]: ...
    @overload
    def stream(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunStream[Any]: ...
    def stream(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunStream[Any]:
        """The same, event by event: iterate it with `for`, or with `async for` inside a loop."""
        return RunStream(self._start(prompt, output_type, _running_loop(), **options))

    @overload
    def iter(
        self, prompt: str = "", *, output_type: type[R] | OutputType[R], **options: Unpack[Options[D]]
    ) -> RunSteps[R]: ...
    @overload
    def iter(self, prompt: str = "", *, output_type: None = None, **options: Unpack[Options[D]]) -> RunSteps[T]: ...
    @overload
    def iter(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunSteps[Any]: ...
    def iter(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunSteps[Any]:
        """The same, step by step: each decision is looked at before it runs, and may be changed; see `Pending`."""
        return RunSteps(self._start(prompt, output_type, _running_loop(), **options))

    def _start(
        self,
        prompt: str,
        output_type: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        passages: Sequence[Passage | Mapping[str, Any] | str] | None = None,
        messages: Sequence[Message] = (),
        skill: str | Mapping[str, float] | None = None,
        policy: Policy | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        deps: Any = None,
    ) -> Run:
        check_deps(deps, self.deps_type, self.tools)
        asked = passages is None and self.retriever is not None
        given = found(self.runtime, self.retriever, prompt, self.best) if asked else as_passages(passages or ())
        policy = policy or self.policy
        if tool_choice is not None:
            policy = replace(policy, tool_choice=tool_choice)
        if skill is not None:
            policy = replace(policy, skills=(skill, *policy.skills))
        self._check(policy)
        for choice in policy.choices[:1]:
            self._check_fit(choice, asked or bool(given))
        job = Job(
            prompt,
            request(prompt, given, messages, self._system),
            given,
            self.tools,
            self.limits,
            policy,
            self.sampling,
            self._python,
            self.output if output_type is None else self._output(output_type),
            deps,
            self.hooks,
        )
        return Run(self.runtime, job, loop)

    def _check(self, policy: Policy) -> None:
        for choice in (*policy.choices, *policy.forbid):
            self.runtime.check(choice)
        if NONE in policy.forbid:
            raise InputError("none cannot be forbidden: the base answers when no skill does")
        check_choice(policy, self.tools, self.limits, self.runtime)

    def _output(self, said: Any) -> OutputType[Any]:
        """What a caller wants the answer to be; a grammar is compiled here if only that tells whether it is one."""
        output = OutputType.of(said)
        if isinstance(output.term, Regex | Choice | Lark):
            self.runtime.grammar(output.term)
        return output

    def _check_fit(self, skill: str | Mixture, passages: bool) -> None:
        contract = self.runtime.contract(skill)
        if contract == "calls" and not self.tools:
            raise InputError(f"skill {str(skill)!r} calls tools, and the agent has none: give it tools")
        if contract == "answer" and not passages:
            raise InputError(
                f"skill {str(skill)!r} answers from passages: give passages=[…] with the prompt, or documents"
            )

    @staticmethod
    def _finish(run: Run) -> RunResult[Any]:
        for _ in run.events():
            pass
        assert run.result is not None
        return run.result


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
