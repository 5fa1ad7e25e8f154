"""Measures a shipped skill against the bare base: same trunk, same grammar, greedy decoding.

    python benchmarks/skills.py --skill tools --data DATA --json benchmarks/results/skill_tools.json

Peers: `base`, and with `--told` also `base_told`, the base with one sentence of instructions that says what the
output is (the messages of a skill do not: it was trained to know). Files are read in their own fixed order, so that
`--limit` takes a fair sample of each. With `--outputs FILE` every output is kept there and a killed run goes on.
Code is run in the sandbox.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from loraloop.adapters.base import Base
from loraloop.adapters.contracts import CATEGORIES
from loraloop.adapters.skill import library
from loraloop.adapters.training.data import eval_files, load_examples
from loraloop.adapters.training.example import SKILLS, Example
from loraloop.adapters.training.score import Runs, right, score, summary
from loraloop.skill_eval import Bench, System, runs_program, term_of, with_told
from loraloop.tool_schemas.errors import LoraloopError

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import Report, options

TOKENS = {"tools": 384, "code": 400, "retrieval": 192, "safety": 32}
TOLD = {
    "tools": "Write the calls that the user's last request needs, one for each thing asked, or [] if none fits.",
    "code": "Reply with one Python code block that does what the user asks, and nothing else.",
    "retrieval": "Answer from the passages alone. Reply with JSON: answerable, the ids of the passages that hold the "
    "answer as citations, and a short answer; answerable is false if the passages do not hold it.",
    "safety": "Judge whether the user's last message is safe or unsafe. Reply with JSON: the verdict, and for an "
    f"unsafe message a category out of {', '.join(CATEGORIES)}.",
}


def systems_of(base: Base, example: Example, wanted: Sequence[str]) -> list[System]:
    """The wanted systems on one example."""
    term = term_of(base, example)
    every: dict[str, System] = {
        "base": ("base", example.messages, False, term),
        "skill": ("skill", example.messages, True, term),
        "base_told": ("base_told", with_told(example.messages, TOLD[example.skill]), False, term),
    }
    return [every[name] for name in wanted]


def _picked(skill: str, data: Path, files: Sequence[str] | None, limit: int | None, seed: int) -> list[Example]:
    """Evaluation examples: the first of each file for seed 0, others for other seeds."""
    if not seed:
        return load_examples(skill, data, "eval", limit, files=files)
    names = files or eval_files(skill)
    share = None if limit is None else -(-limit // len(names))
    found = []
    for name in names:
        part = load_examples(skill, data, "eval", files=[name])
        random.Random(f"{seed} {name}").shuffle(part)
        found += part[:share]
    return found[:limit]


def _kept(path: Path | None) -> dict[tuple[str, str], tuple[str, float]]:
    if path is None or not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {(line["system"], line["id"]): (line["output"], line["seconds"]) for line in lines}


def _table(skill: str, found: dict[str, dict[str, float]], n: int) -> Table:
    table = Table("", "n", *found, title=f"{skill} (n = {n}), 95 % intervals")
    first = next(iter(found.values()))
    for name in summary(first):
        cells = [
            f"{100 * s[name]:.1f} [dim]({100 * s[f'{name}_low']:.0f}–{100 * s[f'{name}_high']:.0f})[/]"
            if name in s
            else ""
            for s in found.values()
        ]
        table.add_row(name, f"{first[f'{name}_n']:.0f}", *cells)
    return table


def main() -> int:
    parser = options("a skill against the bare base, under the same grammar")
    parser.add_argument("--skill", required=True, choices=SKILLS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--files", help="evaluation files, by name, parted by commas (default: all of the skill)")
    parser.add_argument("--adapter", help="folder of a skill, or none (default: the shipped one)")
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--told", action="store_true", help="also the base with a sentence on the output")
    parser.add_argument("--outputs", type=Path, help="keep outputs here, and go on from what is there")
    parser.add_argument("--show-errors", type=int, default=0, metavar="N", help="print N wrong outputs of the skill")
    given = parser.parse_args()
    try:
        return _run(given)
    except LoraloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(given: object) -> int:
    import argparse

    import torch

    assert isinstance(given, argparse.Namespace)
    if given.threads:
        torch.set_num_threads(given.threads)
    skill, console = given.skill, Console()
    files = given.files.split(",") if given.files else None
    examples = _picked(skill, given.data, files, given.limit, given.seed)
    adapter = None if given.adapter == "none" else given.adapter or library().get(skill)
    base = Base.load(given.base)
    bench = Bench(base, adapter, TOKENS[skill])
    systems = ["base", *(["skill"] if adapter else []), *(["base_told"] if given.told else [])]
    outputs, seconds = {s: list[str]() for s in systems}, dict.fromkeys(systems, 0.0)
    kept = _kept(given.outputs)
    log = given.outputs.open("a", encoding="utf-8") if given.outputs else None
    with Progress(console=Console(stderr=True)) as progress:
        for example in progress.track(examples, description=skill):
            wanted = [s for s in systems if (s, example.id) not in kept]
            for system, text, took in bench.steps(systems_of(base, example, wanted)):
                kept[system, example.id] = text, took
                if log:
                    line = {"system": system, "id": example.id, "output": text, "seconds": round(took, 4)}
                    log.write(json.dumps(line, ensure_ascii=False) + "\n")
                    log.flush()
            for system in systems:
                text, took = kept[system, example.id]
                outputs[system].append(text)
                seconds[system] += took
    if log:
        log.close()
    run: Runs | None = runs_program if skill == "code" else None
    found = {system: score(skill, examples, outputs[system], run) for system in systems}
    console.print(_table(skill, found, len(examples)))
    if given.show_errors and "skill" in found:
        _show_errors(console, skill, examples, outputs["skill"], given.show_errors, run)
    _report(given, skill, found, seconds, len(examples))
    return 0


def _report(given: object, skill: str, found: dict[str, dict[str, float]], seconds: dict[str, float], n: int) -> None:
    for system, scores in found.items():
        scores["step_ms"] = 1e3 * seconds[system] / n
    ours = found.get("skill") or found["base"]
    peers = {system: scores for system, scores in found.items() if scores is not ours}
    base = peers.get("base", {})
    ratios = {name: value / base[name] for name, value in summary(ours).items() if base.get(name)}
    details = {"told": TOLD[skill]} if "base_told" in found else {}
    files = getattr(given, "files", None)
    name = "_".join(["skill", skill, *(files.split(",") if files else [])])
    report = Report(name, n, ours, peers, ratios, details, _command(given))
    path = getattr(given, "json", None)
    if path is not None:
        report.write(path)
        print(f"written: {path}", file=sys.stderr)


def _command(given: object) -> str:
    """What measures the same again: the options that matter to the figures, without this machine's paths."""
    options = [f"--skill {getattr(given, 'skill', '')}", "--data DATA"]
    for name in ("files", "limit", "seed"):
        if value := getattr(given, name, None):
            options.append(f"--{name} {value}")
    return " ".join(["python benchmarks/skills.py", *options, *(["--told"] if getattr(given, "told", False) else [])])


def _show_errors(
    console: Console, skill: str, examples: Sequence[Example], texts: Sequence[str], count: int, run: Runs | None
) -> None:
    shown = 0
    for example, text in zip(examples, texts, strict=True):
        if shown >= count or right(skill, example, text, run):
            continue
        shown += 1
        console.rule(f"{example.id} ({example.kind})")
        console.print(example.messages[-1].content[-700:], markup=False)
        console.print(f"said:   {text}", style="red", markup=False)
        console.print(f"wanted: {example.completion}", style="green", markup=False)


if __name__ == "__main__":
    raise SystemExit(main())
