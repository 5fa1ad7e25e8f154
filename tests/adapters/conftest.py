"""Random GGUF files, and what is built once for all tests of the room."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory, make_cache: Any) -> Path:
    """A cache folder for all tests of a run."""
    made: Path = make_cache(tmp_path_factory.mktemp("cache"))
    return made


@pytest.fixture
def race() -> Callable[..., None]:
    """`race(work)` calls `work(seed)` on four threads at once, which are switched as often as can be."""

    def run(work: Callable[[int], None]) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)

    return run


_TENSORS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "model.embed_tokens": "token_embd", "model.norm": "output_norm",
    "lm_head": "output",
}  # fmt: skip
_SCALES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q3_K": (108,), "Q2_K": (80, 82), "IQ4_XS": (0,)}
"""Where a block's fp16 numbers stand."""


@pytest.fixture(scope="session")
def random_blocks() -> Callable[..., np.ndarray[Any, Any]]:
    """`random_blocks(kind, rows, columns, seed)`: any bits, with fp16 scales that make values of about 0.1."""

    def make(kind: str, rows: int, columns: int, seed: int) -> np.ndarray[Any, Any]:
        size, stored = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        rng = np.random.default_rng(seed)
        data = rng.integers(0, 256, (rows, columns // size, stored), dtype=np.uint8)
        d = rng.uniform(0.5, 1.5, (rows, columns // size, 1)) * {"Q6_K": 1e-4, "Q3_K": 2e-3}.get(kind, 4e-4)
        for at, factor in zip(_SCALES[kind], (1, {"Q5_K": 15.5, "Q2_K": 1.5}.get(kind, 7.5)), strict=False):
            data[..., at : at + 2] = (d * factor).astype(np.float16).view(np.uint8)
        return data.reshape(rows, -1)

    return make


@pytest.fixture(scope="session")
def write_gguf(random_blocks: Any) -> Callable[..., None]:
    """`write_gguf(path, model, kind, finer, pre)` writes a transformers model as llama.cpp's converter does.

    Its names, its rotary row order, its metadata. Matrices are of `kind`, those of `v_proj` and the head of `finer`.
    Python has no quantizer for K-quants: then the blocks are random, and the model gets the values they stand for.
    """
    from loraloop.adapters.base.random_weights import CHATML, byte_tokenizer_json

    def interleaved(values: Any, heads: int) -> Any:
        pairs = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return pairs.swapaxes(1, 2).reshape(values.shape)

    def halves(values: Any, heads: int) -> Any:
        pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
        return pairs.swapaxes(1, 2).reshape(values.shape)

    def write(path: Path, model: Any, kind: str = "F32", finer: str | None = None, pre: str = "smollm") -> None:
        config, spec = model.config, json.loads(byte_tokenizer_json())
        llama_like = config.model_type in ("llama", "mistral", "granite", "smollm3", "ministral3")
        kind_of = {"mistral": "llama", "ministral3": "mistral3"}.get(config.model_type, config.model_type)
        writer = gguf.GGUFWriter(str(path), kind_of)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        if config.model_type in ("qwen3", "ministral3"):
            writer.add_key_length(config.head_dim)
        if config.model_type == "granite":
            writer.add_attention_scale(config.attention_multiplier)
            writer.add_embedding_scale(config.embedding_multiplier)
            writer.add_residual_scale(config.residual_multiplier)
            writer.add_logit_scale(config.logits_scaling)
        if config.rope_parameters["rope_type"] == "llama3":
            half = torch.arange(0, config.head_dim, 2) / config.head_dim
            plain, scaled = config.rope_parameters["rope_theta"] ** -half, model.model.rotary_emb.inv_freq
            writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy())
        if (rope := config.rope_parameters)["rope_type"] in ("linear", "yarn"):
            writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
            writer.add_rope_scaling_factor(rope["factor"])
        if rope["rope_type"] == "yarn":
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if config.model_type == "ministral3":
            writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
            writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
            writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
            writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])
        vocabulary = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(vocabulary)
        writer.add_token_types([3] * 3 + [1] * (len(vocabulary) - 3))
        writer.add_eos_token_id(0)
        writer.add_chat_template(CHATML)
        for seed, (name, tensor) in enumerate(model.state_dict().items()):
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            module, suffix = name.rsplit(".", 1)
            layer = f"blk.{module.split('.')[2]}." if module.startswith("model.layers.") else ""
            short = module.split(".", 3)[3] if layer else module
            heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
            turned = heads.get(short) if llama_like else None
            here = finer if finer and short in ("self_attn.v_proj", "lm_head") else kind
            chosen = gguf.GGMLQuantizationType["F32" if tensor.ndim == 1 else here]
            if chosen.name in _SCALES:
                data = random_blocks(chosen.name, *tensor.shape, seed)
                values = gguf.dequantize(data, chosen)
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(halves(values, turned) if turned else values)))
            else:
                values = interleaved(tensor.numpy(), turned) if turned else tensor.numpy()
                data = gguf.quantize(np.ascontiguousarray(values), chosen)
            writer.add_tensor(f"{layer}{_TENSORS[short]}.{suffix}", data, raw_dtype=chosen)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write


