"""Letting every system do every task, once: what was kept of an earlier run is not done again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.evals.agent_files import FILES, PER_SKILL, Step, do_step, steps
from loraloop.evals.agent_runs import do
from loraloop.evals.agent_systems import BASE, System, identities, systems
from loraloop.evals.kept import Kept
from loraloop.evals.task_families import all_tasks
from loraloop.evals.tasks import Task, digest
from loraloop.skill_eval import runs_program
from loraloop.tool_schemas.errors import InputError
from loraloop.waiting import counting, loading

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.agent.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Asked:
    """What is evaluated.

    Attributes:
        base: What `Base.load` takes.
        quantize: Form of the base.
        skills: Folders or names of skills; the shipped ones where empty.
        router: Folder of a router; the shipped one where None.
        systems: Names; all where None.
        data: Folder of the skills' own evaluation files, or None.
        limit: Tasks, and examples, at most.
        seed: Of the tasks.
        outputs: Where rows are kept.
    """

    base: str = "smollm2-135m"
    quantize: str | None = None
    skills: tuple[str, ...] = ()
    router: Path | None = None
    systems: tuple[str, ...] | None = None
    data: Path | None = None
    limit: int | None = None
    seed: int = 0
    outputs: Path | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came of it.

    Attributes:
        systems: Names, in order.
        tasks: Done by all of them.
        steps: Examples of files, done by all of them; empty without data.
        rows: By system and task or example.
        facts: What the rows depend on.
    """

    systems: tuple[str, ...]
    tasks: tuple[Task, ...]
    steps: tuple[Step, ...]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
    facts: Mapping[str, Any]


def evaluate(asked: Asked, loaded: Base | None = None) -> Evaluated:
    """Does what is asked, with progress on standard error.

    Args:
        asked: What.
        loaded: A base that is loaded already, instead of `asked.base`.

    Raises:
        UnknownNameError: There is no such system, skill or base.
        InputError: `outputs` holds another evaluation, or a data file is missing.
        SkillError: The skills or the router were made for another base.
    """
    tasks = all_tasks(asked.seed)
    facts: dict[str, Any] = {"evaluation": "agent", "tasks": digest(tasks), "seed": asked.seed}
    tasks = tasks[: asked.limit]
    examples: list[Step] = []
    if asked.data is not None:
        share = PER_SKILL if asked.limit is None else min(PER_SKILL, -(-asked.limit // len(FILES)))
        examples = steps(asked.data, share)[: asked.limit]
    with loading(False) as progress:
        from loraloop.adapters.base import Base
        from loraloop.agent.bare import bare_runtime

        base = loaded or Base.load(asked.base, quantize=asked.quantize, progress=progress)
    runtime = bare_runtime(base) if asked.systems == (BASE,) else _runtime(base, asked)
    known = systems(runtime, lambda: bare_runtime(base), asked.systems)
    facts |= {"base": base.fingerprints.weights, "skills": identities(runtime), "router": _router_digest(asked.router)}
    rows: dict[str, dict[str, Mapping[str, Any]]] = {name: {} for name in known}
    kept = Kept(asked.outputs, facts)
    with counting("agent", len(known) * (len(tasks) + len(examples))) as step:
        cases: list[Task | Step] = [*tasks, *examples]
        for case in cases:
            for name, system in known.items():
                row = kept.get(name, case.id)
                rows[name][case.id] = row or kept.put(name, case.id, **_done(system, case))
                step()
    return Evaluated(tuple(known), tuple(tasks), tuple(examples), rows, facts)


def _done(system: System, case: Task | Step) -> dict[str, Any]:
    if isinstance(case, Task):
        return do(system, case, runs_program)
    return do_step(system, case, runs_program)


def _runtime(base: Base, asked: Asked) -> Runtime:
    from loraloop.agent.runtime import Runtime

    return Runtime.load(base, skills=list(asked.skills) or None, router=asked.router)


def _router_digest(folder: Path | None) -> str:
    from loraloop.router.router import WEIGHTS

    parts: Sequence[Path] = sorted(path for path in Path(folder or WEIGHTS).glob("router.*"))
    if not parts:
        raise InputError(f"{folder} holds no router: give the folder with router.json and router.safetensors")
    return hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()[:16]
