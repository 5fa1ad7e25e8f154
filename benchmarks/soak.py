"""Many runs at once on one runtime, for a long time, while things go wrong: nothing may be lost, mixed up, or leak.

    python benchmarks/soak.py --json benchmarks/results/soak.json

64 threads run requests of every kind on one runtime for ten minutes: the embedded base with the shipped skills, seven
random ones (one of them acting on the whole context) and eight slots, so that skills replace each other all the time.
Tools raise, hang, return what is no JSON, too much, or what tries to be something else; their programs are killed; runs
are cancelled and streams left. Beside them skill files are cut short, disks are full, and processes die in the middle
of their work (`soak_faults.py`). What has to hold:

- a step's tokens come from the adapter that it names: a sample is recomputed alone, under every adapter;
- no step is lost: events, result, hooks and what the tools saw agree, run by run;
- nothing leaks: memory, threads, descriptors, processes, temporary files and stores, once a second;
- nothing is stuck: without an event for two minutes, all stacks are written and the soak fails.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import Report, finish, options
from soak_adapters import MIXTURES, Samples, Verdict, checked
from soak_faults import ACCIDENTS, TOOLS, Notes
from soak_watch import FIELDS, Sample, Watch, slope

from loraloop import Agent, Limits, LoraloopError, Policy
from loraloop.agent.events import RunFinished, StepFinished, TokenGenerated, ToolCallStarted

if TYPE_CHECKING:
    from loraloop import Runtime

RSS_GROWTH = 0.02  # share of the resident memory, a minute, that it may seem to grow by
TOLERANCE = 0.5  # mean distance of logits under one adapter, computed in forwards of other shapes
WARM = 1 / 3  # of the time, before slopes are taken
PASSAGES = ["The heron nests in the alder by the mill.", "The mill was built in 1712.", "Otters fish at night."]
QUESTIONS = ("Where does the heron nest?", "Add two numbers in Python.", "Tell me about rivers.", "Look up b for me.")


@dataclass
class Tally:
    """What happened, over all threads."""

    runs: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    tokens: int = 0
    calls: int = 0
    events: int = 0
    skills: Counter[str] = field(default_factory=Counter)
    accidents: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def problem(self, text: str) -> None:
        with self.lock:
            self.problems.append(text)


class Soak:
    """Requests and accidents on one runtime.

    Args:
        runtime: Shared by all of them.
        seed: Of what is asked and what goes wrong.
        step_tokens: Tokens of a step at most.
        accidents: What happens beside the runs.
        share: Of the steps, how many are recomputed alone afterwards.
        samples: How many at most.
    """

    def __init__(
        self,
        runtime: Runtime,
        seed: int = 0,
        step_tokens: int = 40,
        accidents: Sequence[Callable[[Any, Path], None]] = ACCIDENTS,
        share: float = 0.05,
        samples: int = 60,
    ) -> None:
        self.runtime = runtime
        self.tally = Tally()
        self.samples = Samples(share, samples, seed)
        self.samples.watch(runtime)
        self._seed, self._accidents = seed, accidents
        self._over = threading.Event()
        limits = Limits(max_steps=3, step_tokens=step_tokens, result_tokens=64, max_tool_calls=3)
        policy = Policy(max_calls=1, repairs=1)
        self._agent = Agent(runtime, TOOLS, "You help.", limits=limits, policy=policy, python=True, hooks=[self._hook])
        self._hooked: dict[str, int] = {}

    def run(self, concurrent: int, seconds: float) -> tuple[list[Sample], Sample, Sample]:
        """Runs for a time; returns samples, and the values before and after it all."""
        watch = Watch(self.runtime, lambda: self.tally.events, self._give_up)
        threads = [threading.Thread(target=self._work, args=(n,), name=f"soak-{n}") for n in range(concurrent)]
        before = watch.settled()
        with tempfile.TemporaryDirectory() as folder, watch:
            threads.append(threading.Thread(target=self._break, args=(Path(folder),), name="soak-accidents"))
            for thread in threads:
                thread.start()
            self._over.wait(seconds)
            self._over.set()
            for thread in threads:
                thread.join()
        deadline = time.monotonic() + 10
        while (after := watch.settled()).values[1] > before.values[1] and time.monotonic() < deadline:
            time.sleep(0.2)  # tools that hang come to their end
        self.tally.problems += watch.problems
        return watch.samples, before, after

    def _give_up(self) -> None:
        self._over.set()
        os._exit(3)  # what is stuck cannot be joined; the stacks are on standard error

    def _hook(self, event: Any) -> None:
        if isinstance(event, StepFinished):
            with self.tally.lock:
                self._hooked[event.run_id] = self._hooked.get(event.run_id, 0) + 1

    def _work(self, number: int) -> None:
        rng = random.Random(f"{self._seed}-{number}")
        history: Sequence[Any] = ()
        while not self._over.is_set():
            history = self._request(rng, history if rng.random() < 0.3 else ())

    def _request(self, rng: random.Random, history: Sequence[Any]) -> Sequence[Any]:
        """One run of some kind; its transcript, for a conversation that goes on."""
        asked: dict[str, Any] = {"deps": Notes(), "messages": history}
        kind = rng.choice(("tool", "tool", "tool", "skill", "skill", "mixture", "passages", "plain"))
        if kind == "tool":
            asked["tool_choice"] = kind = rng.choice(TOOLS).name
        elif kind == "skill":
            asked["skill"] = kind = rng.choice([name for name in self.runtime.skills if self._fits(name)])
        elif kind == "mixture":
            asked["skill"] = rng.choice(list(MIXTURES.values()))
        elif kind == "passages":
            asked.update(passages=PASSAGES, skill="retrieval")
        ends = rng.choice(("", "", "", "cancelled", "left"))
        after = rng.randrange(1, 20)
        prompt = f"{rng.choice(QUESTIONS)} ({rng.randrange(10**6)})"
        try:
            return self._read(kind, prompt, asked, ends, after)
        except LoraloopError as error:
            self.tally.problem(f"{kind}: {type(error).__name__}: {error}")
        except Exception as error:
            self.tally.problem(f"{kind}: not one of our errors: {error!r}")
        return ()

    def _fits(self, name: str) -> bool:
        return name in self.runtime.bank and self.runtime.contract(name) in ("code", "calls", "text")

    def _read(self, kind: str, prompt: str, asked: dict[str, Any], ends: str, after: int) -> Sequence[Any]:
        """Reads a run's events, ends it early if it is to, and holds its accounts against each other."""
        stream = self._agent.stream(prompt, **asked)
        finished, started, result, run_id = [], 0, None, ""
        for count, event in enumerate(stream, 1):
            run_id = event.run_id
            with self.tally.lock:
                self.tally.events += 1
            if isinstance(event, StepFinished):
                finished.append(event.step)
            elif isinstance(event, ToolCallStarted):
                started += 1
            elif isinstance(event, RunFinished):
                result = event.result
            if ends and count >= after and isinstance(event, TokenGenerated | ToolCallStarted):
                if ends == "left":
                    stream.close()
                    break
                stream.cancel()
        hooked = self._hooked.pop(run_id, 0)
        with self.tally.lock:
            self.tally.runs["left" if result is None else str(result.stop_reason)] += 1
            self.tally.steps += len(finished)
            self.tally.tokens += sum(step.tokens.generated for step in finished)
            self.tally.calls += started
            self.tally.skills.update(step.skill for step in finished)
        self._account(kind, asked["deps"], finished, hooked, result, ends)
        return () if result is None else result.messages

    def _account(self, kind: str, notes: Notes, finished: list[Any], hooked: int, result: Any, ends: str) -> None:
        problem = self.tally.problem
        if [step.index for step in finished] != list(range(len(finished))):
            problem(f"{kind}: steps {[step.index for step in finished]}")
        if hooked != len(finished):
            problem(f"{kind}: {len(finished)} steps were told, and {hooked} to the hook")
        if result is None:
            if ends != "left":
                problem(f"{kind}: a run ended without a result")
            return
        if tuple(result.steps) != tuple(finished):
            problem(f"{kind}: the result has {len(result.steps)} steps, and {len(finished)} were told")
        called = [record.name for step in result.steps for record in step.calls if record.name != "python"]
        same = notes.started == called[: len(notes.started)]
        if not same or (len(notes.started) < len(called) and result.stop_reason != "cancelled"):
            problem(f"{kind}: the tools ran {notes.started}, and the result says {called}")
        if result.stop_reason == "cancelled" and ends != "cancelled":
            problem(f"{kind}: a run was cancelled that nobody cancelled")

    def _break(self, folder: Path) -> None:
        rng = random.Random(f"{self._seed}-accidents")
        while self._accidents and not self._over.is_set():
            accident = rng.choice(self._accidents)
            try:
                accident(self.runtime, folder)
            except Exception as error:
                self.tally.problem(f"{accident.__name__}: {error!r}")
            self.tally.accidents[accident.__name__] += 1
            self._over.wait(rng.random() * 2)


