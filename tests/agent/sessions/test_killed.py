"""Sessions whose processes are killed: at every commit, at random moments, again and again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloop.agent.sessions.sessions import Sessions

JOB = Path(__file__).with_name("session_job.py")
COMMITS = 14  # opened, 2 for each of 4 calls, 4 steps, finished


class Jobs:
    """A process that runs sessions; see session_job. Each folder has files of its own, and a session."""

    def __init__(self, server: subprocess.Popen[str], url: str) -> None:
        self._server, self._url = server, url

    def place(self, folder: Path) -> str:
        return self._url or str(folder / "s.db")

    def __call__(self, folder: Path, **more: Any) -> dict[str, Any]:
        names = {"effects": "effects", "heard": "heard", "out": "out.json"}
        order = {"place": self.place(folder), "session": str(folder)}
        order |= {key: str(folder / name) for key, name in names.items()} | more
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return dict(json.loads(self._server.stdout.readline()))


@pytest.fixture(scope="module")
def processes() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        assert server.stdout.readline()
        yield server
        server.stdin.close()


@pytest.fixture(scope="module")
def file_job(processes: subprocess.Popen[str]) -> Jobs:
    return Jobs(processes, "")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def job(request: pytest.FixtureRequest, processes: subprocess.Popen[str]) -> Jobs:
    return Jobs(processes, request.getfixturevalue("postgres_server") if request.param == "postgres" else "")


def lines(folder: Path, name: str) -> Counter[str]:
    file = folder / name
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def outcome(folder: Path) -> dict[str, Any]:
    """The result, without times and without what depends on what was still in memory."""
    result = json.loads((folder / "out.json").read_text())
    for name in ("run_id", "ms"):
        del result[name]
    for step in result["steps"]:
        del step["ms"]
        for name in ("prefilled", "reused"):
            del step["tokens"][name]
        for call in step["calls"]:
            del call["ms"], call["at_least_once"]
    return dict(result)


def marked(folder: Path) -> set[str]:
    """The calls that their records say may have run more than once."""
    result = json.loads((folder / "out.json").read_text())
    made = (call for step in result["steps"] for call in step["calls"])
    return {f"{call['name']} {next(iter(call['arguments'].values()))}" for call in made if call["at_least_once"]}


@pytest.fixture(scope="module")
def whole(job: Jobs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run comes to where nobody kills it."""
    folder = tmp_path_factory.mktemp("whole")
    assert job(folder)["code"] == 0 and not marked(folder)
    assert lines(folder, "effects") == {"pay 1": 1, "pay 2": 1, "look 3": 1, "pay 4": 1}
    return outcome(folder)


def check_kept(job: Jobs, folder: Path) -> set[str]:
    """What was told before the process died is in the database. Returns the calls of which it has the end."""
    heard = Counter(line.partition(" ")[0] for line in lines(folder, "heard"))
    with Sessions(job.place(folder)) as store:
        turns = store.session(str(folder)).turns
        steps, ended = (turns[-1].steps, turns[-1].calls) if turns else ((), ())
    assert len(steps) >= heard["step"]
    over = [call for call in ended if call.ended is not None]
    assert len(over) >= heard["pay"] + heard["look"]
    return {f"{call.name} {next(iter(call.arguments.values()))}" for call in over}


@pytest.mark.parametrize("when", ["within", "after"])
def test_killed_at_every_commit_it_comes_to_the_same(
    job: Jobs, whole: dict[str, Any], tmp_path: Path, when: str
) -> None:
    for commit in range(1, COMMITS + 1):
        folder = tmp_path / str(commit)
        folder.mkdir()
        assert job(folder, commit=[commit, when])["signal"] == 9
        over = check_kept(job, folder)
        done = job(folder, on_unfinished="run_again")
        assert done["code"] == 0, done["said"]
        assert outcome(folder) == whole
        twice = {call for call, times in lines(folder, "effects").items() if times > 1}
        assert not over & (twice | marked(folder)), "a call whose end is known does not run again"
        assert twice <= marked(folder) and len(marked(folder)) <= 3, commit  # of the calls of one step
    last = tmp_path / "more"
    last.mkdir()
    assert job(last, commit=[COMMITS + 1, when])["signal"] == 0  # there are no more commits than these


def test_calls_that_may_have_run_are_not_run_twice_but_told(job: Jobs, tmp_path: Path) -> None:
    told = Counter[bool]()
    for commit in (2, 5, 7):  # each says that a call is about to run, the last one the third of its step
        folder = tmp_path / str(commit)
        folder.mkdir()
        job(folder, commit=[commit, "after"])
        done = job(folder)
        assert done["code"] == 0, done["said"]
        effects = lines(folder, "effects")
        assert all(effects[f"pay {amount}"] <= 1 for amount in (1, 2, 4)) and effects["look 3"] <= 2
        result = json.loads((folder / "out.json").read_text())
        for call in (call for step in result["steps"] for call in step["calls"]):
            ran = effects[f"{call['name']} {next(iter(call['arguments'].values()))}"]
            assert call["at_least_once"] or (ran == 1 and call["error"] is None), (commit, call)
            told["may have run" in (call["error"] or "")] += 1
    assert told[True] == 1 + 1 + 2  # payments; to look is idempotent, and looked at again


def test_killed_at_random_moments_it_comes_to_the_same(job: Jobs, whole: dict[str, Any], tmp_path: Path) -> None:
    rng, kills = random.Random(0), 0
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        for _ in range(3):
            kills += job(folder, seconds=rng.uniform(0.0, 0.2), pause=0.05, on_unfinished="run_again")["signal"] == 9
            check_kept(job, folder)
        assert job(folder, on_unfinished="run_again")["code"] == 0
        assert outcome(folder) == whole
        assert {call for call, times in lines(folder, "effects").items() if times > 1} <= marked(folder)
    assert kills >= 3


def test_processes_that_live_for_four_commits_get_there(job: Jobs, whole: dict[str, Any], tmp_path: Path) -> None:
    died = 0
    while job(tmp_path, commit=[4, "after"], on_unfinished="run_again")["signal"] == 9 and died < COMMITS:
        died += 1
        check_kept(job, tmp_path)
    assert died == 4 and outcome(tmp_path) == whole  # of three calls that had begun, two began again


def test_with_the_real_base(file_job: Jobs, tmp_path: Path) -> None:
    job, whole, killed = file_job, tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert job(whole, real=True)["code"] == 0
    assert job(killed, real=True, commit=[4, "after"])["signal"] == 9  # one call was made, and its step is complete
    check_kept(job, killed)
    done = job(killed, real=True)
    assert done["code"] == 0, done["said"]
    assert outcome(killed) == outcome(whole) and len(outcome(whole)["steps"]) > 1
    assert lines(killed, "effects") == lines(whole, "effects")


def test_a_file_that_must_not_grow_ends_the_run_and_keeps_what_was_committed(file_job: Jobs, tmp_path: Path) -> None:
    job = file_job
    job(tmp_path, commit=[4, "after"])
    size = (tmp_path / "s.db-wal").stat().st_size
    stopped = job(tmp_path, most_bytes=size + 4096)
    assert stopped["code"] == 1 and "SessionError: the sessions: " in stopped["said"]
    assert "what was committed before is there" in stopped["said"]
    check_kept(job, tmp_path)
    assert job(tmp_path, on_unfinished="run_again")["code"] == 0
