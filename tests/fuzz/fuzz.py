"""Fuzzes every target for a while, guided by coverage.

    python tests/fuzz/fuzz.py [--seconds 600] [--targets card,mcp,…]

The time is shared out among the targets, each in a process of its own under atheris. Without atheris (it has no wheels
for every platform) the corpus is mutated at random. What was found to reach new code is kept in build/fuzz/TARGET,
beside the input of a crash; put that into tests/fuzz/corpus/TARGET once it is mended. Exit code 1: something crashed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOUND = HERE.parents[1] / "build" / "fuzz"
sys.path.insert(0, str(HERE))


def guided(name: str, seconds: int) -> None:
    """Runs one target under libFuzzer; the process ends with it."""
    import atheris

    with atheris.instrument_imports(include=["loraloop"]):
        import targets

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return atheris.Mutate(data, size)  # bytes, blindly
        return targets.mutated(data, random.Random(seed))[:size]

    folder = FOUND / name
    folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000", f"-max_len={targets.LARGEST}"]
    quiet = ["-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={folder}/crash-"]
    arguments = [sys.argv[0], *limits, *quiet, str(folder), str(targets.CORPUS / name)]
    atheris.Setup(arguments, lambda data: targets.run(name, data), custom_mutator=mutate)
    atheris.Fuzz()


def unguided(name: str, seconds: int) -> None:
    """Mutates the corpus of one target at random."""
    import targets

    chance, end, count = random.Random(time.time_ns()), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = chance.choice(targets.seeds(name))
        for _ in range(chance.randint(1, 6)):
            data = targets.mutated(data, chance)
        try:
            targets.run(name, data)
        except BaseException:
            FOUND.joinpath(name).mkdir(parents=True, exist_ok=True)
            FOUND.joinpath(name, f"crash-{count}").write_bytes(data)
            raise
        count += 1
    print(f"{name}: {count} inputs, no crash")


def main() -> int:
    """Runs the targets one after another, each in a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together")
    parser.add_argument("--targets", help="names, parted by commas; all by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        import atheris  # noqa: F401

        fuzz = guided
    except ImportError:
        fuzz = unguided
    if given.one:
        fuzz(given.one, given.seconds)
        return 0
    names = given.targets.split(",") if given.targets else sorted(each.name for each in (HERE / "corpus").iterdir())
    crashed = []
    for name in names:
        print(f"--- {name} ({fuzz.__name__})", flush=True)
        each = [sys.executable, __file__, "--one", name, "--seconds", str(max(1, given.seconds // len(names)))]
        if subprocess.run(each, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode:
            crashed.append(name)
    print(f"crashed: {', '.join(crashed)}; see {FOUND}" if crashed else "nothing crashed")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
