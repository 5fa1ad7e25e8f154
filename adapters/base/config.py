"""The shape of a base: what its decoder needs to know, from a Hugging Face config or GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from loraloop.adapters.methods.sites import MODULES, module_shape
from loraloop.tool_schemas.errors import BaseModelError

ARCHITECTURES = ("llama",)
_FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "rms_norm_eps",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Dimensions and constants of a Llama-family decoder.

    `rope_scaling` is empty, or Hugging Face's dictionary of type `linear` or `llama3`.
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    rope_theta: float = 10_000.0
    rms_eps: float = 1e-5
    tied_embeddings: bool = True
    architecture: str = "llama"
    rope_scaling: tuple[tuple[str, float | int | str], ...] = ()

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise BaseModelError(
                f"unsupported architecture {self.architecture!r}: load a base of one of {', '.join(ARCHITECTURES)}"
            )
        if self.heads % self.kv_heads:
            raise BaseModelError(f"{self.heads} query heads cannot share {self.kv_heads} key-value heads")
        kind = dict(self.rope_scaling).get("rope_type")
        if kind not in (None, "default", "linear", "llama3"):
            raise BaseModelError(
                f"unsupported rope scaling {kind!r}: use a base with linear or llama3 scaling, or none"
            )

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        """From a `config.json` dictionary.

        Raises:
            BaseModelError: for another architecture, biases, or a missing field.
        """
        kind = config.get("model_type", "?")
        if kind not in ARCHITECTURES:
            raise BaseModelError(
                f"unsupported architecture {kind!r} in config.json: load a base of one of {', '.join(ARCHITECTURES)}"
            )
        missing = [name for name in _FIELDS if name not in config]
        if missing:
            raise BaseModelError(f"config.json lacks {', '.join(missing)}: it is not a whole Llama config")
        if config.get("attention_bias") or config.get("mlp_bias") or config.get("hidden_act", "silu") != "silu":
            raise BaseModelError("config.json asks for biases or an activation other than silu; Llama has neither")
        heads = int(config["num_attention_heads"])
        rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
        theta = rope.pop("rope_theta", None) or config.get("rope_theta", 10_000.0)
        if "type" in rope:
            rope.setdefault("rope_type", rope.pop("type"))
        if rope.get("rope_type", "default") == "default":
            rope = {}
        return cls(
            hidden_size=int(config["hidden_size"]),
            intermediate_size=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
            vocab_size=int(config["vocab_size"]),
            max_positions=int(config.get("max_position_embeddings", 2048)),
            rope_theta=float(theta),
            rms_eps=float(config["rms_norm_eps"]),
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
            rope_scaling=tuple(sorted(rope.items())),
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`."""
        scaling = tuple((str(name), value) for name, value in fields.get("rope_scaling", ()))
        return cls(**{**fields, "rope_scaling": scaling})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def module_shapes(self) -> dict[str, tuple[int, int]]:
        """`[out, in]` of each projection of a layer."""
        return {module: module_shape(self, module) for module in MODULES}
