"""From PEFT's folders to skills: every type that leaves something a slot can hold, exactly.

AdaLoRA, LoHa and LoKr are folded into low-rank pairs, ranks and scalings that differ between modules into the tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loraloop.adapters.methods import card_fields
from loraloop.adapters.methods.adalora import AdaLora
from loraloop.adapters.methods.context import BaseContext
from loraloop.adapters.methods.dora import Dora
from loraloop.adapters.methods.ia3 import Ia3
from loraloop.adapters.methods.lora import Lora, RsLora
from loraloop.adapters.methods.method import Method
from loraloop.adapters.methods.prefix import Prefix
from loraloop.adapters.methods.prompt import Prompt
from loraloop.adapters.methods.vera import Vera
from loraloop.adapters.payload.pairs import Factors, matching, uniform
from loraloop.adapters.payload.sites import MODULES, module_shape, tensor_name
from loraloop.adapters.payload.slots import BUCKETS
from loraloop.adapters.skill import store
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.peft_format import CONFIG, EMBEDDINGS, WEIGHTS, number, our_names, patterns, read_config
from loraloop.tool_schemas.errors import InputError, SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

Place = tuple[int, str]
Shapes = Mapping[str, tuple[int, ...]]
Made = tuple[Method, dict[str, Tensor]]

_SIZES = {
    "lora_A": "ri", "lora_B": "or", "magnitude": "o", "lora_E": "r1", "vera_d": "r", "vera_b": "o",
    "hada_w1_a": "or", "hada_w1_b": "ri", "hada_w2_a": "or", "hada_w2_b": "ri",
}  # fmt: skip
"""Dimensions of a module's tensors: o(utputs), i(nputs), r(ank)."""


def read_peft(
    folder: str | Path,
    base: Base,
    *,
    name: str | None = None,
    description: str | None = None,
    contract: str = "text",
    **card: Any,
) -> tuple[Card, dict[str, Tensor]]:
    """Reads a PEFT folder: the card and the tensors of a skill for `base`.

    Args:
        folder: as PEFT's `save_pretrained` writes it, with safetensors.
        base: the base it was trained on; PEFT does not record fingerprints, so this base's are put on the card.
        name: of the skill; by default the folder's.
        description: for the card.
        contract: what the skill writes; see `Card`.
        card: further fields of the card.

    Returns:
        The card, and tensors as the method stores them, such as `lora_A` `[r, K]` and `lora_B` `[O, r]` of a module.

    Raises:
        SkillError: files are missing or damaged, shapes do not fit the base, or the configuration uses a type or field
            that a skill cannot express (the message names it).
    """
    folder = Path(folder)
    config = read_config(folder)
    shapes = store.read_header(folder / WEIGHTS).shapes
    invocation = tuple(config.get("alora_invocation_tokens") or ())
    method, tensors = _Import(folder, base, config, shapes).made()
    made = Card.checked(
        {
            "name": name or re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_"),
            "description": description or f"Imported from PEFT ({folder.resolve().name}).",
            **card_fields(method, tensors),
            "invocation": invocation,
            "activation": "branch" if invocation else "full",
            "contract": contract,
            "fingerprints": asdict(base.fingerprints),
            "base": base.name,
            **card,
        },
        f"card of {folder}",
    )
    return made, {name: tensor.contiguous() for name, tensor in tensors.items()}


