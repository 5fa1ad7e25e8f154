"""Quantized forms, the sources they come from, the cache folder, and what happens to bad input."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.base import Base, Row
from loraloop.adapters.base.loading.convert import convert
from loraloop.adapters.base.loading.hf_source import HFSource
from loraloop.adapters.base.loading.quantize import fused
from loraloop.kernels.quantized import Int4Weight
from loraloop.scale.rates import config_of
from loraloop.tool_schemas.errors import BaseModelError, LoraloopError, UnknownNameError

FORMS = ("int4", "int8", "bf16", "nf4")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_a_product_is_that_of_the_dequantized_values(form: str, rows: int) -> None:
    values = torch.randn(96, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    weight = fused([values], form)
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


def test_that_torch_does_the_work_is_said(
    tmp_path: Path, save_llama: Any, make_cache: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A base whose dimensions the C kernels do not fit is several times as slow: it warns whenever it is loaded."""
    save_llama(tmp_path / "odd")
    cache = make_cache(tmp_path / "c")
    for _ in range(2):
        caplog.clear()
        base = Base.load(tmp_path / "odd", quantize="int8", device="cpu", cache_dir=cache)
        assert not base.native and [each.levelname for each in caplog.records] == ["WARNING"]
        assert "dimensions of odd" in caplog.text and "torch does the work" in caplog.text


def test_a_second_load_reads_the_cache_and_notices_damage(tmp_path: Path, save_llama: Any) -> None:
    save_llama(tmp_path / "hf")
    seen: list[str] = []
    arguments = {"quantize": "fp32", "device": "cpu", "cache_dir": tmp_path / "c"}
    Base.load(tmp_path / "hf", progress=lambda what, done, total: seen.append(what), **arguments)
    assert seen == ["converting", "converting"]
    again = Base.load(tmp_path / "hf", progress=lambda *event: pytest.fail("converted twice"), **arguments)
    assert again.config.layers == 2
    [weights] = (tmp_path / "c").rglob("weights.safetensors")
    content = weights.read_bytes()
    for place in (-1, 0, 7, 12):  # a value, the header's length, the header
        flipped = bytearray(content)
        flipped[place] ^= 255
        weights.write_bytes(flipped)
        with pytest.raises(BaseModelError, match="damaged"):
            Base.load(tmp_path / "hf", **arguments)
    for rest in (content[:-1], content[:100], content[:5], b""):
        weights.write_bytes(rest)
        with pytest.raises(BaseModelError, match="damaged"):
            Base.load(tmp_path / "hf", **arguments)
    weights.unlink()
    with pytest.raises(BaseModelError, match="damaged"):
        Base.load(tmp_path / "hf", **arguments)


def test_bad_bases_are_refused_with_advice(tmp_path: Path, save_llama: Any, make_cache: Any) -> None:
    cache = make_cache(tmp_path / "c")
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
            Base.load(model, quantize="fp32", device="cpu", cache_dir=cache)
    save_llama(tmp_path / "fine")
    with pytest.raises(UnknownNameError, match="int4"):
        Base.load(tmp_path / "fine", quantize="int5", device="cpu", cache_dir=cache)
    with pytest.raises(BaseModelError, match="multiples of 32"):
        Base.load(tmp_path / "fine", quantize="int4", device="cpu", cache_dir=cache)


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": 64, "head_dim": 8},
        {"intermediate_size": 96},
        {"intermediate_size": 32},
        {"num_attention_heads": 8, "head_dim": 8},
        {"num_key_value_heads": 4},
        {"head_dim": 16},
        {"vocab_size": 1000},
        {"vocab_size": 100},
        {"head_dim": 7},
        {"vocab_size": 0},
        {"num_hidden_layers": -1},
        {"max_position_embeddings": 10**12},
    ],
    ids=str,
)
def test_a_config_that_its_weights_contradict_is_refused(
    tmp_path: Path, save_llama: Any, changed: dict[str, int]
) -> None:
    """The C decoder reads as much memory as the config says."""
    save_llama(tmp_path / "hf")
    file = tmp_path / "hf" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(BaseModelError, match="config"):
        convert(HFSource(tmp_path / "hf"), "x", "fp32", tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "changed",
    [{"hidden_size": None}, {"rms_norm_eps": [1]}, {"rope_parameters": [1]}, {"vocab_size": "many"}, None],
)
def test_a_damaged_config_is_told_as_one(tmp_path: Path, save_llama: Any, changed: dict[str, Any] | None) -> None:
    save_llama(tmp_path / "hf")
    file = tmp_path / "hf" / "config.json"
    file.write_text(json.dumps(changed and {**json.loads(file.read_text()), **changed}))
    with pytest.raises(BaseModelError, match=r"config\.json is damaged"):
        config_of(str(tmp_path / "hf"))


ODD: tuple[Any, ...] = (None, "x", -1, 1.5, [], [None], {}, {"a": 1}, True, "\x00")


def test_damaged_folders_raise_nothing_but_the_librarys_own_errors(tmp_path: Path, save_llama: Any) -> None:
    save_llama(tmp_path / "hf")
    contents = {file: file.read_bytes() for file in sorted((tmp_path / "hf").iterdir())}
    rng, refused = random.Random(7), 0
    for _ in range(150):
        file = rng.choice(list(contents))
        content = contents[file]
        if file.suffix == ".json" and rng.random() < 0.7:
            fields = json.loads(content)
            place = rng.choice([fields, *(inner for inner in fields.values() if isinstance(inner, dict) and inner)])
            place[rng.choice(list(place))] = rng.choice(ODD)
            file.write_text(json.dumps(fields))
        else:
            damaged = bytearray(content)
            for _ in range(rng.randint(1, 4)):
                damaged[rng.randrange(min(len(damaged), 4000))] = rng.randrange(256)
            file.write_bytes(damaged[: rng.choice((len(damaged), len(damaged) // 2, 9))])
        try:
            Base.load(tmp_path / "hf", quantize="fp32", device="cpu", cache_dir=tmp_path / "c")
        except LoraloopError:
            refused += 1
        file.write_bytes(content)
        shutil.rmtree(tmp_path / "c", ignore_errors=True)
    assert refused > 50
    Base.load(tmp_path / "hf", quantize="fp32", device="cpu", cache_dir=tmp_path / "c")


@pytest.mark.parametrize("device", ["gpu", "cuda:63"])
def test_a_device_that_torch_cannot_use(device: str) -> None:
    with pytest.raises(BaseModelError, match=rf"torch cannot use the device '{device}' \(.*\): leave it out, or"):
        Base.load(device=device)
