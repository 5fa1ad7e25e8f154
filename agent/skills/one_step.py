"""One step of a skill on messages: not routed, screened or acted on. Its transcript is kept for what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from loraloop.agent.engine.cache.sequence import RequestContext
from loraloop.agent.engine.generate import Delta
from loraloop.agent.engine.step import StepOutput, StepRequest, checked, transcript
from loraloop.agent.threads import exit_waits, until_exit

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message
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

    What it writes does not stay in the transcript.

    Args:
        runtime: Where it runs.
        messages: The transcript.
        request: What is written.

    Raises:
        UnknownNameError: There is no such skill.
        ContextLengthError: The messages leave no room in the context.
        SchemaError: No value was found that passes the checks of the grammar.
        LimitError: No text of the grammar fits into the tokens, or every slot is in use.
    """
    start, engine = perf_counter(), runtime.engine
    request = replace(request, cancelled=until_exit(request.cancelled))
    trunk = transcript(engine, runtime.base.chat.complete(messages))
    trunk.request_context = RequestContext(0, request.deadline, request.cancelled)
    try:
        with engine.step(trunk, request) as step:
            trunk.room(trunk.context - len(trunk.ids) - step.room + 1)  # virtual tokens take positions too
            yield from step.write()
            out = checked(step.output)
    finally:
        engine.close(trunk)
    yield replace(out, ms=round((perf_counter() - start) * 1e3, 3))
