"""A ten-step episode whose steps alternate between skills, against PEFT.

    python benchmarks/episode.py --json benchmarks/results/episode.json

A transcript of about 1 500 tokens, ten steps of five kinds, tool results in between. Three systems go through it in
turn, on the same weights, adapters, prompts and schemas, greedily, with the same token limit:

- `loraloop`;
- `peft`, what a user would otherwise write: `set_adapter`, transformers' `generate` on the whole context, an Outlines
  logits processor;
- `alora`, the best a PEFT expert could do: aLoRA over one kept cache, llguidance compiled once.

Each system goes through the episode once to warm up, then `--repeats` times in turn; the run of median total counts.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from episode_script import Episode, Record, read_episode
from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill


class System(Protocol):
    """One of the three."""

    name: str

    def reset(self) -> None: ...

    def run(self, episode: Episode) -> list[Record]: ...


def shipped_skills(base: Base, names: Sequence[str], seed: int, drawn: bool = False) -> list[Skill]:
    """The shipped skills of these names; random ones of the same shape where they are asked for or not shipped."""
    from loraloop.adapters.skill.registry import library
    from loraloop.adapters.skill.skill import Skill

    folders = {} if drawn else library()
    return [
        Skill.load(folders[name]) if name in folders else random_skill(base, name, seed + number)
        for number, name in enumerate(names)
    ]


def random_skill(base: Base, name: str, seed: int, rank: int = 4) -> Skill:
    """A skill on all modules whose weights mean nothing; they cost the same time."""
    from loraloop.adapters.methods.context import MethodContext
    from loraloop.adapters.methods.lora import Lora
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.skill import Skill

    contracts = {"tools": "calls", "code": "code", "retrieval": "answer", "safety": "verdict"}
    method = Lora(rank, 2 * rank)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: (value.detach() if key.endswith("lora_A") else torch.randn(value.shape, generator=generator) * 0.01)
        for key, value in method.init(MethodContext(base.config), seed).items()
    }
    fields = {
        "name": name,
        "description": "random weights",
        "rank": rank,
        "alpha": 2 * rank,
        "targets": method.targets,
        "contract": contracts.get(name, "text"),
        "invocation": base.chat.generation_prompt,
        "base": base.name,
        "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
    }
    return Skill(Card.checked(fields), tensors)


def measure(
    systems: Sequence[System], episode: Episode, repeats: int, say: Any = print, warm_up: bool = True
) -> dict[str, list[Record]]:
    """Each system's run of median total time.

    Raises:
        RuntimeError: if a system saw other prompts than the script's.
    """
    runs: dict[str, list[list[Record]]] = {system.name: [] for system in systems}
    for repeat in range(0 if warm_up else 1, repeats + 1):
        for system in systems:
            system.reset()
            records = system.run(episode)
            for step, record in zip(episode.steps, records, strict=True):
                if step.fingerprint != record.prompt:
                    raise RuntimeError(f"{system.name} saw another prompt than the script's at a {step.skill} step")
            say(f"{'warm-up' if repeat == 0 else f'run {repeat}'}: {system.name} {total(records):.2f} s")
            if repeat:
                runs[system.name].append(records)
    return {name: sorted(done, key=total)[(len(done) - 1) // 2] for name, done in runs.items()}


def total(records: Sequence[Record]) -> float:
    """Seconds of a run."""
    return sum(record.seconds for record in records)


def metrics_of(records: Sequence[Record]) -> dict[str, float]:
    """One system's numbers."""
    generated = sum(record.generated for record in records)
    milliseconds = [record.seconds * 1e3 for record in records]
    return {
        "total_ms": sum(milliseconds),
        "first_step_ms": milliseconds[0],
        "later_step_ms": sum(milliseconds[1:]) / max(len(records) - 1, 1),
        "ms_per_generated_token": sum(milliseconds) / max(generated, 1),
        "generated_tokens": generated,
        "forwards": sum(record.forwards for record in records),
        "prefilled_tokens": sum(record.prefilled for record in records),
    }


def ratios_of(runs: dict[str, list[Record]]) -> dict[str, float]:
    """Peer over ours: total time, time per generated token, and total time without the building of processors."""
    ours = metrics_of(runs["loraloop"])
    ratios = {}
    for name, records in runs.items():
        if name != "loraloop":
            theirs = metrics_of(records)
            ratios[f"{name} total"] = theirs["total_ms"] / ours["total_ms"]
            ratios[f"{name} per token"] = theirs["ms_per_generated_token"] / ours["ms_per_generated_token"]
            without = theirs["total_ms"] - sum(record.compiling for record in records) * 1e3
            ratios[f"{name} total without compiling"] = without / ours["total_ms"]
    return ratios


def details_of(runs: dict[str, list[Record]], skills: Sequence[Skill]) -> dict[str, Any]:
    """What each system saw and wrote, and the weights of the skills."""
    outputs = {name: [record.text for record in records] for name, records in runs.items()}
    prompts = {name: [record.prompt for record in records] for name, records in runs.items()}
    weights = {skill.card.name: skill.card.sha256 or "random" for skill in skills}
    return {"skills": weights, "prompts": prompts, "outputs": outputs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = options("A ten-step episode with alternating skills, against PEFT.")
    parser.add_argument("--tokens", type=int, default=96, help="tokens that a step may generate")
    parser.add_argument("--repeats", type=int, default=1, help="measured runs of each system")
    parser.add_argument("--random", action="store_true", help="random skills in the place of the shipped ones")
    parser.add_argument("--no-warm-up", action="store_true", help="measure the first run of each system")
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    given = parser.parse_args(arguments)

    from episode_ours import Ours
    from episode_peers import Expert, Plain

    from loraloop.adapters.base import Base
    from loraloop.router import Router

    base = Base.load(device="cpu")
    episode = read_episode(base, given.limit, given.tokens)
    skills = shipped_skills(base, episode.skills, given.seed, given.random)
    systems: list[System] = [Ours(base, skills, Router.load())]
    with tempfile.TemporaryDirectory() as folder:
        if not given.no_peers:
            place = Path(folder)
            systems += [Plain(base, skills, place / Plain.name), Expert(base, skills, place / Expert.name)]
        runs = measure(systems, episode, given.repeats, _say, not given.no_warm_up)
    report = BenchmarkReport(
        "episode",
        len(episode.steps),
        metrics_of(runs["loraloop"]),
        {name: metrics_of(records) for name, records in runs.items() if name != "loraloop"},
        ratios_of(runs),
        details_of(runs, skills),
    )
    finish(report, given.json)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
