"""A step that is about to run: its skill and its tools are decided, and the caller of `Agent.iter` may change them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent.dates.notes import with_date_note
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.loop.grammars import StepGrammars
from loraloop.agent.loop.route import decision_of
from loraloop.agent.messages import is_date_note
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.step import Decision
from loraloop.agent.values.tool_choice import CallForm
from loraloop.router.decision import Route
from loraloop.tool_schemas.errors import InputError, unknown


@dataclass(slots=True)
class StepPlan:
    """The decisions about a step before it runs.

    Attributes:
        index: The step, from 0.
        decision: The skill, who chose it, and how sure the router is.
        route: The router's answer; None where it was not asked.
        form: Which tools it may call, and how many calls.
        open_tools: The tools that the guard allows; None where it allows all.
        extra_prompt: Extra prompt text of the caller, which only this step sees.
    """

    index: int
    decision: Decision
    route: Route | None
    form: CallForm
    open_tools: tuple[str, ...] | None = None
    extra_prompt: str = ""

    @property
    def judging(self) -> bool:
        """Whether a gate of the guard asks for a verdict."""
        return self.decision.by == "screen"


class Pending:
    """A step that is about to run. The trace shows what is changed here as decided by the `caller`.

    Attributes:
        edited: Whether the last message was changed, so that the step is decided again.
        stopped: Whether the run ends here.

    Args:
        runtime: The run's.
        grammars: What its steps may write.
        trunk: The transcript.
        plan: What is decided, and changed here.
        today: The current date, for the date note of an edited message; None for no notes.
    """

    def __init__(
        self, runtime: Runtime, grammars: StepGrammars, trunk: Transcript, plan: StepPlan, today: date | None
    ) -> None:
        self.edited = False
        self.stopped = False
        self._plan = plan
        self._runtime = runtime
        self._grammars = grammars
        self._trunk = trunk
        self._today = today

    @property
    def index(self) -> int:
        """The step, from 0."""
        return self._plan.index

    @property
    def decision(self) -> Decision:
        """The step's skill, who chose it, and how sure the router is."""
        return self._plan.decision

    @property
    def extra_prompt(self) -> str:
        """Extra prompt text that only this step sees; see `tell`."""
        return self._plan.extra_prompt

    @property
    def messages(self) -> tuple[Message, ...]:
        """The transcript so far."""
        return tuple(span.message for span in self._trunk.messages)

    @property
    def skill(self) -> str:
        """The skill that will run; `none` is the bare base."""
        return self.decision.skill

    @property
    def routed(self) -> str:
        """The router's choice; empty where the router was not asked."""
        return self.decision.route.routed

    @property
    def probability(self) -> float:
        """The router's probability of the step's skill."""
        return self.decision.route.probability

    @property
    def tools(self) -> tuple[str, ...]:
        """Tools that the step may call, if it calls any."""
        return self._plan.form.names

    def use(self, skill: str) -> None:
        """Gives the step another skill.

        Raises:
            UnknownNameError: There is no such skill.
            InputError: It has nothing to work on: no tools, or no passages.
        """
        self._runtime.check(skill)
        self._grammars.check(self._runtime.contract(skill), skill, self._plan.form)
        self._plan.decision = decision_of(skill, self._plan.route, "caller")

    def mask_tools(self, *names: str) -> None:
        """Takes tools away from this step.

        Raises:
            UnknownNameError: There is no such tool.
            InputError: The step calls tools, and none is left: use another skill first.
        """
        for name in names:
            if name not in self.tools:
                raise unknown("tool", str(name), self.tools)
        if self._runtime.contract(self.decision.skill) == "calls" and set(self.tools) <= set(names):
            raise InputError(
                f"{self.skill!r} calls tools, and every tool would be masked: use another skill first, or keep one"
            )
        self._plan.form = self._plan.form.without(names)

    def tell(self, text: str) -> None:
        """Adds prompt text that only this step sees; it never enters the transcript."""
        _check_text(text)
        self._plan.extra_prompt = text

    def edit(self, content: str) -> None:
        """Puts another content in the place of the last message, which is a tool's result or the user's.

        The message gets its own date note, is screened, and the step is decided again; what changed is read again, and
        `prefilled` counts it. The content that it has changes nothing, so that a loop over the steps may edit each
        message.

        Raises:
            InputError: The last message is the assistant's.
            ContextLengthError: The content does not fit.
        """
        _check_text(content)
        last, trunk = self._trunk.messages[-1], self._trunk
        role = last.message.role
        if role not in ("user", "tool"):
            raise InputError(f"the last message is the {role}'s: only what came from outside can be edited")
        if content == last.message.content:
            return
        edited, chat = Message(role, content, _without_passages(last.message.origin)), self._runtime.base.chat
        before = [span.message for span in trunk.messages[:-1]]
        if role == "user" and before and is_date_note(before[-1]):
            before.pop()
        made = with_date_note(edited, self._today, before)
        start = trunk.messages[len(before)].start
        lines = [(each, chat.message(each.role, each.content, not before)) for each in made]
        size = sum(len(ids) for _, ids in lines)
        trunk.room(size - (last.end - start), "the transcript with the edited message")
        trunk.cut(start)
        for message, ids in lines:
            trunk.append(message, ids)
        self.edited = True

    def stop(self) -> None:
        """Ends the run before this step; the result holds what there is, with the stop reason `stopped`."""
        self.stopped = True


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"the text is {text!r}: give a text")


def _without_passages(origin: Origin | None) -> Origin | None:
    """The origin of a message whose content was replaced: the places of its passages are no longer known."""
    if origin is None or not origin.passages:
        return origin
    return replace(origin, passages=(), trusted=origin.trusted and all(span.trusted for span in origin.passages))
