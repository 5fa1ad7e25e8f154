from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row, random_base
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.ia3 import Ia3
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.payload.sites import MODULES
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import InputError, LimitError, SkillError, UnknownNameError

TOKENS = list(range(40, 60))


def make(host: Base, name: str, rank: int = 4, targets: tuple[str, ...] = MODULES, **card: object) -> Skill:
    method = Lora(rank, 2 * rank, targets)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    tensors = {
        key: torch.randn(value.shape, generator=generator) * 0.3
        for key, value in method.init(MethodContext(host.config)).items()
    }
    fields = {
        "name": name, "description": "A test.", "rank": rank, "alpha": 2.0 * rank, "targets": targets,
        "base": host.name, "invocation": tuple(host.chat.generation_prompt),
        "fingerprints": {"architecture": host.fingerprints.architecture, "weights": host.fingerprints.weights}, **card,
    }  # fmt: skip
    return Skill(Card.checked(fields), tensors)


@pytest.fixture(scope="module")
def base() -> Base:
    return random_base(3)


def states(base: Base, bank: Bank | None, *slots: int) -> list[torch.Tensor]:
    """Hidden states of one row per slot, all over the same tokens, computed together."""
    rows = [Row(TOKENS, base.new_cache(), slot) for slot in slots]
    out = base.forward(rows, attached=bank.attached if bank else None)
    return list(out.hidden.split(len(TOKENS)))


def pointers(bank: Bank) -> list[int]:
    return [t.data_ptr() for stack in bank._stacks for tensors in (stack.A, stack.B) for t in tensors.values()]


@pytest.mark.parametrize("targets", [MODULES, ("q_proj", "v_proj"), ("down_proj",)])
def test_a_slot_equals_the_payload_it_was_trained_as(base: Base, targets: tuple[str, ...]) -> None:
    skill = make(base, "one", rank=3, targets=targets)
    bank = Bank(base, slots=2)
    bank.add(skill)
    slot = bank.slot("one")
    bare = states(base, None, 0)[0]
    served = states(base, bank, slot)[0]
    trained = base.forward(
        [Row(TOKENS, base.new_cache(), 1)], attached=PayloadAttached(skill.payload(base.config))
    ).hidden
    torch.testing.assert_close(served, trained, atol=1e-4, rtol=1e-4)
    assert (served - bare).abs().max() > 0.1


def test_slot_0_is_the_bare_base_bit_for_bit(base: Base) -> None:
    bank = Bank(base, slots=2)
    bank.add(make(base, "one"))
    bare = states(base, None, 0)[0]
    assert bank.slot("none") == 0
    assert torch.equal(states(base, bank, 0)[0], bare)
    mixed = states(base, bank, bank.slot("one"), 0)[1]
    assert torch.equal(mixed, states(base, None, 0, 0)[1])


def test_a_row_does_not_depend_on_its_neighbours_skills(base: Base) -> None:
    bank = Bank(base, slots=3, rank={8: 2, 16: 1})
    for name, rank in (("one", 4), ("two", 8), ("wide", 16)):
        bank.add(make(base, name, rank))
    one, two, wide = (bank.slot(name) for name in ("one", "two", "wide"))
    first = states(base, bank, one, 0, 0, 0)[0]
    for mix in ([two, wide, 0], [one, one, one], [wide, two, one]):
        assert torch.equal(states(base, bank, one, *mix)[0], first)


def test_swapping_moves_no_tensor_and_leaves_nothing_behind(base: Base) -> None:
    bank = Bank(base, slots=1, rank=8)
    for name, rank, targets in (("all", 8, MODULES), ("few", 2, ("k_proj", "up_proj")), ("mid", 5, MODULES)):
        bank.add(make(base, name, rank, targets))
    alone = {}
    for name in bank.names:
        fresh = Bank(base, slots=1, rank=8)
        fresh.add(make(base, name, bank.card(name).rank, bank.card(name).targets))
        alone[name] = states(base, fresh, fresh.slot(name))[0]
    before = pointers(bank)
    for name in ("all", "few", "mid", "few", "all", "mid"):
        slot = bank.slot(name)
        assert torch.equal(states(base, bank, slot)[0], alone[name])
        payload = make(base, name, bank.card(name).rank, bank.card(name).targets).payload(base.config)
        stack = bank._stacks[0]
        for site, A in stack.A.items():
            pair = payload.pairs.get(site)
            dense = pair.B @ pair.A if pair else torch.zeros(())
            torch.testing.assert_close(stack.B[site][0] @ A[0], dense.expand(stack.B[site].shape[1], A.shape[2]))
    assert pointers(bank) == before


def test_the_least_recently_used_unpinned_skill_makes_room(base: Base) -> None:
    bank = Bank(base, slots=2)
    for name in ("one", "two", "three"):
        bank.add(make(base, name))
    assert bank.names == ("one", "two", "three") and bank.resident == {}
    one, two = bank.slot("one"), bank.slot("two")
    assert {one, two} == {1, 2} and bank.slot("one") == one
    assert bank.slot("three") == two and list(bank.resident) == ["one", "three"]
    with bank.using("one") as slot:
        assert slot == one
        assert bank.slot("two") == two and bank.slot("three") == two
        with bank.using("three"), pytest.raises(LimitError, match="all 2 slots that hold rank 4 are pinned"):
            bank.slot("two")
        with pytest.raises(InputError, match="in use"):
            bank.remove("one")
    bank.remove("one")
    assert bank.names == ("two", "three") and bank.slot("two") == one
    with bank.using("none") as slot:
        assert slot == 0
    with pytest.raises(InputError, match="not pinned"):
        bank.unpin("two")


