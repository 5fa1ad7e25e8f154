"""Converts a source once into a cache folder, and opens a converted base.

A converted base is a folder: `base.json` (config, chat format, hashes), `chat_template.json` (the template itself),
`tokenizer.json` and `weights.safetensors`.
For the C decoder the weights are in tiles. For torch they are in its own packed layout, with `dense-*.safetensors`
beside them: each layer's values in bf16 for products of many rows (memory-mapped, so they cost nothing until a long
prefill reads them).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.base.chat import ChatFormat
from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.cuda_graphs import GraphedDecoder
from loraloop.adapters.base.decoder.decoder import Decoder, Layer
from loraloop.adapters.base.decoder.native_decoder import NativeDecoder
from loraloop.adapters.base.loading.arena import aligned, read_arena
from loraloop.adapters.base.loading.download import Progress, file_sha256
from loraloop.adapters.base.loading.folders import cache_folder, make_writable
from loraloop.adapters.base.loading.quantize import compute_dtype, dense, embedding_weight, fused, group_parts
from loraloop.adapters.base.loading.source import BaseSource
from loraloop.adapters.payload.sites import GROUPS, MODULE_PATHS, group_shape, module_shape
from loraloop.kernels.cpu.native import Native
from loraloop.kernels.cpu.native import load as load_native
from loraloop.kernels.cpu.tiles import TiledWeight
from loraloop.kernels.nf4 import has_kernels
from loraloop.kernels.quantized import GROUP, DenseWeight, Int4Weight, Int8Weight, Nf4Weight, StackedWeight, Weight
from loraloop.tool_schemas.errors import BaseModelError

AnyDecoder = Decoder | NativeDecoder
TEMPLATE = "chat_template.json"
"""Name of the file that holds the chat template, and the texts of the tokens that begin and end a text."""


@dataclass(frozen=True, slots=True)
class BaseFingerprints:
    """`architecture`: config, tokenizer and chat format. `weights`: the values and the quantization."""

    architecture: str
    weights: str


@dataclass(frozen=True, slots=True)
class Converted:
    """The content of `base.json`."""

    name: str
    form: str
    config: ModelConfig
    chat: ChatFormat
    eos_ids: tuple[int, ...]
    fingerprints: BaseFingerprints
    sha256: str


def convert(
    source: BaseSource, name: str, form: str, folder: Path, progress: Progress | None = None, tiled: bool = False
) -> None:
    """Writes the converted base to `folder`, whole or not at all.

    Args:
        source: Where the base's parts come from.
        name: Name of the base, which its card keeps.
        form: The form in which the weights are served.
        folder: The folder to make; one that another process finished first stays.
        progress: Called after each layer; see `Progress`. None: nobody is told.
        tiled: Whether the weights are laid out for the C decoder.

    Raises:
        BaseModelError: The folder cannot be written, or a tensor is missing or has another shape than the config says.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=make_writable(folder.parent)))
    try:
        template = json.dumps([source.chat_template, source.bos, source.eos])
        (scratch / TEMPLATE).write_text(template, encoding="utf-8")
        _write(source, name, form, scratch, progress=progress, tiled=tiled)
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


def _write(source: BaseSource, name: str, form: str, folder: Path, progress: Progress | None, tiled: bool) -> None:
    from safetensors.torch import save_file

    config = source.config
    dtype = compute_dtype(form)
    digest = hashlib.sha256(form.encode())
    stored: dict[str, Tensor] = {}

    def put(key: str, weight: Weight) -> None:
        stored.update({f"{key}.{part}": tensor for part, tensor in weight.state().items()})

    def read(shape: tuple[int, ...], *names: str) -> Tensor:
        parts = [dense(source.tensor(name)) for name in names]
        values = parts[0] if len(parts) == 1 else torch.cat(parts)
        check_shape(" and ".join(names), values, shape)
        _update(digest, values)
        return values

    for index in range(config.layers):
        place, copies = f"model.layers.{index}", {}
        for group in GROUPS:
            key = f"layers.{index}.{group}"
            parts = group_parts(source, index, group)
            values = [dense(part) for part in parts]
            for module, part_values in zip(GROUPS[group], values, strict=True):
                check_shape(f"{place}.{MODULE_PATHS[module]}.weight", part_values, module_shape(config, module))
                _update(digest, part_values)
            weight = fused(parts if form == "int4" else values, form, not tiled, tiled)
            put(key, weight)
            copies.update(_copies(key, weight))
        vectors = {
            "attention_norm": read((config.hidden_size,), f"{place}.input_layernorm.weight"),
            "mlp_norm": read((config.hidden_size,), f"{place}.post_attention_layernorm.weight"),
        }
        if config.qkv_bias:
            biases = (f"{place}.{MODULE_PATHS[module]}.bias" for module in GROUPS["qkv"])
            vectors["qkv_bias"] = read(group_shape(config, "qkv")[:1], *biases)
        if config.qk_norm:
            vectors["q_norm"] = read((config.head_dim,), f"{place}.self_attn.q_norm.weight")
            vectors["k_norm"] = read((config.head_dim,), f"{place}.self_attn.k_norm.weight")
        stored.update({f"layers.{index}.{name}": vector.to(dtype) for name, vector in vectors.items()})
        if copies:
            save_file(copies, folder / f"dense-{index:03}.safetensors")
        if progress:
            progress("converting", index + 1, config.layers)
    stored["norm"] = read((config.hidden_size,), "model.norm.weight").to(dtype)
    vocabulary = config.vocab_size, config.hidden_size
    put("embedding", embedding_weight(read(vocabulary, "model.embed_tokens.weight"), form, tiled))
    if not config.tied_embeddings:
        put("head", embedding_weight(read(vocabulary, "lm_head.weight"), form, tiled))
    chat = ChatFormat.probe(source.chat_template, source.bos, source.eos)
    identity = json.dumps([config.to_dict(), chat.to_dict()], sort_keys=True) + source.tokenizer_json
    save_file({key: tensor.contiguous() for key, tensor in stored.items()}, folder / "weights.safetensors")
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