@pytest.fixture(scope="session")
def pair() -> Callable[..., Any]:
    """`pair(form, seed, **config)`: a native decoder, and the torch decoder in fp32 of the values in its tiles."""
    from loraloop.adapters.base import random_base
    from loraloop.adapters.base.decoder.decoder import Decoder, Layer
    from loraloop.adapters.base.decoder.native_decoder import NativeDecoder
    from loraloop.adapters.base.loading.folders import cache_folder
    from loraloop.adapters.base.loading.quantize import embedding_weight, fused
    from loraloop.kernels.cpu import native
    from loraloop.kernels.quantized import DenseWeight

    sizes: dict[str, Any] = {
        "hidden_size": 64, "intermediate_size": 96, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 32,
        "scale": 0.1,
    }  # fmt: skip

    def wide(layer: Layer) -> Layer:
        weights = {n: DenseWeight(getattr(layer, n).dequantize().float()) for n in ("qkv", "o", "gate_up", "down")}
        vectors = {n: getattr(layer, n) for n in ("attention_norm", "mlp_norm", "qkv_bias", "q_norm", "k_norm")}
        return replace(layer, **weights, **{n: None if v is None else v.float() for n, v in vectors.items()})

    def make(
        form: str = "bf16", seed: int = 0, library: native.Native | None = None, **config: Any
    ) -> tuple[NativeDecoder, Decoder]:
        """A native decoder, and the torch decoder in fp32 of the values that its tiles stand for."""
        if not native.has_compiler():
            pytest.skip("no C compiler")
        library = library or native.load(cache_folder() / "native")
        assert library is not None, "the library does not build, or disagrees with torch"
        plain = random_base(seed, dtype=torch.bfloat16, **{**sizes, **config}).decoder
        assert isinstance(plain, Decoder)

        def tiles(layer: Layer) -> Layer:
            names = ("qkv", "o", "gate_up", "down")
            return replace(
                layer, **{n: fused([getattr(layer, n).dequantize().float()], form, tiled=True) for n in names}
            )

        layers = [tiles(layer) for layer in plain.layers]
        embedding = embedding_weight(plain.embedding.dequantize().float(), form, tiled=True)
        head = (
            embedding if plain.head is plain.embedding else embedding_weight(plain.head.dequantize(), form, tiled=True)
        )
        made = NativeDecoder(plain.config, embedding, layers, plain.norm, head, library)
        dense = [wide(layer) for layer in layers]
        table = DenseWeight(embedding.dequantize().float())
        last = table if head is embedding else DenseWeight(head.dequantize().float())
        return made, Decoder(plain.config, table, dense, plain.norm.float(), last, torch.float32, torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def payload_of() -> Callable[..., Any]:
    """`payload_of(config, kinds, seed, scale)`: random parts of these kinds, all of which need gradients."""
    from loraloop.adapters.payload.payload import Bottleneck, LowRank, Payload
    from loraloop.adapters.payload.sites import GROUPS, group_shape

    def make(config: Any, kinds: tuple[str, ...], seed: int = 0, scale: float = 0.3) -> Payload:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int, mean: float = 0.0) -> torch.Tensor:
            return (mean + torch.randn(*shape, generator=generator) * scale).requires_grad_()

        sites = [(layer, group) for layer in range(config.layers) for group in GROUPS]
        sizes = {site: group_shape(config, site[1]) for site in sites}
        H, keys = config.hidden_size, (3, config.kv_heads, config.head_dim)
        parts: dict[str, Any] = {
            "pairs": {site: LowRank(draw(4, inputs), draw(outputs, 4)) for site, (outputs, inputs) in sizes.items()},
            "gains": {site: draw(outputs, mean=1) for site, (outputs, _) in sizes.items()},
            "input_gains": {site: draw(inputs, mean=1) for site, (_, inputs) in sizes.items()},
            "biases": {site: draw(outputs) for site, (outputs, _) in sizes.items()},
            "prefix": {layer: (draw(*keys), draw(*keys)) for layer in range(config.layers)},
            "prompt": draw(2, H),
            "bottlenecks": {
                (0, "attention"): Bottleneck(draw(5, H), draw(H, 5), draw(5), draw(H), "gelu"),
                (1, "attention"): Bottleneck(draw(5, H), draw(H, 5), activation="silu"),
                (1, "mlp"): Bottleneck(draw(6, H), draw(H, 6), draw(6)),
            },
        }
        return Payload(**{kind: parts[kind] for kind in kinds})

    return make


