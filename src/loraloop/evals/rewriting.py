"""Rewriting the last question of a conversation so that it can be understood alone, as retrieval needs it.

The base is told to rewrite; the baseline leaves the question as it is. What is said is compared with a person's
rewriting by shared words (F1) and by the longest common subsequence of words (ROUGE-L, Lin 2004, as an F1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.evals.asking import TOKENS, Outputs, ask, facts_of
from loraloop.evals.cases import limited
from loraloop.evals.kept import Kept
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message
    from loraloop.adapters.skill.skill import Skill
    from loraloop.report import Report
    from loraloop.skill_eval import System

FILES = ("mtrag_rewrite",)
"""The data page's files of this evaluation."""
TOLD = (
    "Rewrite the last question of the conversation so that it can be understood without the conversation: put in "
    "what it refers to, and leave it as it is where it is complete. Reply with the rewritten question alone."
)
LINE = r"[^\s][^\n]{0,299}"
"""What is written: one line."""


@dataclass(frozen=True, slots=True)
class Question:
    """The last question of a conversation.

    Attributes:
        id: Of its record.
        turns: What the user said, and where it is known the assistant, in order; the last is the question.
        reference: What a person made of it.
    """

    id: str
    turns: tuple[tuple[str, str], ...]
    reference: str

    @property
    def text(self) -> str:
        """The question as it was asked."""
        return self.turns[-1][1]

    def messages(self, told: str) -> tuple[Message, ...]:
        """The conversation as one message, so that the base does not take itself to be in it."""
        from loraloop.adapters.base.messages import Message

        before = "\n".join(f"{role}: {said}" for role, said in self.turns[:-1]) or "(nothing)"
        asked = Message("user", f"Conversation:\n{before}\n\nLast question:\n{self.text}")
        return (Message("system", told), asked) if told else (asked,)


def questions(files: Sequence[Path], limit: int | None = None, seed: int = 0) -> list[Question]:
    """Questions of files in the data page's form: `messages` that end with the question, and `answer`.

    Raises:
        InputError: a record has not that form; or there is none.
    """
    found = []
    for file, line, row in limited(files, limit, seed):
        try:
            turns = tuple((str(m["role"]), str(m["content"])) for m in row["messages"])
            reference = row["answer"]
        except (KeyError, TypeError) as error:
            raise InputError(f"{file}:{line}: a record has messages and answer; {error!r}") from None
        if not turns or not isinstance(reference, str) or not reference.strip():
            raise InputError(f"{file}:{line}: messages and answer must not be empty")
        found.append(Question(str(row.get("id") or f"{file.name}-{line}"), turns, reference))
    if not found:
        raise InputError(f"no records in {', '.join(map(str, files))}")
    return found


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What systems made of questions, and how near that is to a person's rewriting.

    Attributes:
        questions: What was asked.
        outputs: By system (`base_told`, `skill`).
        scores: By system and of `as_is`: `f1` and `rouge_l`, also of the questions that a person changed
            (`f1_changed`, `rouge_l_changed`); `f1_gain` and `rouge_l_gain` over leaving the question as it is,
            question by question; `better` and `worse`: how often ROUGE-L is; times.
        facts: Base and skill.
    """

    questions: Sequence[Question]
    outputs: Mapping[str, Outputs]
    scores: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, Any]

    @property
    def main(self) -> str:
        """The system that the evaluation is about."""
        return "skill" if "skill" in self.outputs else "base_told"

    def report(self, name: str, command: str, files: Sequence[str]) -> Report:
        """The document that `--json` writes."""
        from loraloop.report import Report

        ours = self.scores[self.main]
        peers = {system: scores for system, scores in self.scores.items() if system != self.main}
        ratios = {name: ours[name] / peers["as_is"][name] for name in ("f1", "rouge_l") if peers["as_is"][name]}
        details = {**{key: self.facts[key] for key in ("base", "skill", "tokens")}, "files": list(files), "told": TOLD}
        return Report(name, len(self.questions), ours, peers, ratios, details, command)

    def worst(self, count: int) -> list[tuple[str, str, str, str, str]]:
        """The questions that lost most against leaving them as they are: (title, request, said, wanted, why)."""
        rows = []
        for question, said in zip(self.questions, self.outputs[self.main].texts, strict=True):
            loss = rouge_l(question.text, question.reference) - rouge_l(said, question.reference)
            if loss > 0:
                why = f"ROUGE-L is {loss:.2f} lower than that of the question as it was asked"
                request = question.messages("")[0].content
                rows.append((loss, (question.id, request, said, question.reference, why)))
        return [shown for _, shown in sorted(rows, key=lambda row: -row[0])[:count]]


def evaluate(
    asked: Sequence[Question],
    base: Base,
    skill: Skill | None = None,
    outputs: Path | None = None,
    step: Callable[[], None] = lambda: None,
) -> Rewritten:
    """Has the base, told to, rewrite questions, and a skill where one is given.

    Args:
        asked: The questions.
        base: The base.
        skill: A skill that writes text; it reads the conversation without what the base is told.
        outputs: Where outputs are kept.
        step: Called after each question.

    Raises:
        InputError: `outputs` belongs to another evaluation.
    """
    from loraloop.skill_eval import Bench

    facts = facts_of("rewriting", base, skill)
    names = ["base_told", *(["skill"] if skill else [])]
    bench = Bench(base, skill, TOKENS["rewriting"])
    said = ask(bench, asked, names, _systems, Kept(outputs, facts), step)
    plain = [question.text for question in asked]
    scores = {system: {**_scores(asked, found.texts, plain), **found.times()} for system, found in said.items()}
    return Rewritten(asked, said, {**scores, "as_is": _scores(asked, plain, None)}, facts)


def _systems(question: Question, names: Sequence[str]) -> list[System]:
    from loraloop.skill_eval import System
    from loraloop.tool_schemas.grammar.grammar import Regex

    every: dict[str, System] = {
        "base_told": System("base_told", question.messages(TOLD), False, Regex(LINE)),
        "skill": System("skill", question.messages(""), True, Regex(LINE)),
    }
    return [every[name] for name in names]


def _scores(asked: Sequence[Question], texts: Sequence[str], plain: Sequence[str] | None) -> dict[str, float]:
    from loraloop.adapters.training.scoring.score import Scores, token_f1, words

    found = Scores()
    changed = [words(question.text) != words(question.reference) for question in asked]

    def f1(text: str, reference: str) -> float:
        return token_f1(text, [reference])

    for name, measure in (("f1", f1), ("rouge_l", rouge_l)):
        values = [measure(text, question.reference) for text, question in zip(texts, asked, strict=True)]
        found.mean(name, values)
        found.mean(f"{name}_changed", [value for value, was in zip(values, changed, strict=True) if was])
        if plain is not None:
            before = [measure(text, question.reference) for text, question in zip(plain, asked, strict=True)]
            gains = [value - other for value, other in zip(values, before, strict=True)]
            found.mean(f"{name}_gain", gains)
            if name == "rouge_l":
                found.rate("better", [gain > 0 for gain in gains])
                found.rate("worse", [gain < 0 for gain in gains])
    return dict(found)


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words, without case and punctuation; articles are kept."""
    import re

    left, right = (re.findall(r"\w+", part.lower()) for part in (text, reference))
    if not left or not right:
        return float(left == right)
    row = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for place, other in enumerate(right, 1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(left) + len(right))
