"""From a recipe's sources to records: read, checked, and split into training, validation and evaluation."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill.card import DataSource
from loraloop.adapters.training.data.checker import CheckedRecords, Checker, value_under
from loraloop.adapters.training.data.example import Part
from loraloop.adapters.training.data.frozen import PUBLIC, frozen_rows
from loraloop.adapters.training.data.readers import Reading, read_file, records_of
from loraloop.adapters.training.data.record import Record, RecordPlace, ordered
from loraloop.adapters.training.recipe.recipe_file import Recipe, Source
from loraloop.tool_schemas import dumps
from loraloop.tool_schemas.errors import InputError

FROZEN_LICENSE = "Apache-2.0"
SHOWN = 12
"""Findings that an error message lists."""
VALIDATION = 256
"""Records that choose the checkpoint, at most: the difference of two losses over so many is known well enough."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A recipe's data.

    Attributes:
        train: Records of one epoch, weights applied.
        valid: Records that choose the checkpoint: whole dialogues, `VALIDATION` records at most, and no more than there
            are to train on.
        held_out: Records that the skill is measured on.
        checked: What the check of the records found.
        sources: Sources for the card: name, licence, and how many records of the epoch came from each.
        terms: Licences that ask something of what is made with them, and texts that a model wrote.
    """

    train: tuple[Record, ...]
    valid: tuple[Record, ...]
    held_out: tuple[Record, ...]
    checked: CheckedRecords
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


def gather(
    recipe: Recipe,
    count: Callable[[Record], int] | None = None,
    seed: int = 0,
    header: str = CALLS_HEADER,
    sample: int | None = None,
) -> Gathered:
    """Reads and splits a recipe's data; nothing is written.

    Args:
        recipe: The recipe whose data is read.
        count: Tokens of a record.
        seed: Seed of the draws for a limit, a weight or a share.
        header: Stands above the tools of a transcript; see `Prompting.tools_header`.
        sample: Frozen records of a source that are looked at, spread over the source; all where None.

    Raises:
        InputError: a file cannot be read; records are broken and the recipe does not say to skip them (with file and
            line of each, the first dozen); nothing is left.
    """
    data, evaluation = recipe.content.data, recipe.content.evaluation
    if len({source.title for source in data.sources}) < len(data.sources):
        raise InputError(f"{recipe.at('data', 'sources')}: two sources have the same name; give each its own")
    checker = _checker(recipe, count)
    read = [_read(recipe, source, checker, header, sample) for source in data.sources]
    if evaluation.sources and not evaluation.enabled:
        raise InputError(f"{recipe.at('evaluation', 'enabled')}: sources are given, but no metrics")
    held_out = [record for s in evaluation.sources for record in _read(recipe, s, checker.beside(), header)]
    share = evaluation.share if evaluation.enabled and not evaluation.sources else 0.0
    parts: list[dict[str, list[Record]]] = []
    for source, records in zip(data.sources, read, strict=True):
        split: dict[str, list[Record]] = {"train": [], "valid": [], "test": []}
        for record in checker.leaking(records, held_out):
            split[record.part or _part_of(record, share, data.validation)].append(record)
        parts.append(split)
        if evaluation.sources and source.file:
            checker.unused(split["test"])
    own = [record for split in parts for record in split["test"]] if share else []
    train = [checker.leaking(split["train"], own) for split in parts]
    valid = checker.leaking([record for split in parts for record in split["valid"]], own)
    _refuse(recipe, checker)
    if not valid:
        train, valid = _one_kept_out(train)
    if not any(train) or not valid:
        found = "".join(f", {kind}: {count}" for kind, count in Counter(f.kind for f in checker.findings).items())
        raise InputError(
            f"{recipe.where}: no record is left to {'validate' if any(train) else 'train on'} ({checker.read} read"
            f"{found}): give more data"
        )
    epoch = _epoch(train, data.sources, data.limit, seed)
    valid = _some_groups(valid, min(VALIDATION, len(epoch)), seed)
    held = list(held_out or own)
    generator("evaluation", seed).shuffle(held)
    checked = CheckedRecords(
        records=tuple(record for records in train for record in records),
        held_out=tuple(held_out or own),
        findings=tuple(sorted(checker.findings, key=lambda f: f.place)),
        read=checker.read,
    )
    return Gathered(
        train=tuple(epoch),
        valid=tuple(valid),
        held_out=tuple(held[: evaluation.limit]),
        checked=checked,
        sources=_sources(epoch),
        terms=_terms(_sources(epoch), data.sources),
    )


def _part_of(record: Record, test: float, valid: float) -> Part:
    """The part of a record that has none of its own, from what the user said first."""
    if test and in_part(f"evaluation {record.group}", max(1, round(test * 100))):
        return "test"
    return "valid" if in_part(f"validation {record.group}", max(1, round(valid * 100))) else "train"


def _one_kept_out(parts: Sequence[Sequence[Record]]) -> tuple[list[list[Record]], list[Record]]:
    """The parts without what was said first in one of their dialogues, and that: of few, chance may keep none out."""
    groups = {record.group for records in parts for record in records}
    chosen = min(groups, key=lambda group: hashlib.blake2b(group.encode()).digest()) if len(groups) > 1 else None
    kept = [[record for record in records if record.group != chosen] for records in parts]
    return kept, [record for records in parts for record in records if record.group == chosen]


def _some_groups(records: Sequence[Record], most: int, seed: int) -> list[Record]:
    """Takes so many records at most, in whole groups and in order; part of a group only where it alone is too large."""
    if len(records) <= most:
        return list(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    drawn = list(groups.values())
    generator("validation", seed).shuffle(drawn)
    kept: list[Record] = []
    for group in drawn:
        if len(kept) + len(group) <= most:
            kept += group
    kept = kept or drawn[0][:most]
    return sorted(kept, key=lambda record: record.place)


def in_part(group: str, percent: int) -> bool:
    """Whether a group of records belongs to a part of so many percent; it depends on the group's name alone."""
    digest = hashlib.blake2b(group.encode(), digest_size=4).digest()
    return int.from_bytes(digest) % 100 < percent