def check_shape(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Checks that a tensor has the shape that the config says: the decoders read as much as that.

    Args:
        name: What the message calls it.
        values: A tensor of any shape.
        shape: The shape that the config says.

    Raises:
        BaseModelError: It has another.
    """
    if tuple(values.shape) != shape:
        raise BaseModelError(
            f"{name} has the shape {list(values.shape)}, and the config says {list(shape)}: config and weights are not "
            "of one model, or are damaged; download it again"
        )


def _update(digest: hashlib._Hash, values: Tensor) -> None:
    digest.update(values.contiguous().view(-1).numpy().data)


def _copies(key: str, weight: Weight) -> dict[str, Tensor]:
    """The dense copy of each packed part of a weight, under the part's own key."""
    if isinstance(weight, StackedWeight):
        parts = [_copies(f"{key}.{index}", part) for index, part in enumerate(weight.parts)]
        return {name: copy for part in parts for name, copy in part.items()}
    return {key: weight.dequantize()} if isinstance(weight, (Int4Weight, Int8Weight)) else {}


def read_card(folder: Path) -> Converted:
    """Reads `base.json`."""
    fields: dict[str, Any] = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    return Converted(
        name=fields["name"],
        form=fields["form"],
        config=ModelConfig.from_dict(fields["config"]),
        chat=ChatFormat.from_dict(fields["chat"]),
        eos_ids=tuple(fields["eos_ids"]),
        fingerprints=BaseFingerprints(fields["architecture"], fields["weights"]),
        sha256=fields["sha256"],
    )


def open_decoder(folder: Path, card: Converted, device: torch.device, native: Native | None) -> AnyDecoder:
    """The decoder over a converted base's tensors.

    Args:
        folder: what `convert` wrote.
        card: its `base.json`.
        device: where the tensors go.
        native: the C library, which a folder in tiles needs; looked for where it is None.

    Raises:
        BaseModelError: if the weights on disk are not those that were written, or need the missing library.
    """
    from safetensors.torch import load_file

    path = folder / "weights.safetensors"
    try:
        tensors = read_arena(path, card.sha256)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{path} is damaged: delete the folder {folder} and load the base again") from error
    if device.type != "cpu":
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    copies = {key: tensor for file in folder.glob("dense-*.safetensors") for key, tensor in load_file(file).items()}
    config, form = card.config, card.form

    def weight(key: str) -> Weight:
        parts = {name[len(key) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{key}.")}
        if form == "nf4" and key.startswith("layers."):
            return Nf4Weight.restore(parts)
        if "codes" in parts:
            return Int8Weight(parts["codes"], parts["scales"], copies.get(key))
        if "packed" in parts:
            groups, rows, _ = parts["scales_zeros"].shape
            return Int4Weight(parts["packed"], parts["scales_zeros"], rows, groups * GROUP, copies.get(key))
        if "values" in parts:
            return DenseWeight(parts["values"])
        if (kind := next(iter(parts))).startswith("tiles_"):
            return TiledWeight.restore({kind: aligned(parts[kind])}, *_tiled_shape(config, key))
        return StackedWeight(tuple(weight(f"{key}.{index}") for index in sorted({int(n.split(".")[0]) for n in parts})))

    layers = [
        Layer(
            **{group: weight(f"layers.{index}.{group}") for group in GROUPS},
            attention_norm=tensors[f"layers.{index}.attention_norm"],
            mlp_norm=tensors[f"layers.{index}.mlp_norm"],
            qkv_bias=tensors.get(f"layers.{index}.qkv_bias"),
            q_norm=tensors.get(f"layers.{index}.q_norm"),
            k_norm=tensors.get(f"layers.{index}.k_norm"),
        )
        for index in range(config.layers)
    ]
    embedding = weight("embedding")
    head = embedding if config.tied_embeddings else weight("head")
    if isinstance(embedding, TiledWeight):
        native = native or load_native(cache_folder() / "native")
        if native is None:
            raise BaseModelError(f"{folder} is laid out for the C kernels, which cannot be built here: load it by name")
        return NativeDecoder(config, embedding, layers, tensors["norm"], head, native=native)
    assert isinstance(embedding, (Int8Weight, DenseWeight))
    made: type[Decoder] = GraphedDecoder if has_kernels(device) else Decoder
    return made(config, embedding, layers, tensors["norm"], head, dtype=compute_dtype(form), device=device)


def _tiled_shape(config: ModelConfig, key: str) -> tuple[int, int | None]:
    """In-features of a weight, and its out-features where tiles may be padded."""
    if not key.startswith("layers."):
        return config.hidden_size, config.vocab_size
    return group_shape(config, key.split(".")[2])[1], None
