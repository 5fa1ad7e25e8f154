"""Reads a base from a GGUF file (the `gguf` package), keeping 4-bit codes as they are.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; names and metadata are those that llama.cpp's
converter writes. Mistral's files say that they are `llama`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.config import ARCHITECTURES, ModelConfig, Rope, Scales, unsupported
from loraloop.adapters.base.decoder.rope import frequencies
from loraloop.adapters.base.loading.kquants import KINDS, decode
from loraloop.adapters.base.loading.quantize import dense
from loraloop.adapters.base.loading.source import Codes4, Fine, SourcePart
from loraloop.tool_schemas.errors import BaseModelError

_NAMES = {"mistral3": "ministral3"}  # architectures that have another name in files
PERMUTED = ("llama", "granite", "smollm3", "ministral3")
"""Architectures in whose files the rows of queries and keys stand in interleaved rotary order."""
FILE_NAMES = {"mistral": "llama", "ministral3": "mistral3"}
"""What llama.cpp calls an architecture, where it has another name for it."""
MODULES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
_TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight"}  # fmt: skip
_CONTROL, _USER_DEFINED = 3, 4
_MOST = 2_000_000  # entries of a list, such as the tokens: the package makes an array of each
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n%s]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_LOWER, _UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_LLAMA3 = _WORDS + r"|\p{N}{1,3}" + _REST % ""
_SPLITS = {
    "llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3,
    "qwen2": _WORDS + r"|\p{N}" + _REST % "",
    "tekken": _CASED + r"|\p{N}" + _REST % "/",
}  # fmt: skip
"""The pattern of each splitting rule by llama.cpp's name for it; `tekken` is that of Mistral Nemo."""


