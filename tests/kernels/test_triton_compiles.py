"""Every Triton kernel compiles for Ampere and Hopper, down to machine code, which needs no GPU."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is installed on Linux only")
pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

POINTERS = {
    **dict.fromkeys(("x", "y", "A", "B", "out", "q", "k", "v"), "*bf16"),
    **dict.fromkeys(("middle", "levels", "parts"), "*fp32"),
    **dict.fromkeys(("absmax_code", "absmax_scales", "offset"), "*fp32"),
    **dict.fromkeys(("slots", "tiles", "spans", "counters"), "*i32"),
    **dict.fromkeys(("addresses", "capacities", "lengths"), "*i64"),
    "codes": "*u8", "absmax": "*u8", "values": "*bf16", "scale": "fp32",
}  # fmt: skip
TILE = {"SPLIT": 4, "SPANS": True, "ROWS": 16, "WIDE": 64, "WIDEN": False}


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
    built = build(triton_lora._expand, {**tile, "COLUMNS": 64}, capability)
    assert built["cubin"] and ("mma" in built["ptx"]) == (rows > 1)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["*bf16", "*fp16"])
def test_nf4(capability: int, dtype: str) -> None:
    from loraloop.kernels.gpu import triton_nf4

    types = {name: dtype if kind == "*bf16" else kind for name, kind in POINTERS.items()}
    shape = {**TILE, "COLUMNS": 32, "BLOCKS": 4, "DEEP": 64, "PERMUTE": True}
    absent = dict.fromkeys(("middle", "A", "B", "spans", "slots", "counters"))
    alone = build(triton_nf4._linear, {**shape, "LORA": False, "SPANS": False, **absent}, capability, types)
    assert alone["cubin"] and "mma" in alone["ptx"] and "prmt" in alone["ptx"]
    whole = build(triton_nf4._linear, {**shape, "LORA": True}, capability, types)
    assert whole["cubin"] and "atom" in whole["ptx"]


@pytest.mark.parametrize("capability", [80, 90])
def test_the_others(capability: int) -> None:
    import triton.language as tl

    from loraloop.kernels.gpu import triton_attention, triton_nf4

    cases: list[tuple[Any, dict[str, Any]]] = [
        (triton_nf4._dequantize, {"SIZE": 1024}),
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


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dim", [64, 128])
def test_attention_reads_its_keys_and_values_in_whole_vectors(capability: int, dim: int) -> None:
    """The loop copies blocks to shared memory asynchronously, and loads nothing in pieces of two bytes."""
    import triton.language as tl

    from loraloop.kernels.gpu import triton_attention

    shape = {"GROUP": 4, "GROUPED": 16, "DIM": dim, "WIDE": dim, "DEEP": 64, "SPLITS": 8}
    ptx = build(triton_attention._attend, {**shape, "TYPE": tl.bfloat16, "WIDEN": False}, capability)["ptx"]
    lines = ptx.splitlines()
    labels = {line.split(":")[0]: number for number, line in enumerate(lines) if line.startswith("$L")}
    jumps = [(labels[found[1]], at) for at, line in enumerate(lines) if (found := re.search(r"bra\S*\s+(\S+);", line))]
    (loop,) = ["\n".join(lines[start:end]) for start, end in jumps if start < end]
    assert "cp.async" in loop and "mma" in loop
    assert not re.search(r"ld\.global\S*\.[bu]16|st\.shared\S*\.[bu]16", loop)
