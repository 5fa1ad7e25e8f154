"""The speed comparison: its systems, its figures, and what it says of its peers."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def test_a_run_on_the_default_base(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = benchmark("decode")
    limits = benchmark("limits").Limits(40e9, 50e9, 500e9)
    monkeypatch.setattr(decode, "measure", lambda *_, **__: limits)
    path = tmp_path / "decode_small.json"
    small = ["--contexts", "16", "32", "--prompt", "48", "--steps", "2", "--limit", "1", "--threads", "1"]
    threads = torch.get_num_threads()
    try:
        assert decode.main([*small, "--no-peers", "--json", str(path)]) == 0
    finally:
        torch.set_num_threads(threads)
    document = json.loads(path.read_text())
    metrics = document["metrics"]
    assert document["name"] == "decode_small"
    for name in ("decode_16", "decode_32_skill", "rows_8", "rows_16_skill", "prefill_48"):
        assert metrics[f"{name}_ms"] > document["peers"]["limit"][f"{name}_ms"] > 0
        assert 0 < metrics[f"{name}_of_limit_pct"] < 100
    assert metrics["prefill_48_tok_per_s"] == pytest.approx(48e3 / metrics["prefill_48_ms"], rel=1e-3)
    assert set(document["details"]) >= {"decode", "rows", "prefill", "overhead", "bytes"}
    assert document["details"]["bytes"]["loraloop"]["weights"] > 70e6


def test_our_context_is_kept(benchmark: Any, tiny_base: Any) -> None:
    systems = benchmark("speed_systems")
    skill = benchmark("episode").random_skill(tiny_base, "tools", 0, 16)
    ours = systems.Ours(tiny_base, skill, steps=3)
    for case in (systems.Case("decode", 20), systems.Case("rows", 20, 4, True), systems.Case("decode", 20, skill=True)):
        assert ours.measure(case) > 0
        assert ours._caches[20].length == 20


def test_figures_are_medians_and_overheads_are_paired(benchmark: Any) -> None:
    figures, systems = benchmark("speed_figures"), benchmark("speed_systems")
    wanted = [systems.Case("decode", 128), systems.Case("decode", 128, skill=True)]
    samples = {"decode_128": [0.001, 0.002, 0.004], "decode_128_skill": [0.0011, 0.0022, 0.0044]}
    found = figures.figures(samples, wanted, {"decode_128": 0.5})
    assert found["decode_128_ms"] == pytest.approx(2) and found["decode_128_tok_per_s"] == pytest.approx(500)
    assert found["decode_128_of_limit_pct"] == pytest.approx(25)
    assert found["decode_128_skill_overhead_pct"] == pytest.approx(10)


def test_one_token_is_bound_by_reading_and_a_prompt_by_products(benchmark: Any, tiny_base: Any) -> None:
    figures, systems, sizes = benchmark("speed_figures"), benchmark("speed_systems"), benchmark("speed_bytes")
    wanted = [systems.Case("decode", 100), systems.Case("prefill", 100)]
    operations = {
        case.name: sizes.flops(tiny_base, case.context if case.past == 0 else 1, case.past) for case in wanted
    }
    limits = benchmark("limits").Limits(1e9, 2e9, 1e12)
    allowed = figures.allowed_ms(wanted, limits, sizes.Bytes(1_000_000, 1_000, 0), operations)
    assert allowed["decode_100"] == pytest.approx(1_100_000 / 2e9 * 1e3)
    slow = benchmark("limits").Limits(1e9, 2e9, 1e6)
    found = figures.allowed_ms(wanted, slow, sizes.Bytes(1_000_000, 1_000, 0), operations)
    assert found["prefill_100"] == pytest.approx(operations["prefill_100"] / 1e6 * 1e3)


def test_limits_are_positive_and_the_higher_counts(benchmark: Any) -> None:
    limits = benchmark("limits")
    assert limits.bandwidth(1 << 20, 1) > 0
    assert limits.products(1, ((8, 32, 16),)) > 0
    assert limits.Limits(1, 5, 3).best(limits.Limits(2, 4, 3)) == limits.Limits(2, 5, 3)


@pytest.mark.parametrize(
    "flags, isa",
    [("-mavx2 -mfma -mf16c", "AVX2"), ("-march=x86-64-v3 -mavxvnni", "AVX2_VNNI"), ("-march=x86-64-v4", "AVX512_CORE")],
)
def test_products_of_the_limit_use_no_more_than_kernels_compiled_for_less(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, flags: str, isa: str
) -> None:
    """Tiles (AMX) would make the limit several times as high; emulated bf16 products would take minutes."""
    limits, asked = benchmark("limits"), []
    monkeypatch.setenv(limits.ISA, "")
    limits.restrict(flags)
    assert os.environ[limits.ISA] == isa
    monkeypatch.setattr(limits, "best", lambda work, repeats: asked.append(work.args[0].dtype) or 1.0)
    limits.products(1, ((8, 32, 16),))
    assert asked == [torch.int8]


def test_a_lora_for_llama_cpp(benchmark: Any, tiny_base: Any, tmp_path: Path) -> None:
    """Names and shapes as llama.cpp wants them; query rows turned as a GGUF file of the base has them."""
    from gguf import GGUFReader

    peer = benchmark("llama_peer")
    skill = benchmark("episode").random_skill(tiny_base, "tools", 0, 16)
    reader = GGUFReader(str(peer.write_lora(tiny_base, skill, tmp_path / "lora.gguf")))
    tensors = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    assert len(tensors) == 14 * tiny_base.config.layers
    assert torch.equal(tensors["blk.0.attn_v.weight.lora_b"], skill.tensors["layers.0.v_proj.lora_B"])
    ours, theirs = skill.tensors["layers.0.q_proj.lora_B"], tensors["blk.0.attn_q.weight.lora_b"]
    dim, half = tiny_base.config.head_dim, tiny_base.config.head_dim // 2
    for row in (0, 1, half, dim + 3):
        head, place = divmod(row, dim)
        pair = head * dim + 2 * (place % half) + place // half
        assert torch.equal(theirs[pair], ours[row])


def test_llama_cpp_is_left_out_with_a_word(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    peer = benchmark("llama_peer")
    if importlib.util.find_spec("llama_cpp"):
        pytest.skip("llama-cpp-python is installed here")
    assert peer.interpreter(None) is None
    assert "left out" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="pip install llama-cpp-python"):
        peer.interpreter(sys.executable)


def test_a_worker_that_dies_is_an_error(benchmark: Any, tmp_path: Path) -> None:
    peer = benchmark("llama_peer")
    with pytest.raises(RuntimeError, match="has ended"):
        peer.Llama(sys.executable, tmp_path / "none.gguf", 1)  # no llama_cpp there
