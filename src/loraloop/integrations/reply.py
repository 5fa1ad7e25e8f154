"""A reply to another framework's request: a run whose tools that framework calls, up to its calls or its text."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.agent.agent import Agent
from loraloop.agent.engine.sampler import Sampling
from loraloop.agent.events import Routed, RunStarted, TokenGenerated
from loraloop.agent.guard.guard import Guard
from loraloop.agent.guard.judge import TOKENS as VERDICT
from loraloop.agent.values.calls import call_key
from loraloop.agent.values.limits import Limits
from loraloop.agent.values.output_type import FREE, OutputType
from loraloop.agent.values.policy import Policy
from loraloop.agent.values.result import RunResult
from loraloop.tool_schemas.errors import ContextLengthError, InputError, TimeLimitError
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.agent.engine.remote.fallback import Fallback
    from loraloop.agent.hooks import Hook
    from loraloop.agent.runtime import Runtime

MAX_TOKENS = 512
"""Most tokens of a reply, where the caller gives no number."""
UNGUARDED = Guard(input=None, tools=None)
"""Where a caller gives no guard: the framework around a model has guards of its own."""


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """The request of a framework to its model.

    Attributes:
        messages: The conversation, without a system message; it ends with a user's message or a tool's result.
        system: What the system message says, besides the tools.
        tools: Tools that the framework calls.
        answered: Keys of the calls since the user's last message that have a result (`call_key`).
        retry: Whether a tool has just asked for another try, so that the next step calls tools if it may.
        output: What text has to be.
        policy: What is decided instead of by the router; the tool choice is here too.
        guard: What stands between the run and texts from outside.
        sampling: Sampling of tokens, and strings that end text.
        max_tokens: Most tokens of the calls or the text.
        timeout: Seconds; None for no bound.
        max_prompt: Tokens of the conversation at most, tools included; longer ones are refused before the base reads
            them. 0 for as many as the context holds and can be read within the timeout, by the measured pace.
        fallback: Writes steps on which the router abstains; None for no step.
    """

    messages: tuple[Message, ...]
    system: str = ""
    tools: tuple[Tool, ...] = ()
    answered: Collection[str] = ()
    retry: bool = False
    output: OutputType[Any] = FREE
    policy: Policy = field(default_factory=Policy)
    guard: Guard = UNGUARDED
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = MAX_TOKENS
    timeout: float | None = None
    max_prompt: int = 0
    fallback: Fallback | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a request: calls, or text.

    Attributes:
        text: The text; empty where there are calls, where calls were cut or are not valid, and for a refusal where a
            form or a call was asked for.
        calls: Calls that the framework has to run, each valid under its tool's schema.
        run: The run, with every step; those of runs before it, whose calls were answered, go first.
        read: Tokens of the transcript.
        reused: Tokens of the transcript that were read from a cache.
    """

    text: str
    calls: tuple[Call, ...]
    run: RunResult[Any]
    read: int
    reused: int

    @property
    def written(self) -> int:
        """Tokens that were generated, those of dropped branches included."""
        return sum(step.tokens.generated for step in self.run.steps)

    @property
    def forced(self) -> int:
        """Generated tokens about which the grammar left no choice."""
        return sum(step.tokens.forced for step in self.run.steps)


def sampling_of(options: Mapping[str, Any], min_p: float | None = None, stop: Sequence[str] = ()) -> Sampling:
    """How a request's tokens are drawn; what its options do not say is greedy."""
    return Sampling(
        temperature=options.get("temperature") or 0.0,
        top_p=options.get("top_p") or 1.0,
        min_p=min_p or 0.0,
        seed=options.get("seed"),
        stop=stop,
    )


def check_prompt(tokens: int, most: int) -> None:
    """Checks that a conversation is not too long.

    Args:
        tokens: Tokens of the conversation.
        most: Most tokens that it may have; 0 for no bound.

    Raises:
        ContextLengthError: It has more.
    """
    if most and tokens > most:
        raise ContextLengthError(
            f"the conversation has {tokens} tokens, and at most {most} are read: shorten the prompt, the passages or "
            "the tools, or start without the old messages"
        )


def check_time(tokens: int, pace: float, seconds: float | None) -> None:
    """Checks that a conversation can be read in time.

    Args:
        tokens: Tokens that have to be read.
        pace: Seconds that each takes, as measured; 0 where nothing was.
        seconds: How long it may take; None for no bound.

    Raises:
        ContextLengthError: It cannot.
    """
    if pace and seconds is not None and tokens * pace > seconds > 0:
        raise ContextLengthError(
            f"{tokens} tokens of the conversation are new, and this machine reads {1 / pace:.3g} tokens a second: "
            f"there are {seconds:.0f} s, enough for {seconds / pace:.0f}. Shorten it, or raise the timeout"
        )


def check_length(characters: int, longest: int, most: int) -> None:
    """Checks without a tokenizer, which takes memory, that a conversation is not much too long.

    Args:
        characters: Characters of the conversation.
        longest: Bytes of the base's longest token.
        most: Most tokens that are read.

    Raises:
        ContextLengthError: It has more characters than so many tokens can hold.
    """
    if characters > most * longest:
        raise ContextLengthError(
            f"the conversation has {characters} characters, and at most {most} tokens are read: shorten the prompt, "
            "the passages or the tools, or start without the old messages"
        )


