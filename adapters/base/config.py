"""The shape of a base: what its decoder needs to know, from a Hugging Face config or GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from loraloop.tool_schemas.errors import BaseModelError

ARCHITECTURES = ("llama", "mistral", "ministral3", "qwen2", "qwen3", "granite", "smollm3")
_FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "rms_norm_eps",
)  # fmt: skip
LARGEST = 100_000_000
"""Largest size of any dimension; far beyond those of any base."""
_WIDE = ("qwen3", "ministral3")  # heads are of 128 where nothing is said
_YARN = ("rope_type", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "mscale",
         "mscale_all_dim", "attention_factor", "truncate")  # fmt: skip
_SCALES = ("embedding", "attention", "residual", "logits")


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embeddings.

    Attributes:
        theta: base of the frequencies.
        scaling: empty, or Hugging Face's dictionary of type `linear`, `llama3` or `yarn`.
        skipped: layers whose queries and keys are not rotated (SmolLM3).
    """

    theta: float = 10_000.0
    scaling: tuple[tuple[str, float | int | str], ...] = ()
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Scales:
    """Constants by which a Granite differs from a Llama.

    Attributes:
        embedding: embeddings are multiplied by it.
        attention: query-key products are multiplied by it; None: by `head_dim ** -0.5`.
        residual: what a block adds to the residual stream is multiplied by it.
        logits: logits are divided by it.
    """

    embedding: float = 1.0
    attention: float | None = None
    residual: float = 1.0
    logits: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Dimensions and constants of a Llama-family decoder.

    Attributes:
        hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size: dimensions.
        max_positions: positions of a context at most.
        rms_eps: what the norms add before the root.
        tied_embeddings: the output layer is the embedding.
        architecture: the family, as checkpoints name it.
        qkv_bias: the query, key and value projections have a bias (Qwen2).
        qk_norm: each head's queries and keys are RMS-normalized before they are rotated (Qwen3).
        sliding_window: positions that a token sees, itself included; None: all (Mistral 7B v0.1 has 4 096).
        rope: rotary position embeddings.
        scales: constants that a plain Llama does not have.
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    rms_eps: float = 1e-5
    tied_embeddings: bool = True
    architecture: str = "llama"
    qkv_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None
    rope: Rope = Rope()
    scales: Scales = Scales()

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise unsupported(self.architecture)
        names = "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "head_dim", "vocab_size"
        for name in (*names, "max_positions"):
            if not 1 <= (value := getattr(self, name)) <= LARGEST:
                raise BaseModelError(f"the config's {name} is {value}: a base has from 1 to {LARGEST}")
        if self.head_dim % 2:
            raise BaseModelError(f"the config's head_dim is {self.head_dim}: it has to be even")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise BaseModelError(
                f"a sliding window of {self.sliding_window} positions is too small: it must be at least 1"
            )
        if self.heads % self.kv_heads:
            raise BaseModelError(f"{self.heads} query heads cannot share {self.kv_heads} key-value heads")
        kind = dict(self.rope.scaling).get("rope_type")
        if kind not in (None, "default", "linear", "llama3", "yarn"):
            raise BaseModelError(
                f"unsupported rope scaling {kind!r}: use a base with linear, llama3 or yarn scaling, or none"
            )

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Reads a `config.json` dictionary.

        Raises:
            BaseModelError: for another architecture, biases, or a field that is missing or is no number.
        """
        try:
            return cls._from_hf(config)
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise BaseModelError(f"config.json is damaged: {error}; take it from the model again") from error

    @classmethod
    def _from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        kind = str(config.get("model_type", "?"))
        if kind not in ARCHITECTURES:
            raise unsupported(kind, " in config.json")
        missing = [name for name in _FIELDS if name not in config]
        if missing:
            raise BaseModelError(f"config.json lacks {', '.join(missing)}: it is not a whole {kind} config")
        if config.get("attention_bias") or config.get("mlp_bias") or config.get("hidden_act", "silu") != "silu":
            raise BaseModelError(
                "config.json asks for an activation other than silu, or for biases where only Qwen2's q, k and v have "
                "them: use a base without"
            )
        heads = int(config["num_attention_heads"])
        rope, positions = _rope(kind, config)
        return cls(
            hidden_size=int(config["hidden_size"]),
            intermediate_size=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or (128 if kind in _WIDE else config["hidden_size"] // heads)),
            vocab_size=int(config["vocab_size"]),
            max_positions=positions,
            rms_eps=float(config["rms_norm_eps"]),
            tied_embeddings=bool(config.get("tie_word_embeddings", kind == "smollm3")),
            architecture=kind,
            rope=rope,
            qkv_bias=kind == "qwen2",
            qk_norm=kind == "qwen3",
            sliding_window=_window(kind, config),
            scales=_granite(config) if kind == "granite" else Scales(),
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`."""
        rest = dict(fields)
        scaling = tuple((str(name), value) for name, value in rest.pop("rope_scaling", ()))
        scales = {name: rest.pop(f"{name}_scale") for name in _SCALES if f"{name}_scale" in rest}
        rope = Rope(rest.pop("rope_theta", Rope().theta), scaling, tuple(rest.pop("rope_skipped", ())))
        return cls(**rest, rope=rope, scales=Scales(**scales))

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON data, without groups and what a plain Llama lacks: fingerprints are made of it."""
        flat = asdict(self)
        rope, scales = flat.pop("rope"), flat.pop("scales")
        plain = {"qkv_bias": False, "qk_norm": False, "sliding_window": None, "rope_skipped": ()}
        plain |= {f"{name}_scale": value for name, value in asdict(Scales()).items()}
        flat |= {f"rope_{name}": value for name, value in rope.items()}
        flat |= {f"{name}_scale": value for name, value in scales.items()}
        return {name: value for name, value in flat.items() if name not in plain or value != plain[name]}


def unsupported(architecture: str, where: str = "") -> BaseModelError:
    """The error for an architecture that the decoder does not know."""
    return BaseModelError(
        f"unsupported architecture {architecture!r}{where}: load a base of one of {', '.join(ARCHITECTURES)}"
    )


def _rope(kind: str, config: Mapping[str, Any]) -> tuple[Rope, int]:
    """The rotary embeddings, and the positions of a context; transformers' defaults stand in for absent fields."""
    options = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    positions = int(config.get("max_position_embeddings", 2048))
    theta = options.pop("rope_theta", None) or config.get("rope_theta", 2_000_000.0 if kind == "smollm3" else 10_000.0)
    if "type" in options:
        options.setdefault("rope_type", options.pop("type"))
    scaling = options
    skipped: tuple[int, ...] = ()
    if options.get("rope_type", "default") == "default":
        scaling = {}
    elif options["rope_type"] == "yarn":
        options.setdefault("original_max_position_embeddings", positions)
        if options.get("factor") is None:
            options["factor"] = positions / options["original_max_position_embeddings"]
        scaling = {name: options[name] for name in _YARN if options.get(name) is not None}
        if options.get("llama_4_scaling_beta"):  # what it scales is 1 up to there
            positions = min(positions, int(options["original_max_position_embeddings"]))
    if kind == "smollm3":
        every, layers = int(config.get("no_rope_layer_interval") or 4), int(config["num_hidden_layers"])
        turned = config.get("no_rope_layers") or [(layer + 1) % every for layer in range(layers)]
        skipped = tuple(layer for layer, is_turned in enumerate(turned) if not is_turned)
    return Rope(float(theta), tuple(sorted(scaling.items())), skipped), positions


