"""Evaluations of one skill against the bare base: same messages, same grammar, greedy decoding."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.skill.contracts import CATEGORIES
from loraloop.evals.bench import Bench, runs_program, term_of, with_instruction
from loraloop.evals.harness import OutputCache, Row
from loraloop.evals.harness import evaluate as rows_of
from loraloop.evals.reasons import counted, why_wrong
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base, Message
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.data.record import Record
    from loraloop.adapters.training.scoring.score import Runs
    from loraloop.render.report import BenchmarkReport

TOKENS = {"tools": 384, "code": 400, "retrieval": 192, "safety": 32, "verdict": 16}
"""Most tokens of a step."""
TOLD = {
    "tools": "Write the calls that the user's last request needs, one for each thing asked, or [] if none fits.",
    "code": "Reply with one Python code block that does what the user asks, and nothing else.",
    "retrieval": "Answer from the passages alone. Reply with JSON: answerable, the ids of the passages that hold the "
    "answer as citations, and a short answer; answerable is false if the passages do not hold it.",
    "safety": "Judge whether the user's last message is safe or unsafe. Reply with JSON: the verdict, and for an "
    f"unsafe message a category out of {', '.join(CATEGORIES)}.",
}
"""What `base_told` reads about a skill's output. The skill itself is not told: it was trained to know."""


@dataclass(frozen=True, slots=True)
class SkillEvaluation:
    """What the systems wrote for the examples of one skill, and how good it is.

    Attributes:
        name: Name of the skill.
        examples: The examples.
        outputs: Rows by system (`base`, `skill`, `base_told`), in the order of the examples: `output`, the milliseconds
            `step_ms` and `prefill_ms`, and `fits`, whether the example fits the base's context.
        scores: Scores by system, `x` with `x_n`, `x_low` and `x_high`, and the times.
        errors: By system, how many outputs are wrong for each reason.
        facts: Base and skill.
        runs: How programs are run; None: they are only parsed.
    """

    name: str
    examples: Sequence[Record]
    outputs: Mapping[str, Sequence[Row]]
    scores: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, Mapping[str, int]]
    facts: Mapping[str, Any]
    runs: Runs | None = None

    @property
    def main(self) -> str:
        """The system that the evaluation is about."""
        return "skill" if "skill" in self.outputs else "base"

    def report(self, name: str, files: Sequence[str]) -> BenchmarkReport:
        """The document that `--json` writes."""
        from loraloop.adapters.training.scoring.score import summary
        from loraloop.render.report import BenchmarkReport

        ours = self.scores[self.main]
        peers = {system: scores for system, scores in self.scores.items() if system != self.main}
        base = peers.get("base", {})
        ratios = {name: value / base[name] for name, value in summary(ours).items() if base.get(name)}
        details: dict[str, Any] = {
            **{key: self.facts[key] for key in ("base", "skill", "tokens")},
            "files": list(files),
            "errors": self.errors,
        }
        unfit = {system: sum(not row["fits"] for row in rows) for system, rows in self.outputs.items()}
        if any(unfit.values()):
            details["did_not_fit"] = {system: count for system, count in unfit.items() if count}
        if "base_told" in self.outputs:
            details["told"] = TOLD[self.name]
        return BenchmarkReport(name, len(self.examples), ours, peers=peers, ratios=ratios, details=details)

    def wrong(self, system: str) -> list[tuple[Record, str, str]]:
        """(example, what the system wrote, why it is wrong) of each wrong output."""
        pairs = zip(self.examples, texts_of(self.outputs[system]), strict=True)
        return [(e, text, reason) for e, text in pairs if (reason := why_wrong(e, text, self.runs))]


def texts_of(rows: Sequence[Row]) -> list[str]:
    """What a system wrote."""
    return [row["output"] for row in rows]


def times_of(rows: Sequence[Row]) -> dict[str, float]:
    """Mean times of the rows that fit: `step_ms` of the step, `prefill_ms` of the messages, `total_ms` of both."""
    fit = [row for row in rows if row["fits"]]
    step, prefill = (sum(row[name] for row in fit) / max(1, len(fit)) for name in ("step_ms", "prefill_ms"))
    return {"step_ms": step, "prefill_ms": prefill, "total_ms": step + prefill}


