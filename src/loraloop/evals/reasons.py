"""Why an output is wrong: one word of few for each skill, so that errors can be counted and looked at by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import SchemaError

if TYPE_CHECKING:
    from loraloop.adapters.training.data.record import Record
    from loraloop.adapters.training.scoring.score import Runs

ENOUGH = 0.5
"""F1 of citations or of an answer below which it is counted as wrong."""


def why_wrong(example: Record, output: str, runs: Runs | None = None) -> str:
    """Why an output is wrong; empty if it is right.

    Tools: see `call_match.mistake`. Code: `no code block`, `no Python`, `another definition` than the asked one,
    `fails its tests`. Retrieval: `no answer`, `should have abstained`, `should have answered`, `other passages`,
    `other answer` (F1 below `ENOUGH`). Safety: `no verdict`, `let through`, `refused`.
    """
    if example.contract == "calls":
        from loraloop.adapters.skill.contracts import calls_of
        from loraloop.adapters.training.scoring.call_match import mistake

        gold = example.gold
        return mistake(calls_of(output), gold.get("calls", ()), gold.get("accepts"), example.tools)
    if example.contract == "code":
        return _code(example, output, runs)
    return _retrieval(example, output) if example.contract == "answer" else _safety(example, output)


def counted(examples: Sequence[Record], outputs: Sequence[str], runs: Runs | None = None) -> dict[str, int]:
    """How many outputs are wrong for each reason, the commonest first."""
    found = Counter(
        reason for e, output in zip(examples, outputs, strict=True) if (reason := why_wrong(e, output, runs))
    )
    return dict(found.most_common())


def _code(example: Record, output: str, runs: Runs | None) -> str:
    from loraloop.adapters.skill.contracts import code_of
    from loraloop.adapters.training.scoring.requested_names import defines, parsed, requested_names

    try:
        code_of(output)
    except SchemaError:
        return "no code block"
    code = parsed(output)
    if code is None:
        return "no Python"
    if not defines(output, requested_names(example)):
        return "another definition"
    tests = example.gold.get("tests", "")
    return "" if runs is None or not tests or runs(f"{code}\n\n{tests}\n") else "fails its tests"


def _retrieval(example: Record, output: str) -> str:
    from loraloop.adapters.skill.contracts import answer_of
    from loraloop.adapters.training.scoring.score import shared_f1, token_f1

    try:
        reply = answer_of(output)
    except SchemaError:
        return "no answer"
    gold = example.gold
    if reply.answerable != bool(gold["answerable"]):
        return "should have abstained" if reply.answerable else "should have answered"
    if not reply.answerable:
        return ""
    if shared_f1(list(reply.citations), list(gold["citations"])) < ENOUGH:
        return "other passages"
    return "other answer" if token_f1(reply.answer, gold["answers"]) < ENOUGH else ""


def _safety(example: Record, output: str) -> str:
    from loraloop.adapters.skill.contracts import verdict_of

    try:
        unsafe = verdict_of(output).unsafe
    except SchemaError:
        return "no verdict"
    if unsafe == bool(example.gold["unsafe"]):
        return ""
    return "refused" if unsafe else "let through"
