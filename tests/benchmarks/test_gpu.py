"""The GPU benchmark where there is no GPU."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it would run")
def test_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--limit", "1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"), run_name="__main__")
    message = capsys.readouterr().err
    assert ended.value.code == 2 and message.count("\n") == 1 and "needs a CUDA device" in message


@pytest.mark.slow
def test_every_figure_is_computed() -> None:
    """With a clock that only calls, in Triton's interpreter, on one layer of a very small base."""
    pytest.importorskip("triton", reason="triton is installed on Linux only")
    script = f"""
import math, sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import gpu
gpu.BATCHES = (1, 2)
gpu.LLAMA_8B = gpu.ModelConfig(
    hidden_size=64, intermediate_size=64, heads=4, kv_heads=2, head_dim=16, layers=1, vocab_size=64, max_positions=64
)

def clock(run, repeats):
    run()
    return 2.0

report = gpu.measure(1, (), clock)
assert all(math.isfinite(number) for number in report.document()["metrics"].values())
assert report.metrics["b2_lora_overhead_percent"] == 0
assert report.ratios["b2_base"] == report.ratios["b2_lora"] == 1
assert report.details["gates"]["b1_lora_overhead_percent"].endswith("holds")
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_random_base_of_a_shape_serves_and_swaps_skills(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made on a card, here small, dense and without graphs."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    shape = {"hidden_size": 64, "intermediate_size": 96, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32}
    base = gpu.made_base(shape, torch.device("cpu"), nf4=False)
    bank, names = gpu.made_bank(base, slots=2, skills=3)
    states = []
    for name in (*names, names[0]):
        cache = gpu.filled(base, 8)
        cache.truncate(0)
        rows = [gpu.Row([40, 41, 42], cache, bank.slot(name))]
        states.append(base.forward(rows, attached=bank.attached).hidden)
    assert torch.equal(states[0], states[3]) and not torch.equal(states[0], states[1])
