"""Skills and a router for another base: the shipped recipes trained, measured beside the bare base, and reported."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.payload.sites import matrix_values
from loraloop.inputs.loading import open_base
from loraloop.render.training import Watch
from loraloop.tool_schemas.errors import InputError, unknown
from loraloop.training.run import run_recipe, run_router_recipe

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.training.recipe.report import RecipeReport

SKILLS = ("tools", "answer", "verdict", "retrieval", "safety", "code")
TUNED = ("tools", "verdict", "retrieval", "safety")
"""Skills whose steps have two openings, so that a threshold is set."""
SMALL, LARGE = "smollm2-135m", "qwen2.5-coder-1.5b"
SMALL_PARAMETERS = 400_000_000
"""Parameters up to which a base is trained like the embedded one."""
LEAST_SHARE = 0.1
"""Share of the system messages that a router's states are read under, at least."""
REFUSED = 0.02
"""Share of good validation texts that the safety skill may refuse, and the verdict skill call a contradiction."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """An order to build skills and a router for a base.

    Attributes:
        base: A name of `loraloop bases`, a folder, a GGUF file or a hub id.
        out: The folder that everything is written to.
        skills: Which of `SKILLS`; where None, all that the base has recipes for.
        data: The folder of public sets. Without it the skills learn from the records of this package alone.
        quantize: The form that the base is served in.
        minutes: Most minutes that a skill is trained; its schedule fits into them.
        records: Most training records of a skill; the schedule and the states of the router shrink with them.
        measured: Most held-out records that a skill is measured on; twice as many choose its threshold.
    """

    base: str
    out: Path
    skills: Sequence[str] | None = None
    data: Path | None = None
    quantize: str | None = None
    minutes: float | None = None
    records: int | None = None
    measured: int = 100

    def __post_init__(self) -> None:
        for name in self.skills or ():
            if name not in SKILLS:
                raise unknown("skill", name, SKILLS)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The report on what was built for a base.

    Attributes:
        base: The base's name and form.
        folder: Where everything lies.
        skills: What was trained and measured of each skill, and its threshold, by name.
        router: The router's scores on sources that were left out.
        notes: What is worth saying aloud.
        facts: Command, machine, versions and seconds.
    """

    base: str
    folder: Path
    skills: Mapping[str, Mapping[str, Any]]
    router: Mapping[str, float]
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        parts = ("evaluation", "training", "threshold")
        skills = {name: {part: found[part] for part in parts} for name, found in self.skills.items()}
        document = {"base": self.base, "skills": skills, "router": dict(self.router), "notes": list(self.notes)}
        return {**document, "facts": dict(self.facts)}

    def markdown(self) -> str:
        """The report as a page: each skill's main measure beside the bare base's, and the router."""
        from loraloop.adapters.training.recipe.report import interval, table

        rows = []
        for name, facts in self.skills.items():
            if not (found := facts["evaluation"]):
                continue
            main, scores = found["main"], found["scores"]
            cells = (interval(scores[system], main) for system in ("base", "skill"))
            rows.append([name, main.replace("_", " "), str(found["n"]), *cells])
        router = [f"- {name.replace('_', ' ')}: {value:.3f}" for name, value in self.router.items()]
        form = f" --quantize {form}" if (form := self.facts["quantize"]) else ""
        return "\n".join(
            [
                f"# Skills of {self.base}\n",
                "Percent with 95 % intervals, on records that were held out of training.\n",
                table(["skill", "measure", "n", "bare base, same grammar", "skill"], rows, left=2),
                "\n## Router\n",
                *router,
                *(["\n## Notes\n", *(f"- {note}" for note in self.notes)] if self.notes else []),
                f"\n## Use\n\n`loraloop run --base {self.facts['base']}{form} --skills {self.folder}`; in Python, give",
                f'`skills="{self.folder}"` to `Runtime.load`.\n',
            ]
        )

    def write(self) -> None:
        """Writes `report.json` and `report.md`."""
        from loraloop.adapters.training.recipe.report import write_report

        write_report(self.folder, self.to_dict(), self.markdown())


