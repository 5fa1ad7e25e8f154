"""Decodes many calls at temperature 1 under many schemas, another skill for each, and counts those that are wrong.

    python benchmarks/calls.py --data DATA --json benchmarks/results/calls.json

Schemas come in turn from BFCL's tools and MaskBench under `--data`, from the repository's own tools, and from a
generator of random ones. A tool is registered in one of two ways, in turn: what a grammar cannot enforce is refused
(`refuse`), or it is checked when the value closes (`check`). Each list of calls is written by the next of the shipped
skills, or by the bare base; most of them were never trained to write calls, which is the point: only the grammar holds.

`not_parsed` and `not_valid` count calls that `json` does not read or that jsonschema, with formats, does not accept.
`refused` counts schemas that were refused when the tool was registered, `too_long` those under which no call fits the
token limit, `unenforced` lists for which no value that passes its check was found in the allowed number of tries, and
`cut` lists with such checks that met the token limit before: these are told, and not handed to a tool. With
`--outputs FILE` every outcome is kept there, and a killed run goes on.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import jsonschema
from calls_schemas import Given, mixed
from grammar_cases import branch_of, trunk_of, written
from report import BenchmarkReport, finish, options

from loraloop.adapters.base import Message
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.tool_schemas import Bounds, Tool, calls_schema
from loraloop.tool_schemas.errors import LimitError, SchemaError
from loraloop.tool_schemas.grammar.grammar import JsonSchema
from loraloop.tool_schemas.schema.validation import CHECKS

if TYPE_CHECKING:
    from loraloop.agent import Runtime
    from loraloop.agent.engine import Trunk

BOUNDS = Bounds(text=16, items=3, keys=2, key=8, number=1e6)
TOKENS = 160
REQUEST = "Call a tool with arguments of your choice."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one list of calls.

    Attributes:
        index: Which one.
        source: Where its schemas come from.
        mode: `refuse` or `check`.
        skill: Who wrote it.
        result: `valid`, `not_parsed`, `not_valid`, `refused`, `too_long`, `unenforced` or `cut`.
        calls: Number of calls in the list.
        tokens: Number of tokens.
        keyword: The keyword that was refused.
        text: What was written, where it is wrong.
    """

    index: int
    source: str
    mode: str
    skill: str
    result: str
    calls: int = 0
    tokens: int = 0
    keyword: str = ""
    text: str = ""


def outcomes(runtime: Runtime, given: Iterator[Given], seed: int, first: int = 0) -> Iterator[Outcome]:
    """Decodes one list of calls after another."""
    trunk = trunk_of(runtime, [Message("user", REQUEST)])
    skills = (*runtime.skills, "none")
    for index, (source, schemas) in enumerate(given):
        if index >= first:
            mode = "check" if index // 4 % 2 else "refuse"
            told = {"index": index, "source": source, "mode": mode, "skill": skills[index % len(skills)]}
            yield Outcome(**told, **decoded(runtime, trunk, schemas, mode, told["skill"], seed + index))


def decoded(runtime: Runtime, trunk: Trunk, schemas: list[Any], mode: Any, skill: str, seed: int) -> dict[str, Any]:
    """One list of calls; the fields of its outcome."""
    try:
        tools = [Tool(f"tool_{n}", "", schema, on_unsupported=mode) for n, schema in enumerate(schemas)]
        grammar = runtime.grammar(JsonSchema(calls_schema(tools, 1, 2), BOUNDS, mode))
    except SchemaError as error:
        keyword = error.path.rpartition(".")[2].partition("[")[0]
        return {"result": "refused", "keyword": keyword or error.reason[:40]}
    sampler = Sampler(Sampling(temperature=1.0, seed=seed))
    try:
        with branch_of(runtime, trunk, skill) as branch:
            state = grammar.start()
            out = written(runtime, branch, sampler, TOKENS, state)
    except LimitError:
        return {"result": "too_long"}
    found = {"tokens": len(out.ids), "text": out.text}
    if out.reason == "unenforced":
        return {**found, "result": "unenforced"}
    if mode == "check" and out.reason == "tokens" and not state.can_stop:
        return {**found, "result": "cut"}
    try:
        calls = json.loads(out.text, parse_constant=_refused)
    except ValueError:
        return {**found, "result": "not_parsed"}
    if not valid(calls, {tool.name: schema for tool, schema in zip(tools, schemas, strict=True)}):
        return {**found, "result": "not_valid"}
    return {"result": "valid", "calls": len(calls), "tokens": len(out.ids)}