@pytest.fixture(scope="session")
def moved() -> Callable[..., dict[str, torch.Tensor]]:
    """`moved(method, parameters, seed, scale)`: the parameters after something like a training."""

    def make(method: Any, parameters: Any, seed: int = 0, scale: float = 0.2) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        changed = dict(parameters)
        for name in method.trainable(parameters):
            noise = torch.randn(parameters[name].shape, generator=generator) * scale
            changed[name] = (parameters[name].detach() + noise).requires_grad_()
        return changed

    return make


@pytest.fixture(scope="session")
def random_skill(moved: Any) -> Callable[..., Any]:
    """`random_skill(base, method, activation, scale, **options)`: a skill with random parameters."""
    from loraloop.adapters.methods import card_fields, make_method
    from loraloop.adapters.methods.context import BaseContext
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.skill import Skill

    def make(base: Any, name: str, activation: str = "full", scale: float = 0.2, **options: Any) -> Skill:
        method, context = make_method(name, options), BaseContext(base)
        tensors = method.finished(moved(method, method.init(context, 1), 2, scale), context)
        fields = {
            "name": "mine", "description": "A test.", "base": base.name, "activation": activation,
            "invocation": tuple(base.chat.generation_prompt) if activation == "branch" else (),
            "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
        }  # fmt: skip
        return Skill(Card.checked(fields | card_fields(method, tensors)), tensors)

    return make


@pytest.fixture(scope="session")
def states() -> Callable[..., torch.Tensor]:
    """`states(base, payload, tokens)`: final states of the tokens under a payload that acts on all of them."""
    from loraloop.adapters.base import BranchCache, Row
    from loraloop.adapters.payload.payload import PayloadAttached

    @torch.no_grad()
    def run(base: Any, payload: Any, tokens: list[int]) -> torch.Tensor:
        row = Row(tokens, BranchCache(base.decoder.new_cache(), payload.prefix), 1, before=payload.prompt)
        return base.decoder.forward([row], PayloadAttached(payload, base.dtype)).hidden[-len(tokens) :]

    return run


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    """A random Llama checkpoint as transformers saves it, with a byte tokenizer and ChatML."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    save_llama(path, 5, hidden_size=48, intermediate_size=80, num_attention_heads=6, head_dim=8, initializer_range=0.15)
    return path


@pytest.fixture(scope="session")
def llama_base(llama_folder: Path, shared_cache: Path) -> Any:
    """The checkpoint of `llama_folder` as a base in fp32."""
    from loraloop.adapters.base import Base

    return Base.load(str(llama_folder), quantize="fp32", device="cpu", cache_dir=shared_cache)