def build(order: BuildOrder, *, base: Base | None = None, observer: Watch | None = None) -> BuildReport:
    """Trains the shipped recipes for a base, sets thresholds, fits its router, and writes cards and a report.

    A build that was killed goes on where it stopped when it is called again with the same order: finished skills and a
    finished router are kept, and a training goes on from its last checkpoint. What the order leaves out for want of
    public sets is said at the start and in the report.

    Args:
        order: What is to be built.
        base: The loaded base, if there is one already.
        observer: Shows how far it is; nothing is shown where None.

    Raises:
        InputError: Nothing could be trained, a skill has no recipe, the data folder lacks what the records stand on, or
            a skill is there that was built with other options.
        BaseModelError: The base cannot be loaded.
    """
    from loraloop.agent.tracing.provenance import versions
    from loraloop.render.report import PACKAGES, command_line, machine

    watch, start = observer or Watch(quiet=True), time.perf_counter()
    loaded = base or open_base(order.base, order.quantize, watch.quiet)
    notes = left_out(order, loaded)
    names = skill_names(order, loaded)
    documents = {name: document for name in names if (document := skill_document(name, loaded, order))}
    if not documents:
        raise InputError("; ".join(notes) or "name at least one skill")
    for note in notes:
        watch.say(note)
    built = {name: _skill(name, document, loaded, order, watch) for name, document in documents.items()}
    router = order.out / "router"
    if not (router / "router.json").is_file():
        recipe = router_document(loaded, order)
        run_router_recipe(recipe, data=order.data or "", output=router, base=loaded, observer=watch)
    card = json.loads((router / "router.json").read_text(encoding="utf-8"))["card"]
    facts = {"base": order.base, "quantize": order.quantize, "command": command_line(), "machine": machine()}
    report = BuildReport(
        base=f"{loaded.name} ({loaded.form})",
        folder=order.out,
        skills=built,
        router=card["scores"],
        notes=notes,
        facts={**facts, "versions": versions(PACKAGES), "seconds": round(time.perf_counter() - start, 1)},
    )
    report.write()
    return report


def parameters(base: Base) -> int:
    """The parameters of a base's matrices."""
    config = base.config
    return matrix_values(config) + config.vocab_size * config.hidden_size * (1 if config.tied_embeddings else 2)


def recipe_folder(base: Base) -> Path:
    """The folder of the recipes that a base is trained by: its own, else those of the shipped base of its size."""
    folder = Path(str(files("loraloop.recipes")))
    if (folder / base.name / "tools.yaml").is_file():  # other folders lie there too
        return folder / base.name
    return folder / (SMALL if parameters(base) <= SMALL_PARAMETERS else LARGE)


def skill_names(order: BuildOrder, base: Base) -> Sequence[str]:
    """The skills that an order names, or all that the base has recipes for.

    Raises:
        InputError: A skill that is named has no recipe.
    """
    known = [name for name in SKILLS if (recipe_folder(base) / f"{name}.yaml").is_file()]
    if absent := [name for name in order.skills or () if name not in known]:
        raise InputError(f"there is no recipe for {' and '.join(absent)} of {base.name}: build {', '.join(known)}")
    return known if order.skills is None else order.skills


