"""The mean of skills' updates."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import random_base
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.lineage import rounds
from loraloop.adapters.training.mean import mean
from loraloop.tool_schemas.errors import InputError


@pytest.fixture(scope="module")
def skill_of(random_skill: Any) -> Any:
    """`skill_of(rank, alpha, seed)`: other values for every seed."""
    base = random_base(0)

    def make(rank: int = 4, alpha: float = 8.0, seed: int = 0) -> Skill:
        skill: Skill = random_skill(base, "lora", rank=rank, alpha=alpha)
        generator = torch.Generator().manual_seed(seed)
        return replace(skill, tensors={n: torch.randn(t.shape, generator=generator) for n, t in skill.tensors.items()})

    return make


def updates(skill: Skill) -> dict[str, torch.Tensor]:
    """What is added to each matrix."""
    scale, t = skill.card.alpha / skill.card.rank, skill.tensors
    names = [name.removesuffix(".lora_A") for name in t if name.endswith(".lora_A")]
    return {name: t[name + ".lora_B"].double() @ t[name + ".lora_A"].double() * scale for name in names}


def close(one: Skill, other: dict[str, torch.Tensor]) -> None:
    for name, update in updates(one).items():
        torch.testing.assert_close(update, other[name], atol=1e-4, rtol=1e-3)


def test_the_mean_of_a_skill_with_itself_is_it(skill_of: Any) -> None:
    skill = skill_of()
    close(mean([skill, skill, skill]), updates(skill))


@settings(deadline=None, max_examples=20)
@given(weight=st.floats(0.05, 0.95), alpha=st.sampled_from((2.0, 8.0)))
def test_where_the_rank_is_enough_the_mean_is_exact(skill_of: Any, weight: float, alpha: float) -> None:
    """Also of another rank and scaling; the last one gives both."""
    one, padded = skill_of(1, alpha, 1), skill_of(4, 8.0, 2)
    keep = {n: t.clone() for n, t in padded.tensors.items()}
    for name, tensor in keep.items():
        if name.endswith("lora_A"):
            tensor[2:] = 0  # of rank 2
    other = replace(padded, tensors=keep)
    made, a, b = mean([one, other], [weight, 1 - weight]), updates(one), updates(other)
    assert (made.card.rank, made.card.alpha) == (4, 8.0)
    close(made, {name: weight * a[name] + (1 - weight) * b[name] for name in a})


@settings(deadline=None, max_examples=20)
@given(share=st.floats(0.05, 0.95), alpha=st.sampled_from((2.0, 8.0)))
def test_with_the_bare_base_the_update_is_that_much_smaller(skill_of: Any, share: float, alpha: float) -> None:
    skill = skill_of(alpha=alpha)
    made = mean([skill], [share], 1 - share)
    close(made, {name: share * update for name, update in updates(skill).items()})
    assert made.card.training["mean_of"][0]["weight"] == pytest.approx(share)


def test_what_is_cut_is_the_least(skill_of: Any) -> None:
    """No other update of the rank is nearer (Eckart–Young)."""
    one, other = skill_of(seed=1), skill_of(seed=2)
    found, a, b = updates(mean([one, other])), updates(one), updates(other)
    for name, update in found.items():
        exact = (a[name] + b[name]) / 2
        left = torch.linalg.svdvals(exact)[4:].square().sum().sqrt()
        torch.testing.assert_close((exact - update).norm(), left, atol=1e-4, rtol=1e-3)


def test_the_card_says_of_what_it_is_and_keeps_no_score(skill_of: Any, tmp_path: Path) -> None:
    folders = [skill_of(seed=seed).save(tmp_path / str(seed)) for seed in (1, 2)]
    command = [sys.executable, "-m", "loraloop.adapters.training.mean", *map(str, folders)]
    command += ["--weights", "3", "1", "--out", str(tmp_path / "mean")]
    subprocess.run(command, check=True, capture_output=True)
    card, parts = Skill.load(tmp_path / "mean").card, [Skill.load(folder).card.sha256 for folder in folders]
    of = [{"sha256": parts[0], "weight": 0.75}, {"sha256": parts[1], "weight": 0.25}]
    assert card.training["mean_of"] == of and set(card.training["rounds"]) == set(parts)
    assert card.training["command"].endswith("training.mean FOLDER FOLDER --weights 3 1 --out FOLDER")
    assert not card.scores and card.threshold is None


def test_each_round_before_a_skill_is_told_once(skill_of: Any) -> None:
    first, second, third = (skill_of().card.model_copy(update={"sha256": name}) for name in ("one", "two", "three"))
    begun = second.model_copy(update={"training": {"command": "train", "steps": 9, "start": first.sha256,
                                                   "rounds": rounds([first])}})  # fmt: skip
    of = [{"sha256": each, "weight": 0.5} for each in (first.sha256, second.sha256)]
    last = third.model_copy(update={"training": {"mean_of": of, "rounds": rounds([first, begun])}})
    told = rounds([last])
    assert list(told).count(first.sha256) == 1 and set(told) == {first.sha256, second.sha256, last.sha256}
    assert told[second.sha256] == {"command": "train", "steps": 9, "start": first.sha256}
    assert told[last.sha256] == {"mean_of": of}


def test_rounds_that_older_cards_nest_are_told_as_well(skill_of: Any) -> None:
    nested = {
        "command": "mean",
        "mean_of": [
            {"sha256": "b", "command": "train b", "steps": 5, "weight": 0.5, "start": {"sha256": "a", "steps": 3}},
            {"sha256": "c", "mean_of": [{"sha256": "a", "steps": 3, "weight": 1.0}], "weight": 0.5},
        ],
    }
    card = skill_of(1).card.model_copy(update={"training": nested})
    assert rounds([card]) == {
        card.sha256: {
            "command": "mean",
            "mean_of": [{"sha256": "b", "weight": 0.5}, {"sha256": "c", "weight": 0.5}],
        },
        "a": {"steps": 3},
        "b": {"command": "train b", "steps": 5, "start": "a"},
        "c": {"mean_of": [{"sha256": "a", "weight": 1.0}]},
    }


def test_what_has_no_mean_is_refused(skill_of: Any, random_skill: Any) -> None:
    skill = skill_of()
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(InputError, match="weights"):
            mean([skill, skill], weights)
    for bare in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="weights"):
            mean([skill, skill], bare=bare)
    with pytest.raises(InputError, match="two or more"):
        mean([skill])
    with pytest.raises(InputError, match="no LoRA skill"):
        mean([skill, random_skill(random_base(0), "ia3")])
    with pytest.raises(InputError, match="no LoRA skill"):
        mean([skill, random_skill(random_base(1), "lora", rank=4, alpha=8.0)])
    fewer = {n: t for n, t in skill.tensors.items() if "layers.1.q_proj" not in n}
    with pytest.raises(InputError, match="other matrices"):
        mean([replace(skill, tensors=fewer), skill])
