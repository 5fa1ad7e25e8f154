"""Trains the shipped skills: `python -m loraloop.adapters.training --data DIR --skill tools`.

A killed run goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import torch

from loraloop.adapters.base import Base
from loraloop.adapters.base.loading.catalog import DEFAULT
from loraloop.adapters.skill.card import Card, DataSource, Fingerprints
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.corrections import corrections
from loraloop.adapters.training.data.encode import Encoded, fitting
from loraloop.adapters.training.data.example import CONTRACTS, Example
from loraloop.adapters.training.data.shipped import counted_mixture, load_examples
from loraloop.adapters.training.forward.view import Precision
from loraloop.adapters.training.lineage import rounds
from loraloop.adapters.training.objectives.dpo import Dpo
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.adapters.training.objectives.reference import Reference
from loraloop.adapters.training.objectives.sft import Sft
from loraloop.adapters.training.recipes import RECIPES, ShippedRecipe, recipe
from loraloop.adapters.training.teacher.preferences import pairs
from loraloop.adapters.training.trainer.train_config import Trunks
from loraloop.adapters.training.trainer.trainer import Trainer
from loraloop.tool_schemas.errors import LoraloopError

_log = logging.getLogger("loraloop.training")
_SETTINGS = ("steps", "seconds", "rank", "rate", "seed", "batch", "precision", "trunks")
_OBJECTIVE = "cross-entropy on the completion, trunk under no_grad (aLoRA, arXiv 2504.12397)"


def train(
    base: Base,
    skill: str,
    made: ShippedRecipe,
    data: Path,
    work: Path,
    library: Path,
    command: str,
    start: Path | None = None,
    corrected: int = 0,
) -> Path:
    """Trains one skill of `base` and writes it to `library/skill`; checkpoints and log go to `work/skill`.

    With `start`, the folder of a skill, training begins from that skill's tensors. With `corrected`, that skill first
    writes so many training examples itself, and learns by DPO from those that it gets wrong.
    """
    seed = made.config.seed
    begun = None if start is None else Skill.load(start)
    examples, counts = counted_mixture(skill, data, corrected or made.examples, seed=seed)
    held_out = load_examples(skill, data, "valid", limit=made.validation, seed=seed)
    objective: Objective = Sft()
    if corrected and begun:
        objective = Dpo(reference=Reference.of_skill(begun, base.config), anchor=1.0)
        train_set, valid_set = (
            _corrected(base, begun, part, made, work / skill / f"{name}.jsonl")
            for name, part in (("written", examples), ("written_valid", held_out))
        )
    else:
        train_set, valid_set = fitting(base, examples, made.longest), fitting(base, held_out, made.longest)
    trainer = Trainer(
        base,
        made.method,
        train_set,
        valid_set,
        made.config,
        work / skill,
        begun.tensors if begun else None,
        objective,
    )
    _log.info("%s: %d examples, %d held out", skill, len(trainer.train_set), len(trainer.valid_set))
    best = trainer.run()
    card = Card(
        name=skill,
        description=made.description,
        method="lora",
        rank=made.method.rank,
        alpha=made.method.alpha,
        targets=made.method.targets,
        invocation=base.chat.generation_prompt,
        contract=CONTRACTS[skill],  # type: ignore[arg-type]
        fingerprints=Fingerprints(architecture=base.fingerprints.architecture, weights=base.fingerprints.weights),
        base=f"{base.name} ({base.form})",
        data=_sources(examples),
        training={
            "objective": objective.name if corrected else _OBJECTIVE,
            "command": command,
            "drawn": {**counts},
            **({"start": begun.card.sha256, "rounds": rounds([begun.card])} if begun else {}),
            "steps": trainer.step,
            "examples_seen": min(trainer.step * made.config.batch, len(trainer.train_set)),
            "minutes": round(trainer.spent / 60, 1),
            "validation_loss": round(trainer.best, 4),
            **{name: value for name, value in asdict(made.config).items() if name not in ("steps", "seconds")},
        },
    )
    return Skill(card, best).to(torch.bfloat16).save(library / skill)


def _corrected(base: Base, skill: Skill, examples: list[Example], made: ShippedRecipe, kept: Path) -> list[Encoded]:
    """Pairs of the right text and one that the skill wrote instead."""

    def tell(at: int, wrong: int) -> None:
        _log.info("%s: %d of %d written, %d wrong", kept.stem, at, len(examples), wrong)

    found = corrections(base, skill, examples, kept, seed=made.config.seed, done=tell)
    return [pair for pair in pairs(base, found) if pair.length <= 2 * made.longest]


def _sources(examples: list[Example]) -> tuple[DataSource, ...]:
    counts = Counter((_source(example.source), example.license) for example in examples)
    return tuple(DataSource(name=name, license=terms, n=n) for (name, terms), n in counts.most_common())


def _source(text: str) -> str:
    """A source's name without the place in it: a repository, or `PyPI` and a package."""
    words = text.split(" ")
    return " ".join(words[:2]) if words[0] == "PyPI" else words[0]


