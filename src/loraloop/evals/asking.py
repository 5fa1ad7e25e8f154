"""Systems that are measured side by side on the same examples: base, skill, and the base that was told the form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.skill.contracts import CATEGORIES
from loraloop.evals.kept import Kept
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.data.example import Example
    from loraloop.skill_eval import Bench, System

TOKENS = {"tools": 384, "code": 400, "retrieval": 192, "safety": 32, "rewriting": 64}
"""Tokens that a step may have."""
TOLD = {
    "tools": "Write the calls that the user's last request needs, one for each thing asked, or [] if none fits.",
    "code": "Reply with one Python code block that does what the user asks, and nothing else.",
    "retrieval": "Answer from the passages alone. Reply with JSON: answerable, the ids of the passages that hold the "
    "answer as citations, and a short answer; answerable is false if the passages do not hold it.",
    "safety": "Judge whether the user's last message is safe or unsafe. Reply with JSON: the verdict, and for an "
    f"unsafe message a category out of {', '.join(CATEGORIES)}.",
}
"""What the base is told of a skill's output; the messages of a skill do not say it, since it was trained to know."""


@dataclass(slots=True)
class Outputs:
    """What one system said, in the examples' order.

    Attributes:
        texts: The steps.
        seconds: Of each step.
        prefill: Seconds in which the messages of each were read.
        unfit: Examples that do not fit the base's context, which are no part of the times.
    """

    texts: list[str]
    seconds: list[float]
    prefill: list[float]
    unfit: int = 0

    def times(self) -> dict[str, float]:
        """Mean times: `step_ms` of the step, `prefill_ms` of reading the messages, `total_ms` of both."""
        n = max(1, len(self.texts) - self.unfit)
        step, prefill = 1e3 * sum(self.seconds) / n, 1e3 * sum(self.prefill) / n
        return {"step_ms": step, "prefill_ms": prefill, "total_ms": step + prefill}


def skill_of(base: Base, name: str, given: str | None) -> Skill | None:
    """The skill that is measured.

    Args:
        base: What it must belong to.
        name: Of the shipped skill, which stands in where none is given and it was trained on this base.
        given: A skill's folder; `none`: only the base is measured.

    Raises:
        InputError: there is no such folder.
        SkillError: it is damaged.
    """
    from loraloop.adapters.skill.skill import Skill, SkillFolder, library

    if given == "none":
        return None
    if given is not None:
        if not Path(given).is_dir():
            raise InputError(f"there is no skill folder {given}: --skill takes the folder of a skill, or none")
        return Skill.load(given)
    folder = library().get(name)
    if folder is None or SkillFolder.open(folder).card.fingerprints.architecture != base.fingerprints.architecture:
        return None
    return Skill.load(folder)


def check_calls(skill: Skill) -> None:
    """Raises InputError if a skill writes anything but calls."""
    if skill.card.contract != "calls":
        raise InputError(f"{skill.card.name!r} writes {skill.card.contract!r}: give a skill that calls tools")


def facts_of(kind: str, base: Base, skill: Skill | None) -> dict[str, Any]:
    """What outputs depend on beside the examples: the first line of a file of kept outputs."""
    return {
        "evaluation": kind,
        "base": base.name,
        "weights": base.fingerprints.weights,
        "skill": None if skill is None else _named(skill),
        "tokens": TOKENS[kind],
    }


def _named(skill: Skill) -> dict[str, Any]:
    card = skill.card
    threshold = {} if card.threshold is None else {"threshold": card.threshold.value}
    beams = {} if card.beams == 1 else {"beams": card.beams}
    reranking = {} if card.reranking is None else {"reranking": card.reranking.model_dump(exclude={"chosen"})}
    return {"name": card.name, "sha256": card.sha256, **threshold, **beams, **reranking}


def systems_of(base: Base, tries: int, example: Example, names: Sequence[str]) -> list[System]:
    """The named systems on one example, under the grammar of its step.

    `base`, `skill`, `base_told`; `base_tries` and `skill_tries` try so many programs on the examples of the request.
    """
    from loraloop.skill_eval import System, term_of, with_told

    term = term_of(base, example)
    every: dict[str, System] = {
        "base": System("base", example.messages, False, term),
        "skill": System("skill", example.messages, True, term, example.tools),
        "base_told": System("base_told", with_told(example.messages, TOLD[example.skill]), False, term),
    }
    every |= {f"{name}_tries": every[name]._replace(name=f"{name}_tries", tries=tries) for name in ("base", "skill")}
    return [every[name] for name in names]


def ask(
    bench: Bench,
    examples: Sequence[Any],
    systems: Sequence[str],
    made: Callable[[Any, Sequence[str]], list[System]],
    kept: Kept,
    step: Callable[[], None],
) -> dict[str, Outputs]:
    """Has each system write a step for each example, where it is not kept already.

    Args:
        bench: Base and skill.
        examples: Each with an `id`.
        systems: Their names.
        made: The named systems on an example.
        kept: What was said; what is not there is added as soon as it is known.
        step: Called after each example.
    """
    found = {name: Outputs([], [], []) for name in systems}
    for example in examples:
        asked = {system.name: (system, _identity(example.id, system)) for system in made(example, systems)}
        missing = [system for system, identity in asked.values() if kept.get(system.name, identity) is None]
        for said in bench.said(missing):
            seconds, prefill = round(said.seconds, 4), round(said.prefill, 4)
            kept.put(
                said.system,
                asked[said.system][1],
                example=example.id,
                output=said.text,
                seconds=seconds,
                prefill=prefill,
                fits=said.fits,
            )
        for name, (_, identity) in asked.items():
            row = kept.get(name, identity)
            assert row is not None  # just put
            _add(found[name], row)
        step()
    return found


def _add(outputs: Outputs, row: Mapping[str, Any]) -> None:
    outputs.texts.append(row["output"])
    fits = row["fits"]
    outputs.seconds.append(row["seconds"] if fits else 0.0)
    outputs.prefill.append(row["prefill"] if fits else 0.0)
    outputs.unfit += not fits


def _identity(name: str, system: System) -> str:
    """An example's id with a digest of what the system reads and may write, so that changed data is asked again."""
    import hashlib

    text = repr([(message.role, message.content) for message in system.messages]) + repr(system.term)
    text += f"{system.tries} tries" if system.tries > 1 else ""
    return f"{name}/{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
