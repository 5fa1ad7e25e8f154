"""A skill as a function: what it is given becomes one step, whose text is read back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypedDict, TypeVar, Unpack

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.engine.cache.sequence import RequestContext
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.step import StepOutput, StepRequest, write_after
from loraloop.agent.messages import request, system_content
from loraloop.agent.skills.results import SkillResult
from loraloop.agent.skills.schemas import PARAMETERS, RETURNS
from loraloop.agent.threads import OnError, awaited, run_all
from loraloop.agent.values.limits import check_list, check_number, check_probability
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, LimitError, unknown
from loraloop.tool_schemas.grammar.grammar import Term
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.agent.engine.step import Engine, Openings
    from loraloop.tool_schemas.grammar.grammar import Grammar
    from loraloop.tool_schemas.tools.call_format import CallFormat

R = TypeVar("R", bound=SkillResult, covariant=True)


class SkillRuntime(Protocol):
    """The interface of a runtime that one step of a skill uses."""

    base: Base
    bank: Bank
    engine: Engine

    def grammar(self, term: Any) -> Grammar: ...

    def contract(self, skill: str) -> str: ...

    def check(self, skill: str) -> None: ...

    def text_schema(self, skill: str) -> dict[str, Any] | None: ...

    def openings(self, skill: str, contract: str, threshold: float | None) -> Openings | None: ...

    def call_form(self, skill: str) -> str: ...

    def call_format(self, skill: str) -> CallFormat | None: ...


class StepOptions(TypedDict, total=False):
    """The options that every skill takes besides its input.

    Attributes:
        messages: The transcript before.
        instructions: What the system message says.
        max_tokens: Most tokens that the step may generate; 512 by default. Where its form does not fit, that is an
            error.
        sampling: Sampling of tokens; greedy by default.
        threshold: Threshold of the probability that the skill weighs (unsafe, no call, no answer), instead of the one
            on its card.
        timeout: Seconds for the step.
        cancelled: Function that is asked before every token; true ends the step with an error.
        progress: Function that receives the number of tokens written so far.
    """

    messages: Sequence[Message]
    instructions: str
    max_tokens: int
    sampling: Sampling
    threshold: float | None
    timeout: float | None
    cancelled: Callable[[], bool] | None
    progress: Callable[[int], object] | None


class SkillFunction(Generic[R]):
    """A skill as a function; each call is one step. Safe to share between threads.

    Attributes:
        name: The skill's.
    """

    contract: ClassVar[str]

    def __init__(self, runtime: SkillRuntime, name: str) -> None:
        self.name = name
        self._runtime = runtime

    def __call__(self, *arguments: Any, **options: Any) -> R:
        """Runs the skill; each contract has its own arguments, and takes `StepOptions`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def description(self) -> str:
        """The description on the skill's card."""
        return "Writes what it is asked for." if self.name == NONE else self._runtime.bank.card(self.name).description

    def tool(self, name: str = "", description: str = "", *, timeout: float | None = None) -> Tool:
        """The skill as a tool, with JSON Schemas of its arguments and its result.

        Args:
            name: What it is called; the skill's name where empty.
            description: When to use it; what the skill does where empty.
            timeout: Seconds that one call may take.
        """
        return Tool(
            name=name or self.name,
            description=description or self.description,
            parameters=PARAMETERS[self.contract],
            function=lambda **arguments: self.from_json(arguments).data(),
            returns=RETURNS[self.contract],
            timeout=timeout,
            effects=False,
            source=f"skill:{self.name}",
        )

    def to_openai(self) -> dict[str, Any]:
        """The skill as a tool in OpenAI's form."""
        return self.tool().to_openai()

    def from_json(self, arguments: Mapping[str, Any], **how: Unpack[StepOptions]) -> R:
        """Runs the skill on arguments as JSON data, as the tool's schema says; fields are named like the parameters.

        Raises:
            UnknownNameError: The schema has no such argument; the options of a step are not among them.
        """
        properties = PARAMETERS[self.contract]["properties"]
        for name in arguments.keys() - properties.keys():
            raise unknown("argument of a skill", name, properties)
        return self(**arguments, **how)

    async def arun(self, *arguments: Any, **options: Any) -> R:
        """Runs the skill without blocking the event loop, with the arguments of a call. Cancelling it ends the step."""
        gone, ended = threading.Event(), options.get("cancelled")

        def cancelled() -> bool:
            return gone.is_set() or (ended is not None and ended())

        return await awaited(lambda: self(*arguments, **{**options, "cancelled": cancelled}), gone.set)

    def batch(
        self, inputs: Sequence[Any], *, concurrency: int = 16, on_error: OnError = "raise", **how: Any
    ) -> list[R]:
        """Runs the skill on several inputs at once, which share the base's forwards; results are in the inputs' order.

        Args:
            inputs: The first argument of each call, or a mapping of its arguments by name.
            concurrency: Steps that run at a time.
            on_error: `raise` raises the first error once all steps have ended, `return` gives it in its place.
            **how: What all of them are called with.
        """
        check_list("inputs", inputs)
        inputs = list(inputs)
        named = [dict(each) if isinstance(each, Mapping) else None for each in inputs]
        jobs = [
            partial(self, each, **how) if mine is None else partial(self, **{**how, **mine})
            for each, mine in zip(inputs, named, strict=True)
        ]
        return run_all(jobs, concurrency, on_error)

    def _common(self, wrote: StepOutput) -> dict[str, Any]:
        """The fields that all results have."""
        return {"skill": self.name, "text": wrote.text, "tokens": wrote.tokens, "ms": wrote.ms}

    def _run(
        self,
        how: StepOptions,
        prompt: str,
        term: Term | None,
        read: Callable[[StepOutput], R],
        *,
        passages: Sequence[Passage] = (),
        tools: Sequence[Tool] = (),
    ) -> R:
        """One step of the skill.

        Args:
            how: The options of the call.
            prompt: The user's message.
            term: What may be written; None for any text.
            read: Reads the result from what was written.
            passages: Stand before the prompt.
            tools: Stand in the system message.
        """
        if not isinstance(prompt, str):
            raise InputError(f"{type(prompt).__name__} is not text: give the skill {self.name!r} a str")
        for name in how.keys() - StepOptions.__annotations__.keys():
            raise unknown("option of a skill", name, StepOptions.__annotations__)
        timeout, threshold = how.get("timeout"), how.get("threshold")
        if timeout is not None:
            check_number("timeout", timeout, above=0, unit=" seconds", why=", or None for no bound")
        check_probability("threshold", threshold)
        bounds = RequestContext(0, None if timeout is None else monotonic() + timeout, how.get("cancelled"))
        runtime = self._runtime
        openings = runtime.openings(self.name, self.contract, threshold)
        form = runtime.call_form(self.name)
        writing = StepRequest(
            choice=self.name,
            grammar=None if term is None else runtime.grammar(term),
            extra_prompt=[[Message("user", form)]] if form else (),
            max_tokens=how.get("max_tokens", 512),
            sampler=Sampler(how.get("sampling") or Sampling()),
            openings=openings,
            call_format=runtime.call_format(self.name),
        )
        header = runtime.base.prompting.tools_header
        system = system_content(how.get("instructions", ""), tools, header)
        messages = runtime.base.chat.complete(request(prompt, passages, how.get("messages", ()), system))
        progress, written = how.get("progress"), 0
        for piece in write_after(runtime.engine, messages, writing, bounds):
            if isinstance(piece, StepOutput):
                self._check_end(piece, writing, timeout)
                return read(piece)
            written += piece.tokens
            if progress is not None:
                progress(written)
        raise AssertionError("a step must end with its output")

    def _check_end(self, wrote: StepOutput, writing: StepRequest, timeout: float | None) -> None:
        """Raises LimitError for a step that was cut, unless a piece of free text will do."""
        if wrote.reason == "cancelled":
            raise LimitError(f"the step of skill {self.name!r} was cancelled")
        if wrote.reason == "deadline":
            raise LimitError(f"the step of skill {self.name!r} took longer than {timeout:g} s: raise timeout")
        if not wrote.whole and writing.grammar is not None:
            raise LimitError(
                f"the step of skill {self.name!r} needs more than {writing.max_tokens} tokens: raise max_tokens, "
                "or free the context"
            )
