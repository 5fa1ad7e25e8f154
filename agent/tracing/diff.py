"""Where two traces part: in what ran, step by step, and in how it ended. Times are set side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loraloop.agent.result import plain
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.result import CallRecord, Step
    from loraloop.agent.tracing.trace import Trace

ABSENT = "(absent)"
"""What stands for a step, a call or a setting that one of the two has not."""

_STEP = (
    *("skill", "decided_by", "routed", "abstained", "masked", "activation"),
    *("beams", "outcome", "kept", "text", "error"),
)
_NUMBERS = ("probability", "unsafe", "no_call", "no_answer")
_CALL = ("name", "arguments", "wanted", "result", "error", "retry", "repeated", "left_out")
_END = ("stop_reason", "output", "citations", "category", "calls")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two traces differ.

    Attributes:
        place: `setup`, `step 2`, `step 2, call 1` (both from 1), or `end`.
        field: What differs there.
        before: JSON data of the first trace.
        after: JSON data of the second.
    """

    place: str
    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Took:
    """How long one phase of one step took in both traces, in milliseconds; 0 where it did not take place."""

    step: int
    phase: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Differences:
    """What is different in a second trace; true if anything is.

    Attributes:
        setup: What ran, and under which settings.
        behaviour: Steps, calls and the end, in order: what comes first is often the cause of what follows.
        notes: What could not be compared, or not be done again.
        times: The phases of the steps that both have; no difference by themselves.
    """

    setup: tuple[Difference, ...]
    behaviour: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    times: tuple[Took, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.setup or self.behaviour)

    @property
    def first(self) -> Difference | None:
        """Where the runs part; None where they do not."""
        return self.behaviour[0] if self.behaviour else None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def diff(before: Trace, after: Trace, *, tolerance: float = 1e-3) -> Differences:
    """Compares two traces. Run ids, dates, times, versions and machines are no differences.

    Args:
        before: A trace.
        after: Another.
        tolerance: Probabilities that differ by no more are the same: other processors round differently.

    Raises:
        InputError: One of the two was made without contents, and the other with them.
    """
    if before.content != after.content and "none" in (before.content, after.content):
        raise InputError("one of the traces has no contents: leave those of the other out (without_contents) as well")
    notes = []
    if before.content == "none":
        notes.append("the traces have no contents: texts, arguments and results were not compared")
    behaviour = [*_steps(before.steps, after.steps, tolerance), *_end(before, after)]
    return Differences(
        tuple(_setup(before, after)), tuple(behaviour), tuple(notes), tuple(_times(before.steps, after.steps))
    )


def _setup(before: Trace, after: Trace) -> Iterator[Difference]:
    def changed(field: str, old: Any, new: Any) -> Iterator[Difference]:
        if old != new:
            yield Difference("setup", field, plain(old), plain(new))

    for name in ("name", "form", "architecture", "weights", "context"):
        yield from changed(f"base.{name}", getattr(before.base, name), getattr(after.base, name))
    yield from changed("router", before.router, after.router)
    for kind in ("skills", "tools"):
        old, new = ({each.name: plain(each) for each in getattr(trace, kind)} for trace in (before, after))
        for name in dict.fromkeys([*old, *new]):
            yield from _fields(f"{kind}.{name}", old.get(name, ABSENT), new.get(name, ABSENT), changed)
    for part in ("limits", "policy", "sampling", "guard"):
        yield from _fields(part, getattr(before.settings, part), getattr(after.settings, part), changed)
    for name in ("output", "python"):
        yield from changed(name, getattr(before.settings, name), getattr(after.settings, name))
    yield from changed("prompt", before.prompt, after.prompt)
    yield from changed("passages", before.passages, after.passages)
    yield from changed("messages", before.messages, after.messages)


def _fields(place: str, old: Any, new: Any, changed: Any) -> Iterator[Difference]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        yield from changed(place, old, new)
        return
    for name in dict.fromkeys([*old, *new]):
        yield from changed(f"{place}.{name}", old.get(name, ABSENT), new.get(name, ABSENT))


def _steps(before: tuple[Step, ...], after: tuple[Step, ...], tolerance: float) -> Iterator[Difference]:
    for index in range(max(len(before), len(after))):
        place = f"step {index + 1}"
        old, new = (steps[index] if index < len(steps) else None for steps in (before, after))
        if old is None or new is None:
            yield Difference(place, "step", _named(old), _named(new))
            continue
        for field in _STEP:
            if (was := getattr(old, field)) != (now := getattr(new, field)):
                yield Difference(place, field, plain(was), plain(now))
        for field in _NUMBERS:
            if not _near(was := getattr(old, field), now := getattr(new, field), tolerance):
                yield Difference(place, field, was, now)
        yield from _calls(place, old.calls, new.calls)


def _named(step: Step | None) -> str:
    return ABSENT if step is None else f"{step.skill}: {step.outcome}"


def _near(old: float | None, new: float | None, tolerance: float) -> bool:
    return old == new if old is None or new is None else abs(old - new) <= tolerance


def _calls(step: str, before: tuple[CallRecord, ...], after: tuple[CallRecord, ...]) -> Iterator[Difference]:
    for number in range(max(len(before), len(after))):
        place = f"{step}, call {number + 1}"
        old, new = (calls[number] if number < len(calls) else None for calls in (before, after))
        if old is None or new is None:
            yield Difference(place, "call", ABSENT if old is None else old.name, ABSENT if new is None else new.name)
            continue
        for field in _CALL:
            if (was := getattr(old, field)) != (now := getattr(new, field)):
                yield Difference(place, field, plain(was), plain(now))


def _end(before: Trace, after: Trace) -> Iterator[Difference]:
    if before.error != after.error:
        yield Difference("end", "error", before.error, after.error)
    if before.end is None or after.end is None:
        return
    for field in _END:
        if (was := getattr(before.end, field)) != (now := getattr(after.end, field)):
            yield Difference("end", field, plain(was), plain(now))


def _times(before: tuple[Step, ...], after: tuple[Step, ...]) -> Iterator[Took]:
    for old, new in zip(before, after, strict=False):
        for phase in dict.fromkeys([*old.ms, *new.ms]):
            yield Took(old.index, phase, old.ms.get(phase, 0.0), new.ms.get(phase, 0.0))