def valid(calls: Any, schemas: dict[str, Any]) -> bool:
    """Whether it is a list of calls whose arguments fit, as jsonschema alone sees it.

    But for `multipleOf`: jsonschema divides in binary and takes 0.3 for no multiple of 0.1.
    """
    if not isinstance(calls, list) or not calls:
        return False
    for call in calls:
        if not isinstance(call, dict) or set(call) != {"name", "arguments"} or call["name"] not in schemas:
            return False
        schema = schemas[call["name"]]
        made = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        exact = jsonschema.validators.extend(made, {"multipleOf": CHECKS["multipleOf"]})
        if not exact(schema, format_checker=made.FORMAT_CHECKER).is_valid(call["arguments"]):
            return False
    return True


def _refused(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def report(done: list[Outcome], seconds: float, fresh: int) -> BenchmarkReport:
    """The counts; `seconds` is what the last `fresh` outcomes took."""
    results = Counter(each.result for each in done)
    calls = sum(each.calls for each in done) + results["not_parsed"] + results["not_valid"]
    metrics: dict[str, float] = {
        "not_parsed": results["not_parsed"],
        "not_valid": results["not_valid"],
        "calls": calls,
        "lists": len(done) - results["refused"] - results["too_long"],
        "refused": results["refused"],
        "too_long": results["too_long"],
        "unenforced": results["unenforced"],
        "cut": results["cut"],
        "tokens_per_list": sum(each.tokens for each in done) / max(len(done) - results["refused"], 1),
    }
    if fresh:
        metrics["ms_per_list"] = 1e3 * seconds / fresh
    for name in ("mode", "source", "skill"):
        for value in sorted({getattr(each, name) for each in done}):
            metrics[f"calls_{value}"] = sum(each.calls for each in done if getattr(each, name) == value)
    keywords = Counter(each.keyword for each in done if each.result == "refused")
    wrong = [asdict(each) for each in done if each.result.startswith("not_")]
    return BenchmarkReport(
        "calls", calls, metrics, details={"refused_by_keyword": dict(keywords.most_common()), "wrong": wrong}
    )


def main() -> None:
    """Decodes and reports; exits with 1 if a call is wrong."""
    from rich.progress import Progress

    from loraloop.agent import Runtime

    parser = options(__doc__.splitlines()[0], limit=10_000)
    parser.add_argument("--data", type=Path, metavar="DATA", help="folder of BFCL's tools and MaskBench's schemas")
    parser.add_argument("--outputs", type=Path, metavar="FILE", help="keep every outcome here, and go on from it")
    given = parser.parse_args()
    done: list[Outcome] = []
    if given.outputs and given.outputs.exists():
        lines = given.outputs.read_text(encoding="utf-8").splitlines()
        done = [Outcome(**json.loads(line)) for line in lines if line.endswith("}")]
    runtime = Runtime.load()
    start, count, known = perf_counter(), sum(each.calls for each in done), len(done)
    found = outcomes(runtime, mixed(given.data, given.seed), given.seed, len(done))
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("calls", total=given.limit, completed=count)
        while count < given.limit:
            outcome = next(found)
            done.append(outcome)
            count += outcome.calls
            progress.update(task, completed=count)
            if given.outputs:
                with given.outputs.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
    made = report(done, perf_counter() - start, len(done) - known)
    finish(made, given.json)
    sys.exit(1 if made.metrics["not_parsed"] or made.metrics["not_valid"] else 0)


if __name__ == "__main__":
    main()
