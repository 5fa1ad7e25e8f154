"""Improving a skill by what it does: run, judge, correct, train, measure, keep or not; round after round.

| in the folder | what |
|---|---|
| `journal.json` | the order, what was measured first, the finished rounds |
| `rounds/N/runs.jsonl` | each request that was run, with the states that it reached |
| `rounds/N/records.jsonl` | the training records of all rounds so far |
| `rounds/N/training`, `skill` | the training with its checkpoints, and the skill of the round |
| `rounds/N/*.measured.jsonl` | how the round's skill did; `rounds/0` has the skill that it began from |
| `report.md`, `report.json`, `rounds.svg` | the curves |
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from loraloop.adapters.atomic_write import write_text
from loraloop.adapters.skill.skill import Skill, SkillFolder
from loraloop.adapters.training.improve.document import LONGEST, continued, inherited
from loraloop.adapters.training.improve.journal import ImproveJournal, Lines
from loraloop.adapters.training.improve.keep import Change, verdict
from loraloop.adapters.training.recipe.run import FOLDED
from loraloop.improve.agents import RequestInWorld, WorldRun, ask_all, requests_of
from loraloop.improve.measures import Measured, by_world, frozen_records, measure_records, measure_requests
from loraloop.improve.order import ImproveOrder
from loraloop.improve.report import ImproveReport
from loraloop.improve.worlds import open_worlds
from loraloop.inputs.loading import open_base
from loraloop.render.training import Watch, clock
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.training.trace_data import distinct

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.training.data.record import Record
    from loraloop.agent import Runtime

MOST_ROUNDS = 6
TRAINED_SHARE = 0.5
"""Share of the time that is spent on training, at least; as many rounds are made as it allows."""
LEAST_SECONDS = 10.0
"""Least seconds of a training."""


def improve(
    order: ImproveOrder, *, base: Base | None = None, runtime: Runtime | None = None, observer: Watch | None = None
) -> ImproveReport:
    """Improves a skill; one that was killed goes on when it is called again with the same order.

    Args:
        order: What is to be done.
        base: The loaded base, if there is one already.
        runtime: Base, skills and router, if they are loaded already.
        observer: Shows how far it is; nothing is shown where None.

    Raises:
        InputError: The worlds, traces or options are wrong, or the folder holds another improvement.
        BaseModelError, SkillError: Base or skills cannot be loaded.
    """
    return _Improvement(order, base, runtime, observer or Watch(quiet=True)).run()


class _Improvement:
    """One improvement: what is learnt from, the runtime, and the journal."""

    def __init__(self, order: ImproveOrder, base: Base | None, runtime: Runtime | None, watch: Watch) -> None:
        from loraloop.agent import Runtime

        self.order, self.watch = order, watch
        self.worlds = open_worlds(order.worlds) if order.worlds is not None else []
        self.runtime = runtime or Runtime.load(
            base or open_base(order.base, order.quantize, watch.quiet), skills=order.skills
        )
        self.base = self.runtime.base
        self.journal = ImproveJournal(order.out, order.facts())  # its clock does not count the loading of the base
        self.runtime.check(order.skill)
        self.card: Card = self.runtime.bank.card(order.skill)
        if self.card.contract != "calls":
            raise InputError(
                f"{order.skill} writes {self.card.contract}: only skills that write calls can be improved yet"
            )
        if self.card.method in FOLDED:
            raise InputError(
                f"{order.skill}: a skill of {self.card.method} has been folded into low-rank pairs, from "
                "which no training goes on: improve one of another method"
            )
        self.recipe = _recipe(order, self.base)
        header = self.base.prompting.tools_header
        self.others = frozen_records(self.recipe, self.card.contract, order.others, header)
        self.own: list[dict[str, Any]] = []
        self.valid: list[Record] = []
        self.held_out: list[RequestInWorld] = []
        if order.traces is not None:
            self.own, self.valid = _traces(order, header)
        else:
            self.held_out = requests_of(self.worlds, order.held_out, order.seed, held_out=True)
        self.folder = self._started()  # nothing is written before
        if self.folder:
            self.card = SkillFolder.open(self.folder).card

    def run(self) -> ImproveReport:
        """All rounds that the time allows."""
        journal = self.journal
        self._use(self.folder)
        if "began" not in journal.facts:
            found = self._measured(0, self.folder, "the skill as it is")
            journal.facts["began"] = asdict(found)
            journal.facts["measuring"] = round(journal.seconds, 1)
            journal.write()
        for done in journal.rounds:
            if done["kept"]:
                self._use(skill := self._round(done["round"]) / "skill")
                if self.order.register and not done.get("registered"):
                    self._register(skill, done)
                    journal.write()
        while (seconds := self._next()) is not None:
            self._one_round(len(journal.rounds) + 1, seconds)
            self._report().write()
        report = self._report()
        report.write()
        return report

    # What a round does.

    def _one_round(self, number: int, seconds: float) -> None:
        journal, folder = self.journal, self._round(number)
        start = journal.seconds
        records, counts, learnt = self._collected(number)
        # What running took less than was estimated, training has more.
        seconds = max(LEAST_SECONDS, seconds - (journal.seconds - start) - float(journal.facts["measuring"]))
        trained = self._trained(number, records, sum(1 for _ in records.open(encoding="utf-8")), seconds)
        before = self._current()
        self._use(folder / "skill", quietly=True)
        after = self._measured(number, folder / "skill", f"round {number}'s skill")
        held_out = _change(
            "held-out requests" if self.worlds else "held-out records", before["held_out"], after.held_out
        )
        others = [_change(name, before["others"][name], found) for name, found in after.others.items()]
        others += by_world(self.held_out, before["held_out"], after.held_out)
        kept, why = verdict(held_out, others)
        found: dict[str, Any] = {
            "round": number,
            "learnt": learnt,
            "records": counts,
            "training": trained,
            "held_out": held_out.to_dict(),
            "others": [each.to_dict() for each in others],
            "measured": asdict(after),
            "kept": kept,
            "why": why,
            "minutes": round((journal.seconds - start) / 60, 2),
        }
        if kept:
            if self.order.register:
                self._register(folder / "skill", found)
            self.folder = folder / "skill"
        self._use(self.folder)
        journal.rounds.append(found)
        journal.write()
        self.watch.say(f"round {number}: {'kept' if kept else 'not kept'}: {why} ({found['minutes']:.1f} minutes)")

    def _collected(self, number: int) -> tuple[Path, dict[str, int], dict[str, Any]]:
        """The records of all rounds up to this one, how many there are by origin, and how its requests went."""
        folder = self._round(number)
        target = folder / "records.jsonl"
        learnt: dict[str, Any] = {}
        if self.order.traces is not None:
            rows = self.own
        else:
            from loraloop.agent.engine.sampler import Sampling

            asked = requests_of(self.worlds, self.order.requests, self.order.seed * 1000 + number)
            done = Lines(folder / "runs.jsonl")
            left = [(world, request) for world, request in asked if f"{world.name}/{request.id}" not in done]
            sampling = Sampling(temperature=self.order.temperature, seed=self.order.seed * 1000 + number)
            with self._work(f"round {number}: running {len(asked)} requests", len(left)) as step:

                def keep(run: WorldRun) -> None:
                    states = [state.record for state in run.states if state.contract == "calls"]
                    row = {name: run.row[name] for name in ("id", "kind", "right", "why", "seconds")}
                    done.put({**row, "records": states})
                    step()

                ask_all(self.runtime, left, sampling=sampling, documents=self.order.documents, each=keep)
            runs = [done[f"{world.name}/{request.id}"] for world, request in asked]
            learnt = {"requests": len(runs), "right": sum(row["right"] for row in runs)}
            rows = [record for row in runs for record in row["records"]]
            if number > 1:
                before = self._round(number - 1) / "records.jsonl"
                rows = [json.loads(line) for line in before.read_text(encoding="utf-8").splitlines()] + rows
        rows = distinct(rows)
        if not rows:
            raise InputError("the runs gave no records: the worlds have no requests that call, ask or call nothing")
        write_text(target, "".join(dumps(row) + "\n" for row in rows))
        return target, dict(Counter(row["origin"]["why"] for row in rows)), learnt

    def _trained(self, number: int, records: Path, count: int, seconds: float) -> dict[str, Any]:
        """Trains the round's skill, which then lies in `skill`; what its training reported."""
        from loraloop.training.build import as_served
        from loraloop.training.run import run_recipe

        folder = self._round(number)
        known = folder / "trained.json"
        if known.is_file() and (folder / "skill" / "card.json").is_file():
            return dict(json.loads(known.read_text(encoding="utf-8")))
        document = continued(
            self.card,
            self.folder,
            records.resolve(),
            count,
            self.recipe,
            base={"name": self.order.base, "quantize": self.order.quantize},
            seconds=round(seconds, 1),
            output=(folder / "training").resolve(),
            longest=min(LONGEST, self.base.config.max_positions),
            seed=self.order.seed * 1000 + number,
        )
        as_served(document["schedule"], self.base)
        self.watch.say(f"round {number}: training on {count} records of its own, for {clock(seconds)}")
        report = run_recipe(document, base=self.base, observer=self.watch)
        made = Skill.load(report.skill)
        card = inherited(made.card, self.card)
        command = f"loraloop improve --base {self.order.base} --skill {self.order.skill}"
        training = {**card.training, "command": command, "round": number, "recipe": "training/report.json"}
        replace(made, card=card.model_copy(update={"training": training})).save(folder / "skill")
        summary = {name: report.training[name] for name in ("steps", "seconds", "validation_loss")}
        summary |= {
            "examples": report.data["train"],
            "valid": report.data["valid"],
            "findings": report.data["findings"],
        }
        write_text(known, json.dumps(summary) + "\n")
        self.journal.write()
        return summary

    def _measured(self, number: int, skill: Path | None, what: str) -> Measured:
        """How the skill that the runtime has does on what was held out."""
        from loraloop.adapters.skill.blank import blank_skill

        folder = self._round(number)
        done = Lines(folder / "held_out.measured.jsonl")
        kinds: dict[str, str] = {}
        own = skill or blank_skill(self.base, self.order.skill, self.card.contract)
        if self.worlds:
            with self._work(f"measuring {what}: {len(self.held_out)} held-out requests", len(self.held_out)) as step:
                documents = self.order.documents
                rows = measure_requests(self.runtime, self.held_out, done, documents=documents, each=step)
            held_out = {name: bool(row["right"]) for name, row in rows.items()}
            kinds = {name: row["kind"] for name, row in rows.items()}
        else:
            with self._work(f"measuring {what}: {len(self.valid)} held-out records", len(self.valid)) as step:
                held_out = measure_records(self.base, own, self.valid, done, each=step)
        others = {}
        for name, records in self.others.items():
            lines = Lines(folder / f"{name.replace(' ', '_')}.measured.jsonl")
            with self._work(f"measuring {what}: {len(records)} {name}", len(records)) as step:
                others[name] = measure_records(self.base, own, records, lines, each=step)
        self.journal.write()
        return Measured(held_out, others, kinds)

    # What the rounds share.

    def _started(self) -> Path | None:
        """A copy of the skill that everything begins from; None where that is the base itself."""
        kept, known = self._round(0) / "skill", _start_folder(self.order)
        if "start" not in self.journal.facts:
            if known is not None:
                Skill.load(known).save(kept)
            self.journal.facts["start"] = str(known or "")
            self.journal.write()
        return kept if self.journal.facts["start"] else None

    def _next(self) -> float | None:
        """Seconds that the next round takes; None where no time is left for one."""
        journal = self.journal
        left = 60 * self.order.minutes - journal.seconds
        if len(journal.rounds) >= (MOST_ROUNDS if self.worlds else 1):
            return None
        measuring = float(journal.facts["measuring"])
        other = measuring * (1 + (self.order.requests / self.order.held_out if self.worlds else 0))
        rounds = max(1, min(MOST_ROUNDS - len(journal.rounds), int((1 - TRAINED_SHARE) * left / max(other, 1e-9))))
        training = left / rounds - other
        return None if training < max(LEAST_SECONDS, 0.2 * other) and journal.rounds else left / rounds

    def _current(self) -> Mapping[str, Any]:
        """How the current skill did."""
        kept = [done["measured"] for done in self.journal.rounds if done["kept"]]
        found: Mapping[str, Any] = kept[-1] if kept else self.journal.facts["began"]
        return found

    def _use(self, folder: Path | None, quietly: bool = False) -> None:
        """Puts a skill into the runtime in the place of the one of its name."""
        from loraloop.adapters.skill.blank import blank_skill

        bank, name = self.runtime.bank, self.order.skill
        bank.replace(folder if folder is not None else blank_skill(self.base, name, self.card.contract))
        if not quietly:
            self.folder, self.card = folder, bank.card(name)

    def _register(self, skill: Path, found: dict[str, Any]) -> None:
        from loraloop.adapters.skill import registry

        change = found["held_out"]
        origin = {
            "command": f"loraloop improve --base {self.order.base} --skill {self.order.skill}",
            "round": found["round"],
            "out": str(self.order.out.resolve()),
            "held_out": f"{change['before']:.1%} -> {change['after']:.1%} (n = {change['n']})",
        }
        registry.register(skill, self.order.skill, origin)
        found["registered"] = True

    def _round(self, number: int) -> Path:
        folder = self.order.out / "rounds" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _work(self, what: str, count: int) -> Iterator[Any]:
        """One line that says what is done, how far it is, and how long it took."""
        start = monotonic()
        with self.watch.working(what, count) as step:

            def one() -> None:
                step()
                self.journal.write()

            yield one if hasattr(self, "journal") else step
        self.watch.say(f"{what}: {clock(monotonic() - start)}")

    def _report(self) -> ImproveReport:
        from loraloop.agent.tracing.provenance import versions
        from loraloop.render.report import PACKAGES, command_line, machine

        kept: dict[str, Any] = next((done for done in reversed(self.journal.rounds) if done["kept"]), {})
        return ImproveReport(
            skill=self.order.skill,
            base=f"{self.base.name} ({self.base.form})",
            folder=self.order.out,
            began=self.journal.facts["began"],
            rounds=self.journal.rounds,
            kept=f"rounds/{kept['round']}/skill" if kept else "",
            registered=kept.get("registered", False),
            facts={
                "command": command_line(),
                "order": self.journal.order,
                "minutes": round(self.journal.seconds / 60, 1),
                "machine": machine(),
                "versions": versions(PACKAGES),
            },
        )


