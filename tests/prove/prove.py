"""Disables the guards of the threat model one at a time, and sees that the test that is named for each of them fails.

`make prove` runs all mutations of mutations.py; `make prove ARGS='word …'` those whose file, text or test has a word.
The tree is copied into build/prove, so nothing that is being worked on changes. A test has to pass without its
mutation, and a skipped one proves nothing. Each mutation runs in a process of its own, forked from one that has
imported other packages and the rooms below the mutated one, up to the first failure. A test that fails late has to pass
once more without the mutation: it may have been the machine that was slow.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TREE, LOGS = ROOT / "build" / "prove" / "tree", ROOT / "build" / "prove" / "logs"
ROOMS = ("tool_schemas", "kernels", "adapters", "router", "agent", "src", "recipes")  # each imports from those before
SLOW_IMPORTS = (
    *("torch", "transformers", "fastapi", "httpx", "jsonschema", "outlines", "safetensors.torch", "typer", "uvicorn"),
    *("pytest", "hypothesis.strategies", "schemathesis", "prometheus_client", "sse_starlette", "platformdirs"),
)
PLUGINS = ("_hypothesis_pytestplugin", "pytest_asyncio.plugin", "pytest_timeout")  # of pytest; the others load slowly
MEMORY = 3 << 30  # bytes of data of a process: some guards bound memory
SECONDS = 20  # of the processor for one test, or eight times what it takes without a mutation; then it has failed
PATIENCE = 6  # how many times as long a test may take that waits for others, or for the processor
sys.path.insert(0, str(ROOT / "tests" / "prove"))
from mutations import MUTATIONS, Mutation  # noqa: E402


@dataclass(eq=False)
class Outcome:
    """What tests came to, a plugin of pytest: seconds by id, failures, other errors, and the modules they imported."""

    passed: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            self.passed[report.nodeid] = report.duration
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            line = (crash.message if crash else str(report.longrepr)).strip().partition("\n")[0]
            (self.failed if report.when == "call" else self.errors).append(f"{report.nodeid}: {line}")

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}")

    def seconds(self, test: str) -> float:
        """How long a test took, over all of its parameters; 0 where it was skipped or did not pass."""
        if any(line.startswith((f"{test}[", f"{test}:")) for line in (*self.failed, *self.errors)):
            return 0.0
        return sum(seconds for name, seconds in self.passed.items() if name.partition("[")[0] == test)


def copy_tree() -> None:
    """Copy the tree, and lay the rooms below the package, so that Python finds all of it on one path."""
    shutil.rmtree(TREE.parent, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "shared"))
    for room in set(ROOMS) - {"src"}:
        (TREE / "src" / "loraloop" / room).symlink_to(Path("../..", room))
    LOGS.mkdir()


def run_tests(tests: Sequence[str], log: Path, limit: float, *options: str) -> tuple[Outcome, float]:
    """Run tests in a forked process that may use the processor for `limit` seconds; what they came to, and when."""
    started, (reading, writing) = time.monotonic(), os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (round(limit), resource.RLIM_INFINITY))
        run_in_child(tests, log, writing, options)
    os.close(writing)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * limit)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    signal.setitimer(signal.ITIMER_REAL, 0)
    end = signal.Signals(code).name if (code := os.WTERMSIG(os.waitpid(child, 0)[1])) else "nothing"
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    outcome = Outcome(**json.loads(text)) if text else Outcome(failed=[f"{tests[0]}: ended by {end}"])
    return outcome, time.monotonic() - started


def run_in_child(tests: Sequence[str], log: Path, writing: int, options: Sequence[str]) -> None:
    """Run pytest, write what it came to, and end the process."""
    import hypothesis
    import pytest

    try:
        os.setsid()
        os.chdir(TREE)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile(
            "prove", derandomize=True, database=None, deadline=None, report_multiple_bugs=False, phases=phases
        )
        hypothesis.settings.load_profile("prove")
        plugins = [f"-p{name}" for name in (*PLUGINS, "no:cacheprovider", "no:unraisableexception")]
        outcome = Outcome()
        pytest.main([*tests, "-q", *plugins, *options], plugins=[outcome])
        if (path := importlib.import_module("loraloop").__path__[0]) != str(TREE / "src" / "loraloop"):
            outcome.errors.append(f"loraloop was imported from {path}")
        outcome.modules = [name for name in sys.modules if name.startswith("loraloop.")]
        with os.fdopen(writing, "w") as pipe:
            json.dump(vars(outcome), pipe)
    finally:
        os._exit(0)


def try_mutation(number: int, mutation: Mutation, limit: float) -> tuple[str, str, float]:
    """The verdict on one mutation ('killed', 'SURVIVED' or 'BROKEN'), the reason, and the seconds."""
    if module_of(mutation.file) in sys.modules:
        return "BROKEN", "the module is imported already: its room imports from one above it", 0.0
    path = TREE / mutation.file
    text, times = path.read_text(encoding="utf-8"), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_text(text.replace(mutation.text, mutation.replacement), encoding="utf-8")
    os.utime(path, (number, number))  # a time that no compiled module of this file has
    try:
        outcome, seconds = run_tests([mutation.test], LOGS / f"{number}.txt", limit, "-x")
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=times)
    if not outcome.failed:
        return ("BROKEN", outcome.errors[0], seconds) if outcome.errors else ("SURVIVED", "", seconds)
    reason = outcome.failed[0].partition(": ")[2]
    if seconds < limit / 4:
        return "killed", reason, seconds
    unchanged, more = run_tests([mutation.test], LOGS / f"{number}-again.txt", limit)  # was it only the machine?
    verdict = "killed" if unchanged.seconds(mutation.test) else "BROKEN"
    return verdict, reason, seconds + more


def module_of(file: str) -> str:
    """The name of the module of a file of Python."""
    return "loraloop." + file.removeprefix("src/loraloop/").removesuffix(".py").replace("/", ".")


def room_of(file: str) -> int:
    """The place of a file's room among the rooms; a room imports from those before it."""
    return ROOMS.index(file.partition("/")[0])


