"""From a recipe to a routed skill: data, training, evaluation, registration, the router."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.inputs.loading import open_base
from loraloop.render.progress import loading
from loraloop.render.training import Watch

if TYPE_CHECKING:
    from loraloop.adapters.base import Base, Message
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.recipe.recipe_file import Recipe
    from loraloop.adapters.training.recipe.report import RecipeReport
    from loraloop.adapters.training.recipe.run import Prepared, Trained
    from loraloop.evals.bench import Measured
    from loraloop.router.refit import Refit


def run_recipe(
    recipe: str | Path | Mapping[str, Any],
    *,
    data: str | Path = "",
    output: str | Path = "",
    base: Base | None = None,
    observer: Watch | None = None,
) -> RecipeReport:
    """Trains the skill that a recipe describes, measures it, and has the router use it.

    A run that was killed goes on where it stopped. Everything is read and checked before anything is written; the
    skill and the router appear whole or not at all.

    Args:
        recipe: A YAML file, or what one would hold.
        data: The folder of the public sets, in place of the recipe's.
        output: The folder to write to, in place of the recipe's.
        base: A loaded base, instead of the recipe's.
        observer: Shows how far it is; nothing is shown where None.

    Raises:
        InputError: the recipe or its data are wrong; with file and line.
        BaseModelError, SkillError: the base cannot be loaded, or there is no place for the skill.
    """
    from loraloop.adapters.training.recipe.recipe_file import read_recipe
    from loraloop.adapters.training.recipe.run import load_base, prepare, train

    watch = observer or Watch(quiet=True)
    read = read_recipe(recipe, data=data, output=output)
    check_router(read)
    _check_merged(read)
    if base is None:
        with loading(watch.quiet) as progress:
            base = load_base(read, progress)
    prepared = prepare(read, base)
    gathered = prepared.gathered
    watch.say(
        f"{read.content.skill.name}: {len(gathered.train)} records to train on, {len(gathered.valid)} to validate, "
        f"{len(gathered.held_out)} to evaluate"
    )
    with watch.trained(prepared.config.steps) as report_step:
        trained = train(prepared, f"loraloop train {Path(read.where).name}", report_step)
    if not trained.first:  # another process writes
        return _report(prepared, trained)
    measured, folder = _measure(prepared, trained, watch), read.output / "skill"
    _scored(trained.skill, measured).save(folder, int8=read.content.output.dtype == "int8")
    if read.content.output.merged:
        _merge(prepared, trained, read.output / "merged")
    notes: list[str] = []
    refitted = _refit(prepared, notes)
    router = None
    if refitted is not None:
        router = read.output / "router"
        refitted.router.save(router)
        if refitted.warning:
            notes.append(refitted.warning)
    report = _report(
        prepared,
        trained,
        router=router,
        registered=_register(read, base, folder, router),
        evaluation={} if measured is None else asdict(measured),
        routing={} if refitted is None else refitted.scores,
        notes=notes,
    )
    report.write()
    return report


def run_router_recipe(
    recipe: str | Path | Mapping[str, Any],
    *,
    data: str | Path = "",
    output: str | Path = "",
    base: Base | None = None,
    observer: Watch | None = None,
) -> Path:
    """Fits the router that a recipe describes, and returns the folder that it was written to.

    The features of states are kept beside that folder, so that a fit that was killed goes on.

    Args:
        recipe: A YAML file, or what one would hold.
        data: The folder of the public sets, in place of the recipe's.
        output: The folder to write to, in place of the recipe's.
        base: A loaded base, instead of the recipe's.
        observer: Shows how far it is; nothing is shown where None.

    Raises:
        InputError: The recipe is wrong, or the public sets are not those that the states stand on.
    """
    from loraloop.router.fit import fit_recipe, read_router_recipe

    watch = observer or Watch(quiet=True)
    read = read_router_recipe(recipe)
    changed = {"folder": str(data or read.folder), "output": str(output or read.output)}
    read = read.model_copy(update=changed)
    base = base or open_base(read.base.name, read.base.quantize, watch.quiet)
    folder = Path(read.output)
    watch.say(f"reading the states of {base.name}")
    router = fit_recipe(read, base, folder.with_name(f"{folder.name}.features"))
    router.save(folder)
    scores = {name: value for name, value in router.card["scores"].items() if name.startswith("held_out")}
    watch.say(", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores.items()))
    return folder


def is_router_recipe(path: Path) -> bool:
    """Whether a recipe describes a router: it names no skill."""
    from loraloop.adapters.training.recipe.recipe_lines import read_yaml

    return "skill" not in read_yaml(path)[0]


def _measure(prepared: Prepared, trained: Trained, watch: Watch) -> Measured | None:
    from loraloop.evals.bench import measure

    content, records = prepared.recipe.content, prepared.gathered.held_out
    if not content.evaluation.enabled or not records:
        return None
    with watch.measured(len(records)) as each:
        return measure(
            prepared.base,
            trained.skill,
            records,
            schema=dict(content.skill.form) if content.skill.form else None,
            labels=[record.completion for record in prepared.gathered.train],
            instruction=content.evaluation.told,
            max_tokens=content.skill.max_tokens,
            each=each,
        )


def _check_merged(recipe: Recipe) -> None:
    """Raises InputError, before it is trained, where a skill was to be merged into the base and cannot be."""
    from loraloop.adapters.peft.folding import NO_MATRIX
    from loraloop.tool_schemas.errors import InputError

    method, at = recipe.content.method.name, recipe.at("output", "merged")
    kind = "bottlenecks" if method == "bottleneck" else method
    if recipe.content.output.merged and kind in NO_MATRIX:
        raise InputError(f"{at}: a skill of {method} cannot be merged into a base: {NO_MATRIX[kind]}")


def _merge(prepared: Prepared, trained: Trained, folder: Path) -> None:
    """Writes the base with the trained parameters in it; an earlier run's is replaced."""
    import shutil

    from loraloop.adapters.peft.merge import merge_payload

    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    merge_payload(prepared.base, trained.payload, draft, where=trained.skill.card.name)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def _scored(skill: Skill, measured: Measured | None) -> Skill:
    """The skill with its scores on the card."""
    if measured is None:
        return skill
    named = {system: {k: round(v, 4) for k, v in found.items()} for system, found in measured.scores.items()}
    return replace(skill, card=skill.card.model_copy(update={"scores": named}))


