"""Fits, masks, calibration, saving and adding skills, on features made from a known rule."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from loraloop.router import Router, RouterFeatures, RouterState
from loraloop.router.binary import fit_model
from loraloop.router.calibration import expected_calibration_error, fit_binary, fit_platt, fit_softmax, fit_temperature
from loraloop.router.choice import ChoiceModel, fit_choice
from loraloop.router.explain import ExampleMemory, StoredExample
from loraloop.router.features import FeaturePart, pool, read
from loraloop.tool_schemas.errors import SkillError

NAMES = ("none", "tools", "code", "retrieval")
PARTS = (FeaturePart(2, "close"), FeaturePart(1, "tail"))
HIDDEN = 12


def clouds(n: int, seed: int = 0, spread: float = 0.7) -> tuple[Tensor, Tensor]:
    """Four clouds `[4n, 24]` round fixed centres."""
    centres = torch.randn(4, 2 * HIDDEN, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(4).repeat(n)
    return centres[target] + spread * torch.randn(4 * n, 2 * HIDDEN, generator=generator), target


def make_router() -> Router:
    x, target = clouds(60)
    blocked = torch.zeros(len(x), 4, dtype=torch.bool)
    choice = fit_choice(NAMES, PARTS, x, target, blocked, torch.ones(len(x)), 1e-3)
    screen = fit_model(PARTS[:1], x[:, :HIDDEN], target == 2, torch.ones(len(x)), 1e-3)
    examples = [StoredExample(NAMES[t], f"text {k}", "made", "first") for k, t in enumerate(target.tolist())]
    memory = ExampleMemory.store(choice.scaler(x), examples)
    card = {"closing": 2, "base": "toy", "fingerprints": {"architecture": "a", "weights": "w"}}
    return Router(choice, screen, memory, card)


@pytest.fixture(scope="module")
def router() -> Router:
    return make_router()


def features(x: Tensor) -> RouterFeatures:
    return RouterFeatures(x, x[:HIDDEN])


OPEN = RouterState(tools=True, passages=True)


def test_probabilities_are_those_of_the_temperature(router: Router) -> None:
    x, _ = clouds(1, seed=3)
    made = {}
    for temperature in (0.5, 1.0, 2.0):
        choice = replace(router.choice, temperature=temperature)
        made[temperature] = choice.route(x[1], OPEN).probability
        z = choice.scaler(x[1])
        expected = ((z @ choice.weight.T + choice.bias) / temperature).softmax(-1).max()
        assert made[temperature] == pytest.approx(float(expected), abs=1e-5)
    assert made[0.5] > made[1.0] > made[2.0], "a higher temperature is less sure"


def test_poolings_follow_their_definitions() -> None:
    hidden = torch.arange(60.0).reshape(60, 1)
    assert pool(hidden, "close", 2).item() == 58
    assert pool(hidden, "end", 2).item() == 59
    assert pool(hidden, "tail", 2).item() == pytest.approx(sum(range(26, 58)) / 32)
    assert pool(hidden, "mean", 2).item() == pytest.approx(sum(range(3, 58)) / 55)
    assert pool(hidden[:4], "mean", 2).item() == pytest.approx(1.0), "an empty content still has a state to read"
    with pytest.raises(ValueError, match="closing"):
        pool(hidden[:2], "mean", 2)


def test_reading_a_layer_that_was_not_kept_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\[2\]"):
        read({1: torch.zeros(9, HIDDEN)}, PARTS, 2)


def test_softmax_fit_is_the_optimum_and_ignores_blocked_outcomes() -> None:
    x, target = clouds(40)
    blocked = torch.zeros(len(x), 4, dtype=torch.bool)
    blocked[target == 0, 3] = True
    weight, bias = fit_softmax(x, target, blocked, torch.ones(len(x)), 1e-2)
    weight.requires_grad_(), bias.requires_grad_()
    logits = (x @ weight.T + bias).masked_fill(blocked, -1e9)
    loss = torch.nn.functional.cross_entropy(logits, target) + 1e-2 * weight.square().sum()
    loss.backward()
    assert weight.grad is not None and weight.grad.abs().max() < 1e-3, "a convex fit ends where the gradient does"


def test_scalings_calibrate() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4000, 3, generator=generator)
    target = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    temperature = fit_temperature(logits * 4, target, torch.ones(4000))
    assert temperature == pytest.approx(4.0, rel=0.1)
    p = torch.sigmoid(logits[:, 0])
    positive = torch.rand(4000, generator=generator) < p
    slope, offset = fit_platt(logits[:, 0] * 5 + 2, positive, torch.ones(4000))
    assert slope == pytest.approx(0.2, rel=0.15) and offset == pytest.approx(-0.4, abs=0.15)
    assert expected_calibration_error(p, positive) < 0.03 < expected_calibration_error(p * 0 + 0.9, positive)


def test_binary_fit_separates() -> None:
    x, target = clouds(40)
    weight, bias = fit_binary(x, target == 1, torch.ones(len(x)), 1e-3)
    assert (((x @ weight + bias) > 0) == (target == 1)).float().mean() > 0.99


def test_choice_generalises_to_fresh_points(router: Router) -> None:
    x, target = clouds(50, seed=5)
    names = [router.choose(features(row), OPEN).skill for row in x]
    assert sum(a == NAMES[t] for a, t in zip(names, target.tolist(), strict=True)) / len(x) > 0.97


def test_masked_outcomes_are_never_chosen(router: Router) -> None:
    x, target = clouds(10, seed=6)
    for row, t in zip(x, target.tolist(), strict=True):
        assert router.choose(features(row), RouterState()).skill in ("none", "code")
        route = router.choose(features(row), RouterState(tools=True, masked=frozenset({"code"})))
        assert route.skill in ("none", "tools") and set(route.masked) == {"code", "retrieval"}
        if t != 0:
            dropped = RouterState(tools=True, passages=True, masked=frozenset({NAMES[t]}), after="dropped")
            assert router.choose(features(row), dropped).skill != NAMES[t]


def test_probabilities_are_a_distribution_over_what_applies(router: Router) -> None:
    route = router.choose(features(clouds(1)[0][1]), OPEN)
    assert sum(route.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    assert set(route.probabilities) == set(NAMES)
    assert [p for _, p in route.runners_up] == sorted((p for _, p in route.runners_up), reverse=True)


def test_abstains_when_unsure_and_when_far(router: Router) -> None:
    x, target = clouds(20)
    tool = x[target == 1]
    unsure = router.with_threshold(choice=1.0).choose(features(tool[0]), OPEN)
    assert (
        unsure.skill == "none" and unsure.abstained and unsure.runners_up[0][0] == "tools" and "below" in unsure.reason
    )
    far = router.choose(features(tool[0] + 60 * (tool[1] - tool[0])), OPEN)
    assert far.skill == "none" and (not far.abstained or "far" in far.reason)
    far = [router.choose(features(row * 40), OPEN) for row in tool]
    assert all(route.skill == "none" for route in far)


def test_thresholds_are_probabilities(router: Router) -> None:
    with pytest.raises(ValueError, match="probability"):
        router.with_threshold(choice=1.5)
    assert router.with_threshold(screen=0.0).screen(features(torch.zeros(24))).positive


def test_saved_and_loaded_routers_agree(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path)
    again = Router.load(tmp_path)
    for row in clouds(3, seed=9)[0]:
        mine, theirs = router.choose(features(row), OPEN), again.choose(features(row), OPEN)
        assert (mine.skill, mine.abstained) == (theirs.skill, theirs.abstained)
        assert theirs.probability == pytest.approx(mine.probability, abs=1e-5)
        assert again.screen(features(row)).probability == pytest.approx(
            router.screen(features(row)).probability, abs=1e-5
        )
    assert again.layers == (1, 2) and again.skills == NAMES[1:] and again.card == router.card


def test_a_router_tells_whether_a_users_message_needs_a_call(router: Router, tmp_path: Path) -> None:
    x, target = clouds(30, seed=5)
    calls = fit_model(PARTS, x, target == 1, torch.ones(len(x)), 1e-3, slope=0.7, offset=-0.2)
    replace(router, call_model=calls).save(tmp_path)
    again = Router.load(tmp_path)
    assert router.choose(features(x[0]), OPEN).call is None
    for row, wanted in zip(x, target == 1, strict=True):
        route = again.choose(features(row), OPEN)
        assert route.call == pytest.approx(float(calls.probability(row)), abs=1e-5) and (route.call > 0.5) == wanted
        same = router.choose(features(row), OPEN)
        assert (route.skill, route.abstained) == (same.skill, same.abstained)
        assert route.probabilities == pytest.approx(same.probabilities, abs=1e-6)
        assert again.explain(features(row), OPEN).route == route
        for other in (replace(OPEN, tools=False), replace(OPEN, after="tool")):
            assert again.choose(features(row), other).call is None


@pytest.mark.parametrize("breaks", ["weights", "facts"])
def test_a_save_that_breaks_off_leaves_what_was_there(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    """A full disk: half of a file is written, and then an error comes."""

    def full(tensors: object, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    def short(fd: int) -> None:
        raise OSError("no space left on device")

    router.save(tmp_path)
    before = (tmp_path / "router.json").read_bytes()
    monkeypatch.setattr(*(("safetensors.torch.save_file", full) if breaks == "weights" else ("os.fsync", short)))
    with pytest.raises(OSError, match="no space"):
        replace(router, card={"epochs": 9}).save(tmp_path)
    assert (tmp_path / "router.json").read_bytes() == before and Router.load(tmp_path).card == router.card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["router.json", "router.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "shape", "json", "nan", "format"])
def test_damaged_files_are_refused(router: Router, tmp_path: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    router.save(tmp_path)
    tensors, facts = tmp_path / "router.safetensors", tmp_path / "router.json"
    if damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:200])
    elif damage == "json":
        facts.write_text(facts.read_text()[:100])
    elif damage == "format":
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "format": 99}))
    else:
        loaded = load_file(str(tensors))
        loaded["choice.weight"] = (
            loaded["choice.weight"][:, :5].contiguous() if damage == "shape" else loaded["choice.weight"] * float("nan")
        )
        save_file(loaded, str(tensors))
    with pytest.raises(SkillError, match="damaged"):
        Router.load(tmp_path)
    with pytest.raises(SkillError, match="no router"):
        Router.load(tmp_path / "elsewhere")


def test_explanations_name_near_examples_of_the_right_kind(router: Router) -> None:
    x, target = clouds(10, seed=21)
    hits = 0
    for row, t in zip(x, target.tolist(), strict=True):
        explained = router.explain(features(row), OPEN)
        hits += sum(example.label == NAMES[t] for example, _ in explained.nearest)
        similarities = [s for _, s in explained.nearest]
        assert len(similarities) == 5 and similarities == sorted(similarities, reverse=True)
        assert explained.distance < explained.distance_limit
        assert explained.route == router.choose(features(row), OPEN)
    assert hits / (5 * len(x)) > 0.6


def test_unknown_names_and_values_are_errors(router: Router) -> None:
    with pytest.raises(ValueError, match="after"):
        RouterState(after="later")
    with pytest.raises(ValueError, match="none"):
        RouterState(masked=frozenset({"none"}))
    with pytest.raises(ValueError, match="pooling"):
        FeaturePart(3, "max")


def test_a_choice_is_quick(router: Router) -> None:
    assert isinstance(router.choice, ChoiceModel)
    kept = {layer: torch.randn(60, HIDDEN) for layer in router.layers}
    start = time.perf_counter()
    for _ in range(50):
        read_features = router.features(kept)
        router.screen(read_features)
        router.choose(read_features, OPEN)
    assert (time.perf_counter() - start) / 50 < 0.02
