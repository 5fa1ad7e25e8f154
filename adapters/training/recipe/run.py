"""From a recipe to a trained skill: data, encoding, the trainer, the card. The router is not this floor's business."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from loraloop.adapters.atomic_write import write_text
from loraloop.adapters.base import Base
from loraloop.adapters.methods import METHODS, card_fields, make_method
from loraloop.adapters.methods.dora import Dora
from loraloop.adapters.methods.lora import DOUBLED, STARTS, Lora
from loraloop.adapters.methods.method import Method
from loraloop.adapters.methods.vera import Vera
from loraloop.adapters.payload.extras import SIZES
from loraloop.adapters.payload.pairs import of_module
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.slots import BUCKETS
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.codes import decode, encode
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.checkpoint import alone
from loraloop.adapters.training.data.encode import Encoded, encode_grouped
from loraloop.adapters.training.data.record import Record
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.adapters.training.recipe.gather import Gathered, gather
from loraloop.adapters.training.recipe.objective import PAIRS, encoded, find_skill, make_objective
from loraloop.adapters.training.recipe.recipe_file import Recipe
from loraloop.adapters.training.recipe.recipe_lines import checked, refuse_unknown, unknown_key
from loraloop.adapters.training.trainer.progress import ProgressCallback
from loraloop.adapters.training.trainer.train_config import OptimizerName, TrainConfig, grouped, setting_names
from loraloop.adapters.training.trainer.trainer import Trainer
from loraloop.adapters.training.trainer.workers import Workers, current
from loraloop.tool_schemas.errors import InputError, LoraloopError, file_errors, unknown
from loraloop.tool_schemas.jsontext import loads_or

FOLDED = ("adalora", "galore")
"""Methods whose skills are stored as the low-rank pairs that they amount to."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that a training needs; nothing has been written.

    Attributes:
        recipe: What is asked for.
        base: What it is trained for.
        gathered: The data.
        train: Encoded records of one epoch.
        valid: Encoded records that choose the checkpoint.
        method: The parametrization.
        config: The schedule.
        objective: What is minimized.
        start: Tensors of the skill that training begins from, if it begins from one.
    """

    recipe: Recipe
    base: Base
    gathered: Gathered
    train: tuple[Encoded, ...]
    valid: tuple[Encoded, ...]
    method: Method
    config: TrainConfig
    objective: Objective
    start: Mapping[str, Tensor] | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the data as it is trained on: the same records in the same order have the same."""
        digest = hashlib.sha256()
        for example in (*self.train, *self.valid):
            digest.update(repr((example.trunk, example.branches)).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Trained:
    """A skill that was just trained, and what happened.

    Attributes:
        skill: Card and tensors; not saved yet.
        log: What the trainer wrote down.
        seconds: How long it trained, over all resumptions.
        steps: How many it took.
        payload: What the trained parameters are, before the skill was cut out of them: GaLore's have full rank.
        first: Whether this process is the one that writes; with several, `accelerate launch` started the others.
    """

    skill: Skill
    log: tuple[dict[str, Any], ...]
    seconds: float
    steps: int
    payload: Payload
    first: bool = True


def load_base(recipe: Recipe, progress: Any = None) -> Base:
    """The recipe's base, on this process's own device where several train together; on the CPU if they share it out."""
    chosen = recipe.content.base
    shared = current().shared  # then GPUs hold no more than parts
    return Base.load(chosen.name, quantize=chosen.quantize, device="cpu" if shared else None, progress=progress)


def prepare(recipe: Recipe, base: Base, sample: int | None = None) -> Prepared:
    """Reads, checks and encodes everything; raises before anything is written.

    Args:
        recipe: Recipe of the skill.
        base: The base that the skill is trained for.
        sample: Frozen records of a source that are looked at; all where None.

    Raises:
        InputError: something in the recipe or in the data is wrong; with file and line.
    """
    method, objective, kind = _method(recipe), make_objective(recipe, base), recipe.content.objective.name
    start = _start(recipe, base, method)

    def count(record: Record) -> int:
        return encoded(base, record).length

    limit = min(recipe.content.data.longest, base.config.max_positions)
    if limit < recipe.content.data.longest:
        raise InputError(f"{recipe.at('data', 'longest')}: {base.name} has {limit} positions")
    seed = recipe.content.schedule.get("seed", 0)
    gathered = gather(recipe, count, seed if isinstance(seed, int) else 0, base.prompting.tools_header, sample)
    train, valid = (
        tuple(
            [encoded(base, record, kind) for record in records]
            if kind in PAIRS
            else encode_grouped(base, records, recipe.content.data.longest)
        )
        for records in (gathered.train, gathered.valid)
    )
    return Prepared(
        recipe=recipe,
        base=base,
        gathered=gathered,
        train=train,
        valid=valid,
        method=method,
        config=_config(recipe, len(train)),
        objective=objective,
        start=start,
    )


def train(prepared: Prepared, command: str, watch: ProgressCallback | None = None) -> Trained:
    """Trains, or goes on where a killed run of the same recipe and data stopped.

    Args:
        prepared: What.
        command: For the card: how to make the skill again.
        watch: Told of every step.

    Raises:
        InputError: the folder holds a run of another recipe or of other data, or another process trains there.
    """
    folder, first = prepared.recipe.output / "checkpoints", current().rank == 0
    if first:
        _claim(folder, prepared)
    with alone(folder) if first else nullcontext():
        return _trained(prepared, folder, command, watch)


def _trained(prepared: Prepared, folder: Path, command: str, watch: ProgressCallback | None) -> Trained:
    recipe, base = prepared.recipe, prepared.base
    trainer = make_trainer(prepared, folder, progress=watch)
    tensors = trainer.run()
    best = trainer.best_parameters()
    with torch.no_grad():
        payload = prepared.method.payload(best, trainer.context)
    trainer.workers.wait()
    content = recipe.content
    card = Card.checked(
        {
            "name": content.skill.name,
            "description": content.skill.description,
            **card_fields(prepared.method, tensors),
            "invocation": list(base.chat.generation_prompt),
            "activation": "full" if prepared.config.mode == "full" else "branch",
            "contract": content.skill.contract,
            "closes": content.skill.closes,
            "talks": content.skill.talks,
            "asks": any("ask" in record.gold for record in prepared.gathered.train),
            "fingerprints": asdict(base.fingerprints),
            "base": f"{base.name} ({base.form})",
            "data": [source.model_dump() for source in prepared.gathered.sources],
            "training": {
                "objective": prepared.objective.name,
                **({"start": content.start} if content.start else {}),
                **_facts(prepared.method, best),
                "command": command,
                "steps": trainer.step,
                "examples": len(prepared.train),
                "minutes": round(trainer.spent / 60, 1),
                "validation_loss": round(trainer.best, 4),
                "schedule": prepared.config.settings(),
                "data_sha256": prepared.fingerprint,
                **({"data_terms": prepared.gathered.terms} if prepared.gathered.terms else {}),
                **({"schema": dict(content.skill.form)} if content.skill.form else {}),
            },
        },
        f"the card of {content.skill.name}",
    )
    if content.output.dtype == "int8":
        skill = Skill(card, decode(encode(tensors)))
    else:
        skill = Skill(card, tensors).to(getattr(torch, content.output.dtype))
    return Trained(
        skill=skill,
        log=tuple(read_log(folder / "log.jsonl")),
        seconds=trainer.spent,
        steps=trainer.step,
        payload=payload,
        first=current().rank == 0,
    )


def _facts(method: Method, best: Mapping[str, Tensor]) -> dict[str, float]:
    """What a method has to say of its result: how much of GaLore's full-rank difference the skill keeps."""
    if method.name != "galore":
        return {}
    from loraloop.adapters.methods.galore import Galore, retained

    assert isinstance(method, Galore)
    return {"retained_energy": round(retained(best, method.rank)["all"], 4)}


def make_trainer(
    prepared: Prepared,
    folder: Path,
    *,
    config: TrainConfig | None = None,
    valid: Sequence[Encoded] | None = None,
    progress: ProgressCallback | None = None,
    workers: Workers | None = None,
) -> Trainer:
    """The trainer of a prepared recipe, or one with another schedule, other validation records or other workers.

    Args:
        prepared: The recipe's base, data, method and schedule.
        folder: Folder of the run, from which it resumes and into which it writes its checkpoints.
        config: A schedule that replaces the recipe's; None keeps it.
        valid: Encoded records that choose the checkpoint, in the place of the recipe's; None keeps those.
        progress: Called once after every optimizer step; None: nobody is told.
        workers: The processes that train together; None: those that `accelerate launch` started.
    """
    return Trainer(
        prepared.base,
        prepared.method,
        train=prepared.train,
        valid=prepared.valid if valid is None else valid,
        config=config or prepared.config,
        folder=folder,
        start=prepared.start,
        objective=prepared.objective,
        progress=progress,
        workers=workers,
    )


def _start(recipe: Recipe, base: Base, method: Method) -> Mapping[str, Tensor] | None:
    """The tensors of the skill that training begins from; None where it begins from nothing.

    Raises:
        InputError: The recipe's method would make another update of them.
    """
    name, at = recipe.content.start, recipe.at("start")
    if not name:
        return None
    skill = find_skill(name, recipe.folder, base.name)
    theirs = skill.method
    if theirs.name != method.name:
        raise InputError(
            f"{at}: {name} was trained with {theirs.name}, this recipe with {method.name}: give its method"
        )
    if method.name in FOLDED:
        raise InputError(f"{at}: a skill of {method.name} has been folded into low-rank pairs: begin from another one")
    if getattr(method, "start", "") in STARTS[2:]:
        raise InputError(f"{recipe.at('method', 'start')}: {name} is what training begins from: leave out method.start")
    if isinstance(method, Vera) and replace(theirs, d_initial=method.d_initial) != method:  # type: ignore[type-var]
        raise InputError(f"{at}: {name} has other random matrices: give its rank, seed and targets")
    before, now = (_scalings(each, skill.tensors) for each in (theirs, method))
    if before != now:
        raise InputError(f"{at}: {name} scales its update by {before}, this recipe by {now}: give another method.alpha")
    return skill.tensors


def _scalings(method: Method, tensors: Mapping[str, Tensor]) -> str:
    """The scalings of a skill's low-rank pairs; empty for a method that does not scale."""
    if not isinstance(method, Lora | Dora):
        return ""
    return " and ".join(sorted({f"{method.scaling_of(*place):g}" for place in of_module(tensors, "lora_A")}))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a training's log; where a run went on from a checkpoint, a step's last record counts."""
    found: dict[tuple[Any, bool], dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # cut off when the run was killed
                continue
            found[record.get("step"), "valid_loss" in record] = record
    return sorted(found.values(), key=lambda record: (record.get("step") or 0, "valid_loss" in record))


def _method(recipe: Recipe) -> Method:
    part = recipe.content.method
    if part.name not in METHODS:
        raise InputError(f"{recipe.at('method')}: {unknown_key(f'method {part.name!r}', part.name, list(METHODS))}")
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in part.options.items()}
    refuse_unknown(options, [field.name for field in fields(METHODS[part.name])], recipe.lines, ("method",))
    try:
        method = make_method(part.name, options)
    except LoraloopError as error:
        raise InputError(f"{recipe.at('method')}: {error}") from None
    _check_served(recipe, method)
    if isinstance(method, Lora) and method.start == "loftq" and not (method.checkpoint or recipe.content.start):
        return replace(method, checkpoint=_unquantized(recipe.content.base.name))
    return method


def _unquantized(base: str) -> str:
    """The Hugging Face folder of the base itself, which holds the values before quantization."""
    if not (Path(base).expanduser() / "config.json").is_file():
        raise InputError(
            f"loftq starts from what quantization lost, and {base} is no Hugging Face folder, which holds the "
            "values before: give method.checkpoint, such a folder or a GGUF file of the unquantized model"
        )
    return base


def _check_served(recipe: Recipe, method: Method) -> None:
    """Refuses, before it is trained, what no slot could hold."""
    rank = max([getattr(method, "rank", 0), *getattr(method, "rank_pattern", {}).values()])
    rank *= 2 if getattr(method, "start", "") in DOUBLED else 1
    if rank > BUCKETS[-1]:
        raise InputError(f"{recipe.at('method')}: no slot holds a rank of {rank}: give {BUCKETS[-1]} at most")
    if (tokens := getattr(method, "tokens", 0)) > SIZES[-1]:
        raise InputError(f"{recipe.at('method')}: no slot holds {tokens} tokens: give {SIZES[-1]} at most")


def _config(recipe: Recipe, examples: int) -> TrainConfig:
    """The schedule; `epochs` may stand in place of `steps`."""
    settings = dict(recipe.content.schedule)
    at = ("schedule", "epochs")
    refuse_unknown(settings, ("epochs", *setting_names()), recipe.lines, ("schedule",))
    if "epochs" in settings:
        epochs = settings.pop("epochs")
        if "steps" in settings:
            raise InputError(f"{recipe.at(*at)}: give steps or epochs, not both")
        if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < 1e6:
            raise InputError(f"{recipe.at(*at)}: schedule.epochs must be a positive number, not {epochs!r}")
        batch = settings.get("batch", 8)
        accumulation = settings.get("accumulation", 1)
        each = (batch if isinstance(batch, int) else 8) * (accumulation if isinstance(accumulation, int) else 1)
        each *= current().count
        settings["steps"] = max(1, math.ceil(epochs * examples / max(1, each)))
    elif "steps" not in settings:
        raise InputError(f"{recipe.at('schedule')}: schedule.steps is missing: add it, or schedule.epochs")
    if isinstance(steps := settings["steps"], int):
        settings.setdefault("validate_every", max(1, min(200, steps // 4)))
    if "optimizer" in settings and settings["optimizer"] not in get_args(OptimizerName):
        wrong = unknown("optimizer", str(settings["optimizer"]), get_args(OptimizerName))
        raise InputError(f"{recipe.at('schedule', 'optimizer')}: {wrong}")
    whole = grouped(settings, lambda kind, inner: checked(kind, inner, recipe.lines, ("schedule",)))
    config: TrainConfig = checked(TrainConfig, whole, recipe.lines, ("schedule",))
    return config


def _claim(folder: Path, prepared: Prepared) -> None:
    """Marks the folder as this recipe's and this data's, or refuses one that is another's, or may be."""
    mark = {
        "base": prepared.base.fingerprints.weights,
        "method": asdict(prepared.method),  # type: ignore[call-overload]
        "objective": prepared.recipe.content.objective.model_dump(),
        "start": prepared.recipe.content.start,
        "data_sha256": prepared.fingerprint,
    }
    path = folder / "run.json"
    text = json.dumps(mark, indent=1, sort_keys=True, default=str)
    if path.exists():
        known = loads_or(path.read_bytes())
        if not isinstance(known, dict):
            raise InputError(
                f"{path} is damaged: if recipe and data are as they were, remove it alone, and the training goes on; "
                f"else remove {folder}"
            )
        changed = [name for name, value in json.loads(text).items() if known.get(name) != value]
        if changed:
            raise InputError(
                f"{folder} holds a run with another {' and '.join(changed)}: remove it, or give another output.folder"
            )
        return
    with file_errors(f"cannot write to {folder}", "; give another output.folder"):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
