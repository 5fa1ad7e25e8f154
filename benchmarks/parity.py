"""The first step of desk requests, written by loraloop's own engine and by vLLM with what `skills export` makes.

    python benchmarks/parity.py --vllm-python PYTHON --json benchmarks/results/parity.json

PYTHON is an interpreter that has vLLM: `make build/vllm/.ready` builds `build/vllm/bin/python` for the processor. The
requests are `--limit` of each of the six open desks, spread evenly over its kinds; nothing is drawn at random. The
router is the same in both cases, so equal routes show that the transcripts are. Steps are the same where their JSON is
(calls with their arguments, verdicts, answers with their citations), or, of the code skill, where both are programs;
what the bare base writes is not compared.

Where a step of a skill differs, the request is written here again and again with one more thing taken away that vLLM
does not have: the thresholds of skills, then branch activation, then the skill itself where another one is exported,
which was trained for whole contexts, then our arithmetic (int4 with another order of sums) for bf16. The first that
makes the step the same, or its skill where that differs, is the reason of the difference; what stays different is
`unexplained`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from agents_peers import vllm_server
from report import BenchmarkReport, finish, options
from transformers_peer import save_for_transformers

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.peft.targets import export
from loraloop.adapters.skill.card import Fingerprints
from loraloop.adapters.skill.registry import known_skills
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.skill.store import for_whole_contexts
from loraloop.agent import Limits, Runtime
from loraloop.evals.desk.request import DeskRequest
from loraloop.evals.desk.runner import agent_of, chosen
from loraloop.evals.desk.world import SHIPPED, World, load_worlds
from loraloop.evals.harness import OutputCache

if TYPE_CHECKING:
    from loraloop.agent.values.step import Step

BASE = "smollm2-135m"
SKILLS = ("tools", "code", "retrieval", "safety")
COMPACT = json.dumps({"backend": "guidance", "disable_any_whitespace": True})  # JSON as the skills write it
REASONS = ("thresholds", "the whole context", "the skill for whole contexts", "bf16", "unexplained")
SERVER = (
    *("--served-model-name", BASE, "--max-lora-rank", "16", "--max-loras", "4"),
    *("--structured-outputs-config", COMPACT),
    *("--enforce-eager", "--max-num-seqs", "4", "--num-gpu-blocks-override", "64"),  # little time and memory to start
)
"""Options of vLLM. Skills are loaded while it runs, so its environment needs VLLM_ALLOW_RUNTIME_LORA_UPDATING=1."""


class Steps:
    """Writes the first step of desk requests with one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._agents = runtime, dict[str, Any]()

    def first(self, world: World, request: DeskRequest, skill: str | None = None, tokens: int = 128) -> Step:
        """The first step of a request; a skill that is given is not routed."""
        if world.name not in self._agents:
            self._agents[world.name] = agent_of(self._runtime, world)
        self._agents[world.name].limits = Limits(max_steps=1, step_tokens=tokens)
        world.start(request)
        found: Step = self._agents[world.name].run_sync(request.turns[0].say, skill=skill).steps[0]
        return found


class Compared(NamedTuple):
    """One request: who wrote its first step, why the two differ (empty where they do not), and what they wrote."""

    request: str
    skill: str
    routed: bool
    valid: bool
    reason: str
    here: Any
    there: Any


class Parity:
    """The engines that are compared.

    Args:
        base: The base as it is served here.
        model: Folder of the base as vLLM reads it, in bf16.
        url: Where vLLM serves it.
        exported: The exported skills, by skill.
    """

    def __init__(self, base: Base, model: Path, url: str, exported: Mapping[str, Path]) -> None:
        local, full = Runtime.load(base), {"activation": "full"}

        def bf16() -> Steps:
            wide = Base.load(str(model), quantize="bf16", device="cpu")
            names = ("architecture", "weights")
            prints = Fingerprints(**{name: getattr(wide.fingerprints, name) for name in names})
            return changed(local, wide, exported=True, **full, fingerprints=prints)

        self.here, self.there = Steps(local), Steps(Runtime.connect(url, engine="vllm", base=BASE, skills=exported))
        self.lacking: dict[str, Callable[[], Steps]] = {
            "thresholds": cache(partial(changed, local, base)),
            "the whole context": cache(partial(changed, local, base, **full)),
            "the skill for whole contexts": cache(partial(changed, local, base, exported=True, **full)),
            "bf16": cache(bf16),
        }

    def compare(self, world: World, request: DeskRequest) -> Compared:
        """Writes the first step of a request here and there."""
        ours = self.here.first(world, request)
        theirs = self.there.first(world, request, tokens=128 if ours.skill != "none" else 1)
        reason, routed = "", (ours.routed, ours.skill) == (theirs.routed, theirs.skill)
        if not routed:
            again = ((name, steps().first(world, request)) for name, steps in self.lacking.items())
            reason = next((name for name, step in again if step.skill == theirs.skill), "unexplained")
        elif ours.skill != "none" and written(ours) != written(theirs):
            again = ((name, steps().first(world, request, ours.skill)) for name, steps in self.lacking.items())
            reason = next((name for name, step in again if written(step) == written(theirs)), "unexplained")
        name, valid = f"{world.name}/{request.id}", theirs.outcome != "invalid"
        return Compared(name, ours.skill, routed, valid, reason, written(ours), written(theirs))


