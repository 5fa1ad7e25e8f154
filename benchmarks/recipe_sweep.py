"""A shipped skill's recipe with one choice changed at a time: rank, learning rate, mixture, length.

    python benchmarks/recipe_sweep.py --data DATA --json benchmarks/results/recipe_sweep.json

Every row trains the skill from nothing, for the same number of steps on draws of the same seed. `loss` is the
cross-entropy a token of the completions of the same validation examples, `right` the share of them that the skill then
writes as they are wanted, greedily, under their grammars and on shared trunks. `made` and `public` draw from the
project's own generators alone and from the public files alone; `short` leaves out what is longer than 280 tokens. Rows
are kept in `--work` until all are done: a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from report import Report, finish, options

from loraloop.adapters.base import Base
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.encode import fitting
from loraloop.adapters.training.data.example import CONTRACTS, Example
from loraloop.adapters.training.data.shipped import counted_mixture, load_examples
from loraloop.adapters.training.forward.view import Precision
from loraloop.adapters.training.recipes import RECIPES, ShippedRecipe, recipe
from loraloop.adapters.training.scoring.score import right
from loraloop.adapters.training.trainer.train_config import Trunks
from loraloop.adapters.training.trainer.trainer import Trainer
from loraloop.skill_eval import Bench, System, runs_program, term_of

OWN = "loraloop"
SHORT = 280


@dataclass(frozen=True, slots=True)
class Row:
    """One choice.

    Attributes:
        rank, rate: What the recipe's rank and learning rate are multiplied by.
        takes: Which of the mixture's examples are trained on.
        longest: Tokens of an example at most; None: the recipe's.
    """

    rank: float = 1
    rate: float = 1
    takes: Callable[[Example], bool] = lambda example: True
    longest: int | None = None


ROWS = {
    "recipe": Row(),
    "quarter_rank": Row(rank=0.25),
    "twice_rank": Row(rank=2),
    "third_rate": Row(rate=1 / 3),
    "thrice_rate": Row(rate=3),
    "made": Row(takes=lambda example: example.source.startswith(OWN)),
    "public": Row(takes=lambda example: not example.source.startswith(OWN)),
    "short": Row(longest=SHORT),
}


def changed(row: Row, skill: str, given: argparse.Namespace) -> ShippedRecipe:
    """The skill's recipe with one row's rank and rate, cut to the steps that are asked for."""
    plain = recipe(skill)
    made = recipe(
        skill, steps=given.steps, rank=max(1, round(row.rank * plain.method.rank)),
        rate=row.rate * plain.config.learning_rate, seed=given.seed, precision=given.precision, trunks=given.trunks,
    )  # fmt: skip
    return replace(made, config=replace(made.config, validate_every=given.steps))


def trained(
    base: Base, skill: str, row: Row, given: argparse.Namespace, folder: Path
) -> tuple[Skill, dict[str, float]]:
    """The skill of one row, and its figures; what an earlier run finished is read again."""
    made = changed(row, skill, given)
    kept = folder / "figures.json"
    if not kept.exists():
        wanted = given.steps * made.config.batch
        drawn, _ = counted_mixture(skill, given.data, 4 * wanted, seed=given.seed)
        chosen = fitting(base, [each for each in drawn if row.takes(each)], row.longest or made.longest)[:wanted]
        held_out = fitting(base, load_examples(skill, given.data, "valid", given.limit, given.seed), made.longest)
        started = time.perf_counter()
        trainer = Trainer(base, made.method, chosen, held_out, made.config, folder / "run", progress=lambda told: None)
        tensors = trainer.run()
        update = {"rank": made.method.rank, "alpha": made.method.alpha, "targets": made.method.targets}
        card = blank_skill(base, skill, CONTRACTS[skill]).card.model_copy(update=update)
        Skill(card, tensors).to(torch.bfloat16).save(folder / "skill")
        seconds = time.perf_counter() - started
        kept.write_text(json.dumps({"loss": trainer.best, "examples": len(chosen), "train_s": seconds}))
    return Skill.load(folder / "skill"), json.loads(kept.read_text())


def rights(base: Base, skill: str, skills: dict[str, Skill], examples: Sequence[Example]) -> dict[str, float]:
    """The share of the examples that each of the skills writes as wanted."""
    widest = max(skills.values(), key=lambda each: each.card.rank)
    bench = Bench(base, widest, 256, 1, skills)
    hits = dict.fromkeys(skills, 0)
    for example in examples:
        term = term_of(base, example)
        asked = [System(name, example.messages, name, term, example.tools) for name in skills]
        for name, text, _ in bench.steps(asked):
            hits[name] += right(skill, example, text, runs_program)
    return {name: count / len(examples) for name, count in hits.items()}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options(__doc__.splitlines()[0], limit=96)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--skill", default="tools", choices=sorted(RECIPES))
    parser.add_argument("--steps", type=int, default=80, help="optimizer steps of each row")
    parser.add_argument("--rows", default=",".join(ROWS), help="parted by commas")
    parser.add_argument("--precision", choices=get_args(Precision), help="instead of the recipe's")
    parser.add_argument("--trunks", choices=get_args(Trunks), help="instead of the recipe's")
    parser.add_argument("--work", type=Path, default=Path("build/recipe-sweep"), help="what is done is kept here")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        parser.error(f"there is no folder {given.data}: give the one that holds tools/, code/, retrieval/ and safety/")
    given.rows = [row.strip() for row in given.rows.split(",") if row.strip()]
    if strange := set(given.rows) - set(ROWS):
        parser.error(f"unknown row {min(strange)!r}: use {', '.join(ROWS)}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    given = parsed(arguments)
    torch.set_num_threads(given.threads or torch.get_num_threads())
    base = Base.load()
    skills, metrics = {}, {}
    settings = (given.skill, given.steps, given.limit, given.seed, given.precision, given.trunks)
    work = given.work / "-".join(map(str, settings))  # another sweep keeps its rows elsewhere
    for name in given.rows:
        skills[name], figures = trained(base, given.skill, ROWS[name], given, work / name)
        metrics |= {f"{name}/{key}": float(f"{value:.4g}") for key, value in figures.items()}
        print(f"{name}: {figures}", file=sys.stderr, flush=True)
    examples = load_examples(given.skill, given.data, "valid", given.limit, given.seed)
    metrics |= {f"{name}/right": round(share, 4) for name, share in rights(base, given.skill, skills, examples).items()}
    details = {"skill": given.skill, "steps": given.steps}
    finish(Report("recipe_sweep", len(examples), metrics, details=details), given.json)
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
