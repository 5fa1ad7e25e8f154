"""From a recipe's sources to records: read, checked, and split into training, validation and evaluation."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraloop.adapters.skill.card import DataSource
from loraloop.adapters.training.data.checker import Checked, Checker
from loraloop.adapters.training.data.readers import Reading, read_file
from loraloop.adapters.training.data.record import Record
from loraloop.adapters.training.recipe.recipe_file import Recipe, Source
from loraloop.adapters.training.sources.records import generator, in_valid
from loraloop.adapters.training.sources.tools_public import in_order
from loraloop.tool_schemas import dumps
from loraloop.tool_schemas.errors import InputError

SHOWN = 12
"""Findings that an error message lists."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A recipe's data.

    Attributes:
        train: Records of one epoch, weights applied.
        valid: Records that choose the checkpoint.
        held_out: Records that the skill is measured on.
        checked: What was found.
        sources: Of the card: name, licence, and how many records of the epoch came from it.
        terms: Licences that ask something of what is made with them, and texts that a model wrote.
    """

    train: tuple[Record, ...]
    valid: tuple[Record, ...]
    held_out: tuple[Record, ...]
    checked: Checked
    sources: tuple[DataSource, ...]
    terms: dict[str, Any]

    @property
    def counts(self) -> dict[str, Any]:
        """How many records were read, how many are used for what, and what was found."""
        return {
            "read": self.checked.read,
            "train": len(self.train),
            "valid": len(self.valid),
            "held_out": len(self.held_out),
            "findings": self.checked.counts,
        }


def gather(recipe: Recipe, count: Callable[[Record], int] | None = None, seed: int = 0) -> Gathered:
    """Reads and splits a recipe's data; nothing is written.

    Args:
        recipe: Whose data.
        count: Tokens of a record.
        seed: Of what a limit or a weight draws.

    Raises:
        InputError: a file cannot be read; records are broken and the recipe does not say to skip them (with file and
            line of each, the first dozen); nothing is left.
    """
    data, evaluation = recipe.content.data, recipe.content.evaluation
    checker = _checker(recipe, count)
    parts = {_name(source): _read(recipe, source, checker) for source in data.sources}
    if len(parts) < len(data.sources):
        raise InputError(f"{recipe.at('data', 'sources')}: two sources have the same name; give each its own")
    held_out: list[Record] = []
    if evaluation.enabled:
        for source in evaluation.sources:
            held_out += _read(recipe, source, checker.beside())
    elif evaluation.sources:
        raise InputError(f"{recipe.at('evaluation', 'enabled')}: there are sources, but nothing is measured")
    train: list[Record] = []
    valid: list[Record] = []
    own: list[Record] = []
    share = evaluation.share if evaluation.enabled and not evaluation.sources else 0.0
    for source in data.sources:
        for record in checker.leaking(parts[_name(source)], held_out):
            if share and in_valid(f"evaluation {record.group}", round(share * 100)):
                own.append(record)
            elif in_valid(f"validation {record.group}", max(1, round(data.validation * 100))):
                valid.append(record)
            else:
                train.append(record)
    if own:
        train, valid = checker.leaking(train, own), checker.leaking(valid, own)
    _refuse(recipe, checker)
    if not train or not valid:
        raise InputError(
            f"{recipe.where}: {len(train)} training and {len(valid)} validation records are left after checking: "
            "give more data, or a larger data.validation"
        )
    weighted = _weighted(train, {_name(s): s.weight for s in data.sources}, seed)
    if data.limit is not None:
        weighted = weighted[: data.limit]
    held = tuple(held_out or own)
    generator("evaluation", seed).shuffle(shuffled := list(held))
    checked = Checked(tuple(train), held, tuple(sorted(checker.findings, key=lambda f: f.place)), checker.read)
    return Gathered(
        tuple(weighted),
        tuple(valid),
        tuple(shuffled[: evaluation.limit]),
        checked,
        _sources(weighted, data.sources),
        _terms(data.sources),
    )


def check_files(files: Sequence[Path], held_out: Sequence[Path], how: Reading, checker: Checker) -> Checked:
    """Checks files without a recipe, and training files against evaluation files."""
    other = checker.beside()
    evaluation = [record for file in held_out for record in other.check(read_file(file, how))]
    records = [record for file in files for record in checker.check(read_file(file, how))]
    kept = checker.leaking(records, evaluation)
    return Checked(tuple(kept), tuple(evaluation), tuple(checker.findings), checker.read)


def _checker(recipe: Recipe, count: Callable[[Record], int] | None) -> Checker:
    form = recipe.content.skill.form
    made = Checker(longest=recipe.content.data.longest, schema=dict(form) if form else None)
    if count is not None:
        made.count = count
    return made


def _name(source: Source) -> str:
    return source.name or Path(source.file).name


def _read(recipe: Recipe, source: Source, checker: Checker) -> list[Record]:
    how = Reading(
        recipe.content.skill.contract,
        source.form,
        source.columns,
        source.instructions,
        source.turns,
        _name(source),
        source.license,
        source.file,
    )
    records = checker.check(read_file(recipe.path(source.file), how))
    if form := recipe.content.skill.form:
        records = [_compact(record, dict(form)) for record in records]
    if source.limit is not None and len(records) > source.limit:
        records = sorted(
            generator("limit", _name(source)).sample(records, source.limit), key=lambda record: record.place
        )
    return records


def _compact(record: Record, schema: dict[str, Any]) -> Record:
    """The completion as decoding under the schema writes it: compact, keys in the schema's order."""
    value = in_order({"name": "", "arguments": json.loads(record.completion)}, [{"name": "", "parameters": schema}])
    return replace(record, completion=dumps(value["arguments"]))


