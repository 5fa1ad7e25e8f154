"""A question for what a call would need and nobody said: the base words it, in a form that has to name it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.grammar import Regex

LEAST_TOKENS = 64
"""A step with fewer has no room for a question."""
_MOST, _LONGEST = 3, 5
_GAP = "([a-zA-Z']{1,14} ){0,3}"
_TAIL = "( [a-zA-Z']{1,14}){0,5}"


def spoken(name: str) -> str:
    """The name of an argument as one says it, in at most five words: `startTime` and `start_time` are `start time`."""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))
    return " ".join(words[:_LONGEST]).lower()


def question(names: Sequence[str]) -> Regex:
    """A sentence that asks for arguments, of which it names up to three.

    Args:
        names: Of the arguments, at least one.
    """
    from loraloop.tool_schemas.grammar.grammar import Regex

    named = ",?( and|) ".join(_GAP + spoken(name) for name in names[:_MOST])
    told = f"(I need to know|Please tell me) {named}{_TAIL}\\."
    asked = f"((Could you tell me|What is) (the|your)|Which) {named}{_TAIL}\\?"
    return Regex(f"({told}|{asked})")


def cue_for(cue: str, names: Sequence[str]) -> str:
    """What the base is told, with the arguments in the place of `{missing}`."""
    words = [f"the {spoken(name)}" for name in names[:_MOST]]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return cue.replace("{missing}", listed)
