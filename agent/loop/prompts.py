"""What a step is told in its branch alone, before it writes: nothing of it stays in the transcript or its cache."""

from __future__ import annotations

from dataclasses import dataclass

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import Prompting
from loraloop.agent.loop.job import Decision, Job


@dataclass(frozen=True, slots=True)
class Repair:
    """A step that is decoded again.

    Attributes:
        decision: What it ran on.
        text: What it wrote.
        error: What is wrong with that.
        left: How often it may be tried after this time; 0 at the last.
    """

    decision: Decision
    text: str
    error: str
    left: int


def asides(
    job: Job, prompting: Prompting, contract: str, cue: str, repair: Repair | None, told: str = ""
) -> list[list[Message]]:
    """Messages that a step is told, the fullest form first; a step takes the first that fits.

    Args:
        job: The run's.
        prompting: Extra prompt text of the base.
        contract: What the step writes.
        cue: What the base is told here; empty for nothing.
        repair: What went wrong before, if the step is decoded again.
        told: What the caller tells this step.
    """
    asked = [text for text in (told, cue) if text]
    if contract == "text" and prompting.answer_form and (form := job.output.told()):
        asked.append(form)
    first = [Message("user", "\n".join(asked))] if asked else []
    if repair is None:
        return [first] if first else []
    # Not what it wrote: a small model that sees its own call copies it.
    error = [Message("user", f"That is not valid: {repair.error}\nWrite it again.")]
    return [[*first, *error], error]
