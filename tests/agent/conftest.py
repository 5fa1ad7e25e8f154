"""A runtime on a tiny random base, with random skills and a router that follows a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, random_base
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Runtime
from loraloop.testing import ScriptedRouter, ScriptedRuntime, Written

CONTRACTS = {"tools": "calls", "code": "code", "retrieval": "answer", "safety": "verdict", "prose": "text"}


def random_skill(base: Base, name: str, contract: str = "text", seed: int = 0, activation: str = "branch") -> Skill:
    """A LoRA skill with weights large enough to change every logit."""
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    generator = torch.Generator().manual_seed(seed)
    drawn = Lora(4, 8, targets).init(MethodContext(base.config), seed)
    tensors = {key: torch.randn(value.shape, generator=generator) * 0.3 for key, value in drawn.items()}
    prints = base.fingerprints
    fields = {
        "name": name, "description": f"random {name}", "rank": 4, "alpha": 8, "targets": targets, "contract": contract,
        "invocation": base.chat.generation_prompt, "activation": activation, "base": base.name,
        "fingerprints": {"architecture": prints.architecture, "weights": prints.weights},
    }  # fmt: skip
    return Skill(Card.checked(fields), tensors)


@pytest.fixture(scope="session")
def make_skill() -> Callable[..., Skill]:
    """`make_skill(base, name, contract, seed)`."""
    return random_skill


@pytest.fixture(scope="session")
def small() -> Base:
    return random_base(seed=3)


@pytest.fixture(scope="module", params=["torch", "native"])
def either(request: pytest.FixtureRequest, small: Base) -> Base:
    """A tiny random base on each kind of cache."""
    made: Base = small if request.param == "torch" else request.getfixturevalue("native_base")
    return made


@pytest.fixture(scope="session")
def small_bank(small: Base) -> Bank:
    bank = Bank(small, slots=6)
    for seed, (name, contract) in enumerate(CONTRACTS.items()):
        bank.add(random_skill(small, name, contract, seed))
    bank.add(random_skill(small, "whole", "text", 9, activation="full"))
    return bank


@pytest.fixture
def make_runtime(small: Base, small_bank: Bank) -> Callable[..., Any]:
    """`make_runtime(*skills, unsafe=(…))`: a runtime and its scripted router."""

    def make(*skills: str, unsafe: Sequence[bool] = (), **options: Any) -> Runtime:
        return Runtime(small, small_bank, ScriptedRouter(skills, unsafe), **options)

    return make


@pytest.fixture
def play() -> Callable[..., ScriptedRuntime]:
    """`play(texts, *skills, unsafe=(…))`: a runtime that writes these texts, and whose router follows its own list."""

    def make(
        texts: Sequence[str | Written], *skills: str, unsafe: Sequence[bool] = (), **options: Any
    ) -> ScriptedRuntime:
        return ScriptedRuntime(*texts, router=ScriptedRouter(skills, unsafe), **options)

    return make