def generator(*parts: object) -> random.Random:
    """A random generator that depends on these values alone."""
    text = "\x1f".join(str(part) for part in parts)
    return random.Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))


def check_files(files: Sequence[Path], held_out: Sequence[Path], how: Reading, checker: Checker) -> CheckedRecords:
    """Checks files without a recipe, and training files against evaluation files.

    Args:
        files: Files of records to train on.
        held_out: Files of records to evaluate on, against which the others are compared.
        how: The contract and the form of the records in all of them.
        checker: Checks the training records and collects what is found; one beside it checks the others.
    """
    other = checker.beside()
    evaluation = [record for file in held_out for record in other.check(read_file(file, how))]
    records = [record for file in files for record in checker.check(read_file(file, how))]
    kept = checker.leaking(records, evaluation)
    return CheckedRecords(
        records=tuple(kept), held_out=tuple(evaluation), findings=tuple(checker.findings), read=checker.read
    )


def _checker(recipe: Recipe, count: Callable[[Record], int] | None) -> Checker:
    form = recipe.content.skill.form
    made = Checker(longest=recipe.content.data.longest, schema=dict(form) if form else None)
    if count is not None:
        made.count = count
    return made


def _read(recipe: Recipe, source: Source, checker: Checker, header: str, sample: int | None = None) -> list[Record]:
    how = Reading(
        contract=recipe.content.skill.contract,
        form=source.form,
        columns=source.columns,
        instructions=source.instructions,
        where=source.where,
        turns=source.turns,
        source=source.title,
        license=source.license or FROZEN_LICENSE,
        shown=source.file,
        header=header,
    )
    before = checker.read
    if source.file:
        records = checker.check(read_file(recipe.path(source.file), how))
    else:
        records = checker.fitting(_frozen(recipe, source, how, sample))
    if checker.read == before and sample is None:
        selected = " that its where selects" if source.where else ""
        raise InputError(f"{recipe.where}: {source.title} has no records{selected}: correct it, or remove the source")
    if form := recipe.content.skill.form:
        records = [_compact(record, dict(form)) for record in records]
    if source.limit is not None and len(records) > source.limit:
        drawn = generator("limit", source.title).sample(records, source.limit)
        records = sorted(drawn, key=lambda record: record.place)
    return records


