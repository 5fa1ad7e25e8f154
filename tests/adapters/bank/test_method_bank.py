"""Skills of every method in a bank: stored, checked, served, hot-swapped."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row, random_base
from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.base.training_view import training_view
from loraloop.adapters.methods import METHODS
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.skill import store
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import SkillError

Make = Callable[..., Skill]
EVERY = tuple(METHODS)
CONTEXT, BRANCH = list(range(40, 61)), [1, 90, 91, 92]


@pytest.fixture(scope="module", params=["torch", "native"])
def host(request: pytest.FixtureRequest) -> Base:
    made: Base = random_base(3) if request.param == "torch" else request.getfixturevalue("native_base")
    return made


def branch(base: Base, attached: Any, slot: int, decoder: Decoder | None = None) -> torch.Tensor:
    """States of a branch on a slot, its virtual tokens before it, after a context of the bare base."""
    engine: Any = decoder or base.decoder
    with torch.inference_mode():
        cache = engine.new_cache()
        engine.forward([Row(CONTEXT, cache)])
        virtual = attached.virtual(slot) if slot else None
        if virtual is not None and virtual.prefix:
            cache.extend(virtual.prefix)
        row = Row(BRANCH, cache, slot, None if virtual is None else virtual.prompt)
        hidden: torch.Tensor = engine.forward([row], attached).hidden[-len(BRANCH) :]
    return hidden.float()


def error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


@pytest.mark.parametrize("method", EVERY)
def test_a_slot_is_the_payload_that_was_trained(host: Base, method: str, method_skill: Make, tmp_path: Path) -> None:
    folder = method_skill(host, method).save(tmp_path / method)
    skill = Skill.load(folder)
    bank = Bank(host, slots=2)
    slot = bank.slot(bank.add(folder))
    served, bare = branch(host, bank.attached, slot), branch(host, bank.attached, 0)
    assert error(bare, served) > 0.02, "the skill must matter"
    view = training_view(host)
    payload = skill.payload(host.config).to(view.dtype)
    trained = branch(host, PayloadAttached(payload, view.dtype), 1, view)
    close = 0.05 if host.native else 1e-5  # the view of a native base computes in bf16
    assert error(served - bare, trained - branch(host, None, 0, view)) < 3 * close
    assert error(served, trained) < close
    assert torch.equal(branch(host, bank.attached, 0), branch(host, None, 0)), "slot 0 is the base"


def test_hot_swaps_in_any_order_move_nothing_and_leave_nothing_behind(host: Base, method_skill: Make) -> None:
    skills = {f"{method}-{seed}": method_skill(host, method, f"{method}-{seed}", seed=seed)
              for method in EVERY for seed in (0, 1)}  # fmt: skip
    expected = {}
    for name, skill in skills.items():
        fresh = Bank(host, slots=1)
        expected[name] = branch(host, fresh.attached, fresh.slot(fresh.add(skill)))
    bank = Bank(host, slots=1)
    for skill in skills.values():
        bank.add(skill)
    rng, places = random.Random(0), {}
    for _ in range(40):
        name = rng.choice(list(skills))
        if rng.random() < 0.3:
            bank.read(name)
        assert torch.equal(branch(host, bank.attached, bank.slot(name)), expected[name]), name
        held = bank.attached.extras.get(1)
        if held is not None:
            for kind in ("gains", "input_gains", "biases"):
                for site, tensor in getattr(held, kind).items():
                    assert places.setdefault((kind, site), tensor.data_ptr()) == tensor.data_ptr()
            for layer, (keys, values) in held.prefix.items():
                assert places.setdefault(layer, (keys.data_ptr(), values.data_ptr())) == (
                    keys.data_ptr(),
                    values.data_ptr(),
                )
        shown = bank.bytes
        assert shown.device >= shown.device_used > 0 and shown.host <= shown.host_limit


def test_what_extras_take_is_counted_and_given_back(host: Base, method_skill: Make) -> None:
    bank = Bank(host, slots=2)
    before = bank.bytes.device
    for method in ("lora", "dora", "prefix"):
        bank.add(method_skill(host, method))
    bank.slot("lora")
    assert bank.bytes.device == before, "a bank of pairs alone makes no other places"
    one = bank.bytes.device_used
    bank.slot("dora")
    more = bank.bytes.device_used - 2 * one
    assert bank.bytes.device > before and more > 0
    bank.slot("prefix")  # takes the slot of lora
    assert bank.resident == {"dora": 2, "prefix": 1} and bank.bytes.device_used - 2 * one > more
    bank.remove("prefix")
    assert 1 not in bank.attached.extras and bank.bytes.device_used == one + more
    assert bank.attached.virtual(1) is None


WRONG: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "a foreign name": ("ia3", lambda t: t.update(strange=torch.ones(3)), "ia3 has no tensor 'strange'"),
    "too deep": ("prefix", lambda t: t.update({"layers.9.prefix.keys": t["layers.0.prefix.keys"] + 0}), "no tensor"),
    "another width": ("prompt", lambda t: t.update(prompt=torch.ones(3, 5)), r"prompt is \[3, 5\], but"),
    "too many virtual tokens": ("prompt", lambda t: t.update(prompt=torch.zeros(1025, 32)), r"needs \[1 … 1024, 32\]"),
    "a module that is no target": (
        "ia3", lambda t: t.update({"layers.0.k_proj.gain": torch.ones(16)}), "holds tensors for .*k_proj",
    ),
    "no virtual token": ("prompt", lambda t: t.update(prompt=t["prompt"][:0]), r"prompt is \[0, "),
    "keys of other heads": (
        "prefix", lambda t: t.update({"layers.0.prefix.keys": torch.ones(5, 9, 8)}), "but the base",
    ),
    "a long gain": ("ia3", lambda t: t.update({"layers.0.v_proj.gain": torch.ones(7)}), "v_proj.gain is"),
    "half a pair": ("dora", lambda t: t.pop("layers.0.q_proj.lora_A"), "only one of lora_A and lora_B"),
    "nothing": ("ia3", lambda t: t.clear(), "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_misshapen_files_are_refused_before_a_tensor_is_read(
    case: str, method_skill: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = random_base(3)
    method, change, why = WRONG[case]
    folder = method_skill(base, method).save(tmp_path / "one")
    tensors = {name: tensor.clone() for name, tensor in Skill.load(folder).tensors.items()}
    change(tensors)
    save_file(tensors, folder / store.TENSORS)
    monkeypatch.setattr(store, "read_tensors", lambda *_: pytest.fail("tensors were read"))
    with pytest.raises(SkillError, match=why):
        Bank(base).add(folder)


@pytest.mark.parametrize(
    "method, missing",
    [
        ("prefix", "layers.1.prefix.values"),
        ("bottleneck", "layers.0.mlp.bottleneck.up"),
        ("dora", "layers.0.q_proj.gain"),
        ("vera", "layers.0.q_proj.vera_d"),
    ],
)
def test_what_lacks_a_tensor_is_refused(method: str, missing: str, method_skill: Make) -> None:
    base = random_base(3)
    skill = method_skill(base, method)
    fewer = {name: tensor for name, tensor in skill.tensors.items() if name != missing}
    assert len(fewer) < len(skill.tensors)
    with pytest.raises(SkillError, match="lacks the tensor"):
        Bank(base, slots=1).add(Skill(skill.card, fewer))


def test_what_does_not_fit_together_leaves_the_slots_as_they_were(method_skill: Make) -> None:
    base = random_base(3)
    bank = Bank(base, slots=1)
    bank.add(method_skill(base, "lora"))
    kept = branch(base, bank.attached, bank.slot("lora"))
    for method, name in (("prefix", "layers.0.prefix.keys"), ("bottleneck", "layers.0.mlp.bottleneck.up_bias")):
        skill = method_skill(base, method)
        shorter = {**skill.tensors, name: skill.tensors[name][:3]}
        if method == "bottleneck":
            shorter = {**skill.tensors, "layers.0.mlp.bottleneck.down_bias": torch.ones(9)}
        bank.add(Skill(skill.card, shorter))
        with pytest.raises(SkillError, match=r"a prefix holds|do not fit together"):
            bank.slot(method)
        assert torch.equal(branch(base, bank.attached, bank.slot("lora")), kept)


def test_values_and_bases_are_checked_for_every_method(method_skill: Make, tmp_path: Path) -> None:
    base, other = random_base(3), random_base(3, hidden_size=64)
    for method in EVERY:
        skill = method_skill(base, method)
        with pytest.raises(SkillError, match="was made for the base"):
            Bank(other).add(skill)
        name = next(iter(skill.tensors))
        spoilt = {**skill.tensors, name: torch.full_like(skill.tensors[name], float("nan"))}
        with pytest.raises(SkillError, match="not finite"):
            Skill(skill.card, spoilt).save(tmp_path / method)


@pytest.mark.parametrize("method", EVERY)
def test_a_half_precision_base_on_torch_serves_every_method(method: str, method_skill: Make) -> None:
    half = random_base(3, dtype=torch.bfloat16)
    bank = Bank(half, slots=1)
    skill = method_skill(half, method)
    served = branch(half, bank.attached, bank.slot(bank.add(skill)))
    payload = skill.payload(half.config).to(torch.bfloat16)
    assert error(served, branch(half, PayloadAttached(payload), 1)) < 0.05
    vectors = {name: tensor for name, tensor in skill.to(torch.bfloat16).tensors.items() if tensor.ndim == 1}
    assert all(tensor.dtype == torch.float32 for tensor in vectors.values())


def test_cards_name_methods_and_options() -> None:
    base = random_base(3)
    prints = {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights}
    fields = {"name": "x", "description": "x", "invocation": [1], "fingerprints": prints, "base": "b"}
    from loraloop.adapters.skill.card import Card

    card = Card.checked({**fields, "method": "prefix", "options": {"tokens": 3}})
    assert (card.rank, card.targets, card.width) == (0, (), 0)
    wide = Card.checked(
        {**fields, "rank": 4, "alpha": 8, "targets": ["q_proj"], "options": {"rank_pattern": {"q_proj": 9}}}
    )
    assert wide.width == 9
    for change, why in (
        ({"method": "prefixx"}, "did you mean 'prefix'"),
        ({"method": "dora"}, "the field 'rank' is missing"),
        ({"method": "dora", "rank": 2, "targets": ["q_proj"]}, "the field 'alpha' is missing"),
        ({"method": "vera", "rank": 2}, "the field 'targets' is missing"),
        ({"method": "ia3", "targets": []}, "at least one module"),
    ):
        with pytest.raises(SkillError, match=why):
            Card.checked({**fields, **change})
    with pytest.raises(SkillError, match="tokenss"):
        Skill(Card.checked({**fields, "method": "prompt", "options": {"tokenss": 3}}), {"prompt": torch.ones(3, 32)})


def test_threads_swap_skills_of_all_methods_without_mixing_them_up(
    host: Base, method_skill: Make, race: Callable[..., None]
) -> None:
    bank, expected = Bank(host, slots=5, rank=8), {}
    for method in EVERY:
        skill = method_skill(host, method, seed=7)
        fresh = Bank(host, slots=1, rank=8)
        expected[method] = branch(host, fresh.attached, fresh.slot(fresh.add(skill)))
        bank.add(skill)
    wrong: list[str] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(15):
            name = rng.choice(EVERY)
            bank.read(rng.choice(EVERY))
            with bank.using(name) as slot:
                if not torch.equal(branch(host, bank.attached, slot), expected[name]):
                    wrong.append(name)

    race(work)
    assert not wrong
