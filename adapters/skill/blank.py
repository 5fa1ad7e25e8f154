"""Skills that change nothing: the base itself, under an output contract."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

_OBJECTIVE = "none: the update is zero"
_METHOD = Lora(rank=1, alpha=1.0, targets=("o_proj",))


def blank_skill(base: Base, name: str, contract: str = "text", description: str = "", method: Lora = _METHOD) -> Skill:
    """A skill for `base` whose update is zero.

    Its steps are decoded under the contract's grammar like any skill's, so that a base without trained skills can call
    tools, cite passages and write code.

    Args:
        base: what it runs on.
        name: what it is called.
        contract: `calls`, `code`, `answer`, `verdict` or `text`.
        description: one sentence for people.
        method: what its tensors are shaped by; its size and time are those of a trained skill of this method.

    Raises:
        SkillError: for another contract or an unusable name.
    """
    card = Card.checked(
        {
            "name": name,
            "description": description or f"{base.name} itself, writing {contract}",
            "rank": method.rank,
            "alpha": method.alpha,
            "targets": list(method.targets),
            "invocation": list(base.chat.generation_prompt),
            "contract": contract,
            "fingerprints": asdict(base.fingerprints),
            "base": base.name,
            "training": {"objective": _OBJECTIVE},
        },
        f"blank skill {name!r}",
    )
    return Skill(card, method.init(MethodContext(base.config))).to(torch.bfloat16)


def is_blank(card: Card) -> bool:
    """Whether a card is that of a skill which changes nothing."""
    return card.training.get("objective") == _OBJECTIVE
