"""Scores of outputs by their contract, each with its number of examples and a 95 % interval.

A score `x` comes with `x_n`, `x_low` and `x_high`: Wilson's interval for rates, a percentile bootstrap for F1.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from loraloop.adapters.skill import contracts
from loraloop.adapters.skill.contracts import calls_of
from loraloop.adapters.training.data.record import Record
from loraloop.adapters.training.scoring.call_match import mistake
from loraloop.adapters.training.scoring.requested_names import defines, parsed, requested_names
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.jsontext import loads_or

Runs = Callable[[str], bool]
"""Runs a Python program in a sandbox; whether it ended without an error."""
T = TypeVar("T")
_Z = 1.959964


MAIN = {
    "calls": "all",
    "code": "pass_at_1",
    "answer": "answerable_accuracy",
    "verdict": "accuracy",
    "agreement": "exact",
    "text": "exact",
}
"""The measure that stands for a contract; code without tests has `syntax_valid`."""


def score(
    contract: str, examples: Sequence[Record], outputs: Sequence[str], runs: Runs | None = None
) -> dict[str, float]:
    """Scores outputs of a contract.

    Args:
        contract: What was to be written.
        examples: What was asked.
        outputs: The text of each step, in the same order.
        runs: How programs are run; without it code is only parsed.

    Returns:
        Named scores in [0, 1], with their intervals and counts. Calls: one for each BFCL category and each other file,
        `bfcl`, `exact`, `irrelevance`. Code: `pass_at_1` of those with tests, `syntax_valid`, `defines` (the answer
        has a definition of what the tests call) and, of those that define it, `syntax_valid_defining`. Answers:
        `answerable_f1` (macro), `citation_f1`, `answer_f1`, `answer_em`, for all and for each file. Verdicts:
        `accuracy`, `recall`, `over_refusal`, `category`, and accuracy for each kind. Text and agreements: `exact` and
        `f1` (of shared words); where completions are JSON objects, `exact`, `valid` and `field_…` of each field.

    Raises:
        InputError: Lists of different length, or empty.
    """
    pairs = paired(examples, outputs)
    if contract == "calls":
        return _tools(pairs)
    if contract == "code":
        return _code(pairs, runs)
    if contract == "answer":
        return _retrieval(pairs)
    return _safety(pairs) if contract == "verdict" else _text(pairs)


def paired(examples: Sequence[T], outputs: Sequence[str]) -> list[tuple[T, str]]:
    """Each example with its output.

    Raises:
        InputError: Lists of different length, or empty.
    """
    if len(examples) != len(outputs) or not examples:
        raise InputError(
            f"{len(examples)} examples and {len(outputs)} outputs: pass one output an example, at least one"
        )
    return list(zip(examples, outputs, strict=True))


def main_score(contract: str, found: Mapping[str, float]) -> str:
    """Name of the measure that stands for a contract among some scores."""
    name = MAIN[contract]
    return name if name in found else "syntax_valid"


def right(example: Record, output: str, runs: Runs | None = None) -> bool:
    """Whether one output counts as right: an answer by its words, all else by the measure of its contract."""
    found = score(example.contract, [example], [output], runs)
    return found.get("answer_em", found[main_score(example.contract, found)]) >= 1.0


def rate(hits: Sequence[bool]) -> tuple[float, float, float]:
    """Share of hits with Wilson's 95 % interval: (share, low, high)."""
    n = len(hits)
    if not n:
        return 0.0, 0.0, 1.0
    p = sum(hits) / n
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * ((p * (1 - p) / n + _Z**2 / (4 * n * n)) ** 0.5) / (1 + _Z**2 / n)
    return p, max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(rows: Any, statistic: Callable[[Any], float], draws: int = 1000) -> tuple[float, float, float]:
    """A statistic of rows with its 95 % percentile interval: (value, low, high)."""
    table = np.asarray(rows)
    if len(table) == 1:  # all that can be drawn
        return (alone := statistic(table)), alone, alone
    rng = np.random.default_rng(0)
    drawn = [statistic(table[rng.integers(0, len(table), len(table))]) for _ in range(draws)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return statistic(table), float(low), float(high)


def token_f1(predicted: str, gold: Sequence[str]) -> float:
    """Best F1 of shared words with any accepted answer, after SQuAD's normalisation (arXiv 1606.05250)."""
    return max((shared_f1(words(predicted), words(answer)) for answer in gold), default=0.0)


class Scores(dict[str, float]):
    """Scores with their intervals and counts; of nothing there is no score."""

    def rate(self, name: str, hits: Sequence[bool]) -> None:
        if hits:
            self.put(name, rate(hits), len(hits))

    def rates(self, hits: Mapping[str, Sequence[bool]]) -> dict[str, float]:
        """These scores with the rate of each name's hits."""
        for name, found in hits.items():
            self.rate(name, found)
        return dict(self)

    def mean(self, name: str, values: Sequence[float]) -> None:
        if values:
            self.put(name, bootstrap(values, lambda table: float(table.mean())), len(values))

    def put(self, name: str, found: tuple[float, float, float], n: int) -> None:
        self[name], self[f"{name}_low"], self[f"{name}_high"] = found
        self[f"{name}_n"] = n


Pairs = list[tuple[Record, str]]


def _tools(pairs: Pairs) -> dict[str, float]:
    by_name: dict[str, list[bool]] = defaultdict(list)
    for example, output in pairs:
        calls = calls_of(output)
        gold = example.gold.get("calls", ())
        hit = not mistake(calls, gold, example.gold.get("accepts"), example.tools)
        by_name["all"].append(hit)
        category = example.gold.get("category")
        if category:
            by_name[str(category)].append(hit)
            by_name["bfcl"].append(hit)
            continue
        by_name["exact"].append(hit)
        by_name[example.kind].append(hit)
        by_name[example.id.split("-")[0]].append(hit)
        if not gold:
            by_name["no_call"].append(calls == [])
        else:
            names = sorted(c["name"] for c in calls or ())
            by_name["right_tools"].append(names == sorted(c["name"] for c in gold))
    return Scores().rates(by_name)


def _code(pairs: Pairs, runs: Runs | None) -> dict[str, float]:
    valid, passed, defining = [], [], []
    for example, output in pairs:
        code = parsed(output)
        valid.append(code is not None)
        if names := requested_names(example):
            defining.append((defines(output, names), code is not None))
        if tests := example.gold.get("tests", ""):
            passed.append(bool(runs and code is not None and runs(f"{code}\n\n{tests}\n")))
    report = Scores()
    report.rate("syntax_valid", valid)
    report.rate("defines", [defined for defined, _ in defining])
    report.rate("syntax_valid_defining", [fits for defined, fits in defining if defined])
    if runs is not None:
        report.rate("pass_at_1", passed)
    return dict(report)


def _retrieval(pairs: Pairs) -> dict[str, float]:
    report = Scores()
    groups: dict[str, Pairs] = {"": pairs}
    for example, output in pairs:
        groups.setdefault(example.id.split("-")[0] + "/", []).append((example, output))
    if len(groups) == 2:
        groups = {"": pairs}
    for prefix, members in groups.items():
        _retrieval_group(report, prefix, members)
    return dict(report)


def _retrieval_group(report: Scores, prefix: str, pairs: Pairs) -> None:
    verdicts, citations, answers, exact = [], [], [], []
    for example, output in pairs:
        try:
            predicted = contracts.answer_of(output)
        except SchemaError:
            predicted = contracts.Answer(answerable=not example.gold["answerable"])
        gold = bool(example.gold["answerable"])
        verdicts.append((gold, predicted.answerable))
        if gold:
            citations.append(shared_f1(list(predicted.citations), list(example.gold["citations"])))
            answers.append(token_f1(predicted.answer, example.gold["answers"]))
            exact.append(any(words(predicted.answer) == words(a) for a in example.gold["answers"]))
    report.rate(f"{prefix}answerable_accuracy", [gold == verdict for gold, verdict in verdicts])
    if len({gold for gold, _ in verdicts}) == 2:
        report.put(f"{prefix}answerable_f1", bootstrap(verdicts, _macro_f1), len(verdicts))
    report.mean(f"{prefix}citation_f1", citations)
    report.mean(f"{prefix}answer_f1", answers)
    report.rate(f"{prefix}answer_em", exact)


def _safety(pairs: Pairs) -> dict[str, float]:
    by_name: dict[str, list[bool]] = defaultdict(list)
    for example, output in pairs:
        gold = bool(example.gold["unsafe"])
        try:
            verdict = contracts.verdict_of(output)
        except SchemaError:
            verdict = contracts.Verdict(unsafe=not gold)
        by_name["accuracy"].append(verdict.unsafe == gold)
        by_name["recall" if gold else "over_refusal"].append(verdict.unsafe)
        by_name[f"{example.kind}/{'recall' if gold else 'over_refusal'}"].append(verdict.unsafe)
        if gold and example.gold.get("category") in contracts.CATEGORIES:
            by_name["category"].append(verdict.category == example.gold["category"])
    return Scores().rates(by_name)


def _text(pairs: Pairs) -> dict[str, float]:
    wanted = [record.completion for record, _ in pairs]
    outputs = [output for _, output in pairs]
    found = Scores()
    golds = [gold for text in wanted if (gold := _object(text)) is not None]
    if len(golds) < len(pairs):
        hits = [output.split() == text.split() for output, text in zip(outputs, wanted, strict=True)]
        found.rate("exact", hits)
        found.mean("f1", [token_f1(output, [text]) for output, text in zip(outputs, wanted, strict=True)])
        return dict(found)
    objects = [_object(output) for output in outputs]
    found.rate("exact", [value == gold for value, gold in zip(objects, golds, strict=True)])
    found.rate("valid", [value is not None for value in objects])
    by_field: dict[str, list[bool]] = defaultdict(list)
    for gold, value in zip(golds, objects, strict=True):
        for name, part in gold.items():
            by_field[f"field_{name}"].append((value or {}).get(name) == part)
    return found.rates(by_field)


def _object(text: str) -> dict[str, Any] | None:
    value = loads_or(text)
    return value if isinstance(value, dict) else None


def _macro_f1(table: Any) -> float:
    gold, predicted = table[:, 0].astype(bool), table[:, 1].astype(bool)
    scores = []
    for label in (True, False):
        hit = int(((gold == label) & (predicted == label)).sum())
        total = int((gold == label).sum() + (predicted == label).sum())
        scores.append(2 * hit / total if total else 0.0)
    return sum(scores) / 2


def words(text: str) -> list[str]:
    """Words without case, punctuation and articles: SQuAD's normalisation (arXiv 1606.05250)."""
    plain = re.sub(r"[^\w\s]", " ", text.lower())
    return [word for word in plain.split() if word not in ("a", "an", "the")]


def shared_f1(left: Sequence[str], right_side: Sequence[str]) -> float:
    """F1 of what two lists share, each entry as often as it stands there; two empty lists share all."""
    if not left or not right_side:
        return float(not left and not right_side)
    shared = sum((Counter(left) & Counter(right_side)).values())
    return 2 * shared / (len(left) + len(right_side))


def summary(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores without their intervals and counts."""
    return {name: value for name, value in scores.items() if f"{name}_n" in scores}
