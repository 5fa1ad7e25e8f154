"""Measures a shipped skill against the bare base, as `loraloop eval` does, safety's verdicts among them.

    python benchmarks/skills.py --skill safety --data DATA --json benchmarks/results/skill_safety.json

`loraloop eval tools|retrieval|code` is the same with more options (docs/evaluation.md). Files are read in their own
fixed order, so that `--limit` takes a fair sample of each.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from loraloop.adapters.base import Base
from loraloop.adapters.training.data import eval_files, load_examples
from loraloop.adapters.training.example import SKILLS
from loraloop.evals.asking import skill_of
from loraloop.evals.commands import show
from loraloop.evals.skills import evaluate
from loraloop.tool_schemas.errors import LoraloopError
from loraloop.waiting import counting

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import options


def main() -> int:
    parser = options("a skill against the bare base, under the same grammar")
    parser.add_argument("--skill", required=True, choices=SKILLS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--files", help="evaluation files, by name, parted by commas (default: all of the skill)")
    parser.add_argument("--adapter", help="folder of a skill, or none (default: the shipped one)")
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--told", action="store_true", help="also the base with a sentence on the output")
    parser.add_argument("--outputs", type=Path, help="keep outputs here, and go on from what is there")
    parser.add_argument("--plots", type=Path, help="draw what outputs were taken for, as PNG, in this folder")
    parser.add_argument("--show-errors", type=int, default=0, metavar="N", help="print N wrong outputs of the skill")
    given = parser.parse_args()
    try:
        _run(given)
    except LoraloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    files = given.files.split(",") if given.files else list(eval_files(given.skill))
    examples = load_examples(given.skill, given.data, "eval", None if given.seed else given.limit, files=files)
    if given.seed:
        random.Random(given.seed).shuffle(examples)
        del examples[given.limit or len(examples) :]
    base = Base.load(given.base)
    skill = skill_of(base, given.skill, given.adapter)
    with counting(given.skill, len(examples)) as step:
        found = evaluate(given.skill, examples, base, skill, told=given.told, outputs=given.outputs, step=step)
    name = "_".join(["skill", given.skill, *(files if given.files else [])])
    show(found, found.report(name, _command(given), files), given.json, given.plots, given.show_errors)


def _command(given: argparse.Namespace) -> str:
    """What measures the same again: the options that matter to the figures, without this machine's paths."""
    words = ["python benchmarks/skills.py", f"--skill {given.skill}", "--data DATA"]
    words += [f"--{name} {value}" for name in ("files", "limit", "seed") if (value := getattr(given, name))]
    return " ".join([*words, *(["--told"] if given.told else [])])


if __name__ == "__main__":
    raise SystemExit(main())
