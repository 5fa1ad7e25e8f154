"""The benchmarks of training on a tiny random base: all systems, one loss curve, kept results; the methods, a task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def modules(benchmark: Callable[[str], ModuleType]) -> dict[str, ModuleType]:
    names = ("training", "training_data", "training_memory", "training_systems", "methods", "methods_kinds",
             "methods_row", "methods_task")  # fmt: skip
    return {name: benchmark(name) for name in names}


@pytest.fixture(scope="module")
def folder(save_llama: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny")
    save_llama(place)
    return place


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch

    monkeypatch.setenv("LORALOOP_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_synthetic_examples_have_one_length(modules: dict[str, ModuleType], tiny_base: Any) -> None:
    made = modules["training_data"].examples(tiny_base, 5, 64, 40, seed=1)
    assert {(len(e.trunk), len(e.branch)) for e in made} == {(64, 40)}
    assert len({e.trunk for e in made}) == 5
    assert made == modules["training_data"].examples(tiny_base, 5, 64, 40, seed=1)
    end = tiny_base.chat.closing
    assert all(e.trunk[-len(end) :] == end and e.branch[-1] == end[0] for e in made)
    assert all(e.branch[: e.start] == tiny_base.chat.generation_prompt for e in made)
    with pytest.raises(ValueError, match="at least"):
        modules["training_data"].examples(tiny_base, 1, 64, 3)


def test_allocations_are_seen(modules: dict[str, ModuleType]) -> None:
    import torch

    memory = modules["training_memory"]
    assert memory.highest([(2, -30), (1, 40), (3, 50), (4, -60)]) == 60
    assert memory.highest([(1, -10)]) == 0
    kept = torch.zeros(1_000_000)
    allocations = memory.Allocations()
    allocations.start()
    doubled = kept * 2
    del doubled
    again = kept * 3
    allocations.stop()
    assert 4_000_000 <= allocations.peak < 4_100_000
    assert again[0] == 0


@pytest.fixture
def in_process(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run here, so that torch and PEFT are imported once."""

    def run(program: list[str], **_: Any) -> Any:
        module = modules[Path(program[1]).stem]
        found = module.measure(module.Job(**json.loads(program[2])))
        return type("Done", (), {"returncode": 0, "stdout": json.dumps(found), "stderr": ""})()

    monkeypatch.setattr("subprocess.run", run)


SMALL = ["--form", "fp32", "--threads", "1", "--batch", "2", "--limit", "2"]
POINT = ["--context", "40", "--completion", "40", "--examples", "4", "--grid", ""]


