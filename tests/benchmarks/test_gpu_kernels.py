"""The GPU benchmark where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it would run")
def test_it_says_what_it_needs() -> None:
    command = [sys.executable, "benchmarks/gpu_kernels.py", "--limit", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "needs a CUDA device" in done.stderr


def test_every_figure_is_computed() -> None:
    """With a clock that only calls, in Triton's interpreter, on one layer of a very small base."""
    pytest.importorskip("triton", reason="triton is installed on Linux only")
    script = f"""
import argparse, math, sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import gpu_layers
from gpu_kernels import measure
small = gpu_layers.Dimensions("small", 64, 64, 4, 2, 16, 1)
gpu_layers.SMOLLM2 = gpu_layers.LLAMA_8B = small
given = argparse.Namespace(bases=["smollm2"], batches=[2], ranks=[8], layers=1, limit=1, no_steps=True)

def clock(run, repeats):
    run()
    return 2.0

report = measure(given, clock)
assert all(math.isfinite(number) for number in report.document()["metrics"].values())
assert report.metrics["smollm2_b2_r8_overhead_percent"] == 0
assert report.ratios["smollm2_b2_r8_peft"] == report.ratios["smollm2_b2_r8_bitsandbytes"] == 1
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