def test_narrow_skills_stay_out_of_wide_slots(base: Base) -> None:
    bank = Bank(base, rank={8: 1, 32: 1})
    for name, rank in (("small", 8), ("other", 4), ("wide", 20)):
        bank.add(make(base, name, rank))
    assert bank.slot("small") == 1 and bank.slot("other") == 2 and bank.slot("wide") == 2
    assert bank.resident == {"small": 1, "wide": 2}


def test_what_does_not_fit_is_refused(base: Base, tmp_path: Path) -> None:
    bank = Bank(base, slots=1, rank=8)
    bank.add(make(base, "tools"))
    with pytest.raises(UnknownNameError, match="did you mean 'tools'"):
        bank.slot("tool")
    with pytest.raises(UnknownNameError, match="did you mean 'tools'"):
        bank.card("toools")
    with pytest.raises(InputError, match="already has a skill 'tools'"):
        bank.add(make(base, "tools"))
    with pytest.raises(SkillError, match="rank=16"):
        bank.add(make(base, "wide", 9))
    with pytest.raises(SkillError, match="made for the base 'other'"):
        bank.add(make(base, "far", base="other", fingerprints={"architecture": "x", "weights": "y"}))
    with pytest.raises(SkillError, match="is invoked by the tokens"):
        bank.add(make(base, "odd", invocation=(5,)))
    with pytest.raises(InputError, match=r"ranks in 1\.\.256"):
        Bank(base, rank=300)
    with pytest.raises(InputError, match="not 0 of rank 16"):
        Bank(base, slots=0)
    folder = make(base, "gone").save(tmp_path / "gone")
    bank.add(folder)
    path = folder / "skill.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(SkillError, match="header promises"):
        bank.slot("gone")
    assert bank.slot("tools") == 1


def test_folders_are_read_when_they_are_needed(base: Base, tmp_path: Path) -> None:
    bank = Bank(base, slots=2)
    assert bank.add(make(base, "one").to(torch.bfloat16).save(tmp_path / "one")) == "one"
    assert bank.bytes.host == 0 and bank.bytes.device > 0
    served = states(base, bank, bank.slot("one"))[0]
    assert bank.bytes.host > 0
    other = Bank(base, slots=1)
    other.add(make(base, "one").to(torch.bfloat16))
    assert torch.equal(served, states(base, other, other.slot("one"))[0])


def test_many_threads_get_the_skill_they_asked_for(base: Base, race: Callable[..., None]) -> None:
    bank = Bank(base, slots=4, rank=8)
    names = [f"skill-{i}" for i in range(6)]
    expected = {}
    for name in names:
        bank.add(make(base, name, 2))
        expected[name] = states(base, bank, bank.slot(name))[0]
    failures: list[str] = []

    def work(seed: int) -> None:
        for step in range(12):
            name = names[(seed * 5 + step * 7) % len(names)]
            with bank.using(name) as slot:
                if not torch.equal(states(base, bank, slot)[0], expected[name]):
                    failures.append(name)

    race(work)
    assert not failures


def test_a_bf16_base() -> None:
    half = random_base(3, dtype=torch.bfloat16)
    bank = Bank(half, slots=2)
    skills = [make(half, "one"), make(half, "two", 3, ("q_proj", "v_proj", "down_proj"))]
    for skill in skills:
        bank.add(skill)
    one, two = bank.slot("one"), bank.slot("two")
    bare = states(half, None, 0)[0].float()
    for skill, slot in zip(skills, (one, two), strict=True):
        attached = PayloadAttached(skill.payload(half.config), torch.bfloat16)
        exact = half.forward([Row(TOKENS, half.new_cache(), 1)], attached=attached).hidden.float()
        served = states(half, bank, slot)[0].float()
        assert (served - exact).norm() < 0.05 * (exact - bare).norm()
        cache = half.new_cache()
        steps = [half.forward([Row([t], cache, slot)], attached=bank.attached).hidden for t in TOKENS]
        assert (torch.cat(steps).float() - exact).norm() < 0.05 * (exact - bare).norm()
    first = states(half, bank, one, 0, 0)[0]
    assert torch.equal(states(half, bank, one, two, 0)[0], first)
    assert torch.equal(states(half, bank, one, one, two)[0], first)
    assert torch.equal(states(half, bank, one, 0)[1], states(half, None, 0, 0)[1])


@pytest.mark.parametrize("huge", ["weights of 3e38", "everything times 1e15", "an alpha of 1e30", "one bias"])
def test_finite_weights_that_no_product_survives_are_refused(base: Base, huge: str, tmp_path: Path) -> None:
    skill = make(base, "huge")
    if huge == "weights of 3e38":
        skill = Skill(skill.card, {name: torch.full_like(tensor, 3e38) for name, tensor in skill.tensors.items()})
    elif huge == "everything times 1e15":
        skill = Skill(skill.card, {name: tensor * 1e15 for name, tensor in skill.tensors.items()})
    elif huge == "an alpha of 1e30":
        skill = Skill(skill.card.model_copy(update={"alpha": 1e30}), skill.tensors)
    else:
        method = Ia3()
        tensors = {name: tensor.detach().clone() for name, tensor in method.init(MethodContext(base.config)).items()}
        next(iter(tensors.values()))[0] = 1e20
        own = {"method": "ia3", "targets": method.targets, "rank": 0, "activation": "full", "invocation": ()}
        skill = Skill(Card.checked({**skill.card.model_dump(exclude={"options"}), **own}), tensors)
    bank = Bank(base, slots=2)
    bank.add(make(base, "good"))
    bank.add(skill.save(tmp_path / "huge"))
    with pytest.raises(SkillError, match="'huge' has updates as large as"):
        bank.slot("huge")
    assert bank.slot("good") and "huge" not in bank.resident