def skill_document(name: str, base: Base, order: BuildOrder) -> dict[str, Any] | None:
    """The recipe of a skill, changed for a base and an order; None if it has no data without public sets."""
    from loraloop.adapters.training.recipe.recipe_lines import read_yaml

    document = read_yaml(recipe_folder(base) / f"{name}.yaml")[0]
    data, schedule = document["data"], document["schedule"]
    if order.data is None:
        data["sources"] = [source for source in data["sources"] if "public" not in source]
        if not data["sources"]:
            return None
    else:
        data["folder"] = str(order.data)
    if order.records is not None:
        whole = data.get("limit", 2000)
        data["limit"] = min(whole, order.records)
        schedule["steps"] = max(2, round(schedule["steps"] * data["limit"] / whole))
        schedule["validate_every"] = max(1, min(schedule["validate_every"], schedule["steps"] // 2))
    if order.minutes is not None:
        schedule["seconds"] = 60 * order.minutes
    data["longest"] = min(data["longest"], base.config.max_positions)
    as_served(schedule, base)
    if document.get("evaluation", {}).get("enabled", True):
        document["evaluation"] = {"limit": order.measured}
    document["base"] = {"name": order.base, "quantize": order.quantize}
    document.pop("output", None)
    return document


def as_served(schedule: dict[str, Any], base: Base) -> None:
    """Changes a schedule that needs the C decoder, where another one serves the base."""
    if not base.native:
        schedule["trunks"] = "trained"
        if schedule.get("precision") == "served":
            schedule["precision"] = "base"


def left_out(order: BuildOrder, base: Base) -> list[str]:
    """What an order leaves out for want of public sets, in words."""
    if order.data is not None:
        return []
    absent = [name for name in skill_names(order, base) if skill_document(name, base, order) is None]
    notes = [f"{name} is left out: all its records stand on public sets (--data)" for name in absent]
    return [*notes, "without --data nothing is learned from public sets, only from the records of this package"]


def router_document(base: Base, order: BuildOrder) -> dict[str, Any]:
    """The recipe of the router, changed for a base and an order."""
    from loraloop.adapters.training.recipe.recipe_lines import read_yaml

    document = read_yaml(recipe_folder(base) / "router.yaml")[0]
    if order.records is not None:
        document["share"] = max(LEAST_SHARE, document.get("share", 1.0) * min(1.0, order.records / 2000))
    return document


def _skill(name: str, document: Mapping[str, Any], base: Base, order: BuildOrder, watch: Watch) -> dict[str, Any]:
    """Trains a skill, or takes the one that an earlier call finished; it appears in its folder whole or not at all.

    Returns what its training reported, and its threshold.
    """
    folder = order.out / name
    asked = json.loads(json.dumps(document))
    if not (folder / "card.json").is_file():
        unregistered = {**document, "output": {"register": False}}
        report = run_recipe(unregistered, output=order.out / "work" / name, base=base, observer=watch)
        if name in TUNED:
            _tune(report, base, count=2 * order.measured, watch=watch)
        draft = folder.with_name(f".{name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(report.skill, draft)
        serialised = json.dumps({**report.to_dict(), "recipe": asked}, default=str)
        (draft / "report.json").write_text(serialised, encoding="utf-8")
        draft.rename(folder)
    card, found = (json.loads((folder / part).read_text(encoding="utf-8")) for part in ("card.json", "report.json"))
    if found["recipe"] != asked:
        raise InputError(f"{folder} was built with other options: give those again, or another --out")
    return {**found, "threshold": card.get("threshold")}


def _tune(report: RecipeReport, base: Base, count: int, watch: Watch) -> None:
    """Sets the threshold of a skill on validation records, where these are of both kinds."""
    from loraloop.adapters.skill.skill import Skill
    from loraloop.evals.tune import at_most, most_worth, store, weigh
    from loraloop.render.report import command_line

    name, folder = report.name, report.skill
    records = report.valid[:count]
    examples = records if name == "verdict" else [record.inlined() for record in records]
    with watch.measured(len(examples)) as step:
        try:
            cases = weigh(base, Skill.load(folder), name, examples, step)
        except InputError as error:
            watch.say(f"{name}: no threshold was set: {error}")
            return
    found = at_most(cases, REFUSED) if name in ("safety", "verdict") else most_worth(cases)
    store(found, folder, {"data": "validation part of the frozen records", "command": command_line()})
