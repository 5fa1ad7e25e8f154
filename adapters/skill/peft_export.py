"""From skills to PEFT's folders, as `PeftModel.from_pretrained` loads them.

What PEFT would compute otherwise than the skill does is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.loading.catalog import CATALOG
from loraloop.adapters.methods.ia3 import Ia3
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.methods.vera import Vera
from loraloop.adapters.payload.pairs import of_module, uniform
from loraloop.adapters.payload.sites import MODULE_PATHS, MODULES, Dimensions, tensor_name
from loraloop.adapters.skill import store
from loraloop.adapters.skill.card import Card, method_of
from loraloop.adapters.skill.peft_format import CONFIG, EMBEDDINGS, WEIGHTS, their_name
from loraloop.tool_schemas.errors import InputError, SkillError

_LOW_RANK = ("lora", "rslora", "adalora", "galore")
_NO_BRANCH = {
    "dora": "its aLoRA has no magnitudes",
    "ia3": "its vectors have no invocation tokens",
    "prefix": "its prefixes have no invocation tokens",
    "prompt": "its prompts have no invocation tokens",
}

WRITES = {
    "calls": "calls of tools as a JSON list",
    "code": "a fenced block of Python",
    "answer": "an answer from passages as JSON, with citations",
    "verdict": "a verdict about a text as JSON",
    "agreement": "whether an answer agrees with the records of its run, as JSON",
    "text": "text",
}
"""What a skill writes, by its contract."""

Files = tuple[dict[str, Any], dict[str, Tensor]]


README = "README.md"


def to_peft(
    card: Card, tensors: Mapping[str, Tensor], folder: str | Path, config: Dimensions | None = None, base: str = ""
) -> Path:
    """Writes a skill as a PEFT folder, with a README; returns the folder.

    A "branch" skill becomes an aLoRA, whose invocation tokens PEFT looks for in the prompt: LoRA and rsLoRA as they
    are, AdaLoRA, GaLore and VeRA as low-rank pairs. A "full" one becomes what it is in PEFT, and AdaLoRA and GaLore a
    LoRA.

    Args:
        card: of the skill.
        tensors: of the skill, by name; a low-rank pair is A `[r, K]` and B `[O, r]`.
        folder: where to; replaced if it is there.
        config: dimensions of the base, which VeRA as an aLoRA, a prefix and a prompt need.
        base: the base as transformers finds it; where empty, the hub's name of a base of the catalog, else the card's.

    Raises:
        SkillError: PEFT has no such adapter, or would compute something else.
    """
    if card.activation == "branch" and card.method in _NO_BRANCH:
        raise SkillError(
            f"skill {card.name!r} is active in its branch only, and PEFT would apply {card.method} to the whole "
            f"context: {_NO_BRANCH[card.method]}; merge it, or train it with activation 'full'"
        )
    if card.method == "bottleneck":
        raise SkillError(f"skill {card.name!r}: PEFT has no bottleneck adapters; serve it here")
    if card.method in _LOW_RANK or (card.method == "vera" and card.activation == "branch"):
        made = low_rank(card, tensors, config)
        if card.activation == "branch":
            made[0]["alora_invocation_tokens"] = list(card.invocation)
    else:
        makers = {"dora": _dora, "vera": _vera, "ia3": _ia3, "prefix": _prefix, "prompt": _prompt}
        made = makers[card.method](card, tensors, config)
    return write(card, folder, *made, base=base)


def low_rank(card: Card, tensors: Mapping[str, Tensor], config: Dimensions | None) -> Files:
    """A LORA configuration and its tensors.

    Args:
        card: The card of a skill that amounts to low-rank pairs.
        tensors: The skill's tensors, by name; those of VeRA are vectors `[r]` and `[O]`, all others A `[r, K]` and B
            `[O, r]`.
        config: Dimensions of the base, which VeRA needs; None is enough for other methods.

    Returns:
        The fields, and the tensors A `[r, K]` and B `[O, r]` under the names that PEFT gives them.

    Raises:
        InputError: The dimensions are missing.
    """
    tensors = dict(tensors)
    method, rank = method_of(card), card.rank
    if isinstance(method, Vera):
        if config is None:
            raise InputError("VeRA's pairs need the base's dimensions: give to_peft the base's config")
        pairs = method.factors(tensors, config)
        tensors = {}
        for (layer, module), (A, B) in pairs.items():
            tensors[tensor_name(layer, module, "lora_A")], tensors[tensor_name(layer, module, "lora_B")] = A, B
    if isinstance(method, Lora):
        if method.rank_pattern or method.alpha_pattern:  # programs differ in what they make of these
            tensors = uniform(method.factors(tensors))
            method = method.reader(tensors)
        rank, alpha = method.rank, method.alpha
    else:  # the pairs are scaled already
        alpha = float(rank)
    fields = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "lora_dropout": 0.0,
        "use_rslora": card.method == "rslora",
        "target_modules": _target_modules(tensors, "lora_A"),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
    return fields, _named(tensors, {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"})


def _dora(card: Card, tensors: Mapping[str, Tensor], config: Dimensions | None) -> Files:
    fields, pairs = low_rank(card, tensors, config)
    fields |= {"use_dora": True, "lora_alpha": card.alpha}
    return fields, pairs | _named(tensors, {"magnitude": "lora_magnitude_vector"})


def _vera(card: Card, tensors: Mapping[str, Tensor], config: Dimensions | None) -> Files:
    method = method_of(card)
    assert isinstance(method, Vera)
    fields = {
        "peft_type": "VERA",
        "r": method.rank,
        "projection_prng_key": method.seed,
        "save_projection": False,
        "d_initial": method.d_initial,
        "vera_dropout": 0.0,
        "target_modules": _target_modules(tensors, "vera_d"),
        "bias": "none",
    }
    return fields, _named(tensors, {"vera_d": "vera_lambda_d", "vera_b": "vera_lambda_b"})


def _ia3(card: Card, tensors: Mapping[str, Tensor], config: Dimensions | None) -> Files:
    method = method_of(card)
    assert isinstance(method, Ia3)
    columns = {name: tensor[:, None] for name, tensor in tensors.items() if name.endswith(".gain")}
    rows = {name: tensor[None] for name, tensor in tensors.items() if name.endswith(".input_gain")}
    targets = [*_target_modules(columns, "gain"), *(inner := _target_modules(rows, "input_gain"))]
    fields = {"peft_type": "IA3", "target_modules": targets, "feedforward_modules": inner, "init_ia3_weights": True}
    return fields, _named({**columns, **rows}, {"gain": "ia3_l", "input_gain": "ia3_l"})


def _prefix(card: Card, tensors: Mapping[str, Tensor], config: Dimensions | None) -> Files:
    layers = len(tensors) // 2
    planes = [tensors[f"layers.{layer}.prefix.{name}"] for layer in range(layers) for name in ("keys", "values")]
    tokens, heads, size = planes[0].shape
    flat = torch.stack([plane.detach() for plane in planes], 1).reshape(tokens, -1)
    fields = {
        **_virtual("PREFIX_TUNING", tokens, heads * size, layers, heads),
        "prefix_projection": False,
        "encoder_hidden_size": heads * size,
    }
    return fields, {EMBEDDINGS: flat.cpu().contiguous()}


def _prompt(card: Card, tensors: Mapping[str, Tensor], config: Dimensions | None) -> Files:
    if config is None:
        raise InputError("PEFT wants the base's dimensions with a prompt: give to_peft the base's config")
    held = tensors["prompt"]
    tokens, width = held.shape
    fields = {**_virtual("PROMPT_TUNING", tokens, width, config.layers, config.heads), "prompt_tuning_init": "RANDOM"}
    return fields, {EMBEDDINGS: held.detach().cpu().contiguous()}


def _virtual(kind: str, tokens: int, width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "peft_type": kind,
        "num_virtual_tokens": tokens,
        "token_dim": width,
        "num_transformer_submodules": 1,
        "num_attention_heads": heads,
        "num_layers": layers,
    }


def _named(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """PEFT's names for the factors that are listed; the others stay behind."""
    found = {}
    for ours, theirs in names.items():
        for (layer, module), tensor in of_module(tensors, ours).items():
            found[their_name(layer, module, theirs)] = tensor.detach().cpu().contiguous()
    return found


