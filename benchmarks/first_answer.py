"""How soon a new process answers: with what an earlier process kept of the instructions and tools on disk, and without.

    python benchmarks/first_answer.py --base qwen2.5-coder-1.5b --json benchmarks/results/first_answer_qwen.json

Each measurement is a process of its own. The clock starts when base and skills are open, which `open_s` tells apart. A
request is then asked of an assistant with the seven tools of a desk: `call_s` is until its call begins, `run_s` until
the run is over. The medians of `--limit` processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
from report import BenchmarkReport, finish, options

WORLD, ASKED = "library", "Who has the card M-5502, and what has he borrowed?"


def measured(base: str, folder: str) -> dict[str, float]:
    """The times of this process; `folder` keeps beginnings of transcripts, or is empty."""
    from loraloop.agent import Agent, Runtime
    from loraloop.agent.events import ToolCallStarted
    from loraloop.evals.desk.world import SHIPPED, load_worlds

    start = time.perf_counter()
    runtime = Runtime.load(base, keep_prefixes=folder or False)
    opened = time.perf_counter()
    (world,) = load_worlds(SHIPPED, [WORLD])
    world.start()
    agent = Agent(runtime, world.tools, world.instructions)
    stream, called = agent.stream(ASKED), 0.0
    for event in stream:
        if isinstance(event, ToolCallStarted) and not called:
            called = time.perf_counter()
    reused = stream.result.steps[0].tokens.reused
    return {
        "open_s": opened - start,
        "call_s": called - opened,
        "run_s": time.perf_counter() - opened,
        "tokens_from_disk": float(reused),
    }


def main() -> None:
    """Asks in one process after another."""
    parser = options(__doc__.splitlines()[0], limit=3)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--process", metavar="FOLDER", help="measure this process alone, as JSON")
    given = parser.parse_args()
    if given.process is not None:
        print(json.dumps(measured(given.base, given.process)))
        return

    def asked(folder: str) -> dict[str, float]:
        command = [sys.executable, __file__, "--base", given.base, "--process", folder]
        command += ["--threads", str(given.threads)] if given.threads else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        print(f"{'kept' if folder else 'new'}: {found}", file=sys.stderr, flush=True)
        return found

    with tempfile.TemporaryDirectory() as folder:
        asked(folder)  # keeps what the others find
        rounds = [(asked(""), asked(folder)) for _ in range(given.limit)]
    metrics = {
        f"{how}_{name}": median(times[place][name] for times in rounds)
        for place, how in enumerate(("new", "kept"))
        for name in rounds[0][place]
    }
    ratios = {"kept over new": metrics["new_call_s"] / metrics["kept_call_s"]}
    finish(BenchmarkReport("first_answer", given.limit, metrics, {}, ratios, {"base": given.base}), given.json)


if __name__ == "__main__":
    main()