def _window(kind: str, config: Mapping[str, Any]) -> int | None:
    """The sliding window of every layer; transformers' defaults stand in for absent fields.

    Raises:
        BaseModelError: if some layers slide and others see everything.
    """
    window = config.get("sliding_window", 4096)
    if kind in ("mistral", "ministral3"):
        window = config.get("sliding_window", 4096 if kind == "mistral" else None)
        return None if window is None else int(window)
    if kind not in ("qwen2", "qwen3", "smollm3") or not config.get("use_sliding_window") or window is None:
        return None
    layers, full = int(config["num_hidden_layers"]), int(config.get("max_window_layers", 28))
    kinds = config.get("layer_types") or ["sliding_attention" if i >= full else "full_attention" for i in range(layers)]
    if len(set(kinds)) > 1:
        raise BaseModelError(
            "config.json mixes layers with and without a sliding window: set use_sliding_window to false"
        )
    return int(window) if kinds[0] == "sliding_attention" else None


def _granite(config: Mapping[str, Any]) -> Scales:
    return Scales(
        embedding=float(config.get("embedding_multiplier", 1.0)),
        attention=float(config.get("attention_multiplier", 1.0)),
        residual=float(config.get("residual_multiplier", 1.0)),
        logits=float(config.get("logits_scaling", 1.0)),
    )