def _frozen(recipe: Recipe, source: Source, how: Reading, sample: int | None) -> Iterator[Record]:
    """The records of frozen data, each with the part that it belongs to."""
    name = source.frozen or f"{source.public}{PUBLIC}"
    folder = recipe.path(recipe.content.data.folder) if recipe.content.data.folder else None
    rows = list(frozen_rows(name, folder if source.public else None))
    for line, row in rows if sample is None else rows[:: max(1, len(rows) // sample)]:
        own = replace(how, source=row.get("source", how.source), license=row.get("license", how.license))
        for record in records_of(row, own, RecordPlace(name, line)):
            yield replace(record, part=row.get("part", "train"))


def _compact(record: Record, schema: dict[str, Any]) -> Record:
    """The completions as decoding under the schema writes them: compact, keys in the schema's order."""

    def written(text: str) -> str:
        return dumps(ordered(value_under(text, schema), schema))

    rejected = record.rejected
    if rejected is not None:
        with suppress(InputError):  # what breaks the schema is rejected as it is
            rejected = written(rejected)
    return replace(record, completion=written(record.completion), rejected=rejected)


def _refuse(recipe: Recipe, checker: Checker) -> None:
    """Stops before anything is written, with every broken record's place."""
    errors = [finding for finding in checker.findings if finding.severity == "error"]
    if not errors or recipe.content.data.on_error == "skip":
        return
    listed = "\n".join(f"  {finding}" for finding in errors[:SHOWN])
    more = f"\n  and {len(errors) - SHOWN} more: loraloop data check lists them all" if len(errors) > SHOWN else ""
    raise InputError(f"{len(errors)} records cannot be used; correct them, or say data.on_error: skip:\n{listed}{more}")


def _epoch(parts: Sequence[Sequence[Record]], sources: Sequence[Source], limit: int | None, seed: int) -> list[Record]:
    """One epoch, shuffled: each record as often as its source's weight or share says, the fraction by chance.

    Where a share takes a part of a source, it takes all records of a system message or none: contexts that begin alike
    are read once.
    """
    rng = random.Random(seed)
    total = sum(source.share or 0.0 for source in sources)
    epoch: list[Record] = []
    for records, source in zip(parts, sources, strict=True):
        if source.share is None:
            for record in records:
                epoch += [record] * (int(source.weight) + (rng.random() < source.weight % 1))
        elif records:
            times, more = divmod(round((limit or 0) * source.share / total), len(records))
            epoch += [*records] * times + _alike(records, rng)[:more]
    rng.shuffle(epoch)
    return epoch[:limit]


def _alike(records: Sequence[Record], rng: random.Random) -> list[Record]:
    """Records in a random order of their system messages; one without a system message stands for itself."""
    groups: dict[object, list[Record]] = {}
    for place, record in enumerate(records):
        first = record.messages[0]
        groups.setdefault(first if first.role == "system" else place, []).append(record)
    return [record for group in rng.sample(list(groups.values()), len(groups)) for record in group]


def _sources(records: Sequence[Record]) -> tuple[DataSource, ...]:
    """The sources of an epoch with their number of records, the largest first."""
    counts = Counter((record.source, record.license) for record in records)
    return tuple(DataSource(name=name, license=terms, n=n) for (name, terms), n in counts.most_common())


def _terms(used: Sequence[DataSource], sources: Sequence[Source]) -> dict[str, Any]:
    """What the licences and the makers of generated texts ask, in the words of the recipe where it has any."""
    found: dict[str, Any] = {}
    if alike := [f"{s.name} ({s.license})" for s in used if share_alike(s.license)]:
        found["share_alike"] = alike
    if limited := [f"{s.name} ({s.license})" for s in used if non_commercial(s.license)]:
        found["non_commercial"] = limited
    written = [s for s in sources if s.generated_by]
    if written:
        notes = [f"{s.title}: written by {s.generated_by}; {s.terms or 'terms not stated'}" for s in written]
        found["generated_text"] = notes
    if terms := {s.title: s.terms for s in sources if s.terms and not s.generated_by}:
        found["terms"] = terms
    return found


def share_alike(license: str) -> bool:
    """Whether a licence asks that what is derived from the work carries the same terms."""
    name = license.upper()
    return "-SA" in name or name.startswith(("GPL", "AGPL", "LGPL", "ODBL", "CDLA-SHARING", "MPL", "EUPL"))


def non_commercial(license: str) -> bool:
    """Whether a licence forbids commercial use."""
    return "-NC" in license.upper()
