"""Every Triton kernel compiles for Ampere and Hopper, down to machine code, which needs no GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is installed on Linux only")
pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

POINTERS = {
    **dict.fromkeys(("x", "y", "A", "B", "gain", "bias", "input_gain", "right", "out", "q", "k", "v"), "*bf16"),
    **dict.fromkeys(("middle", "weights", "levels", "left", "parts"), "*fp32"),
    **dict.fromkeys(("absmax_code", "absmax_scales", "offset"), "*fp32"),
    **dict.fromkeys(("slots", "tiles", "spans", "counters"), "*i32"),
    **dict.fromkeys(("addresses", "capacities", "lengths"), "*i64"),
    "codes": "*u8", "absmax": "*u8", "values": "*bf16", "scale": "fp32",
}  # fmt: skip
TILE = {"MIX": 1, "SPLIT": 4, "SPANS": True, "ROWS": 16, "WIDE": 64, "WIDEN": False}


def build(
    kernel: Any, constants: dict[str, Any], capability: int, types: dict[str, str] = POINTERS, warps: int = 4
) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name in ("inputs", "outputs")
    }
    target = GPUTarget("cuda", capability, 32)
    return compile(ASTSource(kernel, signature, constants, aligned), target=target, options={"num_warps": warps}).asm


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("rows", [1, 16])
def test_low_rank(capability: int, rows: int) -> None:
    from loraloop.kernels.gpu import triton_lora

    tile = {**TILE, "ROWS": rows}
    built = build(triton_lora._shrink, {**tile, "DEEP": 64}, capability)
    assert built["cubin"] and ("mma" in built["ptx"]) == (rows > 1)
    parts = {"LOW_RANK": True, "GAIN": True, "BIAS": True, "COLUMNS": 64}
    built = build(triton_lora._adapt, {**tile, **parts, "MIX": 2}, capability)
    assert built["cubin"] and ("mma" in built["ptx"]) == (rows > 1)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["*bf16", "*fp16"])
def test_nf4(capability: int, dtype: str) -> None:
    from loraloop.kernels.gpu import triton_nf4

    types = {name: dtype if kind == "*bf16" else kind for name, kind in POINTERS.items()}
    shape = {**TILE, "COLUMNS": 32, "BLOCKS": 4, "DEEP": 64, "PERMUTE": True}
    absent = dict.fromkeys(("middle", "A", "B", "spans", "gain", "bias", "input_gain", "slots", "weights", "counters"))
    none = dict.fromkeys(("ADAPT", "LOW_RANK", "GAIN", "BIAS", "INPUT_GAIN", "SPANS"), False)
    alone = build(triton_nf4._linear, {**shape, **none, **absent}, capability, types)
    assert alone["cubin"] and "mma" in alone["ptx"] and "prmt" in alone["ptx"]
    everything = dict.fromkeys(none, True)
    whole = build(triton_nf4._linear, {**shape, **everything}, capability, types)
    assert whole["cubin"] and "atom" in whole["ptx"]


@pytest.mark.parametrize("capability", [80, 90])
def test_the_others(capability: int) -> None:
    import triton.language as tl

    from loraloop.kernels.gpu import triton_attention, triton_lora, triton_nf4, triton_outer

    cases: list[tuple[Any, dict[str, Any]]] = [
        (triton_lora._scale_input, {"MIX": 2, "COLUMNS": 256}),
        (triton_nf4._dequantize, {"SIZE": 1024}),
        (triton_outer._outer, {"ROWS": 32, "WIDE": 16, "COLUMNS": 64, "WIDEN": False}),
        (
            triton_attention._attend,
            {"GROUP": 4, "GROUPED": 16, "DIM": 128, "WIDE": 128, "DEEP": 64, "SPLITS": 8, "TYPE": tl.bfloat16,
             "WIDEN": False},
        ),
    ]  # fmt: skip
    for kernel, constants in cases:
        assert build(kernel, constants, capability)["cubin"], kernel
    join = {"GROUP": 4, "DIM": 128, "WIDE": 128, "SPLITS": 8}
    assert build(triton_attention._join, join, capability, {"parts": "*fp32", "out": "*fp32"})["cubin"]