def _refuse(recipe: Recipe, checker: Checker) -> None:
    """Stops before anything is written, with every broken record's place."""
    errors = [finding for finding in checker.findings if finding.severity == "error"]
    if not errors or recipe.content.data.on_error == "skip":
        return
    listed = "\n".join(f"  {finding}" for finding in errors[:SHOWN])
    more = f"\n  and {len(errors) - SHOWN} more: loraloop data check lists them all" if len(errors) > SHOWN else ""
    raise InputError(f"{len(errors)} records cannot be used; correct them, or say data.on_error: skip:\n{listed}{more}")


def _weighted(records: Sequence[Record], weights: dict[str, float], seed: int) -> list[Record]:
    """One epoch: each record as often as its source's weight says, the fraction by chance; shuffled."""
    rng = random.Random(seed)
    epoch: list[Record] = []
    for record in records:
        weight = weights[record.source]
        epoch += [record] * (int(weight) + (rng.random() < weight % 1))
    rng.shuffle(epoch)
    return epoch


def _sources(records: Sequence[Record], sources: Sequence[Source]) -> tuple[DataSource, ...]:
    counts = {_name(source): 0 for source in sources}
    for record in records:
        counts[record.source] += 1
    return tuple(DataSource(name=_name(s), license=s.license, n=counts[_name(s)]) for s in sources)


def _terms(sources: Sequence[Source]) -> dict[str, Any]:
    """What the licences and the makers of generated texts ask, in the words of the recipe where it has any."""
    found: dict[str, Any] = {}
    alike = [f"{_name(s)} ({s.license})" for s in sources if share_alike(s.license)]
    if alike:
        found["share_alike"] = alike
    limited = [f"{_name(s)} ({s.license})" for s in sources if non_commercial(s.license)]
    if limited:
        found["non_commercial"] = limited
    made = [
        f"{_name(s)}: written by {s.generated_by}; {s.terms or 'terms not stated'}" for s in sources if s.generated_by
    ]
    if made:
        found["generated_text"] = made
    said = {_name(s): s.terms for s in sources if s.terms and not s.generated_by}
    if said:
        found["terms"] = said
    return found


def share_alike(license: str) -> bool:
    """Whether a licence asks that what is derived from the work carries the same terms."""
    name = license.upper()
    return "-SA" in name or name.startswith(("GPL", "AGPL", "LGPL", "ODBL", "CDLA-SHARING", "MPL", "EUPL"))


def non_commercial(license: str) -> bool:
    """Whether a licence forbids commercial use."""
    return "-NC" in license.upper()