def _start_folder(order: ImproveOrder) -> Path | None:
    """The folder of the skill that is improved; None where the base itself is asked so far."""
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.registry import built_skills, known_skills

    if order.skills is not None:
        named = {Card.read(folder / "card.json").name: folder for folder in built_skills(order.skills)[0]}
        return named.get(order.skill)
    return known_skills(order.base).get(order.skill)


def _recipe(order: ImproveOrder, base: Base) -> dict[str, Any]:
    """The recipe that this base's skills for calls are trained by, whatever the name of the one that is improved."""
    from loraloop.adapters.training.recipe.recipe_lines import read_yaml
    from loraloop.training.build import recipe_folder

    document = read_yaml(recipe_folder(base) / "tools.yaml")[0]
    if order.data is not None:
        document["data"]["folder"] = str(order.data)
    return document


def _traces(order: ImproveOrder, header: str) -> tuple[list[dict[str, Any]], list[Record]]:
    """The records of real runs, and those of them that are held out; a run is on one side."""
    from loraloop.adapters.training.data.readers import Reading, records_of
    from loraloop.adapters.training.data.record import RecordPlace
    from loraloop.adapters.training.recipe.gather import in_part
    from loraloop.training.trace_data import from_traces

    assert order.traces is not None
    found = from_traces(order.traces).records
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for row in found:
        asked = next(each["content"] for each in row["messages"] if each["role"] == "user")  # not the note on its dates
        sides[in_part(f"held out {asked}", 25)].append(row)
    learnt, held = sides
    if not learnt or not held:
        raise InputError(
            f"{order.traces} gives {len(found)} records, and {len(held)} of them to hold out: keep and rate more runs"
        )
    how = Reading("calls", source="traces", header=header)
    places = [RecordPlace("traces", number) for number in range(1, len(held) + 1)]
    records = [record for row, place in zip(held, places, strict=True) for record in records_of(row, how, place)]
    return learnt, records[: order.held_out]


def _change(name: str, before: Mapping[str, bool], after: Mapping[str, bool]) -> Change:
    return Change.of(name, [before[key] for key in after], list(after.values()))