class _Import:
    """One folder on its way to a method and its tensors; shapes are checked before any tensor is read."""

    def __init__(self, folder: Path, base: Base, config: Mapping[str, Any], shapes: Shapes) -> None:
        self.folder, self.base, self.config, self.shapes = folder, base, config, shapes
        self.path = folder / WEIGHTS
        self.kind: str = config["peft_type"]

    def made(self) -> Made:
        if self.kind in ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"):
            return self._virtual()
        shared = ("base_model.vera_A", "base_model.vera_B") if self.kind == "VERA" else ()
        own = {name: shape for name, shape in self.shapes.items() if name not in shared}
        self.names = our_names(own, self.kind, self.path)
        self.places = sorted({place[:2] for place in self.names.values()})
        self._check()
        tensors = store.read_tensors(self.path)
        kept = self.kind == "LORA"  # in its dtype; what is folded is computed in fp32
        self.held = {place: tensors[n] if kept else tensors[n].float() for n, place in self.names.items()}
        targets = tuple(module for module in MODULES if any(module == other for _, other in self.places))
        if self.kind == "VERA":
            return self._vera(targets, [tensors.get(name) for name in shared])
        makers = {
            "LORA": self._lora,
            "ADALORA": self._adalora,
            "IA3": self._ia3,
            "LOHA": self._loha,
            "LOKR": self._lokr,
        }
        return makers[self.kind](targets)

    def _check(self) -> None:
        """Every module has all its factors, and each fits the base."""
        sizes, by_place = self.base.config, dict[Place, dict[str, tuple[int, ...]]]()
        for theirs, (layer, module, factor) in self.names.items():
            shape = by_place.setdefault((layer, module), {})[factor] = self.shapes[theirs]
            outputs, inputs = module_shape(sizes, module)
            if layer >= sizes.layers or not _fit(shape, _SIZES.get(factor), {"o": outputs, "i": inputs, "1": 1}):
                raise SkillError(
                    f"{self.path}: {theirs} is {list(shape)}, but the base {self.base.name!r} has {sizes.layers} "
                    f"layers of {outputs} x {inputs}: load the base that the adapter was trained on"
                )
        for place, shapes in by_place.items():
            where = f"{self.path}: layers.{place[0]}.{place[1]}"
            if lacking := self._needed(set(shapes)) - set(shapes):
                raise SkillError(f"{where} lacks {', '.join(sorted(lacking))}; save it again")
            sized = [(shape, _SIZES[factor]) for factor, shape in shapes.items() if "r" in _SIZES.get(factor, "")]
            ranks = {shape[letters.index("r")] for shape, letters in sized}
            if len(ranks) > 1:
                raise SkillError(f"{where} has ranks {sorted(ranks)} at once; save it again")

    def _needed(self, found: set[str]) -> set[str]:
        if self.kind == "LORA":
            return {"lora_A", "lora_B", "magnitude"} if self.config.get("use_dora") else {"lora_A", "lora_B"}
        if self.kind == "LOKR":
            pairs = ({f"lokr_w{n}"} if f"lokr_w{n}" in found else {f"lokr_w{n}_a", f"lokr_w{n}_b"} for n in (1, 2))
            return set().union(*pairs)
        return {"ADALORA": {"lora_A", "lora_B", "lora_E"}, "VERA": {"vera_d", "vera_b"}, "IA3": {"ia3_l"}}.get(
            self.kind, {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
        )

    def _scaling(self, place: Place, rank: int, field: str) -> float:
        """alpha / r, or alpha / sqrt(r), of a module; its rank must be the declared one."""
        declared = self._own("rank_pattern", place, number(self.config, "r", 8, self.folder))
        if declared != rank:
            raise SkillError(
                f"{self.path}: layers.{place[0]}.{place[1]} has rank {rank}, but {CONFIG} says {declared:g}; "
                "export it again"
            )
        alpha = self._own("alpha_pattern", place, number(self.config, field, 8, self.folder))
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") is True else rank)

    def _own(self, field: str, place: Place, default: float) -> float:
        """A module's own value of those that a field has for patterns."""
        return matching(patterns(self.config, field, self.folder), *place, default)

    def _lora(self, targets: tuple[str, ...]) -> Made:
        """Narrower pairs are padded with zeros, and B is rescaled where its scaling is not the common one."""
        rank = max(self.held[*place, "lora_A"].shape[0] for place in self.places)
        rslora, dora = self.config.get("use_rslora") is True, self.config.get("use_dora") is True
        alpha = number(self.config, "lora_alpha", 8, self.folder)
        whole = alpha / (math.sqrt(rank) if rslora and not dora else rank)
        pairs: dict[Place, Factors] = {}
        for place in self.places:
            A, B = self.held[*place, "lora_A"], self.held[*place, "lora_B"]
            factor = self._scaling(place, A.shape[0], "lora_alpha") / whole
            pairs[place] = A, (B if factor == 1 else B.float() * factor)
        tensors = uniform(pairs)
        if not dora:
            return (RsLora if rslora else Lora)(rank, alpha, targets), tensors
        for place in self.places:
            tensors[tensor_name(*place, "magnitude")] = self.held[*place, "magnitude"]
        method = Dora(rank, alpha, targets)
        return method, method.finished(tensors, BaseContext(self.base))

    def _adalora(self, targets: tuple[str, ...]) -> Made:
        initial = number(self.config, "init_r", 12, self.folder)
        scaling = number(self.config, "lora_alpha", 8, self.folder) / (initial + 1e-5)  # as PEFT divides
        pairs: dict[Place, Factors] = {}
        for place in self.places:
            A, B, E = (self.held[*place, factor] for factor in ("lora_A", "lora_B", "lora_E"))
            kept = (E != 0).flatten()
            if kept.any():
                pairs[place] = (A * E)[kept], B[:, kept] * scaling
        if not pairs:
            raise SkillError(f"{self.path}: all singular values are zero, so the adapter changes nothing; train it")
        tensors = uniform(pairs)
        return AdaLora(rank=BUCKETS[-1], targets=targets).reader(tensors), tensors

    def _vera(self, targets: tuple[str, ...], shared: list[Tensor | None]) -> Made:
        ranks = {self.held[*place, "vera_d"].shape[0] for place in self.places}
        if len(ranks) > 1:
            raise SkillError(f"{self.path}: VeRA has one rank for all modules, not {sorted(ranks)}; save it again")
        method = Vera(rank=ranks.pop(), targets=targets, seed=int(self.config.get("projection_prng_key", 0)))
        tensors = {tensor_name(*place[:2], place[2]): tensor for place, tensor in self.held.items()}
        drawn = method.projections(self.base.config)
        A, B = shared
        if A is None or B is None or (torch.equal(A.float(), drawn[0]) and torch.equal(B.float(), drawn[1])):
            return method, tensors
        if A.shape != drawn[0].shape or B.shape != drawn[1].shape:
            raise SkillError(f"{self.path}: its projections do not fit the base {self.base.name!r}; save it again")
        pairs: dict[Place, Factors] = {}
        for place in self.places:
            outputs, inputs = module_shape(self.base.config, place[1])
            d, b = self.held[*place, "vera_d"], self.held[*place, "vera_b"]
            pairs[place] = d[:, None] * A.float()[:, :inputs], b[:, None] * B.float()[:outputs]
        return self._folded(pairs, targets)

    def _ia3(self, targets: tuple[str, ...]) -> Made:
        tensors, inner = {}, set()
        for place in self.places:
            vector = self.held[*place, "ia3_l"]
            outputs, inputs = module_shape(self.base.config, place[1])
            if tuple(vector.shape) not in ((outputs, 1), (1, inputs)):
                raise SkillError(
                    f"{self.path}: ia3_l of layers.{place[0]}.{place[1]} is {list(vector.shape)}; save it again"
                )
            if vector.shape[0] == 1:
                inner.add(place[1])
            tensors[tensor_name(*place, "input_gain" if vector.shape[0] == 1 else "gain")] = vector.flatten()
        try:
            method = Ia3(targets, tuple(module for module in MODULES if module in inner))
        except InputError as error:
            raise SkillError(f"{self.path}: {error}, or merge the adapter into the base with PEFT") from None
        return method, method.finished(tensors, BaseContext(self.base))

    def _loha(self, targets: tuple[str, ...]) -> Made:
        """(a1 b1) ∘ (a2 b2) as one product: all pairs of columns of a1 and a2, of rows of b1 and b2."""
        pairs: dict[Place, Factors] = {}
        for place in self.places:
            a1, b1, a2, b2 = (self.held[*place, f"hada_{part}"] for part in ("w1_a", "w1_b", "w2_a", "w2_b"))
            scaling = self._scaling(place, b1.shape[0], "alpha")
            A = (b1[:, None] * b2[None]).flatten(0, 1)
            pairs[place] = A, (a1[:, :, None] * a2[:, None]).flatten(1) * scaling
        return self._folded(pairs, targets)

    def _lokr(self, targets: tuple[str, ...]) -> Made:
        """The Kronecker product of two products is the product of two Kronecker products."""
        pairs: dict[Place, Factors] = {}
        for place in self.places:
            first, second = (self._split(place, f"lokr_w{half}") for half in (1, 2))
            A, B = torch.kron(first[0], second[0]), torch.kron(first[1], second[1])
            rank = self._own("rank_pattern", place, number(self.config, "r", 8, self.folder))
            alpha = number(self.config, "alpha", 8, self.folder)
            scaling = self._own("alpha_pattern", place, alpha) / rank
            if (B.shape[0], A.shape[1]) != module_shape(self.base.config, place[1]):
                raise SkillError(f"{self.path}: layers.{place[0]}.{place[1]} does not fit the base; load the right one")
            pairs[place] = A, B * scaling
        return self._folded(pairs, targets)

    def _split(self, place: Place, name: str) -> Factors:
        """A and B whose product B A is the matrix."""
        whole = self.held.get((*place, name))
        if whole is None:
            return self.held[*place, f"{name}_b"], self.held[*place, f"{name}_a"]
        rows, columns = whole.shape
        return (torch.eye(columns), whole) if columns <= rows else (whole, torch.eye(rows))

    def _folded(self, pairs: dict[Place, Factors], targets: tuple[str, ...]) -> Made:
        rank = max(A.shape[0] for A, _ in pairs.values())
        if rank > BUCKETS[-1]:
            raise SkillError(
                f"{self.path}: {self.kind} is an update of rank {rank} here, and no slot holds more than "
                f"{BUCKETS[-1]}; merge it into the base with PEFT"
            )
        return Lora(rank, float(rank), targets), uniform(pairs)

    def _virtual(self) -> Made:
        """A prefix's keys and values, in PEFT's order, or the embeddings of a prompt."""
        sizes, shape = self.base.config, self.shapes.get(EMBEDDINGS)
        prefix = self.kind == "PREFIX_TUNING"
        width = sizes.layers * 2 * sizes.kv_heads * sizes.head_dim if prefix else sizes.hidden_size
        if len(self.shapes) != 1 or shape is None or len(shape) != 2 or shape[1] != width or not shape[0]:
            raise SkillError(
                f"{self.path}: {self.kind} holds one tensor {EMBEDDINGS} [tokens, {width}] for the base "
                f"{self.base.name!r}, not {dict(self.shapes)}: load the base that it was trained on"
            )
        if self.config.get("num_transformer_submodules", 1) not in (1, None):
            raise SkillError(f"{self.folder / CONFIG}: num_transformer_submodules above 1 is for encoder-decoders")
        held = store.read_tensors(self.path)[EMBEDDINGS].float()
        if not prefix:
            return Prompt(shape[0]), {"prompt": held}
        planes = held.view(shape[0], sizes.layers, 2, sizes.kv_heads, sizes.head_dim).permute(1, 2, 0, 3, 4)
        tensors = {
            f"layers.{layer}.prefix.{name}": planes[layer, index]
            for layer in range(sizes.layers)
            for index, name in enumerate(("keys", "values"))
        }
        return Prefix(shape[0]), tensors


def _fit(shape: tuple[int, ...], letters: str | None, known: Mapping[str, int]) -> bool:
    """Whether a shape is what its letters say; any, where there are none."""
    if letters is None:
        return True
    return len(letters) == len(shape) and all(
        size > 0 and size == known.get(letter, size) for letter, size in zip(letters, shape, strict=True)
    )