def _refit(prepared: Prepared, notes: list[str]) -> Refit | None:
    """The router with the skill, or a note that says why there is none."""
    from loraloop.adapters.base import Message
    from loraloop.router.refit import LEAST, refit
    from loraloop.tool_schemas.errors import SkillError

    recipe, base = prepared.recipe, prepared.base
    part = recipe.content.router
    if not part.enabled:
        return None
    if recipe.content.skill.contract == "verdict":
        notes.append("a skill that writes verdicts is asked by the screen, so the router was left as it is")
        return None
    requests: list[Sequence[Message]] = [[Message("user", text)] for text in _texts(recipe, part.examples)]
    if not requests:
        seen = {record.key: record.messages for record in prepared.gathered.train if _routable(record.messages)}
        requests = list(seen.values())
    if len(requests) < LEAST:
        notes.append(f"the router needs {LEAST} requests and has {len(requests)}: it was left as it is")
        return None
    others = [[Message("user", text)] for text in _texts(recipe, part.not_examples)]
    test = [record.messages for record in prepared.gathered.held_out if _routable(record.messages)]
    try:
        start = _router(recipe, base)
        return refit(
            base,
            start,
            recipe.content.skill.name,
            requests=requests[: part.limit],
            others=others,
            test=test[: part.limit],
        )
    except SkillError as error:
        notes.append(f"the router was left as it is: {error}")
        return None


def _routable(messages: Sequence[Message]) -> bool:
    """Whether the step follows a request of the user, the place where a skill is first chosen."""
    return messages[-1].role == "user"


def check_router(recipe: Recipe) -> None:
    """Reads the router's requests and its start, which are not needed before the skill is trained.

    Raises:
        InputError: one of them cannot be read.
    """
    from loraloop.router import Router
    from loraloop.tool_schemas.errors import InputError, SkillError

    part = recipe.content.router
    if part.enabled:
        _texts(recipe, part.examples)
        _texts(recipe, part.not_examples)
    if part.enabled and part.start:
        try:
            Router.load(recipe.path(part.start))
        except SkillError as error:
            raise InputError(f"{recipe.at('router', 'start')}: router.start: {error}") from None


def _texts(recipe: Recipe, source: Sequence[str] | str) -> list[str]:
    """Requests of a list, or of a file with one a line (a JSON Lines file: their `text`, `prompt` or `request`)."""
    from loraloop.tool_schemas.errors import InputError, file_errors

    if not isinstance(source, str):
        return list(source)
    path = recipe.path(source)
    with file_errors(f"{recipe.at('router')}: cannot read {path}"):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if path.suffix != ".jsonl":
        return lines
    found = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: no JSON: {error}") from None
        named = entry if isinstance(entry, dict) else {"text": entry}
        found.append(next((str(named[key]) for key in ("text", "prompt", "request") if named.get(key)), ""))
    return [text for text in found if text]


def _router(recipe: Recipe, base: Base) -> Any:
    """The recipe's router, else that of the user's skills for this base, else the shipped one."""
    from loraloop.adapters.skill.registry import router_folder
    from loraloop.router import Router

    if start := recipe.content.router.start:
        return Router.load(recipe.path(start))
    own = router_folder(base.fingerprints.architecture)
    if recipe.content.output.registered and (own / "router.json").is_file():
        return Router.load(own)
    return Router.shipped(base.name)


def _register(recipe: Recipe, base: Base, skill: Path, router: Path | None) -> Path | None:
    from loraloop.adapters.skill import registry

    if not recipe.content.output.registered:
        return None
    target = registry.register(skill, recipe.content.skill.name)
    if router is not None:
        registry.register_router(router, base.fingerprints.architecture)
    return target


def _report(prepared: Prepared, trained: Trained, **more: Any) -> RecipeReport:
    """The report: data, training, facts, and what else there is."""
    from loraloop.adapters.training.recipe.report import RecipeReport
    from loraloop.agent.tracing.provenance import versions
    from loraloop.render.report import PACKAGES, machine

    gathered, card = prepared.gathered, trained.skill.card
    found = card.training
    training = {
        "steps": trained.steps,
        "seconds": round(trained.seconds, 1),
        "validation_loss": found["validation_loss"],
        "method": card.method,
        "parameters": sum(tensor.numel() for tensor in trained.skill.tensors.values()),
        "bytes": trained.skill.bytes,
        "objective": found["objective"],
        "schedule": found["schedule"],
    }
    if "retained_energy" in found:
        training["retained_energy"] = found["retained_energy"]
    sources = [source.model_dump() for source in gathered.sources]
    return RecipeReport(
        name=card.name,
        folder=prepared.recipe.output,
        skill=prepared.recipe.output / "skill",
        data={**gathered.counts, "sources": sources, "terms": gathered.terms},
        training=training,
        facts={
            "base": card.base,
            "command": found["command"],
            "fingerprints": card.fingerprints.model_dump(),
            "data_sha256": found["data_sha256"],
            "machine": machine(),
            "versions": versions(PACKAGES),
        },
        log=trained.log,
        valid=gathered.valid,
        **more,
    )
