"""What of a trace is somebody's text: masked by a function, or left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message

if TYPE_CHECKING:
    from loraloop.adapters.base.origin import Origin
    from loraloop.agent.result import CallRecord, Compaction, Step
    from loraloop.agent.tracing.parts import Ended, Happened
    from loraloop.agent.tracing.trace import Trace

LEFT_OUT = "(left out)"
"""What stands for an error whose text is left out: that there was one is no secret."""

Texts = Callable[[str], str]
Data = Callable[[Any], Any]


def masked(trace: Trace, mask: Texts) -> Trace:
    """The trace with `mask` let over each text of users, tools and the model, in structures text by text."""

    def over(value: Any) -> Any:
        if isinstance(value, str):
            return mask(value)
        if isinstance(value, dict):
            return {key: over(item) for key, item in value.items()}
        return [over(item) for item in value] if isinstance(value, list | tuple) else value

    return replace(_changed(trace, mask, mask, over), content="masked")


def emptied(trace: Trace) -> Trace:
    """The trace without texts, arguments, results, schemas of answers and what events say."""

    def nothing(value: Any) -> Any:
        return {} if isinstance(value, dict) else None

    changed = _changed(trace, lambda text: "", lambda text: LEFT_OUT if text else "", nothing)
    policy, guard = (
        {key: "" if key.endswith("cue") else value for key, value in changed.settings.policy.items()},
        {**changed.settings.guard, "refusal": ""},
    )
    settings = replace(changed.settings, policy=policy, guard=guard, output=None)
    return replace(changed, content="none", settings=settings)


def _changed(trace: Trace, text: Texts, error: Texts, data: Data) -> Trace:
    def messages(given: tuple[Message, ...]) -> tuple[Message, ...]:
        return tuple(Message(each.role, text(each.content), origin(each.origin)) for each in given)

    def origin(given: Origin | None) -> Origin | None:
        return None if given is None else replace(given, passages=())  # they are places in the text

    def call(record: CallRecord) -> CallRecord:
        failed = None if record.error is None else error(record.error)
        wanted = None if record.wanted is None else data(record.wanted)
        kept = replace(record, arguments=data(record.arguments), result=data(record.result), error=failed)
        return replace(kept, wanted=wanted)

    def step(each: Step) -> Step:
        return replace(each, text=text(each.text), error=error(each.error), calls=tuple(map(call, each.calls)))

    def compaction(each: Compaction) -> Compaction:
        return replace(each, shortened=messages(each.shortened), removed=messages(each.removed))

    def event(each: Happened) -> Happened:
        return replace(each, data={name: _said(name, value, data) for name, value in each.data.items()})

    def end(each: Ended) -> Ended:
        return replace(
            each,
            output=text(each.output),
            messages=messages(each.messages),
            calls=tuple(replace(one, arguments=data(one.arguments)) for one in each.calls),
            value=data(each.value),
            compactions=tuple(map(compaction, each.compactions)),
        )

    return replace(
        trace,
        prompt=text(trace.prompt),
        messages=messages(trace.messages),
        passages=tuple(replace(each, text=text(each.text), title=text(each.title)) for each in trace.passages),
        steps=tuple(map(step, trace.steps)),
        events=tuple(map(event, trace.events)),
        end=None if trace.end is None else end(trace.end),
        error=error(trace.error),
    )


_NAMES = frozenset(
    {"activation", "category", "decided_by", "event", "hook", "masked", "mixture", "name", "reason", "routed"}
    | {"runners_up", "skill", "skills", "slot", "tools"}
)


def _said(name: str, value: Any, data: Data) -> Any:
    """A field of an event: counts, probabilities and names are nobody's text."""
    if name in _NAMES or value is None or isinstance(value, int | float):
        return value
    return data(value)
