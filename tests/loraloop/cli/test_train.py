"""`loraloop train` and `loraloop data check`, and `run_recipe`: from a file of records to a registered skill."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import yaml
from safetensors.torch import load_file

from loraloop.adapters.base import random_base
from loraloop.adapters.methods import METHODS
from loraloop.adapters.skill.registry import registered, router_folder
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.recipe.preview import estimate
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.adapters.training.recipe.run import prepare
from loraloop.adapters.training.trainer.progress import Progress
from loraloop.adapters.training.trainer.trainer import Trainer
from loraloop.adapters.training.trainer.workers import Workers
from loraloop.cli.main import run_command
from loraloop.render.training import TrainingPace, Watch, clock
from loraloop.tool_schemas.errors import InputError
from loraloop.training.run import run_recipe

WORDS = ("red", "green", "blue", "black", "white", "grey", "pink", "brown")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "home"))
    return tmp_path / "home"


def records(path: Path, count: int = 60) -> Path:
    rows = [
        {"text": f"{WORDS[k % 8]} {WORDS[k // 8]} {k}", "label": "warm" if k % 8 in (0, 6, 7) else "cold"}
        for k in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe(folder: Path, **parts: Mapping[str, Any]) -> dict[str, Any]:
    records(folder / "colours.jsonl")
    made: dict[str, Any] = {
        "base": "tiny",
        "skill": {"name": "colours", "description": "Warm or cold.", "max_tokens": 8},
        "data": {
            "sources": [{"file": str(folder / "colours.jsonl"), "license": "CC-BY-SA-4.0", "generated_by": "a model"}],
            "validation": 0.2,
        },
        "method": {"name": "lora", "rank": 2, "alpha": 4},
        "schedule": {"steps": 6, "batch": 4, "validate_every": 3, "learning_rate": 0.01},
        "evaluation": {"share": 0.2, "limit": 4},
        "output": {"folder": str(folder / "out")},
    }
    for name, values in parts.items():
        made[name] = {**(known if isinstance(known := made.get(name), dict) else {}), **values}
    return made


def test_a_recipe_becomes_a_registered_skill_with_a_report(tmp_path: Path) -> None:
    base = random_base(0)
    report = run_recipe(recipe(tmp_path, skill={"closes": True, "talks": True}), base=base)
    skill = Skill.load(report.skill)
    card = skill.card
    assert card.closes and card.talks
    assert card.name == "colours" and card.fingerprints.weights == base.fingerprints.weights
    assert [(s.name, s.license) for s in card.data] == [("colours.jsonl", "CC-BY-SA-4.0")]
    assert card.training["data_terms"] == {
        "share_alike": ["colours.jsonl (CC-BY-SA-4.0)"],
        "generated_text": ["colours.jsonl: written by a model; terms not stated"],
    }
    assert set(card.scores) == {"base", "skill", "skill_free"} and card.scores["skill"]["exact_n"] == 4  # type: ignore[index]
    assert registered() == {"colours": report.registered} and Skill.load(registered()["colours"]).card == card
    assert report.router is None and "router was left as it is" in report.notes[0]
    told = json.loads((report.folder / "report.json").read_text())
    assert told["data"]["train"] + told["data"]["valid"] + told["data"]["held_out"] <= 60 + 4
    assert told["evaluation"]["n"] == 4 and told["training"]["steps"] == 6
    page = (report.folder / "report.md").read_text()
    assert "base, same grammar" in page and "CC-BY-SA-4.0" in page and str(tmp_path) not in page
    assert {"loss.svg", "learning_rate.svg"} <= {path.name for path in report.folder.iterdir()}


def test_a_recipe_may_store_a_byte_a_value(tmp_path: Path) -> None:
    report = run_recipe(recipe(tmp_path, output={"dtype": "int8"}, evaluation={"limit": 1}), base=random_base(0))
    for folder in (report.skill, registered()["colours"]):
        stored = load_file(folder / "skill.safetensors")
        assert {t.dtype for name, t in stored.items() if not name.endswith(".scale")} == {torch.int8}
        assert all(bool(tensor.abs().sum()) for tensor in Skill.load(folder).tensors.values())


class Killed(Watch):
    """Stops the training at a step."""

    @contextmanager
    def trained(self, steps: int) -> Iterator[Callable[[Progress], None]]:
        def told(at: Progress) -> None:
            if at.step == 5:
                raise KeyboardInterrupt

        yield told


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    base = random_base(0)
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    off = {"evaluation": {"enabled": False}}
    whole = run_recipe(recipe(tmp_path / "a", **off), base=base)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe(tmp_path / "b", **off), base=base, observer=Killed(quiet=True))
    assert not (tmp_path / "b" / "out" / "skill").exists()
    mark = tmp_path / "b" / "out" / "checkpoints" / "run.json"
    for cut in (mark.read_text()[:20], ""):
        mark.write_text(cut)
        with pytest.raises(InputError, match=r"run\.json is damaged: .* remove it alone, and the training goes on"):
            run_recipe(recipe(tmp_path / "b", **off), base=base)
    mark.unlink()
    again = run_recipe(recipe(tmp_path / "b", **off), base=base)
    mine, theirs = Skill.load(whole.skill).tensors, Skill.load(again.skill).tensors
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert [r["step"] for r in again.log if "loss" in r] == [1, 2, 3, 4, 5, 6]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*: Not a directory; give another output\.folder"):
        run_recipe(recipe(tmp_path / "b", output={"folder": str(tmp_path / "file" / "out")}, **off), base=base)
    changed = recipe(tmp_path / "b", method={"rank": 4}, **off)
    with pytest.raises(InputError, match="run with another method"):
        run_recipe(changed, base=base)


def test_preferences_distillation_and_a_skill_to_begin_from(tmp_path: Path) -> None:
    base, off = random_base(0), {"evaluation": {"enabled": False}, "router": {"enabled": False}}
    run_recipe(recipe(tmp_path, **off), base=base)
    rows = [
        {
            "prompt": f"{WORDS[k % 8]} {k}",
            "chosen": "warm" if k % 2 else "cold",
            "rejected": "cold" if k % 2 else "warm",
        }
        for k in range(40)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"sources": [{"file": str(pairs), "license": "MIT"}]}
    for kind, options in (
        ("dpo", {"beta": 0.2, "reference": "colours"}),
        ("kto", {"beta": 0.2}),
        ("distill", {"teacher": "colours", "temperature": 2.0}),
    ):
        made = recipe(tmp_path, data=data, objective={"name": kind, **options}, **off)
        made |= {"start": "colours", "output": {"folder": str(tmp_path / kind), "register": False}}
        report = run_recipe(made, base=base)
        assert str(report.training["objective"]).startswith(f"{kind}("), report.training
    assert set(registered()) == {"colours"}
    with pytest.raises(InputError, match=r"objective.betta; did you mean 'beta'"):
        run_recipe(recipe(tmp_path, data=data, objective={"name": "dpo", "betta": 1}), base=base)
    with pytest.raises(InputError, match=r"colours.jsonl:\d+: dpo learns from records with chosen and rejected"):
        run_recipe(recipe(tmp_path, objective={"name": "dpo"}), base=base)
    with pytest.raises(InputError, match=r"objective 'dop'; did you mean 'dpo'"):
        run_recipe(recipe(tmp_path, objective={"name": "dop"}), base=base)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"name": "lora", "rank": 2, "alpha": 2}, "scales its update by 2, this recipe by 1"),
        ({"name": "lora", "rank": 4, "alpha": 4}, "scales its update by 2, this recipe by 1"),
        ({"name": "lora", "rank": 2, "alpha": 4, "alpha_pattern": {"q_proj": 8}}, "by 2, this recipe by 2 and 4"),
        ({"name": "rslora", "rank": 2, "alpha": 4}, "colours was trained with lora, this recipe with rslora"),
        ({"name": "dora", "rank": 2, "alpha": 4}, "colours was trained with lora, this recipe with dora"),
        ({"name": "lora", "rank": 2, "alpha": 4, "start": "pissa"}, "leave out method.start"),
        ({"name": "lora", "rank": 4, "alpha": 8, "start": "olora"}, "leave out method.start"),
        ({"name": "lora", "rank": 2, "alpha": 4, "start": "loftq"}, "leave out method.start"),
    ],
)
def test_a_training_begins_from_what_the_skill_computes_or_not_at_all(
    tmp_path: Path, method: dict[str, Any], message: str
) -> None:
    base, off = random_base(0), {"evaluation": {"enabled": False}, "router": {"enabled": False}}
    run_recipe(recipe(tmp_path, **off), base=base)
    made = {**recipe(tmp_path, **off), "start": "colours", "method": method, "output": {"folder": str(tmp_path / "b")}}
    with pytest.raises(InputError, match=message):
        run_recipe(made, base=base)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("other", [{"seed": 1}, {"rank": 8}, {"targets": ["q_proj"]}, {"d_initial": 0.2}])
def test_vera_begins_from_vectors_on_the_same_random_matrices(tmp_path: Path, other: dict[str, Any]) -> None:
    base, off = random_base(0), {"evaluation": {"enabled": False}, "router": {"enabled": False}}
    method = {"name": "vera", "rank": 4, "targets": ["q_proj", "v_proj"]}
    run_recipe({**recipe(tmp_path, **off), "method": method}, base=base)
    made = {**recipe(tmp_path, **off), "start": "colours", "method": {**method, **other}}
    made["output"] = {"folder": str(tmp_path / "b"), "register": False}
    if "d_initial" in other:
        run_recipe(made, base=base)
        return
    with pytest.raises(InputError, match="colours has other random matrices: give its rank, seed and targets"):
        run_recipe(made, base=base)


def test_nothing_begins_from_adalora(tmp_path: Path) -> None:
    base, off = random_base(0), {"evaluation": {"enabled": False}, "router": {"enabled": False}}
    made = {**recipe(tmp_path, **off), "method": {"name": "adalora"}}
    run_recipe(made, base=base)
    with pytest.raises(InputError, match="a skill of adalora has been folded into low-rank pairs"):
        run_recipe({**made, "start": "colours", "output": {"folder": str(tmp_path / "b")}}, base=base)


@pytest.mark.parametrize("key", ["examples", "not_examples"])
def test_a_file_of_the_routers_requests_is_missed_before_anything_is_trained(tmp_path: Path, key: str) -> None:
    made = recipe(tmp_path, router={key: "requests.txt"})
    with pytest.raises(InputError, match=r"cannot read .*requests\.txt"):
        run_recipe(made, base=random_base(0))
    assert not (tmp_path / "out").exists()
    (tmp_path / "lines.jsonl").write_text('{"text": "one"}\n{"text"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"lines\.jsonl:2: no JSON"):
        run_recipe(recipe(tmp_path, router={key: str(tmp_path / "lines.jsonl")}), base=random_base(0))
    assert not (tmp_path / "out").exists()


TRAINS = """
import os, sys, time
from loraloop.adapters.training import checkpoint
with checkpoint.alone(sys.argv[1]):
    print("trains", flush=True)
    time.sleep(600)
