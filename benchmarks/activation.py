"""Skills under branch and under full activation, on the validation records of their recipes.

    python benchmarks/activation.py recipes/smollm2-135m/{tools,code,retrieval,safety}.yaml --data DATA --json …

A skill that was trained for branch activation acts, as plain LoRA on vLLM or SGLang, on the whole context. Of the
skill of each recipe (the shipped one, or `--skill FOLDER` for a single recipe) both modes are measured on up to
`--limit` records of the recipe's validation part: the loss, in nats a token of what the skill should write; and the
share of steps that are right, written greedily under the grammar and the card's thresholds (programs without tests
count as right where they parse). `right in one mode alone` is the share of steps that are right in one of the two:
where it is small, so is what chance can do to the difference.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import BenchmarkReport, finish, options

from loraloop.adapters.skill.registry import known_skills
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.encode import encode_grouped
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.adapters.training.recipe.run import Prepared, load_base, make_trainer, prepare
from loraloop.adapters.training.scoring.score import right
from loraloop.evals.bench import Bench, runs_program, term_of

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.training.data.record import Record

LOOKED_AT = 1200
"""Rows of each source that are looked at, spread over it; each row says whether it is one for validation."""
MODES: tuple[Literal["branch", "full"], ...] = ("branch", "full")


def losses(prepared: Prepared, skill: Skill, records: Sequence[Record]) -> dict[str, float]:
    """The mean loss of a skill over some records, by mode."""
    encoded = encode_grouped(prepared.base, records, prepared.recipe.content.data.longest)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(replace(prepared, start=skill.tensors), Path(folder), valid=encoded)
        found = {}
        for mode in MODES:
            trainer.config = replace(prepared.config, mode=mode)
            found[mode] = trainer.validate()
    return found


def steps(base: Base, skill: Skill, records: Sequence[Record], mode: str) -> list[bool]:
    """Whether each step is right that a skill writes in a mode."""
    tensors, card = skill.tensors, skill.card.model_copy(update={"activation": mode})
    bench, found = Bench(base, Skill(card, tensors), 256), []
    for record in records:
        term = term_of(base, record, asks=bench.asks)
        text = bench.write(record.messages, term, extra_prompt=record.extra_prompt).text
        found.append(right(record, text, runs_program))
    return found


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=60)
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="recipe of a skill, a YAML file")
    parser.add_argument("--data", default="", metavar="FOLDER", help="the folder of public sets")
    parser.add_argument("--skill", type=Path, metavar="FOLDER", help="the skill, in place of the shipped one")
    given = parser.parse_args()
    if given.skill and len(given.recipes) > 1:
        parser.error("--skill is the skill of one recipe")
    figures: dict[str, float] = {}
    base: Base | None = None
    for path in given.recipes:
        recipe = read_recipe(path, data=given.data)
        name, data = recipe.content.skill.name, recipe.content.data
        few = recipe.content.model_copy(update={"data": data.model_copy(update={"limit": 4 * given.limit})})
        base = base or load_base(recipe)
        prepared = prepare(replace(recipe, content=few), base, sample=LOOKED_AT)
        skill = Skill.load(given.skill or known_skills(base.name)[name])
        records = prepared.gathered.valid
        records = records[:: -(-len(records) // given.limit)]
        loss = losses(prepared, skill, records)
        hits = {mode: steps(base, skill, records, mode) for mode in MODES}
        alone = sum(one != other for one, other in zip(*hits.values(), strict=True))
        figures |= {f"loss, {mode}/{name}": value for mode, value in loss.items()}
        figures |= {f"right, {mode}, %/{name}": 100 * sum(rows) / len(rows) for mode, rows in hits.items()}
        figures |= {f"right in one mode alone, %/{name}": 100 * alone / len(records), f"records/{name}": len(records)}
        print(name, loss, {mode: sum(rows) for mode, rows in hits.items()}, alone, file=sys.stderr, flush=True)
    finish(BenchmarkReport("activation", given.limit, figures), given.json)


if __name__ == "__main__":
    main()
