"""One registered skill of a bank."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loraloop.adapters.payload.slots import HostPayload, check_size
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill, SkillFolder
from loraloop.adapters.skill.tensors import check_base
from loraloop.tool_schemas.errors import SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base


@dataclass(slots=True)
class BankEntry:
    """A registered skill.

    Attributes:
        card: its card.
        source: where its tensors are.
        identity: names its weights; empty until they have been read.
        pins: how many callers rely on its slot.
    """

    card: Card
    source: SkillFolder | Skill
    identity: str = ""
    pins: int = 0

    def read(self, base: Base, dtype: torch.dtype) -> HostPayload:
        """Reads the tensors and lays them out as slots of `dtype` want them.

        Raises:
            SkillError: damaged, or another skill than was registered.
        """
        skill = self.source if isinstance(self.source, Skill) else self.source.load()
        identity = skill.card.sha256 if isinstance(self.source, SkillFolder) else ""
        identity = identity or digest(skill.tensors)
        if self.identity and identity != self.identity:
            raise SkillError(
                f"the tensors of skill {self.card.name!r} are not the ones that were used before: "
                "remove it from the bank and add it again"
            )
        self.identity = identity
        pinned, tiled = base.device.type == "cuda", base.native
        made = HostPayload.of(skill.payload(base.config), dtype, pinned, tiled)
        check_size(made, f"skill {self.card.name!r}")
        if made.rank > self.card.width:
            raise SkillError(
                f"skill {self.card.name!r} makes updates of rank {made.rank}, but its card says {self.card.width}: "
                "correct the card or export the skill again"
            )
        return made

    @classmethod
    def of(cls, source: Skill | SkillFolder, base: Base, widest: int, wider: int | None) -> BankEntry:
        """Checks that a skill fits a base and the slots of a bank.

        Args:
            source: the skill.
            base: the bank's base.
            widest: the largest rank that a slot holds.
            wider: rank of the slots that would hold it; None if there are none.

        Raises:
            SkillError: made for another base, wider than every slot, or invoked by other tokens.
        """
        card = source.card
        check_base(card, source.shapes, base)
        if card.width > widest:
            cure = f"make the bank with rank={wider}" if wider else "so wide a skill is not served"
            raise SkillError(f"skill {card.name!r} has rank {card.width}, but no slot holds more than {widest}: {cure}")
        prompt = tuple(base.chat.generation_prompt)
        if card.activation == "branch" and card.invocation != prompt:
            raise SkillError(
                f"skill {card.name!r} is invoked by the tokens {list(card.invocation)}, but {base.name!r} replies "
                f"after {list(prompt)}: train it with this base's generation prompt, or use activation 'full'"
            )
        return cls(card, source)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 of `tensors` of any shape, with their names, types and shapes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.view(torch.uint8).numpy().data)
    return found.hexdigest()
