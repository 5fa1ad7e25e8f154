"""What the router is told about a step, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NONE = "none"
AFTER = ("user", "tool", "dropped")


@dataclass(frozen=True, slots=True)
class RouterState:
    """The facts that decide which outcomes are possible at a step.

    Attributes:
        tools: Tools are registered.
        passages: The request came with passages.
        python: Python code can be run.
        masked: Skills that must not be chosen now: a branch of theirs was dropped, or the bank lacks them.
        after: What the trunk ends with: a `user` message, a `tool` result, or the same message as before because a
            branch was `dropped`.
    """

    tools: bool = False
    passages: bool = False
    python: bool = False
    masked: frozenset[str] = field(default_factory=frozenset)
    after: str = "user"

    def __post_init__(self) -> None:
        if self.after not in AFTER:
            raise ValueError(f"unknown value of after {self.after!r}: use one of {', '.join(AFTER)}")
        if NONE in self.masked:
            raise ValueError("none cannot be masked: the base can always answer")

    @property
    def may_call(self) -> bool:
        """Whether the user's message may need a call."""
        return self.tools and self.after != "tool"

    def blocked(self, skill: str) -> bool:
        """Whether the skill cannot be chosen: it is masked, or what it works on is absent."""
        if skill in self.masked:
            return True
        return (skill == "tools" and not self.tools) or (skill == "retrieval" and not self.passages)


@dataclass(frozen=True, slots=True)
class ScreenResult:
    """The screen's calibrated probability that the last message is unsafe, and whether to ask the safety skill.

    Attributes:
        probability: Probability that the message is unsafe.
        positive: Whether the safety skill is asked.
        threshold: Minimum probability at which the safety skill is asked.
    """

    probability: float
    positive: bool
    threshold: float


@dataclass(frozen=True, slots=True)
class Route:
    """The outcome of a choice.

    Attributes:
        skill: The chosen skill; `none` for the base.
        probability: Calibrated probability of `skill` among what could be chosen.
        abstained: `none` was taken because the best skill was below the threshold, or the features lie far from all
            training data.
        runners_up: The other outcomes with their probabilities, best first.
        masked: Skills that could not be chosen.
        reason: In words, for traces.
        threshold: A skill less probable than this is not taken; None for a router without one.
        far: Whether the features lie far from all training data.
        call: Probability that the last message, a user's, needs a call; None where the router cannot tell.
    """

    skill: str
    probability: float
    abstained: bool
    runners_up: tuple[tuple[str, float], ...]
    masked: tuple[str, ...]
    reason: str = ""
    threshold: float | None = None
    far: bool = False
    call: float | None = None

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Probabilities by skill."""
        return {self.skill: self.probability, **dict(self.runners_up)}


def route_of(shares: Mapping[str, float], state: RouterState, threshold: float, far: str = "") -> Route:
    """The likeliest of the outcomes that a step can take, or `none` where a skill falls short of the threshold.

    Args:
        shares: Probabilities by outcome; those of the ones that can be taken are scaled to one.
        state: What can be taken.
        threshold: A skill less probable than this is not taken.
        far: In words, that the features lie far from all training data; empty where they do not.
    """
    open_to_it = {name: share for name, share in shares.items() if not state.blocked(name)}
    total = sum(open_to_it.values())
    ranked = sorted(((name, share / total) for name, share in open_to_it.items()), key=lambda each: -each[1])
    best, probability = ranked[0]
    below = probability < threshold
    abstained = best != NONE and (below or bool(far))
    reason = "most probable" if len(ranked) > 1 else "nothing else applies"
    if abstained:
        reason = f"{best} at {probability:.2f} is below the threshold {threshold:.2f}" if below else far
    skill = NONE if abstained else best
    return Route(
        skill=skill,
        probability=dict(ranked)[skill],
        abstained=abstained,
        runners_up=tuple(each for each in ranked if each[0] != skill),
        masked=tuple(name for name in shares if state.blocked(name)),
        reason=reason,
        threshold=threshold,
        far=bool(far),
    )