class Replying:
    """A request that is being answered: iterate it once, from any thread, for pieces of text and then the `Reply`.

    The router chooses each step's skill, as in any run: calls are the tools skill's, `[]` leaves the word to the base.
    After a tool that asked for another try, the tools skill goes first. A call that was answered since the user's last
    message is not made again: the base answers instead, or, where a call is required, another tool is called.

    Attributes:
        request: What is being answered.

    Raises:
        UnknownNameError: The policy names a skill or a tool that does not exist.
        SchemaError: Two tools share a name, or the output cannot be enforced.
        InputError: The conversation ends with the assistant, or the tool choice cannot be kept.
        ContextLengthError: The request does not fit the context or the time, or is longer than `max_prompt`.
        LimitError: Not even the shortest output fits into the tokens, or it takes longer than the timeout.
    """

    def __init__(self, runtime: Runtime, request: ReplyRequest, hooks: Sequence[Hook] = ()) -> None:
        if not request.messages or request.messages[-1].role not in ("user", "tool"):
            raise InputError("there is nothing to reply to: end with a user's message or a tool's result")
        base, most = runtime.base, request.max_prompt or runtime.base.config.max_positions
        check_length(sum(len(message.content) for message in request.messages), base.tokenizer.longest, most)
        self._runtime, self.request, self._hooks = runtime, request, hooks
        *before, last = request.messages
        self._prompt = last.content if last.role == "user" else ""
        self._history: Sequence[Message] = before if last.role == "user" else request.messages
        self._cancelled = False
        self._begin(request.tools, self._adjusted(request.policy), request.timeout)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as the base reads it, with tools and notes on dates."""
        return self._agent.job(self._prompt, messages=self._history).messages

    def cancel(self) -> None:
        """Ends it at its next token; it still comes to a `Reply`."""
        self._cancelled = True
        self._stream.cancel()

    def __iter__(self) -> Iterator[str | Reply]:
        request, began = self.request, monotonic()
        earlier: Reply | None = None
        while True:
            reply = yield from self._once()
            if earlier is not None:  # what it took counts, and what it read was in no cache
                steps, ms = (*earlier.run.steps, *reply.run.steps), earlier.run.ms + reply.run.ms
                reused = min(earlier.reused, reply.reused)
                reply = replace(reply, run=replace(reply.run, steps=steps, ms=ms), reused=reused)
            policy, tools = self._agent.policy, self._agent.tools
            fresh = tuple(c for c in reply.calls if policy.repeat_calls or call_key(c) not in request.answered)
            others = tuple(tool for tool in tools if all(tool.name != call.name for call in reply.calls))
            again = bool(reply.calls) and not fresh
            if again and policy.tool_choice == "auto":
                policy = replace(policy, tool_choice="none", skills=())
            elif again and policy.tool_choice == "required" and others:
                tools = others
            else:
                yield replace(reply, calls=fresh or reply.calls)  # or it is just this call that is wanted
                return
            left = None if request.timeout is None else max(1e-3, began + request.timeout - monotonic())
            earlier = reply
            self._begin(tools, policy, left)

    def _begin(self, tools: tuple[Tool, ...], policy: Policy, seconds: float | None) -> None:
        """Makes the next run."""
        request = self.request
        limits = Limits(
            step_tokens=request.max_tokens,
            # a step whose branch is dropped costs tokens too, and so does a verdict of each message
            run_tokens=4 * request.max_tokens + VERDICT * (len(request.messages) + 1),
            deadline=seconds,
            keep_free=0,  # what of a conversation may go is for the framework to say
        )
        self._agent = Agent[Any, Any](
            self._runtime,
            tools,
            request.system,
            limits=limits,
            policy=policy,
            sampling=request.sampling,
            output_type=request.output,
            guard=request.guard,
            fallback=request.fallback,
            hooks=self._hooks,
        )
        self._stream = self._agent.stream(self._prompt, messages=self._history, execute_tools=False)

    def _once(self) -> Generator[str, None, Reply]:
        """One run; gives out its text, and returns what came of it."""
        request, runtime, stream = self.request, self._runtime, self._stream
        if self._cancelled:
            stream.cancel()
        read = reused = 0
        contract, streamed = "text", False
        with stream:
            for event in stream:
                if isinstance(event, RunStarted):
                    read, reused = event.context, event.reused
                    check_prompt(read, request.max_prompt)
                    if not request.max_prompt:
                        check_time(read - reused, runtime.engine.stats.prompt_token, request.timeout)
                elif isinstance(event, Routed):
                    contract = runtime.contract(event.skill)
                elif isinstance(event, TokenGenerated) and event.text and contract in ("text", "code"):
                    streamed = True
                    yield event.text
        result = stream.result
        if result.stop_reason == "deadline":
            raise TimeLimitError(f"the reply took longer than {request.timeout:g} s: raise the timeout")
        text = result.output if contract in ("text", "code", "verdict") and not result.calls else ""
        formed = request.output.term is not None or self._agent.policy.tool_choice not in ("auto", "none")
        if result.stop_reason == "refused" and formed:
            text = ""  # a refusal has not the form that is asked for
        if text and not streamed:
            yield text  # a refusal
        return Reply(text=text, calls=result.calls, run=result, read=read, reused=reused)

    def _adjusted(self, policy: Policy) -> Policy:
        """The policy without what would leave the form that is asked for, be done twice, or has nothing to work on."""
        lacks = {"answer"} if self.request.tools else {"answer", "calls"}
        fit = tuple(name for name in policy.skills if self._runtime.contract(name) not in lacks)
        policy = replace(policy, repairs=0, skills=fit)
        if self.request.retry and self.request.tools and policy.tool_choice == "auto" and not policy.skills:
            callers = [name for name in self._runtime.with_contract("calls") if name not in policy.forbid]
            policy = replace(policy, skills=tuple(callers[:1]))
        if self.request.output.term is None and not self.request.sampling.stop:
            return policy
        coders = set(self._runtime.with_contract("code")).difference(policy.skills)
        return replace(policy, forbid=policy.forbid | coders)
