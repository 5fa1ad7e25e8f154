"""What a skill's tensors must be called and look like, known from the header of their file alone."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loraloop.adapters.payload.extras import SIZES
from loraloop.adapters.payload.payload import PARTS
from loraloop.adapters.payload.sites import MODULES, Dimensions, module_shape
from loraloop.adapters.skill.card import Card, method_of
from loraloop.adapters.skill.store import pair_ranks
from loraloop.tool_schemas.errors import LoraloopError, SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

Shape = tuple[int, ...]
PLAIN = ("lora", "rslora")
"""Methods whose tensors are the low-rank pairs and nothing else."""

_NAME = re.compile(
    r"prompt|layers\.(?P<layer>0|[1-9]\d{0,4})\.(?:prefix\.(?:keys|values)"
    rf"|(?P<module>{'|'.join(MODULES)})\.(?P<factor>lora_A|lora_B|gain|input_gain|bias|magnitude|vera_d|vera_b)"
    rf"|(?:{'|'.join(PARTS)})\.bottleneck\.(?P<part>down|up|down_bias|up_bias))"
)
_WHOLE = {
    "bottleneck": ("down", "up"),
    "dora": ("lora_A", "lora_B", "magnitude", "gain"),
    "vera": ("vera_d", "vera_b"),
}
"""Tensors that each place of a method has, where it has any of them."""
_ANY = 0  # a dimension that the method chooses: a rank, a width, a number of virtual tokens
MOST = SIZES[-1]
"""The largest size of a dimension that the method chooses."""


class SkillWarning(UserWarning):
    """A skill will run, but was made for slightly different weights."""


def check_card(card: Card, shapes: Mapping[str, Shape], ranks: Mapping[tuple[int, str], int], where: str) -> None:
    """Checks that tensors and card do not contradict each other; asks nothing of a base.

    Args:
        card: The skill's card: method, rank and targets.
        shapes: Shape of each tensor, by its name in the file.
        ranks: The ranks of the low-rank pairs that the shapes spell, by layer and module; see `ranks_of`.
        where: The file, for messages.

    Raises:
        SkillError: There are no tensors, the card's method is unusable, or the targets or ranks of tensors and card
            differ.
    """
    if not shapes:
        raise SkillError(f"{where} holds no tensors; copy or export the skill again")
    try:
        method_of(card)
    except LoraloopError as error:
        raise SkillError(f"{where}: {error}") from None
    found = {module for _, module in ranks}
    if card.method not in PLAIN:
        names = (_NAME.fullmatch(name) for name in shapes)
        found |= {match["module"] for match in names if match is not None and match["module"]}
    if found != set(card.targets) if card.method in PLAIN else not found <= set(card.targets):
        raise SkillError(
            f"{where} holds tensors for {', '.join(sorted(found))}, but the card's targets are "
            f"{', '.join(sorted(card.targets))}; correct the card or export the skill again"
        )
    if card.method not in PLAIN:
        return
    patterned = "rank_pattern" in card.options
    for (layer, module), rank in ranks.items():
        if rank > card.width if patterned else rank != card.rank:
            raise SkillError(
                f"{where}: layers.{layer}.{module} has rank {rank}, but the card says {card.width}; "
                "correct the card or export the skill again"
            )


def ranks_of(card: Card, shapes: Mapping[str, Shape], where: str) -> dict[tuple[int, str], int]:
    """Ranks of the low-rank pairs, by (layer, module); of a method with other tensors, those of its pairs.

    Raises:
        SkillError: half a pair, two halves that do not fit or, for a method of pairs alone, a foreign name.
    """
    if card.method in PLAIN:
        return pair_ranks(shapes, where)
    own = {name: shape for name, shape in shapes.items() if name.endswith((".lora_A", ".lora_B"))}
    return pair_ranks(own, where) if own else {}


def check_base(card: Card, shapes: Mapping[str, Shape], base: Base) -> None:
    """Checks that a skill belongs to a base.

    Args:
        card: the skill's card.
        shapes: of the skill's tensors, by name.
        base: the base that is to serve it.

    Raises:
        SkillError: another architecture, tokenizer or chat template, or shapes that do not fit.

    Warns:
        SkillWarning: other weights or another quantization.
    """
    cure = f"load {card.base!r}, or train the skill on {base.name!r}"
    if card.fingerprints.architecture != base.fingerprints.architecture:
        raise SkillError(
            f"skill {card.name!r} was made for the base {card.base!r}, whose architecture, tokenizer or "
            f"chat template differ from those of {base.name!r}: {cure}"
        )
    check_shapes(card, shapes, base.config, base.name)
    if card.fingerprints.weights != base.fingerprints.weights:
        warnings.warn(
            f"skill {card.name!r} was trained on {card.base!r} with other weights or another quantization than "
            f"{base.name!r} has; its scores may differ",
            SkillWarning,
            stacklevel=3,
        )


def check_shapes(card: Card, shapes: Mapping[str, Shape], config: Dimensions, base: str) -> None:
    """Verifies that tensors fit a base.

    Args:
        card: the skill's card.
        shapes: of its tensors, by name.
        config: the base's dimensions.
        base: its name, for messages.

    Raises:
        SkillError: a name that the method does not store, a layer that the base does not have, another shape.
    """
    for name, shape in shapes.items():
        wanted = _wanted(name, card, config)
        if wanted is None:
            raise SkillError(
                f"skill {card.name!r}: {card.method} has no tensor {name!r} for the base {base!r} "
                f"({config.layers} layers): correct the card's method, or export the skill again"
            )
        if len(wanted) != len(shape) or any(
            not 0 < own <= MOST if want == _ANY else own != want for own, want in zip(shape, wanted, strict=True)
        ):
            sizes = ", ".join(f"1 … {MOST}" if want == _ANY else str(want) for want in wanted)
            raise SkillError(
                f"skill {card.name!r}: {name} is {list(shape)}, but the base {base!r} needs [{sizes}]: "
                f"load {card.base!r}, or train the skill on {base!r}"
            )
    missing = _missing(shapes, card.method, config)
    if missing is not None:
        raise SkillError(f"skill {card.name!r} lacks the tensor {missing!r}: export the skill again")


def _missing(shapes: Mapping[str, Shape], method: str, config: Dimensions) -> str | None:
    """A tensor that belongs to others that are there: a place has all of its tensors or none."""
    places = dict.fromkeys(name.rpartition(".")[0] for name in shapes)
    wanted = [f"{place}.{part}" for place in places for part in _WHOLE.get(method, ())]
    if method == "prefix":
        wanted = [f"layers.{layer}.prefix.{half}" for layer in range(config.layers) for half in ("keys", "values")]
    return next((name for name in wanted if name not in shapes), None)


def _wanted(name: str, card: Card, config: Dimensions) -> Shape | None:
    """The shape of a tensor by its name; None for a foreign name or a layer that is not there."""
    match = _NAME.fullmatch(name)
    if match is None or int(match["layer"] or 0) >= config.layers:
        return None
    hidden = config.hidden_size
    if match["layer"] is None:
        return (_ANY, hidden)
    if match["part"]:
        return {"down": (_ANY, hidden), "up": (hidden, _ANY), "down_bias": (_ANY,), "up_bias": (hidden,)}[match["part"]]
    if match["module"] is None:
        return (_ANY, config.kv_heads, config.head_dim)
    outputs, inputs = module_shape(config, match["module"])
    return {
        "lora_A": (_ANY, inputs),
        "lora_B": (outputs, _ANY),
        "gain": (outputs,),
        "input_gain": (inputs,),
        "bias": (outputs,),
        "magnitude": (outputs,),
        "vera_d": (card.rank,),
        "vera_b": (outputs,),
    }[match["factor"]]