def verdicts_on(chosen: Sequence[Mutation]) -> Iterator[tuple[Mutation, str, str, float]]:
    """Try mutations, sorted by their rooms and the files of their tests; each with its verdict, reason and seconds."""
    known: set[str] = set()
    number = 0
    for (room, file), group in groupby(chosen, lambda each: (room_of(each.file), each.test.partition("::")[0])):
        for name in sorted(known):
            if ROOMS.index(parts[1] if (parts := name.split("."))[1] in ROOMS else "src") < room:
                importlib.import_module(name)
        gc.freeze()
        mutations = list(group)
        tests = sorted({each.test for each in mutations})
        unchanged, seconds = run_tests(tests, LOGS / f"{number + 1}-unchanged.txt", 5 * SECONDS * len(tests))
        known |= set(unchanged.modules)
        print(f"{file}: {len(tests)} tests without a mutation in {seconds:.0f} s", *unchanged.failed, *unchanged.errors)
        for mutation in mutations:
            number += 1
            usual = unchanged.seconds(mutation.test)
            if not usual:
                yield mutation, "BROKEN", "without the mutation it is skipped, or fails", 0.0
            else:
                yield mutation, *try_mutation(number, mutation, max(SECONDS, 8 * usual))


def main(words: Sequence[str]) -> int:
    chosen = [m for m in MUTATIONS if not words or any(word in f"{m.file} {m.text} {m.test}" for word in words)]
    if not chosen:
        print("no mutation has one of these words in its file, its text or its test")
        return 2
    chosen.sort(key=lambda each: (room_of(each.file), each.test))
    started = time.monotonic()
    copy_tree()
    os.environ |= {"PYTHONPATH": str(TREE / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    sys.path.insert(0, os.environ["PYTHONPATH"])
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    verdicts: list[str] = []
    for mutation, verdict, reason, took in verdicts_on(chosen):
        verdicts.append(verdict)
        name = mutation.test.rpartition("/")[2]
        number = len(verdicts)
        print(f"{number:3} {verdict:8} {took:5.1f} s  {mutation.file}: {mutation.text.strip()[:50]!r}  {name}")
        print(f"      {reason[:150]}", flush=True)
    counts = {verdict: verdicts.count(verdict) for verdict in ("killed", "SURVIVED", "BROKEN")}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes, busy = (time.monotonic() - started) / 60, (used.ru_utime + used.ru_stime) / 60
    print(f"{len(chosen)} mutations in {minutes:.0f} minutes ({busy:.0f} minutes of a processor): {counts}")
    return int(counts["killed"] != len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
