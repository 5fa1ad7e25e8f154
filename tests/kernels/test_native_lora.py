from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.kernels import native, reference

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> native.Native:
    built = native.load(tmp_path_factory.mktemp("native"))
    assert built is not None
    return built


@needs_compiler
@settings(max_examples=80, deadline=None)
@given(
    inputs=st.integers(1, 200),
    parts=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    rank=st.integers(1, 9),
    rows=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_the_definition(
    library: native.Native, inputs: int, parts: list[int], rank: int, rows: int, seed: int
) -> None:
    """Block-diagonal expand matrices, as fused projections have them; memory around the operands stays as it was."""
    torch.manual_seed(seed)
    shrink = torch.randn(rank * len(parts), inputs).bfloat16()
    expand = torch.block_diag(*(torch.randn(rank, part) for part in parts)).bfloat16()
    outputs = sum(parts)
    x, around = torch.randn(rows, inputs).bfloat16(), torch.full(((rows + 2) * outputs,), 7.0).bfloat16()
    y = around[outputs:-outputs].view(rows, outputs)
    y.copy_(torch.randn(rows, outputs))
    A, B = shrink.float()[None].expand(2, -1, -1), expand.T.float()[None].expand(2, -1, -1)
    expected = reference.lora_linear(x.float(), y.float(), A, B, ((0, rows, 1),))
    alone = y[:1].clone()
    starts = [sum(parts[:number]) for number in range(len(parts))]
    blocks = [(rank, start, start + part) for start, part in zip(starts, parts, strict=True)]
    pair = library.pair(shrink, expand, native.spans(rank * len(parts), outputs, blocks))
    pair(x, y)
    assert (y.float() - expected).abs().max() <= 2**-8 * expected.abs().max() + 1e-6
    pair(x[:1], alone)
    assert torch.equal(alone, y[:1])
    assert around[:outputs].eq(7).all() and around[-outputs:].eq(7).all()


def test_spans_of_blocks() -> None:
    assert native.spans(3, 9, [(1, 0, 4), (2, 6, 9)]).tolist() == [[0, 4], [6, 9], [6, 9]]
    assert native.spans(2, 9).tolist() == [[0, 9], [0, 9]]
    for blocks in ([(1, 0, 4)], [(2, 0, 10)], [(2, 5, 4)]):
        with pytest.raises(ValueError, match="do not cover 2 rows of 9 columns"):
            native.spans(2, 9, blocks)


@needs_compiler
def test_rounding_is_to_nearest_even_and_keeps_nan(library: native.Native) -> None:
    values = torch.randn(512) * torch.logspace(-30, 30, 512)
    y = values.bfloat16()
    y[3], y[4] = float("nan"), float("inf")
    before = y.clone()
    still = library.pair(torch.zeros(1, 4).bfloat16(), torch.ones(1, 512).bfloat16(), torch.tensor([[0, 512]]).int())
    still(torch.ones(1, 4).bfloat16(), y[None])
    torch.testing.assert_close(y, before, rtol=0, atol=0, equal_nan=True)
    added = library.pair(
        torch.ones(1, 1).bfloat16(), torch.full((1, 512), 0.001953125).bfloat16(), torch.tensor([[0, 512]]).int()
    )
    y = torch.linspace(0.5, 2, 512).bfloat16()
    expected = (y.float() + 0.001953125).bfloat16()
    added(torch.ones(1, 1).bfloat16(), y[None])
    assert torch.equal(y, expected)


@needs_compiler
def test_built_once_and_only_where_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = native.load(tmp_path / "a")
    assert first is not None and native.load(tmp_path / "a") is first
    assert len(list((tmp_path / "a").iterdir())) == 1
    monkeypatch.setenv("LORALOOP_NATIVE", "0")
    assert native.load(tmp_path / "a") is None
    monkeypatch.delenv("LORALOOP_NATIVE")
    monkeypatch.setattr(native.shutil, "which", lambda _: None)
    assert native.load(tmp_path / "b") is None
    monkeypatch.setattr(native, "_agrees", lambda _: False)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert native.load(tmp_path / "c") is None


@needs_compiler
def test_wrong_operands_are_refused(library: native.Native) -> None:
    A, B = torch.zeros(2, 8).bfloat16(), torch.zeros(2, 6).bfloat16()
    with pytest.raises(ValueError, match=r"contiguous torch\.bfloat16"):
        library.pair(A.float(), B, native.spans(2, 6))
    with pytest.raises(ValueError, match=r"contiguous torch\.bfloat16"):
        library.pair(A, torch.zeros(6, 2).bfloat16().T, native.spans(2, 6))
    with pytest.raises(ValueError, match="do not fit"):
        library.pair(A[:1], B, native.spans(2, 6))
