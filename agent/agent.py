"""The agent: tools, instructions and limits on a shared runtime. It keeps nothing between runs but its documents."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property, partial
from os import PathLike
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Unpack, get_origin, overload

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.dates.notes import today_of, with_date_notes
from loraloop.agent.engine.remote.fallback import Fallback
from loraloop.agent.engine.sampler import Sampling
from loraloop.agent.guard.guard import Guard, check_guard, default_guard
from loraloop.agent.hooks import Hook, RunHook, as_hooks
from loraloop.agent.job import NO_JOURNAL, Job, Journal, check_policy
from loraloop.agent.loop.documents import DocumentGate
from loraloop.agent.loop.iterate import RunSteps, RunStream, RunText
from loraloop.agent.loop.run import Run
from loraloop.agent.messages import as_passages, as_tools, request, system_content, without_system
from loraloop.agent.retrieval.index import Changes, Given, PassageIndex
from loraloop.agent.retrieval.retriever import Retriever, with_found
from loraloop.agent.runtime import Runtime
from loraloop.agent.sandbox.sandbox import Sandbox
from loraloop.agent.sessions.runs import after_approval, as_sessions, in_session
from loraloop.agent.threads import OnError, awaited, run_all, running_loop
from loraloop.agent.tools.approval import apply_decisions
from loraloop.agent.tools.python_tool import python_tool
from loraloop.agent.values.calls import PYTHON, Approve, Deny
from loraloop.agent.values.checkpoint import Checkpoint
from loraloop.agent.values.limits import Limits, check_kind, check_list
from loraloop.agent.values.output_type import FREE, OutputType
from loraloop.agent.values.policy import Policy
from loraloop.agent.values.result import RunResult, T
from loraloop.agent.values.tool_choice import check_names_free
from loraloop.tool_schemas.errors import InputError, unknown
from loraloop.tool_schemas.grammar.grammar import Choice, Lark, Regex
from loraloop.tool_schemas.tools.context import D
from loraloop.tool_schemas.tools.tool import Tool, check_deps

if TYPE_CHECKING:
    from loraloop.agent.sessions.journal import OnUnfinished
    from loraloop.agent.sessions.sessions import Session, Sessions

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class Options(TypedDict, Generic[D], total=False):
    """Options of a run besides its prompt and its output type; see `Agent.run_sync`."""

    passages: Sequence[Passage | Mapping[str, Any] | str] | None
    messages: Sequence[Message]
    skill: str | None
    policy: Policy | None
    tool_choice: str | Mapping[str, Any] | None
    deps: D
    guard: Guard | None
    session: Session | str | None
    on_unfinished: OnUnfinished | None
    execute_tools: bool


class Settings(TypedDict, Generic[D], total=False):
    """Options of an agent besides tools, instructions and output type; see `Agent`."""

    limits: Limits | None
    policy: Policy | None
    sampling: Sampling | None
    python: bool | Sandbox
    hooks: Sequence[Hook | RunHook | Callable[[Any], object]]
    deps_type: type[D] | None
    retriever: Retriever | None
    guard: Guard | None
    sessions: Sessions | str | PathLike[str] | None
    clock: Callable[[], date] | None
    dates: bool
    fallback: Fallback | None


Decisions = Mapping[str, Approve | Deny]
"""Decisions about calls that wait, by their ids."""


class ResumeOptions(TypedDict, Generic[D], total=False):
    """Options of a resumed run besides those that it keeps; see `Agent.resume_sync`."""

    policy: Policy | None
    deps: D
    guard: Guard | None
    session: Session | str | None


def lists_options(kind: Any) -> Callable[[F], F]:
    """Has `help()` and `inspect.signature` list the options of a function that takes `**options: Unpack[kind]`."""

    def listed(function: F) -> F:
        own = inspect.signature(function)
        parameters = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=hint.__forward_arg__)
            for name, hint in kind.__annotations__.items()
        ]
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return listed


class Agent(Generic[T, D]):
    """Runs requests on a runtime. Safe to share between threads.

    `T` is what its answers are values of, and `D`, which may be left out, what runs are given as `deps`.

    Args:
        runtime: Base, skills and router.
        tools: Tools, typed functions, or JSON forms of tools.
        instructions: What the system message says, before the tools.
        limits: Bounds of each run.
        policy: What is decided here instead of by the router.
        sampling: Sampling of tokens; greedy by default.
        python: Whether the programs that the code skill writes are run, in a sandbox; a `Sandbox` also says its limits.
        retriever: Where requests without passages of their own get them from, such as a `PassageIndex`.
        output_type: What the base's final answer has to be: a pydantic model, a dataclass, ``Literal``, an enum,
            ``list[int]``, a JSON Schema, `Choice`, `Regex`, `Lark` …; see `OutputType.of`. The result's `value` is the
            answer as such a value. What skills write (calls, code, an answer from passages, a refusal) keeps its form.
        hooks: Functions that are told events as they happen, or `Hook`s, which say which events and what an error of
            theirs means, or what follows whole runs, such as a `Tracer`.
        deps_type: The class of the `deps` that each run is given, for tools with a `Context`.
        guard: What stands between the agent and texts from outside: gates, and which tools a step may call. Where
            None, user text and tool results pass the safety skill's gates if the runtime has that skill and a screen.
        sessions: Where the sessions are that runs name by their ids: `Sessions`, their file, or `postgresql://…`.
        clock: Returns the current date, such as `datetime.date.today`. Where None, it is the one that the instructions
            state (`Today is Wednesday, 18 March 2026.`); the system's clock is never read unasked.
        dates: Whether a note before the user's message says what its calendar words mean (`tomorrow`, `next Friday`);
            there is one only where the current date is known.
        fallback: A larger model behind an OpenAI-compatible server, which writes a step where the router abstains, the
            records do not bear out an answer, or another check has failed twice; it is sent the step's transcript.

    Raises:
        SchemaError: if a tool or the output type is unusable.
        UnknownNameError: if the policy names a skill or a tool that does not exist.
        InputError: if a tool has a name with a meaning of its own, the policy's tool choice cannot be kept, or a gate
            of the guard could never decide.
    """

    @overload
    def __init__(
        self: Agent[None, D],
        runtime: Runtime,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]] = (),
        instructions: str = "",
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
    @lists_options(Settings)
    def __init__(
        self,
        runtime: Runtime,
        tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]] = (),
        instructions: str = "",
        *,
        output_type: Any = None,
        **settings: Unpack[Settings[Any]],
    ) -> None:
        for name in settings.keys() - Settings.__annotations__.keys():
            known = ("runtime", "tools", "instructions", "output_type", *Settings.__annotations__)
            raise unknown("option of an agent", name, known)
        if not hasattr(runtime, "base"):
            raise InputError(f"runtime is {runtime!r}: give a Runtime, such as Runtime.load()")
        retriever, clock, python = settings.get("retriever"), settings.get("clock"), settings.get("python", False)
        if retriever is not None and not isinstance(retriever, Retriever):
            raise InputError(
                f"retriever is {retriever!r}: give an object with retrieve(question, k), or a PassageIndex"
            )
        if not isinstance(instructions, str):
            raise InputError(f"instructions is {instructions!r}: give a text")
        for name, kind in {"limits": Limits, "policy": Policy, "sampling": Sampling, "fallback": Fallback}.items():
            check_kind(name, settings.get(name), kind)
        if clock is not None and not callable(clock):
            raise InputError(f"clock is {clock!r}: give a function that returns a date, such as datetime.date.today")
        self.runtime = runtime
        self.tools = as_tools(tools)
        self.instructions = instructions
        self.limits = settings.get("limits") or Limits()
        self.policy = settings.get("policy") or Policy()
        self.sampling = settings.get("sampling") or Sampling()
        self.python = bool(python)
        self.hooks = as_hooks(settings.get("hooks", ()))
        deps_type = settings.get("deps_type")
        self.deps_type = get_origin(deps_type) or deps_type  # of `dict[str, int]` what can be checked
        if not isinstance(self.deps_type, type | None):
            raise InputError(f"deps_type is {deps_type!r}: give a class")
        self.retriever = retriever
        self._documents = DocumentGate(runtime)
        self.guard = settings.get("guard")
        self.sessions = as_sessions(settings.get("sessions"))
        self.clock, self.dates, self.fallback = clock, settings.get("dates", True), settings.get("fallback")
        self._making = Lock()
        self._python = _python_tool(python, self.tools, self.limits.tool_timeout)
        check_names_free(self.tools)
        self.output: OutputType[Any] = self._output(output_type)
        if self.tools:
            runtime.let_call()
        self._system = system_content(instructions, self.tools, runtime.base.prompting.tools_header)
        self._check(self.policy)
        self._guarded(self.guard)

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
    def run_sync(self, prompt: str = "", **options: Unpack[Options[D]]) -> RunResult[T]: ...
    @overload
    def run_sync(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunResult[Any]: ...
    @lists_options(Options)
    def run_sync(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunResult[Any]:
        """Runs a request to its end.

        Args:
            prompt: What the user says. May be empty only where `messages` end with tool results.
            passages: Texts from which the question may be answered; where None, the best that the agent's retriever
                finds, and `[]` for none.
            messages: The transcript so far, usually an earlier result's `messages`.
            skill: Forces the first choice; `"none"` is the bare base.
            policy: A policy that replaces the agent's own.
            tool_choice: A tool choice that replaces the policy's: `auto`, `required`, `none`, or a tool's name; see
                `Policy`.
            output_type: An output type that replaces the agent's; ``str`` is any text. See `Agent`.
            deps: What tools with a `Context` find in it.
            guard: A guard that replaces the agent's own.
            session: A conversation that is kept, or its id: the run goes on from its transcript, to which `messages`
                are added, and what it does is committed step by step. Without a prompt, the run of it that was
                interrupted is resumed; see `Sessions`.
            on_unfinished: What becomes of calls that were interrupted; see `Session.resume`.
            execute_tools: Whether calls are run here. If not, the first step with calls ends the run: they are its
                result's `calls`, the `stop_reason` is `tool_call`, and whoever runs them gives their results as
                `messages` of the role `tool`, each best as the JSON text ``{"name": …, "result": …}``, or with
                ``"error"`` in place of the result. Programs of the code skill are not run either.

        Raises:
            InputError: an empty prompt, a forced skill without what it works on, a tool choice that cannot be kept,
                deps that are not what a tool says.
            UnknownNameError: a forced or forbidden skill, or a chosen tool, that does not exist.
            SchemaError: an unusable output type.
            ContextLengthError: the request does not fit the context.
            SessionError: the session cannot be read or written, or has a run to resume first.
            SessionBusyError: another runner has the session.
        """
        return self._starter(prompt, output_type, **options)().finish()

    def run_batch(
        self,
        prompts: Sequence[str | Mapping[str, Any]],
        *,
        concurrency: int = 16,
        on_error: OnError = "raise",
        **options: Unpack[Options[D]],
    ) -> list[RunResult[T]]:
        """Runs several requests at once, which share the base's forwards; results are in the requests' order.

        Args:
            prompts: What the user says, or a mapping of what `run_sync` takes.
            concurrency: Runs at a time.
            on_error: `raise` raises the first error once all runs have ended, `return` gives it in its place.
            **options: What all runs are given, as `run_sync` takes it.
        """
        check_list("prompts", prompts)
        shared: dict[str, Any] = dict(options)
        asked = [{**shared, **(each if isinstance(each, Mapping) else {"prompt": each})} for each in prompts]
        running: set[Run] = set()

        def one(options: dict[str, Any]) -> RunResult[T]:
            running.add(run := self._starter(**options)())
            try:
                return run.finish()
            finally:
                running.discard(run)

        def cancel() -> None:
            for run in tuple(running):
                run.cancel()

        return run_all([partial(one, each) for each in asked], concurrency, on_error, cancel)

    @overload
    async def run(
        self, prompt: str = "", *, output_type: type[R] | OutputType[R], **options: Unpack[Options[D]]
    ) -> RunResult[R]: ...
    @overload
    async def run(self, prompt: str = "", **options: Unpack[Options[D]]) -> RunResult[T]: ...
    @overload
    async def run(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunResult[Any]: ...
    @lists_options(Options)
    async def run(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunResult[Any]:
        """`run_sync` in a thread; async tools are awaited on the caller's loop. Cancelling it cancels the run."""
        run = RunStream[Any](self._starter(prompt, output_type, asyncio.get_running_loop(), **options))
        return await awaited(run.finish, run.cancel)

    @overload
    def stream(self, prompt: str = "", **options: Unpack[Options[D]]) -> RunStream[T]: ...
    @overload
    def stream(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunStream[Any]: ...
    @lists_options(Options)
    def stream(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunStream[Any]:
        """Runs the agent, event by event: iterate it with `for`, or with `async for` inside a loop."""
        return RunStream(self._starter(prompt, output_type, running_loop(), **options))

    @overload
    def stream_text(self, prompt: str = "", **options: Unpack[Options[D]]) -> RunText[T]: ...
    @overload
    def stream_text(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunText[Any]: ...
    @lists_options(Options)
    def stream_text(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunText[Any]:
        """The text of the answer alone, in pieces: iterate it with `for`, or with `async for` inside a loop.

        Free text of the base or of a text skill comes as it is written, because such a step ends the run and its text
        always stays. Text that may still be dropped or changed comes in one piece when the run is over: a program, an
        answer from passages, an answer of an output type, an answer that is checked against the records of calls
        (`Policy.answers`), a text that a gate of the guard judges, a refusal. Of a run that ends with calls
        (`tool_call`, `approval`) nothing comes. Joined, the pieces are the `output` of `result`, which is there after
        the last one.
        """
        return RunText(self._starter(prompt, output_type, running_loop(), **options))

    @overload
    def iter(self, prompt: str = "", **options: Unpack[Options[D]]) -> RunSteps[T]: ...
    @overload
    def iter(self, prompt: str = "", *, output_type: Any, **options: Unpack[Options[D]]) -> RunSteps[Any]: ...
    @lists_options(Options)
    def iter(self, prompt: str = "", *, output_type: Any = None, **options: Unpack[Options[D]]) -> RunSteps[Any]:
        """Runs the agent, step by step: each decision is seen before it runs, and may be changed; see `Pending`."""
        return RunSteps(self._starter(prompt, output_type, running_loop(), **options))

    @overload
    def resume_sync(
        self, pending: Checkpoint, decisions: Decisions, **options: Unpack[ResumeOptions[D]]
    ) -> RunResult[T]: ...
    @overload
    def resume_sync(
        self, pending: Checkpoint, decisions: Decisions, *, output_type: Any, **options: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]: ...
    @lists_options(ResumeOptions)
    def resume_sync(
        self, pending: Checkpoint, decisions: Decisions, *, output_type: Any = None, **options: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]:
        """Goes on with a run that waits for approval, to its end or to the next call that waits.

        The run keeps its request, passages, transcript, trace, counters and id. Tools, limits, policy, guard,
        sampling, hooks and the runtime are this agent's.

        Args:
            pending: `RunResult.pending` of the part before, or what `PendingRun.from_json` read.
            decisions: `Approve()`, `Approve(arguments=…)` or `Deny("why")` for each call in `pending.waiting`, by id.
            output_type: An output type that replaces the agent's; give what the run was given.
            policy: Instead of the agent's own. Of either, `skills` and `tool_choice` are not looked at: the run has
                those that it began with.
            deps: What tools with a `Context` find in it.
            guard: A guard that replaces the agent's own.
            session: Where the run waited, if it did so in a session: what follows is kept there.

        Raises:
            InputError: A decision is missing or is none, the run was paused on another base, it has an output type and
                none is given, or a call that may run has no implementation any more.
            UnknownNameError: A decision about a call that does not exist, or a call of a tool that is gone.
            SchemaError: Arguments do not fit the tool's schema, or no longer do.
            SessionError: The run waits in a session and none is given, or the session does not wait for these calls.
            ContextLengthError: The transcript does not fit the context.
        """
        return self._resume(pending, decisions, output_type, **options).finish()

    @overload
    async def resume(
        self, pending: Checkpoint, decisions: Decisions, **options: Unpack[ResumeOptions[D]]
    ) -> RunResult[T]: ...
    @overload
    async def resume(
        self, pending: Checkpoint, decisions: Decisions, *, output_type: Any, **options: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]: ...
    @lists_options(ResumeOptions)
    async def resume(
        self, pending: Checkpoint, decisions: Decisions, *, output_type: Any = None, **options: Unpack[ResumeOptions[D]]
    ) -> RunResult[Any]:
        """`resume_sync` in a thread, as `run` is `run_sync`."""
        loop = asyncio.get_running_loop()
        run = self._resume(pending, decisions, output_type, loop, **options)
        return await awaited(run.finish, run.cancel)

    @overload
    def resume_stream(
        self, pending: Checkpoint, decisions: Decisions, **options: Unpack[ResumeOptions[D]]
    ) -> RunStream[T]: ...
    @overload
    def resume_stream(
        self, pending: Checkpoint, decisions: Decisions, *, output_type: Any, **options: Unpack[ResumeOptions[D]]
    ) -> RunStream[Any]: ...
    @lists_options(ResumeOptions)
    def resume_stream(
        self, pending: Checkpoint, decisions: Decisions, *, output_type: Any = None, **options: Unpack[ResumeOptions[D]]
    ) -> RunStream[Any]:
        """Goes on with a pending run, event by event, as `stream`."""
        run = self._resume(pending, decisions, output_type, running_loop(), **options)
        return RunStream(lambda: run)

    def _starter(
        self,
        prompt: str = "",
        output_type: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        **options: Unpack[Options[Any]],
    ) -> Callable[[], Run]:
        """Checks what a run is asked to do. What is returned gives the run, once its documents are found and judged."""
        for name in options.keys() - Options.__annotations__.keys():
            if name in ("tools", "instructions", *Settings.__annotations__):
                raise InputError(f"{name}=… belongs to the agent: give it to Agent(…), and run that")
            raise unknown("option of a run", name, ("prompt", "output_type", *Options.__annotations__))
        journal, prompt, run_options = in_session(
            self.sessions, self._architecture, prompt, {**options, "output_type": output_type}
        )
        job = self.job(prompt, journal=journal, **run_options)
        new = partial(Run, self.runtime, checkpoint=journal.interrupted, journal=journal, hooks=self.hooks, loop=loop)

        retriever = self.retriever if run_options.get("passages") is None else None

        def with_documents() -> Run:
            began = monotonic()
            found = job if retriever is None else with_found(self.runtime, retriever, job)
            run = new(self._documents.of_job(found, began))
            run.state.spent.seconds += monotonic() - began  # the deadline counts them
            return run

        if retriever is not None or (job.passages and not journal.interrupted):
            return with_documents
        run = new(job)
        return lambda: run

    def job(
        self,
        prompt: str = "",
        output_type: Any = None,
        *,
        journal: Journal = NO_JOURNAL,
        passages: Sequence[Passage | Mapping[str, Any] | str] | None = None,
        messages: Sequence[Message] = (),
        skill: str | None = None,
        policy: Policy | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        deps: Any = None,
        guard: Guard | None = None,
        execute_tools: bool = True,
    ) -> Job:
        """What a run with these options is asked to do, without what a retriever finds; see `run_sync` for them.

        Args:
            prompt: What the user says.
            output_type: An output type that replaces the agent's; None keeps it.
            journal: Records the run. Where it has an interrupted one, the messages are that run's, and none are made
                here.
            passages: Passages that the caller gives. Where None, a retriever may find some later, and a forced skill
                that answers from passages is allowed to wait for them.
            messages: The transcript so far.
            skill: Forces the first choice, before those of the policy; None leaves it to the policy and the router.
            policy: A policy that replaces the agent's own; None keeps it.
            tool_choice: A tool choice that replaces the policy's; None keeps it.
            deps: What tools with a `Context` find in it.
            guard: A guard that replaces the agent's own; None keeps it.
            execute_tools: Whether calls are run here. If not, the job's tools have no functions, and it has no `python`
                tool.

        Raises:
            InputError: For what a run cannot do with these options.
            UnknownNameError: A skill or a tool that does not exist.
            SchemaError: An unusable output type.
        """
        guard = self._guarded(guard or self.guard)
        check_deps(deps, self.deps_type, self.tools)
        found = as_passages(passages or ())
        check_kind("policy", policy, Policy)
        policy = policy or self.policy
        if tool_choice is not None:
            policy = replace(policy, tool_choice=tool_choice)
        if skill is not None:
            policy = replace(policy, skills=(skill, *policy.skills))
        self._check(policy)
        for name in policy.skills[:1]:
            self._check_fit(name, bool(found) or (passages is None and self.retriever is not None))
        begun = () if journal.interrupted else request(prompt, found, messages, self._system, guard.trust_passages)
        today = self._today(journal.interrupted.messages if journal.interrupted else begun)
        begun = with_date_notes(begun, today if self.dates else None)
        asked = {"today": today, "messages": begun, "passages": found, "deps": deps, "guard": guard}
        job = self._job(prompt=prompt, policy=policy, output_type=output_type, **asked)
        if execute_tools:
            return job
        return replace(job, python=None, tools=self._handed_back)

    def _resume(
        self,
        pending: Checkpoint,
        decisions: Mapping[str, Any],
        output_type: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        policy: Policy | None = None,
        deps: Any = None,
        guard: Guard | None = None,
        session: Session | str | None = None,
    ) -> Run:
        if not isinstance(pending, Checkpoint) or pending.written is None:
            raise InputError(
                f"{type(pending).__name__} is not a pending run: pass RunResult.pending or PendingRun.from_json(…)"
            )
        options = {"policy": policy, "deps": deps, "guard": guard, "output_type": output_type}
        journal = after_approval(self.sessions, self._architecture, session, pending, options)
        guard = self._guarded(guard or self.guard)
        check_deps(deps, self.deps_type, self.tools)
        if self._architecture != pending.asked.architecture:
            raise InputError(
                f"run {pending.run_id} was paused on another base (its architecture, tokenizer or chat template "
                "differs): resume it on the base that it began with"
            )
        pending.check_tokens(self.runtime.base.config.vocab_size)
        policy = replace(policy or self.policy, skills=pending.state.next.choices, tool_choice="auto")  # it has its own
        self._check(policy)
        job = self._job(
            prompt=pending.prompt, messages=pending.messages, passages=pending.asked.passages, policy=policy,
            output_type=output_type, deps=deps, guard=guard, today=self._today(pending.messages),
        )  # fmt: skip
        if job.output is FREE and "output_type" in pending.asked.objects:
            raise InputError(f"run {pending.run_id} has an output_type: give output_type=… again")
        calls = apply_decisions(pending.calls, decisions, job.callable)
        known = replace(pending, written=replace(pending.written, calls=calls))
        return Run(self.runtime, job, checkpoint=known, journal=journal, hooks=self.hooks, loop=loop)

    def _job(self, *, output_type: Any, **asked: Any) -> Job:
        """The job of a run, with all that is the agent's."""
        return Job(
            tools=self.tools,
            limits=self.limits,
            sampling=self.sampling,
            python=self._python,
            output=self.output if output_type is None else self._output(output_type),
            dates=self.dates,
            fallback=self.fallback,
            **asked,
        )

    def _today(self, messages: Sequence[Message]) -> date | None:
        """The current date, by the clock or the instructions, which may be those of the history."""
        own = messages[: len(messages) - len(without_system(messages))]
        return today_of(self.clock, self.instructions or "".join(each.content for each in own))

    @property
    def best(self) -> int:
        """Most passages that a request gets from the retriever, which is `limits.passages`."""
        return self.limits.passages

    @cached_property
    def _handed_back(self) -> tuple[Tool, ...]:
        """The tools without their functions: always the same objects, by which their grammars are kept."""
        return tuple(each if each.function is None else replace(each, function=None) for each in self.tools)

    @property
    def _architecture(self) -> str:
        return self.runtime.base.fingerprints.architecture

    def _check(self, policy: Policy) -> None:
        check_policy(policy, self.tools, self.limits, self.runtime)

    def _guarded(self, guard: Guard | None) -> Guard:
        """The guard of a run, which the runtime can keep."""
        check_kind("guard", guard, Guard)
        if guard is None:
            return default_guard(self.runtime)
        tools = [tool.name for tool in self.tools]
        check_guard(guard, self.runtime, [*tools, PYTHON] if self.python else tools)
        return guard

    def _output(self, output_type: Any) -> OutputType[Any]:
        """The output type that a caller asks for; a grammar is compiled here if only that tells whether it is one."""
        output = OutputType.of(output_type)
        if isinstance(output.term, Regex | Choice | Lark):
            self.runtime.grammar(output.term)
        return output

    def _check_fit(self, skill: str, passages: bool) -> None:
        contract = self.runtime.contract(skill)
        if contract == "calls" and not self.tools:
            raise InputError(f"skill {skill!r} calls tools, and the agent has none: give it tools")
        if contract == "answer" and not passages:
            raise InputError(f"skill {skill!r} answers from passages: give passages=[…] with the prompt, or documents")


def _python_tool(python: bool | Sandbox, tools: Sequence[Tool], timeout: float) -> Tool | None:
    """The tool that runs the code skill's programs; None where no programs are run."""
    if python and any(tool.name == PYTHON for tool in tools):
        raise InputError(f"a tool is called {PYTHON!r}, which is the sandbox's name where python=True: rename the tool")
    return python_tool(timeout, None if isinstance(python, bool) else python) if python else None
