"""Evaluations of a skill against the bare base: same trunk, same grammar, no token drawn."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.agent.engine.drawing import check_tries
from loraloop.evals.asking import TOKENS, TOLD, Outputs, ask, facts_of, systems_of
from loraloop.evals.kept import Kept
from loraloop.evals.reasons import counted, why_wrong
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.data.example import Example
    from loraloop.adapters.training.scoring.score import Runs
    from loraloop.report import Report


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What systems said to the examples of one skill, and how well.

    Attributes:
        name: Of the skill.
        examples: What was asked.
        outputs: By system (`base`, `skill`, `base_told`).
        scores: By system, `x` with `x_n`, `x_low` and `x_high`; and times (`Outputs.times`).
        errors: By system, how many outputs are wrong for each reason.
        facts: Base and skill.
        runs: How programs are run; None: they are only parsed.
    """

    name: str
    examples: Sequence[Example]
    outputs: Mapping[str, Outputs]
    scores: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, Mapping[str, int]]
    facts: Mapping[str, Any]
    runs: Runs | None = None

    @property
    def main(self) -> str:
        """The system that the evaluation is about."""
        return "skill" if "skill" in self.outputs else "base"

    def report(self, name: str, command: str, files: Sequence[str]) -> Report:
        """The document that `--json` writes."""
        from loraloop.adapters.training.scoring.score import summary
        from loraloop.report import Report

        ours = self.scores[self.main]
        peers = {system: scores for system, scores in self.scores.items() if system != self.main}
        base = peers.get("base", {})
        ratios = {name: value / base[name] for name, value in summary(ours).items() if base.get(name)}
        details: dict[str, Any] = {
            **{key: self.facts[key] for key in ("base", "skill", "tokens")},
            "files": list(files),
            "errors": self.errors,
        }
        if unfit := {system: said.unfit for system, said in self.outputs.items() if said.unfit}:
            details["did_not_fit"] = unfit
        if "base_told" in self.outputs:
            details["told"] = TOLD[self.name]
        return Report(name, len(self.examples), ours, peers, ratios, details, command)

    def wrong(self, system: str) -> list[tuple[Example, str, str]]:
        """(example, what the system said, why it is wrong) of each wrong output."""
        pairs = zip(self.examples, self.outputs[system].texts, strict=True)
        return [(e, said, reason) for e, said in pairs if (reason := why_wrong(e, said, self.runs))]

    def plots(self, folder: Path) -> list[Path]:
        """Draws what the kinds of outputs were taken for, of each system; nothing of code."""
        from loraloop.evals.pictures import confusion

        if self.name not in KINDS:
            return []
        labels, kind = KINDS[self.name]
        drawn = []
        for system, said in self.outputs.items():
            wanted = [kind(example.completion) for example in self.examples]
            counts = Counter(zip(wanted, map(kind, said.texts), strict=True))
            shown = [label for label in labels if any(label in pair for pair in counts)]
            path = folder / f"{self.name}_kinds_{system}.png"
            drawn.append(confusion(path, shown, counts, f"{self.name}, {system.replace('_', ' ')}"))
        return drawn


def evaluate(
    skill_name: str,
    examples: Sequence[Example],
    base: Base,
    skill: Skill | None,
    *,
    told: bool = False,
    tries: int = 1,
    outputs: Path | None = None,
    step: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Has base and skill write the step of each example and scores what they wrote.

    Args:
        skill_name: One of the four skills, which says how outputs are scored.
        examples: What is asked.
        base: The base.
        skill: None: the base alone.
        told: Also the base with a sentence on the output in its system message (`TOLD`).
        tries: Of code: programs tried on the examples of each request, by two more systems (`base_tries`,
            `skill_tries`).
        outputs: Where outputs are kept: what stands there is not asked again.
        step: Called after each example.

    Raises:
        InputError: more tries than can be, or of another skill; or `outputs` belongs to another evaluation.
    """
    from loraloop.adapters.training.scoring.score import score
    from loraloop.skill_eval import Bench, runs_program

    check_tries(tries)
    if tries > 1 and skill_name != "code":
        raise InputError("only programs are tried on the examples of a request: leave --tries out, or evaluate code")
    facts = facts_of(skill_name, base, skill)
    bench = Bench(base, skill, TOKENS[skill_name])
    names = ["base", *(["skill"] if skill else []), *(["base_told"] if told else [])]
    if tries > 1:
        names += [f"{name}_tries" for name in names if name != "base_told"]
    said = ask(bench, examples, names, functools.partial(systems_of, base, tries), Kept(outputs, facts), step)
    tested = skill_name == "code" and any(example.gold.get("tests") for example in examples)
    runs: Runs | None = functools.cache(runs_program) if tested else None
    scores = {s: {**score(skill_name, examples, o.texts, runs), **o.times()} for s, o in said.items()}
    errors = {system: counted(examples, found.texts, runs) for system, found in said.items()}
    return Evaluation(skill_name, examples, said, scores, errors, facts, runs)


def _calls_kind(text: str) -> str:
    from loraloop.adapters.grounding import read_calls

    calls = read_calls(text)
    return "no list" if calls is None else ("none", "one", "several")[min(2, len(calls))]


def _answer_kind(text: str) -> str:
    from loraloop.adapters.skill.contracts import answer_of
    from loraloop.tool_schemas.errors import SchemaError

    try:
        return "answerable" if answer_of(text).answerable else "not answerable"
    except SchemaError:
        return "no answer"


def _verdict_kind(text: str) -> str:
    from loraloop.adapters.skill.contracts import verdict_of
    from loraloop.tool_schemas.errors import SchemaError

    try:
        return "unsafe" if verdict_of(text).unsafe else "safe"
    except SchemaError:
        return "no verdict"


KINDS: dict[str, tuple[Sequence[str], Callable[[str], str]]] = {
    "tools": (("none", "one", "several", "no list"), _calls_kind),
    "retrieval": (("answerable", "not answerable", "no answer"), _answer_kind),
    "safety": (("safe", "unsafe", "no verdict"), _verdict_kind),
}
"""What an output can be taken for, by skill, and what one is."""
