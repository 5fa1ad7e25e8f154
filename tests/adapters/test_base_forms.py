"""Quantized forms, the sources they come from, the cache folder, and what happens to bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from loraloop.adapters.base import Base, Row
from loraloop.kernels.quantized import DenseWeight, Int4Weight, Int8Weight, Nf4Weight, Weight
from loraloop.tool_schemas.errors import BaseModelError, UnknownNameError

FORMS = {"int4": Int4Weight, "int8": Int8Weight, "bf16": DenseWeight, "nf4": Nf4Weight}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_a_product_is_that_of_the_dequantized_values(form: str, rows: int) -> None:
    values = torch.randn(96, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    kind: Any = FORMS[form]
    weight: Weight = DenseWeight(values.bfloat16()) if form == "bf16" else kind.quantize(values)
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = x.float() @ weight.dequantize().float().t()
    torch.testing.assert_close(weight(x).float(), expected, atol=2e-2, rtol=2e-2)
    worst = {"int4": 0.05, "int8": 0.003, "bf16": 0.002, "nf4": 0.06}[form]
    assert (weight.dequantize().float() - values).abs().max() < worst
    assert (weight.out_features, weight.in_features) == (96, 64)


def test_int4_keeps_the_codes_it_is_given() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (64, 96), generator=generator)
    scales = torch.rand(64, 3, generator=generator).bfloat16().float()
    zeros = torch.randn(64, 3, generator=generator).bfloat16().float()
    weight = Int4Weight.pack(codes, scales, zeros)
    expected = (codes.view(64, 3, 32) - 8) * scales[..., None] + zeros[..., None]
    torch.testing.assert_close(weight.dequantize().float(), expected.view(64, 96), atol=0.03, rtol=0.008)
    with pytest.raises(ValueError, match="multiple of 32"):
        Int4Weight.pack(codes[:, :90], scales, zeros)


def write_gguf(path: Path, model: Any, tokenizer_json: str, template: str, kind: gguf.GGMLQuantizationType) -> None:
    """Writes a transformers Llama as llama.cpp's converter does: its names, its rotary row order."""
    config, spec = model.config, json.loads(tokenizer_json)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    vocabulary = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] * 3 + [1] * (len(vocabulary) - 3))
    writer.add_eos_token_id(0)
    writer.add_chat_template(template)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    for name, tensor in model.state_dict().items():
        values = tensor.detach().numpy()
        if name == "lm_head.weight":
            continue
        if name in ("model.embed_tokens.weight", "model.norm.weight"):
            target = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}[name]
        else:
            _, _, layer, module = name.removesuffix(".weight").split(".", 3)
            target = f"blk.{layer}.{names[module]}"
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(names[module])
            if heads:
                pairs = values.reshape(heads, 2, values.shape[0] // heads // 2, values.shape[1])
                values = pairs.swapaxes(1, 2).reshape(values.shape)
        chosen = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else kind
        data = gguf.quantize(np.ascontiguousarray(values), chosen)
        writer.add_tensor(f"{target}.weight", data, raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1", "Q4_0"])
def test_a_gguf_file_gives_the_model_that_was_written(tmp_path: Path, save_llama: Any, kind: str) -> None:
    from loraloop.adapters.base.random_base import byte_tokenizer_json

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = save_llama(tmp_path / "hf", seed=5, **sizes)
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    write_gguf(tmp_path / "m.gguf", model, byte_tokenizer_json(), template, gguf.GGMLQuantizationType[kind])
    tokens = list(range(3, 60))

    def logits(model: Path, quantize: str) -> torch.Tensor:
        base = Base.load(model, quantize=quantize, device="cpu", cache_dir=tmp_path / "cache")
        return base.logits(base.forward([Row(tokens, base.new_cache())]).hidden)

    original, read = logits(tmp_path / "hf", "fp32"), logits(tmp_path / "m.gguf", "fp32")
    if kind in ("F32", "F16"):
        torch.testing.assert_close(read, original, atol=2e-2 if kind == "F16" else 1e-4, rtol=1e-2)
    else:
        assert torch.nn.functional.cosine_similarity(read, original).mean() > (0.999 if kind == "Q8_0" else 0.8)
    if kind.startswith("Q4"):  # the served int4 form keeps the codes: only scales and activations are rounded
        served = logits(tmp_path / "m.gguf", "int4")
        assert torch.nn.functional.cosine_similarity(served, read).mean() > 0.998


@pytest.mark.parametrize("form", ["int8", "bf16", "nf4"])
def test_other_forms_of_the_default_base_say_the_same(base: Base, form: str) -> None:
    other = Base.load(quantize=form, device="cpu")
    tokens = base.chat.render([]) + base.tokenizer.encode(
        "The capital of France is Paris. The capital of Italy is Rome."
    )
    ours, theirs = (b.logits(b.forward([Row(tokens, b.new_cache())]).hidden) for b in (base, other))
    assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() > 0.4
    assert torch.nn.functional.cosine_similarity(ours, theirs).mean() > (0.7 if form == "nf4" else 0.97)
    assert base.fingerprints.architecture == other.fingerprints.architecture
    assert base.fingerprints.weights != other.fingerprints.weights


def test_a_second_load_reads_the_cache_and_notices_damage(tmp_path: Path, save_llama: Any) -> None:
    save_llama(tmp_path / "hf")
    seen: list[str] = []
    arguments = {"quantize": "fp32", "device": "cpu", "cache_dir": tmp_path / "c"}
    Base.load(tmp_path / "hf", progress=lambda what, done, total: seen.append(what), **arguments)
    assert seen == ["converting", "converting"]
    again = Base.load(tmp_path / "hf", progress=lambda *event: pytest.fail("converted twice"), **arguments)
    assert again.config.layers == 2
    [weights] = (tmp_path / "c").rglob("weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BaseModelError, match="damaged"):
        Base.load(tmp_path / "hf", **arguments)


def test_bad_bases_are_refused_with_advice(tmp_path: Path, save_llama: Any) -> None:
    cases: list[tuple[Any, str]] = [(tmp_path / "nowhere", "no base at"), ("smollm3", "no base at")]
    save_llama(tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    cases.append((tmp_path / "other", "unsupported architecture 'mamba'.*llama"))
    (tmp_path / "empty").mkdir()
    cases.append((tmp_path / "empty", "config.json"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but not really" * 10)
    cases.append((tmp_path / "broken.gguf", "not a readable GGUF"))
    for model, message in cases:
        with pytest.raises(BaseModelError, match=message):
            Base.load(model, quantize="fp32", device="cpu", cache_dir=tmp_path / "c")
    save_llama(tmp_path / "fine")
    with pytest.raises(UnknownNameError, match="int4"):
        Base.load(tmp_path / "fine", quantize="int5", device="cpu", cache_dir=tmp_path / "c")
    with pytest.raises(BaseModelError, match="multiples of 32"):
        Base.load(tmp_path / "fine", quantize="int4", device="cpu", cache_dir=tmp_path / "c")
