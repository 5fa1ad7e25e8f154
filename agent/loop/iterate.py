"""A run step by step: the caller looks at each decision before it runs, and may change it or stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Generic

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.events import Event, Planned
from loraloop.agent.loop.deciding import forced
from loraloop.agent.loop.job import Decision
from loraloop.agent.result import RunResult, T
from loraloop.agent.skills.mixture import Mixture, as_choice
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.loop.grammars import Forms
    from loraloop.agent.loop.run import Run
    from loraloop.agent.runtime import Runtime


class Pending:
    """A step that is about to run. What is changed here is in the trace as decided by the `caller`.

    Attributes:
        index: The step, from 0.
        decision: Which skill it gets, how sure the router is, and who says so.
        told: What the step is told in its branch alone; see `tell`.
        edited: Whether the last message was changed, so that the step is decided again.
        stopped: Whether the run ends here.

    Args:
        runtime: The run's.
        forms: What its steps may write.
        index, decision: See above.
        trunk: The transcript.
    """

    def __init__(self, runtime: Runtime, forms: Forms, index: int, decision: Decision, trunk: Trunk) -> None:
        self.index = index
        self.decision = decision
        self.told = ""
        self.edited = False
        self.stopped = False
        self._runtime = runtime
        self._forms = forms
        self._trunk = trunk

    @property
    def messages(self) -> tuple[Message, ...]:
        """The transcript so far."""
        return tuple(span.message for span in self._trunk.messages)

    @property
    def skill(self) -> str:
        """What will run; `none` is the bare base."""
        return self.decision.skill

    @property
    def routed(self) -> str:
        """What the router would choose; empty where it was not asked."""
        return self.decision.routed

    @property
    def probability(self) -> float:
        """How sure the router is."""
        return self.decision.probability

    @property
    def tools(self) -> tuple[str, ...]:
        """Tools that the step may call, if it calls any."""
        return tuple(tool.name for tool in self._forms.calls.tools)

    def use(self, skill: str | Mapping[str, float] | Mixture) -> None:
        """Gives the step another skill, or a mixture.

        Raises:
            UnknownNameError: There is no such skill.
            InputError: It has nothing to work on: no tools, or no passages.
        """
        choice = as_choice(skill)
        self._runtime.check(choice)
        self._forms.check(self._runtime.contract(choice), str(choice))
        if self.decision.route is not None:
            self.decision = replace(forced(choice, self.decision.route), by="caller")
        else:
            mixture = choice if isinstance(choice, Mixture) else None
            self.decision = Decision(str(choice), 0.0, False, (), self.decision.masked, "caller", mixture)

    def mask_tools(self, *names: str) -> None:
        """Takes tools away from this step.

        Raises:
            UnknownNameError: There is no such tool.
            InputError: The step calls tools, and none is left: use another skill first.
        """
        for name in names:
            if name not in self.tools:
                raise unknown("tool", name, self.tools)
        calls = self._runtime.contract(self.decision.mixture or self.decision.skill) == "calls"
        if calls and set(self.tools) <= set(names):
            raise InputError(f"{self.skill!r} calls tools, and none is left: use another skill first, or keep one")
        self._forms.mask(names)

    def tell(self, text: str) -> None:
        """Tells the step something before it writes, in its branch alone: the transcript never holds it."""
        self.told = text

    def edit(self, content: str) -> None:
        """Puts another content in the place of the last message, which is a tool's result or the user's.

        The message is screened and the step is decided again; what changed is read again, and `prefilled` counts it.

        Raises:
            InputError: The last message is the assistant's.
            ContextLengthError: The content does not fit.
        """
        last, trunk = self._trunk.messages[-1], self._trunk
        role = last.message.role
        if role not in ("user", "tool"):
            raise InputError(f"the last message is the {role}'s: only what came from outside can be edited")
        ids = self._runtime.base.chat.message(role, content)
        trunk.room(len(ids) - (last.end - last.start), "the transcript with the edited message")
        trunk.cut(last.start)
        trunk.append(Message(role, content, _without_passages(last.message.origin)), ids)
        self._forms.unmask()
        self.edited = True

    def stop(self) -> None:
        """Ends the run before this step; the result holds what there is, with the stop reason `stopped`."""
        self.stopped = True


def _without_passages(origin: Origin | None) -> Origin | None:
    """The origin of a message whose content was replaced: where passages stood in it is not known any more."""
    if origin is None or not origin.passages:
        return origin
    return replace(origin, passages=(), trusted=origin.trusted and all(span.trusted for span in origin.passages))


class RunSteps(Generic[T]):
    """The pending steps of one run, for `for` or `async for`; `result` is there after the last one.

    As a context manager, it gives the run's memory back where the loop is left early.

    Attributes:
        happened: What the run told since the last pending step.

    Args:
        run: What `Agent.iter` has begun.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        run.stepwise = True
        self._events = run.events()
        self.happened: tuple[Event, ...] = ()

    @property
    def result(self) -> RunResult[T]:
        """The run's result.

        Raises:
            InputError: while the run is not over.
        """
        if self._run.result is None:
            raise InputError("the run is not over: go on to the end, or call stop() or finish()")
        return self._run.result

    def stop(self) -> RunResult[T]:
        """Ends the run before the pending step, and gives what there is."""
        if self._run.pending is None:
            self._next()
        if self._run.pending is not None:
            self._run.pending.stop()
        return self.finish()

    def finish(self) -> RunResult[T]:
        """Runs the rest without looking at it."""
        for _ in self._events:
            pass
        return self.result

    def close(self) -> None:
        """Stops without a result."""
        self._run.cancel()
        self._events.close()

    def __enter__(self) -> RunSteps[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._run.pending is not None and self._run.pending.stopped:
            self.finish()
        else:
            self.close()

    def __iter__(self) -> Iterator[Pending]:
        while (pending := self._next()) is not None:
            yield pending

    async def __aiter__(self) -> AsyncIterator[Pending]:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(self._next))
            try:
                pending = await asyncio.shield(step)
            except asyncio.CancelledError:
                self._run.cancel()
                await asyncio.wait([step])
                raise
            if pending is None:
                return
            yield pending

    def _next(self) -> Pending | None:
        happened: list[Event] = []
        for event in self._events:
            happened.append(event)
            if isinstance(event, Planned):
                break
        else:
            self.happened = tuple(happened)
            return None
        self.happened = tuple(happened)
        return self._run.pending
