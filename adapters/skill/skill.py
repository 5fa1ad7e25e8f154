"""A skill: adapter weights and the card that describes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import Dimensions
from loraloop.adapters.skill import store
from loraloop.adapters.skill.card import Card, method_of
from loraloop.adapters.skill.codes import encode
from loraloop.adapters.skill.tensors import PLAIN, check_base, check_card, ranks_of
from loraloop.tool_schemas.errors import SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base


@dataclass(frozen=True, slots=True)
class Skill:
    """Card and tensors; checked against each other when made.

    Attributes:
        card: what the skill says about itself.
        tensors: what its method stores, by name: "layers.<i>.<module>.lora_A" [r, in] and "… .lora_B" [out, r]
            (unscaled), "… .gain", "layers.<i>.prefix.keys", "prompt" …; see `tensors`.
    """

    card: Card
    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        shapes, where = self.shapes, f"skill {self.card.name!r}"
        check_card(self.card, shapes, ranks_of(self.card, shapes, where), where)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors, by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    @property
    def method(self) -> Method:
        """The method that made the tensors, with the card's hyper-parameters."""
        return method_of(self.card)

    @property
    def bytes(self) -> int:
        """Size of the tensors in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def payload(self, config: Dimensions) -> Payload:
        """The skill in the form that a slot of a base with these dimensions holds.

        Raises:
            SkillError: a tensor is missing, or one does not fit the others or the base.
        """
        where = f"skill {self.card.name!r}"
        try:
            made = self.method.payload(self.tensors, MethodContext(config))
        except KeyError as error:
            raise SkillError(f"{where} lacks the tensor {error}: export the skill again") from None
        except (ValueError, IndexError, RuntimeError) as error:
            raise SkillError(f"{where}: its tensors do not fit together ({error}): export the skill again") from None
        made.check(config, where)
        return made

    def to(self, dtype: torch.dtype) -> Skill:
        """A copy of the skill with its matrices in another dtype; bfloat16 halves its file.

        Vectors stay: a gain is near 1, where bfloat16 has too few steps, and they are few bytes.
        """
        kept = {name: t.detach().to(dtype if t.ndim > 1 else t.dtype) for name, t in self.tensors.items()}
        return Skill(self.card, kept)

    @classmethod
    def load(cls, folder: str | Path) -> Skill:
        """Reads a skill folder; everything is checked before a tensor is allocated.

        Raises:
            SkillError: a file is missing, damaged, or contradicts the card.
        """
        return store.unchanged(Path(folder), lambda: SkillFolder._opened(Path(folder))._loaded())

    def save(self, folder: str | Path, *, int8: bool = False) -> Path:
        """Writes `skill.safetensors` and `card.json`; returns the folder. A skill that is there is replaced.

        Args:
            folder: made if it is not there.
            int8: stores low-rank matrices in a byte a value (see `codes`); they are read as bfloat16.

        Raises:
            SkillError: a tensor holds values that are not finite.
        """
        from safetensors.torch import save

        store.check_finite(self.tensors, f"skill {self.card.name!r}")
        tensors = encode(self.tensors) if int8 else self.tensors
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        card = self.card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
        folder = Path(folder)
        store.write_folder(folder, {store.TENSORS: data, store.CARD: card.to_json().encode()})
        return folder

    @classmethod
    def from_peft(cls, folder: str | Path, base: Base, **card: Any) -> Skill:
        """Reads a PEFT folder; see `peft_import.read_peft`."""
        from loraloop.adapters.skill.peft_import import read_peft

        made = cls(*read_peft(folder, base, **card))
        check_base(made.card, made.shapes, base)
        return made

    def to_peft(self, folder: str | Path, config: Dimensions | None = None, base: str = "") -> Path:
        """Writes the skill as a PEFT folder; see `peft_export.to_peft`."""
        from loraloop.adapters.skill.peft_export import to_peft

        return to_peft(self.card, self.tensors, folder, config, base)


@dataclass(frozen=True, slots=True)
class SkillFolder:
    """A skill on disk of which only the card and the header have been read.

    Attributes:
        path: the folder.
        card: its card.
        shapes: of its tensors, by name.
        header: of its tensors' file.
        written: size and times of that file, which change when it is replaced.
    """

    path: Path
    card: Card
    shapes: Mapping[str, tuple[int, ...]]
    header: bytes = field(default=b"", repr=False)
    written: tuple[int, ...] = ()

    @classmethod
    def open(cls, folder: str | Path) -> SkillFolder:
        """Reads card and header; raises SkillError as `Skill.load` does."""
        return store.unchanged(Path(folder), lambda: cls._opened(Path(folder)))

    @classmethod
    def _opened(cls, folder: Path) -> SkillFolder:
        if not folder.is_dir():
            raise SkillError(f"{folder} is not a folder: give one with {store.CARD} and {store.TENSORS}")
        for name in (store.CARD, store.TENSORS):
            if not (folder / name).is_file():
                hint = f"a skill is a folder with {store.CARD} and {store.TENSORS}"
                if (folder / "adapter_config.json").is_file():
                    hint = "this is a PEFT adapter, read it with Skill.from_peft"
                raise SkillError(f"{folder} lacks {name}: {hint}")
        card = Card.read(folder / store.CARD)
        path = folder / store.TENSORS
        header = store.read_header(path)
        where = str(path)
        ranks = header.ranks(where) if card.method in PLAIN else ranks_of(card, header.shapes, where)
        check_card(card, header.shapes, ranks, where)
        return cls(folder, card, header.shapes, header.text, header.written)

    def load(self) -> Skill:
        """Reads the tensors, after the whole check once more.

        Raises:
            SkillError: they are damaged, or the folder is another one than was opened: every field of the card, the
                shapes, and the values (by the card's sha256; where it has none, by the file's size and times).
        """
        return store.unchanged(self.path, self._loaded)

    def _loaded(self) -> Skill:
        now = SkillFolder._opened(self.path)
        changed = [name for name in Card.model_fields if getattr(now.card, name) != getattr(self.card, name)]
        if now.header != self.header or (not self.card.sha256 and now.written != self.written):
            changed.append(store.TENSORS)
        if changed:
            raise SkillError(
                f"{self.path} has changed since it was registered ({', '.join(changed)}): remove the skill "
                f"{self.card.name!r} from the bank and add it again"
            )
        tensors = store.read_tensors(self.path / store.TENSORS, self.card.sha256, self.header)
        return Skill(self.card, tensors)