def _target_modules(tensors: Mapping[str, Tensor], factor: str) -> list[str]:
    """Module names; with their layers where not every layer up to the last has all of them."""
    places = sorted(of_module(tensors, factor))
    if not places:
        return []
    modules = [module for module in MODULES if any(module == other for _, other in places)]
    if len(places) == (1 + places[-1][0]) * len(modules):
        return modules
    return [f"layers.{layer}.{MODULE_PATHS[module]}" for layer, module in places]


def write(
    card: Card, folder: str | Path, fields: Mapping[str, Any], tensors: Mapping[str, Tensor], base: str = ""
) -> Path:
    """Writes the two files of a PEFT folder, and a README; returns the folder.

    Args:
        card: The skill's card, for the README and the base's name.
        folder: Where to; files of the same names are replaced.
        fields: The configuration, without what is common to all types.
        tensors: Tensors under the names and in the shapes of PEFT, such as A `[r, K]` and B `[O, r]`.
        base: The base as transformers finds it; where empty, the hub's name of a base of the catalog, else the card's.

    Raises:
        SkillError: A tensor holds a value that is not finite.
    """
    from safetensors.torch import save

    store.check_finite(tensors, f"skill {card.name!r}")
    base = base or hub_name(card)
    common = {"task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": True}
    folder = Path(folder)
    text = json.dumps({**common, **fields}, indent=2) + "\n"
    data = save(dict(tensors), metadata={"format": "pt"})
    store.write_folder(folder, {WEIGHTS: data, CONFIG: text.encode(), README: readme(card, base, fields).encode()})
    return folder


