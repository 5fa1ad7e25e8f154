"""What the caller decides instead of the router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from loraloop.adapters.base.messages import Message
from loraloop.agent.values.calls import Approval, PendingCall
from loraloop.agent.values.limits import check_number, check_probability
from loraloop.agent.values.step import Step
from loraloop.agent.values.tool_choice import choice_of
from loraloop.router.decision import NONE, Route
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.tool_schemas.tools.context import Context

ALL = "*"
"""Stands for every tool in `Policy.needs_approval`."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """The facts about a step that a policy's `decide` gets before the step's skill is chosen.

    Attributes:
        index: The step, from 0.
        prompt: What the user said.
        message: The transcript's last message: the user's, a tool's result, or the assistant's.
        after: What that is for the router: `user`, `tool`, or `dropped` where a branch was just dropped.
        route: What the router chooses, with the probabilities of all that can be chosen.
        masked: Skills that cannot be chosen.
        open: Names that can be, `none` among them.
        steps: The run's steps so far.
    """

    index: int
    prompt: str
    message: Message
    after: str
    route: Route
    masked: frozenset[str]
    open: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, init=False)
class Forbid:
    """What a policy's `decide` returns to have the router choose among the other skills, in this step alone.

    Args:
        names: Skills that it may not choose.
    """

    names: frozenset[str]

    def __init__(self, *names: str) -> None:
        if NONE in names:
            raise InputError("none cannot be forbidden: the base answers when no skill does")
        object.__setattr__(self, "names", frozenset(names))


Wish: TypeAlias = "str | Sequence[str] | Forbid | None"
"""What a policy's `decide` may return: a skill, several in order of preference, `Forbid`, or None."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities at which a step does something.

    Attributes:
        no_call: Minimum P(no call) at which a step that can call tools makes no call; None: the threshold on its
            skill's card, else the router's probability of a call (`Route.call`). A lower one calls less.
        no_answer: Minimum P(the passages hold no answer) at which a retrieval step says so; None: the threshold on its
            skill's card. A lower one answers less.
    """

    no_call: float | None = None
    no_answer: float | None = None

    def __post_init__(self) -> None:
        for name in ("no_call", "no_answer"):
            check_probability(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Policy:
    """Overrides of a run's decisions; each one is visible in the trace.

    Attributes:
        skills: Skills for the first choices, in order; then the router decides. `"none"` is the bare base.
        forbid: Skills never chosen.
        decide: Asked at each choice that `skills` and `tool_choice` leave open, with the step's facts, the router's
            choice among them. Returns a skill to force it, several in order of preference (what cannot
            be chosen is passed over), ``Forbid("code")`` to have the router choose without it, or None.
        thresholds: Probabilities from which a step calls nothing, or finds no answer.
        repeat_calls: Whether a call answered in this run may run again. If not, a step of only those is dropped.
        after_answer: Whether the run ends with a retrieval answer or routes again.
        tool_choice: `auto` lets the router and the skill decide about calls. `required` has the run begin with at
            least one call, a tool's name (or OpenAI's form of it) with at least one call of that tool alone; after
            that it is `auto`. `none` forbids calls.
        min_calls: Calls that a step of a tool skill writes at least; 0 lets it write none.
        max_calls: Calls that such a step writes at most; 1 for no parallel calls.
        repairs: How often a step may be decoded again because what it wrote is invalid: a call of a tool that is not
            strict, or an answer that its `output_type` refuses. The model is told what is wrong; at the last time the
            grammar enforces what it can also of tools that are not strict.
        needs_approval: Names of tools whose calls need approval, besides those that say so (`requires_approval`) or
            that say that they have effects; `"*"`: all. `python` is the program that the code skill writes.
        approve: Asked about each call that needs approval, while the run waits: ``(call, context)``, async, or sync in
            a thread of its own. Returns `Approve()`, perhaps with other arguments, `Deny("why")`, or None, at which, as
            without such a function, the run ends with `approval`; see `Agent.resume`. `auto_approve` approves
            everything.
        values: Which argument values must come from somewhere: stand in the conversation, a result, a passage or the
            schema, or be computed from these (docs/grounding.md). `check`: identifiers and e-mail addresses in every
            call, and every such value (numbers, dates, times, names, too) in calls of tools with effects; `effects`:
            the latter alone; `off`: none. A step with another value is written once more, then the user is asked.
        answers: `checked`: the answer of a run with calls, or of a step from passages, may name no number, date, time
            or identifier that stands in no record, and where there is a verdict skill it may not contradict the
            records; else what happened is the answer (docs/grounding.md). It is streamed when it has been checked.
            `free`: whatever the model writes.
    """

    skills: tuple[str, ...] = ()
    forbid: frozenset[str] = frozenset()
    decide: Callable[[StepFacts], Wish] | None = None
    thresholds: Thresholds = Thresholds()
    repeat_calls: bool = False
    after_answer: Literal["end", "route"] = "end"
    tool_choice: str | Mapping[str, Any] = "auto"
    min_calls: int = 0
    max_calls: int = 8
    repairs: int = 2
    needs_approval: str | Collection[str] = frozenset()
    approve: Callable[[PendingCall, Context[Any]], Approval | Awaitable[Approval | None] | None] | None = None
    values: Literal["check", "effects", "off"] = "check"
    answers: Literal["checked", "free"] = "checked"

    def __post_init__(self) -> None:
        for name in ("skills", "forbid", "needs_approval"):
            names = getattr(self, name)
            if not isinstance(names, Collection) or (isinstance(names, str | Mapping) and name != "needs_approval"):
                raise InputError(f"{name} is {names!r}: give a list of names, such as ('tools', 'none')")
            for other in (each for each in names if not isinstance(each, str)):
                raise InputError(f"{name} has {other!r}: give names")
        object.__setattr__(self, "skills", tuple(self.skills))
        object.__setattr__(self, "forbid", frozenset(self.forbid))
        object.__setattr__(self, "needs_approval", self.approval_names)
        for name, takes in (("approve", "(call, context)"), ("decide", "a step's facts")):
            if not callable(function := getattr(self, name)) and function is not None:
                raise InputError(f"{name} is {function!r}: give a function of {takes}")
        if self.after_answer not in ("end", "route"):
            raise InputError(f"after_answer is {self.after_answer!r}: use 'end' or 'route'")
        if self.values not in ("check", "effects", "off"):
            raise InputError(f"values is {self.values!r}: use 'check', 'effects' or 'off'")
        if self.answers not in ("checked", "free"):
            raise InputError(f"answers is {self.answers!r}: use 'checked' or 'free'")
        if not isinstance(self.repeat_calls, bool):
            raise InputError(f"repeat_calls is {self.repeat_calls!r}: give True or False")
        if not isinstance(self.thresholds, Thresholds):
            raise InputError(f"thresholds is {self.thresholds!r}: give Thresholds(no_call=…, no_answer=…)")
        object.__setattr__(self, "tool_choice", choice_of(self.tool_choice))
        check_number("min_calls", self.min_calls, least=0)
        check_number("max_calls", self.max_calls, least=1, why="; tool_choice='none' forbids calls")
        if self.min_calls > self.max_calls:
            raise InputError(
                f"min_calls is {self.min_calls} and max_calls {self.max_calls}: give 0 <= min_calls <= max_calls"
            )
        check_number("repairs", self.repairs, least=0)
        both = self.forbid.intersection(self.skills)
        if both:
            raise InputError(f"skill {min(both)!r} is both forced and forbidden: choose one")

    @property
    def approval_names(self) -> frozenset[str]:
        """`needs_approval`, as a set."""
        return frozenset((self.needs_approval,) if isinstance(self.needs_approval, str) else self.needs_approval)
