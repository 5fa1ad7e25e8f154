"""Converts a source once into a cache folder, and opens a converted base.

A converted base is a folder: `base.json` (config, chat format, hashes), `tokenizer.json`, `weights.safetensors`
and, where the served form is packed, `dense.safetensors` with the same values in bf16 for products of many rows
(memory-mapped, so it costs nothing until a long prefill reads it).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.chat import ChatFormat
from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder import Decoder, Layer
from loraloop.adapters.base.quantize import compute_dtype, dense, embedding_weight, group_weight
from loraloop.adapters.base.source import MODULE_PATHS, Source
from loraloop.adapters.methods.sites import GROUPS
from loraloop.kernels.quantized import DenseWeight, Int4Weight, Int8Weight, Nf4Weight, Weight
from loraloop.tool_schemas.errors import BaseModelError

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`; units are bytes while fetching and layers while converting."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """`architecture`: config, tokenizer and chat format. `weights`: the values and the quantization."""

    architecture: str
    weights: str


@dataclass(frozen=True, slots=True)
class Converted:
    """What `base.json` says."""

    name: str
    form: str
    config: ModelConfig
    chat: ChatFormat
    eos_ids: tuple[int, ...]
    fingerprints: Fingerprints
    sha256: str


def convert(source: Source, name: str, form: str, folder: Path, progress: Progress | None = None) -> None:
    """Writes the converted base to `folder`, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(source, name, form, scratch, progress)
        try:
            scratch.rename(folder)
        except OSError:
            if not (folder / "base.json").exists():  # otherwise another process finished first
                raise
    except OSError as error:
        raise BaseModelError(
            f"cannot write the converted base to {folder}: {error}; set LORALOOP_CACHE elsewhere"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(source: Source, name: str, form: str, folder: Path, progress: Progress | None) -> None:
    from safetensors.torch import save_file

    config = source.config
    dtype = compute_dtype(form)
    digest = hashlib.sha256(form.encode())
    stored: dict[str, Tensor] = {}
    copies: dict[str, Tensor] = {}

    def put(key: str, weight: Weight) -> None:
        stored.update({f"{key}.{part}": tensor for part, tensor in weight.state().items()})
        if isinstance(weight, (Int4Weight, Int8Weight)) and key.startswith("layers."):
            copies[key] = weight.dequantize()

    def norm(key: str, path: str) -> None:
        values = dense(source.tensor(path))
        digest.update(values.numpy().tobytes())
        stored[key] = values.to(dtype)

    for index in range(config.layers):
        for group, modules in GROUPS.items():
            for module in modules:
                values = dense(source.tensor(f"model.layers.{index}.{MODULE_PATHS[module]}.weight"))
                digest.update(values.contiguous().numpy().tobytes())
            put(f"layers.{index}.{group}", group_weight(source, index, group, form))
        norm(f"layers.{index}.attention_norm", f"model.layers.{index}.input_layernorm.weight")
        norm(f"layers.{index}.mlp_norm", f"model.layers.{index}.post_attention_layernorm.weight")
        if config.qkv_bias:
            paths = [f"model.layers.{index}.{MODULE_PATHS[module]}.bias" for module in GROUPS["qkv"]]
            values = torch.cat([dense(source.tensor(path)) for path in paths])
            digest.update(values.numpy().tobytes())
            stored[f"layers.{index}.qkv_bias"] = values.to(dtype)
        if config.qk_norm:
            norm(f"layers.{index}.q_norm", f"model.layers.{index}.self_attn.q_norm.weight")
            norm(f"layers.{index}.k_norm", f"model.layers.{index}.self_attn.k_norm.weight")
        if progress:
            progress("converting", index + 1, config.layers)
    norm("norm", "model.norm.weight")
    put("embedding", embedding_weight(source, "model.embed_tokens.weight", form))
    digest.update(dense(source.tensor("model.embed_tokens.weight")).numpy().tobytes())
    if not config.tied_embeddings:
        put("head", embedding_weight(source, "lm_head.weight", form))
    chat = ChatFormat.probe(source.chat_template, source.bos, source.eos)
    identity = json.dumps([config.to_dict(), chat.to_dict()], sort_keys=True) + source.tokenizer_json
    save_file({key: tensor.contiguous() for key, tensor in stored.items()}, folder / "weights.safetensors")
    if copies:
        save_file(copies, folder / "dense.safetensors")
    (folder / "tokenizer.json").write_text(source.tokenizer_json, encoding="utf-8")
    fields = {
        "name": name,
        "form": form,
        "config": config.to_dict(),
        "chat": chat.to_dict(),
        "eos_ids": list(source.eos_ids),
        "architecture": hashlib.sha256(identity.encode()).hexdigest(),
        "weights": digest.hexdigest(),
        "sha256": file_sha256(folder / "weights.safetensors"),
    }
    (folder / "base.json").write_text(json.dumps(fields), encoding="utf-8")


def read_card(folder: Path) -> Converted:
    """Reads `base.json`."""
    fields: dict[str, Any] = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    return Converted(
        fields["name"],
        fields["form"],
        ModelConfig.from_dict(fields["config"]),
        ChatFormat.from_dict(fields["chat"]),
        tuple(fields["eos_ids"]),
        Fingerprints(fields["architecture"], fields["weights"]),
        fields["sha256"],
    )


def open_decoder(folder: Path, card: Converted, device: torch.device) -> Decoder:
    """The decoder over a converted base's tensors.

    Raises:
        BaseModelError: if the weights on disk are not those that were written.
    """
    from safetensors.torch import load_file

    path = folder / "weights.safetensors"
    if file_sha256(path) != card.sha256:
        raise BaseModelError(f"{path} is damaged: delete the folder {folder} and load the base again")
    tensors = load_file(path, device=str(device))
    dense_path = folder / "dense.safetensors"
    copies = load_file(dense_path) if dense_path.exists() else {}
    config, form = card.config, card.form
    shapes = config.module_shapes()

    def weight(key: str) -> Weight:
        parts = {name[len(key) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{key}.")}
        if form == "nf4" and key.startswith("layers."):
            return Nf4Weight.restore(parts)
        if "codes" in parts:
            return Int8Weight(parts["codes"], parts["scales"], copies.get(key))
        if "packed" in parts:
            sizes = [shapes[module] for module in GROUPS[key.rsplit(".", 1)[1]]]
            rows, columns = sum(out for out, _ in sizes), sizes[0][1]
            return Int4Weight(parts["packed"], parts["scales_zeros"], rows, columns, copies.get(key))
        return DenseWeight(parts["values"])

    layers = [
        Layer(
            tensors[f"layers.{index}.attention_norm"],
            weight(f"layers.{index}.qkv"),
            weight(f"layers.{index}.o"),
            tensors[f"layers.{index}.mlp_norm"],
            weight(f"layers.{index}.gate_up"),
            weight(f"layers.{index}.down"),
            tensors.get(f"layers.{index}.qkv_bias"),
            tensors.get(f"layers.{index}.q_norm"),
            tensors.get(f"layers.{index}.k_norm"),
        )
        for index in range(config.layers)
    ]
    embedding = weight("embedding")
    assert isinstance(embedding, (Int8Weight, DenseWeight))
    head = embedding if config.tied_embeddings else weight("head")
    return Decoder(config, embedding, layers, tensors["norm"], head, compute_dtype(form), device)


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_root(given: str | os.PathLike[str] | None = None) -> Path:
    """`given`, else `$LORALOOP_CACHE`, else `$XDG_CACHE_HOME/loraloop`, else `~/.cache/loraloop`."""
    if given is not None:
        return Path(given)
    if own := os.environ.get("LORALOOP_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "loraloop"