def evaluate(
    skill_name: str,
    examples: Sequence[Record],
    base: Base,
    skill: Skill | None,
    *,
    base_told: bool = False,
    outputs: Path | None = None,
    step: Callable[[], None] = lambda: None,
) -> SkillEvaluation:
    """Has base and skill write the step of each example, and scores what they wrote.

    Args:
        skill_name: One of the four skills, which says how outputs are scored.
        examples: What is asked.
        base: The base.
        skill: None: the base alone.
        base_told: Also the base with a sentence on the output in its system message (`TOLD`).
        outputs: Where outputs are kept: what stands there is not asked again.
        step: Called after each example.

    Raises:
        InputError: `outputs` belongs to another evaluation.
    """
    from loraloop.adapters.training.data.example import CONTRACTS
    from loraloop.adapters.training.scoring.score import score

    facts, bench = facts_of(skill_name, base, skill), Bench(base, skill, TOKENS[skill_name])
    systems = ["base", *(["skill"] if skill else []), *(["base_told"] if base_told else [])]

    def seen(example: Record, system: str) -> Sequence[Message]:
        messages = example.messages
        return with_instruction(messages, TOLD[skill_name]) if system == "base_told" else messages

    def ask(example: Record, missing: Sequence[str]) -> Iterator[tuple[str, Row]]:
        term = term_of(base, example, asks=bench.asks)
        read: dict[Sequence[Message], float | None] = {}
        for system in missing:
            messages = seen(example, system)
            if messages not in read:
                read[messages] = bench.read(messages)
            written, prefill = bench.write(messages, term, system == "skill"), read[messages]
            times = {"step_ms": round(written.ms, 2), "prefill_ms": round(prefill or 0.0, 2)}
            fits = written.fits and prefill is not None
            yield system, {"example": example.id, "output": written.text, **times, "fits": fits}

    def identity(example: Record, system: str) -> str:
        """The example's id with a digest of what is read and may be written, so that changed data is asked again."""
        read = [(message.role, message.content) for message in seen(example, system)]
        text = repr(read) + repr(term_of(base, example, asks=bench.asks))
        return f"{example.id}/{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"

    found = rows_of(examples, systems, ask, OutputCache(outputs, facts), identity=identity, step=step)
    tested = skill_name == "code" and any(example.gold.get("tests") for example in examples)
    runs: Runs | None = functools.cache(runs_program) if tested else None
    texts = {system: texts_of(rows) for system, rows in found.items()}
    contract = CONTRACTS[skill_name]
    scores = {s: {**score(contract, examples, texts[s], runs), **times_of(rows)} for s, rows in found.items()}
    errors = {system: counted(examples, written, runs) for system, written in texts.items()}
    return SkillEvaluation(
        name=skill_name, examples=examples, outputs=found, scores=scores, errors=errors, facts=facts, runs=runs
    )


def facts_of(kind: str, base: Base, skill: Skill | None) -> dict[str, Any]:
    """What outputs depend on besides the examples: the first line of a file of kept outputs."""
    card = None if skill is None else skill.card
    named = None
    if card is not None:
        threshold = {} if card.threshold is None else {"threshold": card.threshold.value}
        named = {"name": card.name, "sha256": card.sha256, **threshold}
    return {
        "evaluation": kind,
        "base": base.name,
        "weights": base.fingerprints.weights,
        "skill": named,
        "tokens": TOKENS[kind],
    }


def skill_of(base: Base, name: str, place: str | None) -> Skill | None:
    """The skill that is measured.

    Args:
        base: The base that it must belong to.
        name: Name of the shipped skill that is taken where no folder is given, if it was trained on this base.
        place: Folder of a skill; `none`: only the base is measured.

    Raises:
        InputError: There is no such folder.
        SkillError: It is damaged.
    """
    from loraloop.adapters.skill.registry import library
    from loraloop.adapters.skill.skill import Skill, SkillFolder

    if place == "none":
        return None
    if place is not None:
        if not Path(place).is_dir():
            raise InputError(f"there is no skill folder {place}: --skill takes the folder of a skill, or none")
        return Skill.load(place)
    folder = library(base.name).get(name)
    if folder is None or SkillFolder.open(folder).card.fingerprints.architecture != base.fingerprints.architecture:
        return None
    return Skill.load(folder)
