"""The guard: gates of the safety skill, and which tools a step may call, as values that an agent is given."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from loraloop.agent.values.limits import check_probability
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base.origin import Origin
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.values.step import Step

Place = Literal["input", "tools", "output"]
"""Where a gate stands: before a run acts on what the user said, on a tool's result, and before it gives its output."""
Reach = Literal["any", "planned", "read_only", "none"]
"""Tools that may be called once the transcript holds untrusted text: all; those that only read and those that the
user's own words need; those that only read; none."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The safety skill at one place: a screen that costs next to nothing, and a verdict where it is positive.

    Attributes:
        screen: Probability from which the screen asks for the verdict; the router's own threshold where None. 0 has
            every text judged, without a screen.
        unsafe_from: Probability of `unsafe` from which the verdict is unsafe; the one on the skill's card where None.
            Lower stops more.
        fail: What a text becomes whose verdict was cut off or is unreadable: stopped (`closed`), or let pass (`open`).
            An open gate may also be given to an agent whose runtime cannot judge at all; there it lets all pass.
        then: What an unsafe tool result means: `refuse` ends the run with the refusal; `withhold` puts a note in the
            place of the result, and the run goes on.
    """

    screen: float | None = None
    unsafe_from: float | None = None
    fail: Literal["closed", "open"] = "closed"
    then: Literal["refuse", "withhold"] = "refuse"

    def __post_init__(self) -> None:
        for name in ("screen", "unsafe_from"):
            check_probability(name, getattr(self, name))
        if self.fail not in ("closed", "open"):
            raise InputError(f"fail is {self.fail!r}: use 'closed' or 'open'")
        if self.then not in ("refuse", "withhold"):
            raise InputError(f"then is {self.then!r}: use 'refuse' or 'withhold'")


@dataclass(frozen=True, slots=True)
class GuardFacts:
    """The facts about a step that a guard's `allow` gets before the step's skill is chosen.

    Attributes:
        index: The step, from 0.
        prompt: What the user said.
        tools: Names of all that the step could call.
        untrusted: Origins of the untrusted messages that the transcript holds, in order.
        steps: The run's steps so far.
    """

    index: int
    prompt: str
    tools: tuple[str, ...]
    untrusted: tuple[Origin | None, ...]
    steps: tuple[Step, ...]


Allow = Collection[str] | Callable[[GuardFacts], Collection[str] | None]


@dataclass(frozen=True, slots=True)
class Guard:
    """The gates between an agent and texts from outside. They lower risks; no setting makes an agent immune.

    Attributes:
        input: The gate before the user's message; None for none.
        tools: The gate before what comes from outside: results of tools, which by default are withheld where they are
            unsafe, and the documents that a request comes with, which are always left out then.
        output: The gate before what the run gives out. With it, texts are not streamed: a step's text comes in one
            piece once it is found safe.
        allow: Names of the tools that a step may call; a function is asked before each step, and may return None for
            all. What is not allowed cannot be decoded.
        after_untrusted: Which of them may be called once the transcript holds untrusted text; see `Reach`.
        planned_from: Probability from which a tool counts as needed by the user's words; what is likelier where None.
        trust_passages: Whether passages may be followed like the user's own words.
        remind: Whether a step that calls tools is told, in its branch alone, that what came from outside is data, and
            to do what the user asked.
        refusal: What is said in the place of what a gate stopped.

    Raises:
        InputError: if a setting means nothing.
    """

    input: Gate | None = field(default_factory=Gate)
    tools: Gate | None = field(default_factory=lambda: Gate(then="withhold"))
    output: Gate | None = None
    allow: Allow | None = None
    after_untrusted: Reach = "any"
    planned_from: float | None = None
    trust_passages: bool = False
    remind: bool = False
    refusal: str = "I can't help with that."

    def __post_init__(self) -> None:
        for place in get_args(Place):
            gate = getattr(self, place)
            if gate is not None and not isinstance(gate, Gate):
                raise InputError(f"{place} is {gate!r}: give a Gate(…), or None for no gate")
            if gate is not None and gate.then == "withhold" and place != "tools":
                raise InputError(
                    f"{place} has a gate with then='withhold', which works for tools only: use then='refuse'"
                )
        if self.after_untrusted not in get_args(Reach):
            raise unknown("value of after_untrusted", str(self.after_untrusted), get_args(Reach))
        check_probability("planned_from", self.planned_from)
        if isinstance(self.allow, str):
            raise InputError(f"allow is {self.allow!r}: give a list of names, or a function")
        if not isinstance(self.refusal, str) or not self.refusal.strip():
            raise InputError(f"refusal is {self.refusal!r}: give the text that a refused user sees")

    def gate(self, place: Place) -> Gate | None:
        """The gate at a place."""
        gate: Gate | None = getattr(self, place)
        return gate


def judges(runtime: Runtime, gate: Gate) -> bool:
    """Whether a runtime has what a gate needs: a skill that writes verdicts, and a screen unless all is judged.

    A router that has no screen says so: `screens = False`.
    """
    screened = gate.screen == 0 or getattr(runtime.router, "screens", True)
    return bool(runtime.with_contract("verdict")) and screened


def default_guard(runtime: Runtime) -> Guard:
    """The guard of an agent that was given none: gates before what comes in, if the runtime can judge."""
    return Guard() if judges(runtime, Gate()) else Guard(input=None, tools=None)


def check_guard(guard: Guard, runtime: Runtime, tools: Collection[str]) -> None:
    """Checks that a runtime can keep a guard's gates, and that what it allows exists.

    Raises:
        InputError: A closed gate could never decide.
        UnknownNameError: A name that is allowed is no tool.
    """
    for place in get_args(Place):
        gate = guard.gate(place)
        if gate is not None and gate.fail == "closed" and not judges(runtime, gate):
            lacks = "router with a screen" if runtime.with_contract("verdict") else "skill that writes verdicts"
            raise InputError(
                f"the guard's gate at {place} cannot decide: this runtime has no {lacks}. Load one, "
                f"or give {place}=None, or Gate(fail='open') to let all pass"
            )
    if guard.allow is not None and not callable(guard.allow):
        for name in guard.allow:
            if name not in tools:
                raise unknown("tool", name, tools)
