"""Compares our verdicts on function calls with those of the leaderboard's own checker (PyPI `bfcl-eval`).

    pip download --no-deps --only-binary :all: bfcl-eval==2026.3.23 && unzip bfcl_eval-*.whl -d bfcl
    python benchmarks/bfcl_agreement.py --bfcl bfcl --data DATA/tools/bfcl.eval.jsonl [--outputs FILE]

Judged are, for each record: its right calls; these with one thing changed (`CHANGES`), which may leave them right;
and what systems said in an evaluation (`--outputs` of `loraloop eval tools`). Both checkers judge the same calls; ours
by the schemas of the data file, theirs by the functions and answers inside the package.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import Report, finish, options

from loraloop.adapters.grounding import read_calls
from loraloop.adapters.training.scoring.call_match import accepted
from loraloop.adapters.training.scoring.score import rate

Calls = list[dict[str, Any]]
Judge = Callable[[dict[str, Any], Calls], bool]
VERDICTS = {
    (True, True): "both accept",
    (False, False): "both refuse",
    (True, False): "ours alone accepts",
    (False, True): "theirs alone accepts",
}
"""By our verdict and theirs."""
CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple")


def official(package: Path) -> Judge:
    """The published checker, on the package's own functions and answers.

    Its module reads from the list of models only how names with dots are written, and that list imports every
    provider's client; so it is given a list of one model, whose names stay as they are. Converters of Java and
    JavaScript are not reached by the Python categories.
    """
    sys.path.insert(0, str(package))
    models = ModuleType("bfcl_eval.constants.model_config")
    models.MODEL_CONFIG_MAPPING = {"ours": SimpleNamespace(underscore_to_dot=False)}  # type: ignore[attr-defined]
    sys.modules[models.__name__] = models
    for language in ("java", "js"):
        name = f"bfcl_eval.eval_checker.ast_eval.type_convertor.{language}_type_converter"
        converters = ModuleType(name)
        setattr(converters, f"{language}_type_converter", None)
        sys.modules[name] = converters
    checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
    python = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON
    asked: dict[str, tuple[list[Any], list[Any]]] = {}
    data = package / "bfcl_eval" / "data"
    for category in CATEGORIES:
        file = f"BFCL_v4_{category}.json"
        functions = {row["id"]: row["function"] for row in _rows(data / file)}
        for row in _rows(data / "possible_answer" / file):
            asked[row["id"]] = functions[row["id"]], row["ground_truth"]

    def judge(record: dict[str, Any], calls: Calls) -> bool:
        functions, answers = asked[record["id"]]
        made = [{call["name"]: call["arguments"]} for call in calls]
        return bool(checker(functions, made, answers, python, record["category"], "ours")["valid"])

    return judge


def ours(record: dict[str, Any], calls: Calls) -> bool:
    """Our verdict, as `loraloop eval tools` gives it."""
    return accepted(calls, record["accepts"], record["tools"])


def right_calls(record: dict[str, Any], rng: random.Random) -> Calls:
    """Calls that the record accepts: of each argument one of its values, or nothing where it may be missing."""
    made = []
    for wanted in record["accepts"]:
        name, arguments = next(iter(wanted.items()))
        required = next((t["parameters"].get("required", []) for t in record["tools"] if t["name"] == name), [])
        given = {}
        for argument, values in arguments.items():
            real = [value for value in values if value != ""]
            if real and (argument in required or "" not in values or rng.random() < 0.5):
                given[argument] = _concrete(rng.choice(real))
        made.append({"name": name, "arguments": given})
    return made


def _concrete(value: Any) -> Any:
    """An accepted value; inside an object each key has a list of them."""
    if isinstance(value, dict):
        return {k: next((o for o in v if o != ""), "") if isinstance(v, list) else v for k, v in value.items()}
    return [_concrete(item) if isinstance(item, dict) else item for item in value] if isinstance(value, list) else value


def _argument(
    change: Callable[[Any, random.Random], Any], suits: Callable[[Any], bool] = lambda value: True
) -> Callable[[Calls, random.Random], None]:
    """A change of one argument of one call: of one that it suits, where there is any."""

    def changed(calls: Calls, rng: random.Random) -> None:
        places = [(call["arguments"], name) for call in calls for name in sorted(call["arguments"])]
        suited = [(given, name) for given, name in places if suits(given[name])]
        if places:
            given, name = rng.choice(suited or places)
            given[name] = change(given[name], rng)

    return changed


def _spelled(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, str):
        return [_spelled(item, rng) for item in value] if isinstance(value, list) else value
    return rng.choice([value.upper(), value.replace(" ", "-"), f" {value},", value.replace("'", '"'), f"{value}!"])


def _number(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return rng.choice([float(value), str(value), value + 1, int(value), -value])
    return [_number(item, rng) for item in value] if isinstance(value, list) else value


def _listed(value: Any, rng: random.Random) -> Any:
    if isinstance(value, list):
        return rng.choice([[], value[::-1], value[:-1], [*value, *value[:1]], ", ".join(map(str, value))])
    return [value]


def _nested(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        rest = {k: v for k, v in value.items() if k != key}
        return rng.choice([rest, {**value, "extra": 1}, {**rest, key: _spelled(value[key], rng)}, {}])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_nested(value[0], rng), *value[1:]]
    return {"value": value}


def _objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _dropped(calls: Calls, rng: random.Random) -> None:
    given = rng.choice(calls)["arguments"]
    if given:
        del given[rng.choice(sorted(given))]


CHANGES: dict[str, Callable[[Calls, random.Random], Any]] = {
    "spelling": _argument(_spelled, lambda value: isinstance(value, str)),
    "number": _argument(_number, lambda value: isinstance(value, int | float)),
    "list": _argument(_listed, lambda value: isinstance(value, list)),
    "object": _argument(_nested, lambda value: isinstance(value, dict) or _objects(value)),
    "empty": _argument(lambda value, rng: rng.choice(["", [], {}, None, 0])),
    "other value": _argument(lambda value, rng: rng.choice(["x", 7, 2.5, True, ["x"], [1, 2.0]])),
    "argument left out": _dropped,
    "argument added": lambda calls, rng: rng.choice(calls)["arguments"].update(extra="x"),
    "function": lambda calls, rng: rng.choice(calls).update(name="other"),
    "call left out": lambda calls, rng: calls.pop(),
    "call twice": lambda calls, rng: calls.append(copy.deepcopy(rng.choice(calls))),
    "order": lambda calls, rng: calls.reverse(),
}


def items(records: dict[str, dict[str, Any]], outputs: Path | None, seed: int) -> Iterator[tuple[str, str, Calls]]:
    """(origin, record's id, calls) of everything that is judged."""
    for identity, record in records.items():
        rng = random.Random(f"{seed} {identity}")
        yield "right calls", identity, right_calls(record, rng)
        for name, change in CHANGES.items():
            calls = copy.deepcopy(right_calls(record, rng))
            change(calls, rng)
            yield name, identity, calls
    if outputs is None:
        return
    for row in _rows(outputs)[1:]:
        if row["example"] in records and (calls := read_calls(row["output"])) is not None:
            yield f"said by {row['system']}", row["example"], calls


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def main() -> int:
    parser = options("our verdicts on function calls against the leaderboard's own checker")
    parser.add_argument("--bfcl", type=Path, required=True, metavar="FOLDER", help="where bfcl-eval is unpacked")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="bfcl.eval.jsonl")
    parser.add_argument("--outputs", type=Path, metavar="FILE", help="what systems said in an evaluation")
    parser.add_argument("--show", type=int, default=5, metavar="N", help="print N disagreements")
    given = parser.parse_args()
    judge = official(given.bfcl)
    rows = [row for row in _rows(given.data) if row["category"] in CATEGORIES][: given.limit]
    records = {row["id"]: row for row in rows}
    judged: dict[str, Counter[str]] = {}
    failed: Counter[str] = Counter()
    shown = 0
    for origin, identity, calls in items(records, given.outputs, given.seed):
        record = records[identity]
        try:
            theirs = judge(record, calls)
        except (TypeError, KeyError, AttributeError) as error:  # the checker itself stumbles over such a value
            failed[f"{origin}: {type(error).__name__}"] += 1
            continue
        mine = ours(record, calls)
        judged.setdefault(origin, Counter())[VERDICTS[mine, theirs]] += 1
        if mine != theirs and shown < given.show:
            shown += 1
            print(f"{identity} ({origin}): ours {mine}, theirs {theirs}\n  {json.dumps(calls)}\n  {record['accepts']}")
    total: Counter[str] = sum(judged.values(), Counter())
    n, agreed = total.total(), total[VERDICTS[True, True]] + total[VERDICTS[False, False]]
    value, low, high = rate([True] * agreed + [False] * (n - agreed))
    metrics: dict[str, float] = {"agreement": value, "agreement_low": low, "agreement_high": high, "agreement_n": n}
    table = {
        f"{origin}/{verdict}": counts[verdict]
        for origin, counts in {**judged, "all": total}.items()
        for verdict in VERDICTS.values()
    }
    details = {"verdicts": table, "not judged by theirs": dict(failed), "records": len(records)}
    finish(Report("bfcl_agreement", n, metrics, details=details, command=_command(given)), given.json)
    return 0 if agreed == n else 1


def _command(given: argparse.Namespace) -> str:
    words = ["python benchmarks/bfcl_agreement.py", "--bfcl FOLDER", "--data DATA/tools/bfcl.eval.jsonl"]
    words += [f"--{name} {value}" for name in ("limit", "seed") if (value := getattr(given, name))]
    return " ".join([*words, *(["--outputs FILE"] if given.outputs else [])])


if __name__ == "__main__":
    raise SystemExit(main())