def changed(local: Runtime, base: Base, exported: bool = False, **changes: Any) -> Steps:
    """Steps of the skills on a base in this process, with the router of another runtime.

    The skills, or those that are exported in their place, decide by the likelier token, as a server does, and differ by
    these fields of their cards.
    """
    bank = Bank(base, slots=len(SKILLS), rank=16)
    for name in SKILLS:
        skill = shipped(name, exported)
        card = skill.card.model_copy(update={"threshold": None, **changes})
        bank.add(Skill(card, skill.tensors))
    return Steps(Runtime(base, bank, local.router))


def written(step: Step) -> Any:
    """What is compared of a step: its JSON, or, where it is none, its outcome."""
    try:
        return json.loads(step.text)
    except ValueError:
        return step.outcome


def shipped(name: str, exported: bool) -> Skill:
    """A shipped skill of the embedded base, or the one that `skills export --for vllm` takes in its place."""
    folder = known_skills(BASE)[name]
    return Skill.load(for_whole_contexts(folder) if exported else folder)


def exported_skills(base: Base, folder: Path) -> dict[str, Path]:
    """The shipped skills of the embedded base as plain LoRA, by skill."""
    return {name: export(shipped(name, exported=True), "vllm", folder, base.config).path for name in SKILLS}


def figures_of(found: Sequence[Compared]) -> dict[str, float]:
    """Requests, same routes, same steps and reasons of differences, over all and by the skill that wrote."""
    figures: dict[str, float] = {}
    by_skill = {name: [each for each in found if each.skill == name] for name in (*SKILLS, "none")}
    for column, rows in {"all": list(found), **{name: rows for name, rows in by_skill.items() if rows}}.items():
        reasons = Counter(each.reason for each in rows if each.routed and each.skill != "none")
        figures |= {
            f"requests/{column}": len(rows),
            f"same route/{column}": sum(each.routed for each in rows),
            f"valid there/{column}": sum(each.valid for each in rows),
        }
        if column != "none":
            for name in ("", *REASONS):
                figures[f"{f'differs: {name}' if name else 'same step'}/{column}"] = reasons[name]
    return figures


@contextmanager
def server(python: str, model: Path) -> Iterator[str]:
    """vLLM with a model, for the length of a block: the URL of its API."""
    os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    threads = min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
    with vllm_server(python, model, threads, model.parent / "log", SERVER, gigabytes=1) as (client, _):
        yield f"{client.base_url}/v1"


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=7)
    parser.add_argument("--vllm-python", required=True, metavar="PYTHON", help="interpreter with vLLM")
    parser.add_argument("--outputs", type=Path, metavar="FILE", help="keep steps here: a killed run goes on from it")
    given = parser.parse_args()
    requests = [(world, each) for world in load_worlds(SHIPPED) for each in chosen(world, limit=given.limit)]
    with tempfile.TemporaryDirectory() as place:
        base = Base.load(BASE, device="cpu")
        exported = exported_skills(base, Path(place))
        known = OutputCache(given.outputs, {"skills": sorted(folder.name for folder in exported.values())})
        left = [(world, each) for world, each in requests if not known.get(BASE, f"{world.name}/{each.id}")]
        if left:
            model = Path(place) / "model"
            save_for_transformers(base, model)
            with server(given.vllm_python, model) as url:
                parity = Parity(base, model, url, exported)
                for world, request in left:
                    row = parity.compare(world, request)
                    known.put(BASE, row.request, row=row)
                    print(*row, sep=" | ", file=sys.stderr, flush=True)
    rows = [known.get(BASE, f"{world.name}/{each.id}") for world, each in requests]
    found = [Compared(*row["row"]) for row in rows if row]
    names = ("request", "skill", "reason", "here", "there")
    differences = [{name: getattr(each, name) for name in names} for each in found if each.reason or not each.routed]
    report = BenchmarkReport("parity", len(found), figures_of(found), details={"differences": differences})
    finish(report, given.json)


if __name__ == "__main__":
    main()