def command(skill: str, given: argparse.Namespace) -> str:
    """The command that makes the skill again, without this machine's paths."""
    options = ((f"--{name}", getattr(given, name)) for name in (*_SETTINGS, "corrections"))
    chosen = [text for name, value in options if value for text in (name, _text(value))]
    if given.start:
        chosen += ["--start", "DIR"]
    if given.base != DEFAULT:
        chosen += ["--base", Path(given.base).name]
    return shlex.join(["python", "-m", "loraloop.adapters.training", "--data", "DIR", "--skill", skill, *chosen])


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    found = argparse.ArgumentParser(prog="python -m loraloop.adapters.training", description=__doc__)
    found.add_argument("--data", type=Path, required=True, help="folder of the training data")
    found.add_argument("--skill", action="append", choices=sorted(RECIPES), help="which skills (default: all)")
    found.add_argument("--work", type=Path, default=Path("build/training"), help="checkpoints and logs")
    found.add_argument("--library", type=Path, default=Path("adapters/library"), help="where skills are written")
    found.add_argument("--steps", type=int, help="fewer steps than the recipe's")
    found.add_argument("--seconds", type=float, help="a time budget; the schedule fits itself into it")
    found.add_argument("--rank", type=int, help="another rank than the recipe's, at the same scaling")
    found.add_argument("--rate", type=float, help="another peak learning rate than the recipe's")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--batch", type=int, help="another number of examples a step than the recipe's")
    found.add_argument("--precision", choices=get_args(Precision), help="what the base computes in while training")
    found.add_argument(
        "--trunks", choices=get_args(Trunks), help="who computes contexts: the decoder that trains, or the C decoder"
    )
    found.add_argument("--start", type=Path, help="a skill's folder to begin from (with one --skill)")
    found.add_argument(
        "--corrections",
        type=int,
        metavar="N",
        help="with --start: learn from what the skill writes wrongly of N examples",
    )
    found.add_argument("--base", default=DEFAULT, help="the base to train for; with --library")
    return found


def main() -> int:
    options = parser()
    given = options.parse_args()
    if given.base != DEFAULT and given.library == options.get_default("library"):
        options.error(f"the shipped skills are for {DEFAULT}: give --library, a folder for those of {given.base}")
    if given.start and len(given.skill or ()) != 1:
        options.error("--start is the beginning of one skill: name it with --skill")
    if given.corrections and not given.start:
        options.error("--corrections are those of a skill: name its folder with --start")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        base = Base.load(given.base)
        for skill in given.skill or RECIPES:
            chosen = {name: getattr(given, name) for name in _SETTINGS}
            made = recipe(skill, given.base, **chosen)
            made_by = command(skill, given)
            places = given.data, given.work, given.library
            _log.info("wrote %s", train(base, skill, made, *places, made_by, given.start, given.corrections or 0))
    except LoraloopError as error:
        options.exit(2, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