def hub_name(card: Card) -> str:
    """The base of a skill as transformers finds it: the hub's name where the catalog knows it, else the card's."""
    name = card.base.split(" (")[0]  # a card says the form too
    return CATALOG[name].model if name in CATALOG else name


def readme(card: Card, base: str, fields: Mapping[str, Any]) -> str:
    """The README of a PEFT folder, in the form of a model card of the hub.

    Args:
        card: of the skill.
        base: as transformers finds it.
        fields: of the adapter's config.
    """
    kind = "aLoRA" if "alora_invocation_tokens" in fields else fields["peft_type"]
    if card.activation == "full":
        active = "It acts on the whole context, as it was trained."
    elif kind == "aLoRA":
        active = "It acts from its invocation tokens on, which have to stand in the prompt."
    else:
        active = "It acts on the whole context, but was trained to act from its invocation on: measure it."
    sources = [f"- {each.name}, {each.license}, {each.n} records" for each in card.data]
    scores = [f"- {name}: `{json.dumps(value, ensure_ascii=False)}`" for name, value in card.scores.items()]
    head = {"base_model": base, "library_name": "peft", "tags": ["loraloop", kind.lower()]}
    parts = [
        f"---\n{''.join(f'{key}: {json.dumps(value)}' + chr(10) for key, value in head.items())}---",
        f"# {card.name}",
        card.description,
        f"A skill of loraloop as a PEFT adapter ({kind}) of `{base}`. {active} It was trained on {card.base}, "
        f"and it writes {WRITES[card.contract]}.",
        "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{base}")\n'
        'model = PeftModel.from_pretrained(base, "THIS_FOLDER")\n```',
        "## Training data" if sources else "",
        "\n".join(sources),
        "## Scores in loraloop" if scores else "",
        "\n".join(scores),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