class GGUFSource:
    """A `Source` over one GGUF file of a supported architecture with a byte-level BPE tokenizer."""

    def __init__(self, path: Path) -> None:
        try:
            reader = _reader(path)
        except (ValueError, OSError, IndexError) as error:
            raise BaseModelError(f"{path} is not a readable GGUF file ({error}); download it again") from error
        self._fields: dict[str, Any] = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        foreign = sorted({t.tensor_type.name for t in reader.tensors} - set(KINDS))
        if foreign:
            raise BaseModelError(f"{path} holds {', '.join(foreign)} tensors: use a file of kinds {', '.join(KINDS)}")
        self.config = self._config()
        self.tokenizer_json, self.eos_ids, self.bos, self.eos = self._tokenizer()
        template = self._field("tokenizer.chat_template", None)
        if not template:
            raise BaseModelError(f"{path} has no chat template: use an instruction-tuned model's file")
        self.chat_template: str = template
        self._fields = {}  # the reader's lists of tokens take hundreds of megabytes

    def tensor(self, name: str) -> SourcePart:
        """A tensor by its Hugging Face name; query and key rows are put back into the half-split rotary order."""
        found = self._tensors.get(_gguf_name(name))
        if found is None:
            raise BaseModelError(f"the GGUF file lacks {_gguf_name(name)}; it is incomplete, download it again")
        shape = tuple(int(size) for size in reversed(found.shape))
        value = decode(found.tensor_type.name, found.data, shape)
        if self.config.architecture in PERMUTED:
            for module, count in (("q_proj", self.config.heads), ("k_proj", self.config.kv_heads)):
                if module in name:
                    return _unpermute(value, count)
        return value

    def _field(self, key: str, *default: Any) -> Any:
        field = self._fields.get(key)
        if field is None:
            if default:
                return default[0]
            raise BaseModelError(f"the GGUF file lacks the metadata {key!r}; convert the model again")
        return field.contents()

    def _config(self) -> ModelConfig:
        kind = str(self._field("general.architecture"))
        architecture = _NAMES.get(kind, kind)
        if architecture not in ARCHITECTURES:
            raise unsupported(kind, " in the GGUF file")
        layers = int(self._field(f"{kind}.block_count"))
        positions, scaling = self._scaling(kind)
        heads = int(self._field(f"{kind}.attention.head_count"))
        hidden = int(self._field(f"{kind}.embedding_length"))
        config = ModelConfig(
            hidden_size=hidden,
            intermediate_size=int(self._field(f"{kind}.feed_forward_length")),
            layers=layers,
            heads=heads,
            kv_heads=int(self._field(f"{kind}.attention.head_count_kv", heads)),
            head_dim=int(self._field(f"{kind}.attention.key_length", hidden // heads)),
            vocab_size=len(self._field("tokenizer.ggml.tokens")),
            max_positions=positions,
            rope=Rope(
                float(self._field(f"{kind}.rope.freq_base", 10_000.0)),
                tuple(sorted(scaling.items())),
                tuple(range(3, layers, 4)) if kind == "smollm3" else (),
            ),
            rms_eps=round(float(self._field(f"{kind}.attention.layer_norm_rms_epsilon")), 12),
            tied_embeddings="output.weight" not in self._tensors,
            architecture=architecture,
            qkv_bias=kind == "qwen2",
            qk_norm=kind == "qwen3",
            sliding_window=self._field(f"{kind}.attention.sliding_window", None),
            scales=Scales(
                embedding=float(self._field(f"{kind}.embedding_scale", 1.0)),
                attention=self._field(f"{kind}.attention.scale", None),
                residual=float(self._field(f"{kind}.residual_scale", 1.0)),
                logits=float(self._field(f"{kind}.logit_scale", 1.0)),
            ),
        )
        factors = self._tensors.get("rope_freqs.weight")
        if factors is not None:
            return _scaled_as_llama3(config, decode("F32", factors.data, (config.head_dim // 2,)))
        return config

    def _scaling(self, kind: str) -> tuple[int, dict[str, Any]]:
        """The positions of a context, and how rotary frequencies are scaled, by Hugging Face's names."""
        positions, about = int(self._field(f"{kind}.context_length")), f"{kind}.rope.scaling"
        scaled = self._field(f"{about}.type", "none")
        if scaled == "none":
            return positions, {}
        if scaled not in ("linear", "yarn"):
            raise _scaled()
        scaling: dict[str, Any] = {"rope_type": scaled, "factor": float(self._field(f"{about}.factor"))}
        if scaled == "yarn":
            original = int(self._field(f"{about}.original_context_length", positions))
            scaling["original_max_position_embeddings"] = original
            for name in ("beta_fast", "beta_slow"):
                scaling[name] = self._field(f"{about}.yarn_{name}", None)
            scaling["attention_factor"] = self._field(f"{about}.yarn_attn_factor", None)
            if grown := self._field(f"{about}.yarn_log_multiplier", 0.0):
                scaling |= {"mscale": 1.0, "mscale_all_dim": grown}
            if self._field(f"{kind}.attention.temperature_scale", 0.0):  # what it scales is 1 up to there
                positions = min(positions, original)
        return positions, {name: value for name, value in scaling.items() if value is not None}

    def _tokenizer(self) -> tuple[str, tuple[int, ...], str, str]:
        if self._field("tokenizer.ggml.model") != "gpt2":
            raise BaseModelError(
                "only byte-level BPE tokenizers are read from GGUF files; load the Hugging Face folder"
            )
        tokens: list[str] = self._field("tokenizer.ggml.tokens")
        kinds: list[int] = self._field("tokenizer.ggml.token_type")
        merges = [merge.split(" ", 1) for merge in self._field("tokenizer.ggml.merges", [])]
        added = [
            {"id": index, "content": tokens[index], "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": kind == _CONTROL}
            for index, kind in enumerate(kinds) if kind in (_CONTROL, _USER_DEFINED)
        ]  # fmt: skip
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        pre = str(self._field("tokenizer.ggml.pre", "default"))
        spec = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
            "pre_tokenizer": _pre_tokenizer(pre, byte_level),
            "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {token: index for index, token in enumerate(tokens)}, "merges": merges},
        }  # fmt: skip
        eos = int(self._field("tokenizer.ggml.eos_token_id"))
        bos = self._field("tokenizer.ggml.bos_token_id", None)
        return json.dumps(spec), (eos,), tokens[bos] if bos is not None else "", tokens[eos]


def _reader(path: Path) -> Any:
    """The package's reader of a file, made to end where the file does and at a list that no model has."""
    import gguf
    import numpy as np

    class BoundedReader(gguf.GGUFReader):
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError("it ends too early")
            return super()._get(offset, dtype, count, override_order)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type == gguf.GGUFValueType.ARRAY and self._get(orig_offs + 4, np.uint64)[0] > _MOST:
                raise ValueError(f"it has a list of more than {_MOST} entries")
            return super()._get_field_parts(orig_offs, raw_type)

    return BoundedReader(str(path))


def _pre_tokenizer(name: str, byte_level: dict[str, Any]) -> dict[str, Any]:
    """The splitting rule behind llama.cpp's name for it."""
    if name in ("smollm", "starcoder", "refact", "command-r"):
        return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]}
    if name in ("gpt-2", "gpt2", "default"):
        return byte_level
    if name in _SPLITS:
        split = {"type": "Split", "pattern": {"Regex": _SPLITS[name]}, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}
    raise BaseModelError(f"unknown GGUF pre-tokenizer {name!r}: load the model's Hugging Face folder instead")


def _scaled() -> BaseModelError:
    return BaseModelError("this GGUF file scales its rotary frequencies; load the Hugging Face folder instead")


def _scaled_as_llama3(config: ModelConfig, factors: SourcePart) -> ModelConfig:
    """The config with the scaling behind `factors[head_dim / 2]`, by which a file divides its frequencies.

    A file holds the factors alone. They are Llama 3's if its constants, the same in all its models, give them.
    """
    divisors = dense(factors)
    scaling: dict[str, float | int | str] = {
        "rope_type": "llama3", "factor": float(divisors.max()), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    scaled = replace(config, rope=replace(config.rope, scaling=tuple(sorted(scaling.items()))))
    if not torch.allclose(frequencies(config) / divisors, frequencies(scaled), rtol=1e-3, atol=0):
        raise _scaled()
    return scaled


def _gguf_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    path, kind = name.rsplit(".", 1)
    _, _, layer, module = path.split(".", 3)
    return f"blk.{layer}.{MODULES[module]}.{kind}"


def _unpermute(value: SourcePart, heads: int) -> SourcePart:
    """Undoes the row order (pairs side by side) that llama.cpp's converter gives query and key matrices."""
    if isinstance(value, Codes4):
        return Codes4(*(_unpermute_rows(part, heads) for part in (value.codes, value.scales, value.zeros)))
    if isinstance(value, Fine):
        return Fine(_unpermute_rows(value.values, heads))
    return _unpermute_rows(value, heads)


def _unpermute_rows(rows: Tensor, heads: int) -> Tensor:
    return rows.view(heads, rows.shape[0] // heads // 2, 2, -1).transpose(1, 2).reshape(rows.shape).contiguous()
