"""loraloop as a model of pydantic-ai: local, with calls and structured output that cannot leave their schemas."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

try:
    from pydantic_ai import ModelAPIError, UserError
    from pydantic_ai.exceptions import ModelContextWindowExceededError
    from pydantic_ai.messages import (
        FinishReason,
        ModelMessage,
        ModelResponse,
        ModelResponsePart,
        ModelResponseStreamEvent,
        TextPart,
        ToolCallPart,
    )
    from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse, check_allow_model_requests
    from pydantic_ai.profiles import ModelProfile, ModelProfileSpec
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import RunContext
    from pydantic_ai.usage import RequestUsage
except ImportError as error:
    raise ImportError(f"LoraloopModel needs pydantic-ai ({error}): pip install 'loraloop[pydantic-ai]'") from error

from loraloop.agent.guard.guard import Guard
from loraloop.agent.threads import awaited
from loraloop.agent.values.output_type import FREE, OutputType
from loraloop.agent.values.policy import Policy
from loraloop.integrations.conversation import tool_of
from loraloop.integrations.in_thread import in_thread
from loraloop.integrations.pydantic_ai_messages import conversation_of
from loraloop.integrations.pydantic_ai_tools import offered
from loraloop.integrations.reply import MAX_TOKENS, UNGUARDED, Reply, Replying, ReplyRequest, sampling_of
from loraloop.tool_schemas.errors import ContextLengthError, InputError, LimitError, LoraloopError

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime

PROVIDER = "loraloop"
_FINISH: dict[str, FinishReason] = {
    "answer": "stop",
    "code": "stop",
    "tool_call": "tool_call",
    "refused": "content_filter",
    "invalid": "error",
}


class LoraloopModelSettings(ModelSettings, total=False):
    """Settings of a request that only this model knows.

    Attributes:
        loraloop_skill: The skill of the first step, instead of the router's choice; `none` is the bare base.
        loraloop_min_p: Keeps tokens at least this probable, relative to the most probable one.
    """

    loraloop_skill: str
    loraloop_min_p: float


class LoraloopModel(Model[None]):
    """A runtime as a model of pydantic-ai.

    Each request is a run: the router reads the conversation and chooses the skill; the tools skill writes calls, which
    pydantic-ai runs; the base or another skill writes text. Where pydantic-ai requires a call, the tools skill writes
    at least one. Structured output is native by default: the base writes it, under its JSON Schema.

    Args:
        runtime: Base, skills and router; shared by any number of models and agents.
        policy: What is decided instead of by the router.
        guard: What stands between requests and texts from outside, such as `Guard()`; nothing by default.
        settings: Defaults of requests.
        profile: What is different from the model's own profile.

    Raises:
        InputError: The policy has a `tool_choice`, which is each request's here.
    """

    unsupported_settings = frozenset(
        {
            "citations", "extra_body", "extra_headers", "frequency_penalty", "logit_bias", "max_retries",
            "presence_penalty", "service_tier", "top_k",
        }
    )  # fmt: skip
    _unsupported_file_inputs = frozenset({"image", "document", "audio", "video"})

    def __init__(
        self,
        runtime: Runtime,
        *,
        policy: Policy | None = None,
        guard: Guard | None = None,
        settings: ModelSettings | None = None,
        profile: ModelProfileSpec | None = None,
    ) -> None:
        self.runtime = runtime
        self.policy, self.guard = policy or Policy(), guard or UNGUARDED
        if self.policy.tool_choice != "auto":  # pydantic-ai says in each request whether a call must come
            choice = self.policy.tool_choice
            raise InputError(
                f"give model_settings={{'tool_choice': {choice!r}}} to the agent, not Policy(tool_choice=…)"
            )
        super().__init__(settings=settings, profile=profile)

    @property
    def model_name(self) -> str:
        """The base's name."""
        return self.runtime.base.name

    @property
    def system(self) -> str:
        """The provider's name."""
        return PROVIDER

    def _provider_model_profile(self) -> ModelProfile:
        return ModelProfile(
            supports_json_schema_output=True,
            default_structured_output_mode="native",
            context_window=self.runtime.context,
        )

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """One response; see `Model.request`."""
        check_allow_model_requests()
        replying, _ = self._replying(messages, model_settings, model_request_parameters)
        with mapped_errors(self.model_name):
            *_, reply = await awaited(lambda: list(replying), replying.cancel)
        assert isinstance(reply, Reply)
        parts: list[ModelResponsePart] = [ToolCallPart(call.name, call.arguments) for call in reply.calls]
        if reply.text:
            parts.append(TextPart(reply.text))
        return ModelResponse(
            parts,
            usage=usage_of(reply),
            model_name=self.model_name,
            provider_name=PROVIDER,
            provider_details=details_of(reply),
            finish_reason=finish_of(reply),
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """One response, piece by piece; see `Model.request_stream`. Calls come whole.

        Args:
            messages: The conversation so far.
            model_settings: Settings of the request, which go before those of the model; None for none.
            model_request_parameters: Tools and output of the request.
            run_context: The run of pydantic-ai; not used.
        """
        check_allow_model_requests()
        replying, parameters = self._replying(messages, model_settings, model_request_parameters)
        pieces = in_thread(iter(replying), replying.cancel)
        try:
            yield LoraloopStreamedResponse(parameters, self.model_name, pieces, replying)
        finally:
            await pieces.aclose()

    async def count_tokens(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> RequestUsage:
        """Tokens of the conversation as the base reads it, tools and instructions included."""
        replying, _ = self._replying(messages, model_settings, model_request_parameters)
        return RequestUsage(input_tokens=len(self.runtime.base.chat.render(replying.messages)))

    def _replying(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> tuple[Replying, ModelRequestParameters]:
        with mapped_errors(self.model_name):
            settings, parameters = self.prepare_request(settings, parameters)
            options: Mapping[str, Any] = settings or {}
            talk = conversation_of(messages, parameters)
            choice, definitions = offered(options.get("tool_choice"), parameters)
            policy = replace(self.policy, tool_choice=choice)
            if options.get("parallel_tool_calls") is False:
                policy = replace(policy, max_calls=1, min_calls=min(policy.min_calls, 1))
            if skill := options.get("loraloop_skill"):
                policy = replace(policy, skills=(skill, *policy.skills))
            timeout = options.get("timeout")
            output: OutputType[Any] = FREE
            if parameters.output_object is not None:
                output = OutputType.of(parameters.output_object.json_schema, on_unsupported="check")
            tools = (tool_of(each.name, each.description or "", each.parameters_json_schema) for each in definitions)
            request = ReplyRequest(
                messages=tuple(talk.messages),
                system="\n\n".join(talk.system),
                tools=tuple(tools),
                answered=frozenset(talk.answered),
                retry=talk.retry,
                output=output,
                policy=policy,
                guard=self.guard,
                sampling=sampling_of(options, options.get("loraloop_min_p"), options.get("stop_sequences") or ()),
                max_tokens=options.get("max_tokens") or MAX_TOKENS,
                timeout=timeout.read if isinstance(timeout, httpx.Timeout) else timeout,
            )
            return Replying(self.runtime, request), parameters


@dataclass
class LoraloopStreamedResponse(StreamedResponse):
    """A response that is being written."""

    _name: str
    _pieces: AsyncIterator[str | Reply]
    _replying: Replying
    _timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        with mapped_errors(self._name):
            async for piece in self._pieces:
                if isinstance(piece, str):
                    for event in self._parts_manager.handle_text_delta(vendor_part_id="text", content=piece):
                        yield event
                    continue
                for number, call in enumerate(piece.calls):
                    yield self._parts_manager.handle_tool_call_part(
                        vendor_part_id=number, tool_name=call.name, args=call.arguments
                    )
                self._usage = usage_of(piece)
                self.finish_reason, self.provider_details = finish_of(piece), details_of(piece)

    async def close_stream(self) -> None:
        """Ends it at its next token."""
        self._replying.cancel()

    @property
    def model_name(self) -> str:
        return self._name

    @property
    def provider_name(self) -> str:
        return PROVIDER

    @property
    def provider_url(self) -> None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self._timestamp


def usage_of(reply: Reply) -> RequestUsage:
    """Tokens of a reply; what was read from a cache is part of the input, as everywhere in pydantic-ai."""
    return RequestUsage(
        input_tokens=reply.read,
        cache_read_tokens=reply.reused,
        output_tokens=reply.written,
        details={"forced_tokens": reply.forced},
    )


def finish_of(reply: Reply) -> FinishReason:
    """The reason of a reply's end."""
    return _FINISH.get(reply.run.stop_reason, "length")


def details_of(reply: Reply) -> dict[str, Any]:
    """The run behind a reply: why it ended, its steps' skills and outcomes, and its milliseconds."""
    steps = [{"skill": step.skill, "outcome": step.outcome} for step in reply.run.steps]
    return {"finish_reason": reply.run.stop_reason, "steps": steps, "ms": reply.run.ms}


@contextmanager
def mapped_errors(model: str) -> Iterator[None]:
    """Our errors as those that pydantic-ai acts on."""
    try:
        yield
    except ContextLengthError as error:
        raise ModelContextWindowExceededError(model, str(error)) from error
    except LimitError as error:
        raise ModelAPIError(model, str(error)) from error
    except LoraloopError as error:
        if isinstance(error, AssertionError):  # of a test's script
            raise
        raise UserError(str(error)) from error