@pytest.mark.timeout(600)
def test_peft_alora_and_our_trainer_have_one_loss_curve(
    modules: dict[str, ModuleType], in_process: None, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    path, work = tmp_path / "training.json", tmp_path / "work"
    systems = ",".join(set(modules["training"].SYSTEMS) - {"trl"})
    arguments = ["--base", str(folder), *SMALL, *POINT, "--systems", systems, "--work", str(work), "--json", str(path)]
    assert modules["training"].main(arguments) == 0
    document = json.loads(path.read_text())
    assert document["name"] == "training" and document["n"] == 2 and not work.exists()
    wanted = {f"{way}{what}_vs_peft{mode}" for way in ("", "cached_", "full_") for what in ("time", "memory")
              for mode in ("", "_alora")}  # fmt: skip
    wanted |= {"ours_fp32_time_vs_peft_fp32", "ours_fp32_memory_vs_peft_alora_fp32"}
    assert wanted <= document["ratios"].keys()
    losses = document["details"]["losses"]
    assert len(losses["ours"]) == 5 and losses["ours"][-1] < losses["ours"][0]
    differences = {name: value for name, value in document["metrics"].items() if name.endswith("difference_max")}
    assert differences.keys() == {
        f"{way}loss_difference_max" for way in ("", "cached_", "full_", "fp32_", "peft_fp32_")
    }
    assert all(value < 1e-4 for value in differences.values()), differences
    assert abs(losses["peft"][-1] - losses["ours"][-1]) > 1e-3  # plain PEFT is another objective


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_runs_in_a_process_of_its_own(modules: dict[str, ModuleType], folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    arguments = ["--base", str(folder), *SMALL, *POINT, "--systems", "", "--work", str(tmp_path / "work")]
    assert modules["training"].main([*arguments, "--json", str(path)]) == 0
    document = json.loads(path.read_text())
    assert document["metrics"]["activation_mb"] > 0 and not document["peers"] and not document["ratios"]


def test_what_was_measured_is_not_measured_again(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed leaves each finished job; the same job is taken from there, another one is not."""
    training, asked = modules["training"], []
    job = training.Job("ours", "base", "", str(tmp_path), 8, 8, 1, 1, 1, 1, 1e-3, 0, 1)

    def run(program: list[str], **_: Any) -> Any:
        asked.append(json.loads(program[-1]))
        text = json.dumps({"job": asked[-1], "seconds": [1.0]})
        return type("Done", (), {"returncode": 0, "stdout": f"noise\n{text}\n", "stderr": ""})()

    monkeypatch.setattr("subprocess.run", run)
    assert training.measured(job) == training.measured(job)
    assert len(asked) == 1
    training.measured(training.replace(job, steps=2))
    assert [each["steps"] for each in asked] == [1, 2]


def test_cases_follow_from_the_seed_and_fit_the_schema(modules: dict[str, ModuleType]) -> None:
    from jsonschema import Draft202012Validator

    task = modules["methods_task"]
    train, test = task.cases("train", 200, 0), task.cases("test", 200, 0)
    assert train == task.cases("train", 300, 0)[:200] != task.cases("train", 200, 1)
    schema = Draft202012Validator(task.SCHEMA)
    for case in (*train, *test):
        assert schema.is_valid(json.loads(case.completion))
    assert {case.record["intent"] for case in test} == set(task.INTENTS)
    for pool in (*({s: task.SAID[s][i] for s in task.SAID} for i in task.INTENTS), task.PEOPLE, task.URGENT, task.CALM):
        assert set(pool) == {"train", "valid", "test"}
        wordings = [wording for split in pool.values() for wording in split]
        assert len(wordings) == len(set(wordings))


def test_a_record_is_scored_by_field(modules: dict[str, ModuleType]) -> None:
    task = modules["methods_task"]
    one, two = task.cases("test", 2, 0)
    assert task.score([one, two], [one.completion, two.completion]) == {"exact": 1.0, "fields": 1.0}
    wrong = json.dumps({**two.record, "guests": 7})
    assert task.score([one, two], [one.completion, wrong]) == {"exact": 0.5, "fields": 0.9}
    assert task.score([one, two], ["{", "[]"]) == {"exact": 0.0, "fields": 0.0}


@pytest.mark.timeout(600)
def test_rows_are_trained_served_and_scored(
    modules: dict[str, ModuleType], in_process: None, folder: Path, tmp_path: Path
) -> None:
    methods, path = modules["methods"], tmp_path / "methods.json"
    arguments = ["--base", str(folder), *SMALL, "--steps", "3", "--train", "16", "--rows", "lora,prompt"]
    assert methods.main([*arguments, "--work", str(tmp_path / "work"), "--json", str(path)]) == 0
    document = json.loads(path.read_text())
    metrics = document["metrics"]
    assert {"base/exact", *(f"{row}/{key}" for row in ("lora", "prompt") for key in methods.COLUMNS)} <= metrics.keys()
    assert metrics["prompt/trainable"] == 16 * 32
    assert metrics["lora/trainable"] > 1_000 and metrics["lora/file_mb"] > 0 and metrics["lora/switch_us"] > 0
    assert document["details"]["methods"]["lora/KV"] == "reusable" and not document["details"]["notes"]


def test_all_twelve_methods_have_a_row(modules: dict[str, ModuleType]) -> None:
    rows = modules["methods_kinds"].ROWS
    assert set(rows) == {
        "lora", "qlora", "rslora", "lora+", "dora", "adalora", "vera", "ia3", "prefix", "prompt", "bottleneck",
        "galore",
    }  # fmt: skip
    with pytest.raises(SystemExit):
        modules["methods"].parsed(["--rows", "lora,nora"])