"""


def test_two_trainings_do_not_write_to_one_folder_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    made, base = recipe(tmp_path, evaluation={"enabled": False}, router={"enabled": False}), random_base(0)
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    other = subprocess.Popen([sys.executable, "-c", TRAINS, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "trains\n"
        with pytest.raises(InputError, match=r"checkpoints: another process trains there: .* another output\.folder"):
            run_recipe(made, base=base)
    finally:
        other.kill()
        other.wait()
    for _ in range(2):  # the second goes on where the first ended
        assert run_recipe(made, base=base).training["steps"] == 6


METHOD_OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"rank": 2, "alpha": 4} for name in ("lora", "rslora", "dora")},
    "adalora": {},
    "vera": {"rank": 4},
    "ia3": {},
    "prefix": {},
    "prompt": {},
    "bottleneck": {},
    "galore": {"rank": 2},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_trained_measured_and_found_again(tmp_path: Path, name: str) -> None:
    base = random_base(0)
    made = recipe(tmp_path, router={"enabled": False}, evaluation={"limit": 1})
    made["method"] = {"name": name, **METHOD_OPTIONS[name]}
    made["schedule"] = {"steps": 2, "batch": 2, "validate_every": 2}
    if name == "galore":
        made["schedule"]["optimizer"] = "galore"
        made["output"]["merged"] = True
    report = run_recipe(made, base=base)
    skill = Skill.load(report.skill)
    assert skill.card.method == report.training["method"] and report.evaluation["n"] == 1
    if name == "galore":
        assert 0 < report.training["retained_energy"] <= 1
        assert (report.folder / "merged" / "config.json").is_file()


def test_loftq_starts_from_the_folders_own_values(tmp_path: Path, save_llama: Any) -> None:
    save_llama(tmp_path / "tiny", hidden_size=64, intermediate_size=128)
    made = recipe(tmp_path, method={"start": "loftq"}, evaluation={"enabled": False}, router={"enabled": False})
    made |= {"base": {"name": str(tmp_path / "tiny"), "quantize": "int8"}, "schedule": {"steps": 1, "batch": 2}}
    made["data"]["longest"] = 400
    skill = Skill.load(run_recipe(made).skill)
    assert any(tensor.abs().max() > 0 for name, tensor in skill.tensors.items() if name.endswith("lora_B"))
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="random is no Hugging Face folder"):
        run_recipe(recipe(tmp_path / "b", base={"name": "random"}, method={"start": "loftq"}), base=random_base(0))
    assert not (tmp_path / "b" / "out").exists()


def test_bad_data_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    with open(tmp_path / "colours.jsonl", "a", encoding="utf-8") as file:
        file.write('{"text": "x"\n{"text": "y", "label": ""}\n')
    with pytest.raises(InputError, match=r"2 records cannot be used(.|\n)*colours.jsonl:61: broken JSON"):
        run_recipe(made, base=random_base(0))
    assert not (tmp_path / "out").exists() and not (tmp_path / "home").exists()
    made["data"]["on_error"] = "skip"
    made["evaluation"] = {"enabled": False}
    report = run_recipe(made, base=random_base(0))
    assert report.data["findings"] == {"broken JSON": 1, "empty completion": 1}


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("method", {"name": "lorra"}, "unknown key method 'lorra'; did you mean 'lora'"),
        ("method", {"rnk": 3}, "unknown key method.rnk; did you mean 'rank'"),
        ("method", {"rank": 300}, "no slot holds a rank of 300: give 256 at most"),
        ("method", {"rank_pattern": {"q_proj": 300}}, "no slot holds a rank of 300"),
        ("method", {"rank": 200, "start": "pissa"}, "no slot holds a rank of 400"),
        ("output", {"merged": True}, "prefix cannot be merged into a base: its prefix is keys and values"),
        ("schedule", {"optimizer": "adam"}, "no optimizer is called 'adam'; did you mean 'adamw'"),
        ("schedule", {"epochs": 1}, "give steps or epochs, not both"),
        ("schedule", {"lerning_rate": 1}, "did you mean 'learning_rate'"),
        ("router", {"start": "no/such/folder"}, "router.start: no router in .*no/such/folder"),
        ("data", {"longest": 10**6}, "has 4096 positions"),
        ("data", {"validation": 0.0001, "limit": 1, "longest": 1}, "no record is left to"),
    ],
)
def test_a_recipe_that_asks_for_nonsense_is_refused(
    tmp_path: Path, part: str, values: dict[str, Any], message: str
) -> None:
    made = recipe(tmp_path, **{part: values})
    if part == "output":
        made["method"] = {"name": "prefix", "tokens": 4}
    with pytest.raises(InputError, match=message):
        run_recipe(made, base=random_base(0))
    assert not (tmp_path / "out").exists()


def test_steps_that_are_misspelt_are_not_called_missing(tmp_path: Path) -> None:
    made = {**recipe(tmp_path), "schedule": {"stps": 6}}
    with pytest.raises(InputError, match=r"unknown key schedule\.stps; did you mean 'steps'"):
        run_recipe(made, base=random_base(0))


@pytest.fixture
def written(tmp_path: Path, save_llama: Any) -> Path:
    save_llama(tmp_path / "tiny")
    made = recipe(tmp_path, router={"enabled": False})
    made |= {"base": {"name": str(tmp_path / "tiny"), "quantize": "fp32"}, "output": {"folder": "out"}}
    made["data"]["longest"] = 400
    made["schedule"] = {"epochs": 0.5, "batch": 4}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(made), encoding="utf-8")
    return path


def test_validation_time_is_not_taken_off_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate, slept = Trainer.validate, 0.0

    def slower(trainer: Trainer) -> float:
        nonlocal slept
        slept += 0.1
        time.sleep(slept)
        return validate(trainer)

    monkeypatch.setattr(Trainer, "validate", slower)
    found = estimate(prepare(read_recipe(recipe(tmp_path)), random_base(0)))
    assert found.step_seconds > 1e-4 and found.validation_seconds >= 0.1 and found.seconds > 0.2


def test_a_method_with_a_schedule_of_its_own_is_estimated(tmp_path: Path) -> None:
    method = {"name": "adalora", "rank": 4, "target_rank": 2, "t_init": 5, "t_final": 10}
    made = recipe(tmp_path, schedule={"steps": 40}) | {"method": method}
    assert estimate(prepare(read_recipe(made), random_base(0))).steps == 40


class Second(Workers):
    """The second of two processes."""

    rank, count = 1, 2


def test_several_processes_share_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, base = recipe(tmp_path), random_base(0)
    made["schedule"] = {"epochs": 3, "batch": 4}
    alone = prepare(read_recipe(made), base).config.steps
    monkeypatch.setattr("loraloop.adapters.training.recipe.run.current", Second)
    assert prepare(read_recipe(made), base).config.steps == math.ceil(alone / 2)


def test_each_process_measures_a_dry_run_by_itself(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("loraloop.adapters.training.trainer.trainer.current", Second)
    assert run_command(["train", str(written), "--dry-run"]) == 0
    assert not capsys.readouterr().out, "the first process tells it"


def test_the_command_trains(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["train", str(written), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not (written.parent / "out").exists(), "a dry run writes nothing"
    (branch,) = told["examples"][0]["branches"]
    assert branch["invocation"]["text"] == "<|im_start|>assistant\n"
    assert branch["at"] == len(told["examples"][0]["trunk"]["ids"])
    assert "".join(branch["learnt"]["pieces"]) in ("warm<|im_end|>", "cold<|im_end|>")
    assert told["estimate"]["seconds"] > 0 and told["estimate"]["memory_mb"] > 0
    assert run_command(["train", str(written), "--dry-run"]) == 0
    assert "⟦branch: <|im_start|>assistant" in capsys.readouterr().out
    assert run_command(["train", str(written)]) == 0
    out, err = capsys.readouterr()
    assert "registered as colours" in out and "skill, same grammar" in out
    assert "loss" in err and "validation" in err and f"step {told['estimate']['steps']}/" in err
    shutil.rmtree(written.parent / "out")
    assert run_command(["train", str(written), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["name"] == "colours" and not err


def test_a_dry_run_marks_each_branch_where_it_stands(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(("Hi", "A", "Oh", "B"))]
    rows = [{"messages": [{"role": "user", "content": f"{k}"}, *talk[1:]]} for k in range(40)]
    (written.parent / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = yaml.safe_load(written.read_text(encoding="utf-8"))
    made["data"]["sources"] = [{"file": "talk.jsonl", "license": "MIT"}]
    written.write_text(yaml.safe_dump(made), encoding="utf-8")
    assert run_command(["train", str(written), "--dry-run", "--examples", "1"]) == 0
    shown = capsys.readouterr().out
    first, second = shown.index("A│<|im_end|>⟦end⟧"), shown.index("B│<|im_end|>⟦end⟧")
    assert first < shown.index("Oh<|im_end|>") < second and shown.count("⟦branch: <|im_start|>assistant\n⟧") == 2


def test_a_dry_run_of_a_router_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted: list[Path] = []
    monkeypatch.setattr("loraloop.training.run.run_router_recipe", lambda recipe, **more: fitted.append(recipe))
    (tmp_path / "router.yaml").write_text("base: smollm2-135m\noutput: router\n", encoding="utf-8")
    assert run_command(["train", str(tmp_path / "router.yaml"), "--dry-run"]) == 2
    assert not fitted and "--dry-run is for recipes of skills" in capsys.readouterr().err


def test_where_a_router_was_written_is_said_as_it_is_and_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "a [long] name that does not fit into one line of a terminal" / "router"
    monkeypatch.setattr("loraloop.training.run.run_router_recipe", lambda recipe, **more: place)
    (tmp_path / "router.yaml").write_text("base: smollm2-135m\noutput: router\n", encoding="utf-8")
    assert run_command(["train", str(tmp_path / "router.yaml")]) == 0
    assert capsys.readouterr().out == f"router: {place}\n"
    assert run_command(["train", str(tmp_path / "router.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"router": str(place)}


def test_errors_of_a_recipe_are_one_line(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written.write_text(written.read_text().replace("license:", "licence:"), encoding="utf-8")
    assert run_command(["train", str(written)]) == 2
    assert "did you mean 'license'?" in capsys.readouterr().err


def test_an_interrupted_training_says_how_to_go_on(
    written: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloop.training.run.run_recipe", Mock(side_effect=KeyboardInterrupt))
    assert run_command(["train", str(written)]) == 130
    assert capsys.readouterr().err == "give the same command again: it goes on from its last checkpoint\ninterrupted\n"


def test_data_check_says_once_what_is_wrong_with_many_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "rows.jsonl").write_text('{"text": "Hello.", "output": "greeting"}\n' * 50)
    assert run_command(["data", "check", str(file)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{file}:1: wrong form: the keys text, output") and first.endswith("(50 records)")
    assert "columns" in first and last.startswith("50 records read, 0 examples")


def test_data_check_reports_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = records(tmp_path / "good.jsonl", 8)
    assert run_command(["data", "check", str(good)]) == 0
    assert "8 records read, 8 examples to train on; nothing found" in capsys.readouterr().out
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "red red 0", "label": "warm"}\n{"text"\n', encoding="utf-8")
    assert run_command(["data", "check", str(bad), "--eval", str(good), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"broken JSON": 1, "leakage": 1} and told["findings"][0]["line"] == 2
    assert run_command(["data", "check", str(tmp_path / "none.jsonl")]) == 2
    for wrong in (("--limit", "-3"), ("--longest", "0")):
        capsys.readouterr()
        assert run_command(["data", "check", str(bad), *wrong]) == 2 and wrong[0] in capsys.readouterr().err


def test_progress_off_a_terminal_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch().trained(40) as told:
        for step in range(1, 41):
            told(Progress(step, 40, 1.0 / step, 1e-3, 0.5, 1234.5, (40 - step) / 2, 0.5 if step > 10 else None))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[0] == "step 2/40, loss 0.7500, 1,234 tokens/s, 0:19 left"
    assert lines[-1].startswith("step 40/40, loss 0.0") and lines[-1].endswith("validation 0.5000, 1,234 tokens/s")
    assert any(line.startswith("step 11/40") for line in lines), "a new validation has its line"
    assert TrainingPace(10).text() == "step 0/10" and clock(3725) == "1 h 02 min" and clock(61) == "1:01"


def test_progress_on_a_terminal_is_one_live_line(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch()
    watch.live = True
    with watch.trained(3) as told:
        for step in range(1, 4):
            told(Progress(step, 3, 0.5, 1e-3, 0.1, 100.0, 0.1 * (3 - step)))
    assert capsys.readouterr().err.splitlines()[-1] == "step 3/3, loss 0.5000, 100 tokens/s"
    quiet = Watch(quiet=True)
    with quiet.trained(1) as told, quiet.measured(1) as each:
        told(Progress(1, 1, 0.5, 1e-3, 0.1, 100.0, 0.0)), each()
    quiet.say("nothing")
    assert capsys.readouterr().err == ""


def test_the_users_router_lies_beside_the_skills(home: Path) -> None:
    assert router_folder("ab/c") == home / "routers" / "ab-c"
