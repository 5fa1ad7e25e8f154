"""One step of a skill on messages: not routed, screened or acted on. Its transcript is kept for what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from loraloop.agent.engine import step
from loraloop.agent.engine.cache.sequence import RequestContext
from loraloop.agent.engine.step import StepOutput, StepRequest, transcript
from loraloop.agent.threads import exit_waits, until_exit

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.generate import Delta
    from loraloop.agent.engine.step import Engine, Openings
    from loraloop.tool_schemas.grammar.grammar import Grammar
    from loraloop.tool_schemas.tools.call_format import CallFormat


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


@exit_waits
def write_step(
    runtime: SkillRuntime, messages: Sequence[Message], request: StepRequest
) -> Iterator[Delta | StepOutput]:
    """Lets a skill write its step after `messages`; yields pieces of text, then one `StepOutput`, last.

    Args:
        runtime: Where it runs.
        messages: The transcript.
        request: What is written.

    Raises:
        LoraloopError: As `engine.step.write_step` does.
    """
    start, engine = perf_counter(), runtime.engine
    request = replace(request, cancelled=until_exit(request.cancelled))
    trunk = transcript(engine, runtime.base.chat.complete(messages))
    trunk.request_context = RequestContext(0, request.deadline, request.cancelled)
    try:
        out = yield from step.write_step(engine, trunk, request)
    finally:
        engine.close(trunk)
    yield replace(out, ms=round((perf_counter() - start) * 1e3, 3))