def report(soak: Soak, seen: tuple[list[Sample], Sample, Sample], verdict: Verdict, concurrent: int) -> Report:
    """The document; `problems` is 0 where all held."""
    samples, before, after = seen
    warm = [sample for sample in samples if sample.at >= WARM * samples[-1].at] if samples else []
    tally, metrics = soak.tally, {}
    rss = median(sample.values[0] for sample in warm) if warm else after.values[0]
    growth = slope(warm, "rss_mb")
    if growth > RSS_GROWTH * rss:
        tally.problem(f"memory grew by {growth:.1f} MB a minute, of {rss:.0f} MB")
    for name in ("threads", "descriptors", "children", "temp_files"):
        at = FIELDS.index(name)
        if after.values[at] > before.values[at]:
            tally.problem(f"{name}: {before.values[at]:g} before, {after.values[at]:g} after")
    metrics |= {
        "runs": sum(tally.runs.values()), "steps": tally.steps, "calls": tally.calls, "tokens": tally.tokens,
        "accidents": sum(tally.accidents.values()), "problems": len(tally.problems),
        "steps_recomputed": len(verdict.own), "wrong_adapter": len(verdict.wrong),
        "logit_distance_own_median": median(verdict.own) if verdict.own else 0.0,
        "logit_distance_own_max": max(verdict.own, default=0.0),
        "logit_distance_nearest_other_median": median(verdict.other) if verdict.other else 0.0,
        "rss_mb_median": rss, "rss_mb_per_minute": growth, "rss_mb_per_minute_bound": RSS_GROWTH * rss,
    }  # fmt: skip
    for at, name in enumerate(FIELDS):
        if name != "rss_mb":
            metrics[f"{name}_most"] = max((sample.values[at] for sample in samples), default=after.values[at])
            metrics[f"{name}_after"] = after.values[at]
    details = {
        "concurrent": concurrent, "ended": dict(tally.runs), "steps_by_skill": dict(tally.skills),
        "accidents": dict(tally.accidents), "problems": (tally.problems + verdict.wrong)[:50],
    }  # fmt: skip
    return Report("soak", sum(tally.runs.values()), metrics, details=details)


def distinct_skill(base: Any, name: str, seed: int, times: float, activation: str = "branch") -> Any:
    """A random skill whose weights are so many times larger that its logits are nobody else's."""
    from episode import random_skill

    from loraloop.adapters.skill.skill import Skill

    made = random_skill(base, name, seed)
    tensors = {key: value * times if key.endswith("lora_B") else value for key, value in made.tensors.items()}
    return Skill(made.card.model_copy(update={"activation": activation}), tensors)


def embedded() -> Runtime:
    """The embedded base with the shipped skills and seven random ones; eleven for eight slots."""
    from loraloop import Runtime

    runtime = Runtime.load(slots=8, context=1536)
    for seed in range(6):
        runtime.bank.add(distinct_skill(runtime.base, f"random{seed}", seed, 4))
    runtime.bank.add(distinct_skill(runtime.base, "whole", 9, 4, "full"))
    return runtime


def main() -> int:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--concurrent", type=int, default=64, metavar="N", help="runs at the same time")
    parser.add_argument("--seconds", type=float, default=600, metavar="S", help="how long")
    given = parser.parse_args()
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    soak = Soak(embedded(), given.seed)
    seen = soak.run(given.concurrent, given.seconds)
    verdict = checked(soak.runtime, soak.samples.kept, TOLERANCE)
    made = report(soak, seen, verdict, given.concurrent)
    finish(made, given.json)
    for problem in made.details["problems"]:
        print(problem, file=sys.stderr)
    return bool(made.details["problems"])


if __name__ == "__main__":
    raise SystemExit(main())
