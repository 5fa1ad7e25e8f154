"""The C library: products with tiles against plain torch, on every instruction set that this machine can run."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.kernels.cpu import native
from loraloop.kernels.cpu.native import Native
from loraloop.kernels.cpu.native_types import CLinear, CPair
from loraloop.kernels.cpu.tiles import TiledWeight, TileKind, tile_expand_
from loraloop.kernels.quantized import Int8Weight, StackedWeight, Weight

LEVELS = {
    "generic": [],
    "avx2": ["-march=x86-64-v3"],
    "avx2_vnni": ["-march=x86-64-v3", "-mavxvnni"],
    "avx512": ["-march=x86-64-v4"],
    "native": ["-march=native"],
}


BUILT = Path(__file__).resolve().parents[2] / "build" / "native"
"""Where the libraries of tests stay: a compiler takes seconds for each, and their names hold what they are made of."""


def built(level: str) -> Native:
    """The library for a class of processors, if this one is of it."""
    if level in ("avx2", "avx512"):
        capability = torch.backends.cpu.get_cpu_capability()
        if level.upper() not in (capability, {"AVX512": "AVX2"}.get(capability)):
            pytest.skip(f"this processor has no {level}")
    if level == "avx2_vnni" and "avx_vnni" not in native._processor().split():
        pytest.skip("this processor has no AVX-VNNI")
    if not native.has_compiler():
        pytest.skip("no C compiler")
    path = native.build(BUILT, LEVELS[level])
    assert path is not None, "the compiler refuses the sources"
    return Native(path)


@pytest.fixture(scope="module", params=LEVELS)
def library(request: pytest.FixtureRequest) -> Native:
    return built(request.param)


def test_a_library_names_the_class_of_processors_that_it_was_built_for() -> None:
    if not native.has_compiler() or "avx2" not in native._processor().split():
        pytest.skip("no C compiler, or a processor without AVX2")
    names = {}
    for level in ("generic", "avx2"):
        path = native.build(BUILT, LEVELS[level])
        assert path is not None
        names[level] = Native(path).processor
    assert names == {"generic": "no vector instructions of its own", "avx2": "AVX2"}


def drawn(kind: TileKind, rows: int, columns: int, seed: int) -> tuple[TiledWeight, torch.Tensor]:
    """A weight and the values it stands for, in fp32."""
    generator = torch.Generator().manual_seed(seed)
    if kind is TileKind.INT4:
        codes = torch.randint(0, 16, (rows, columns), generator=generator)
        scales = torch.rand(rows, columns // 32, generator=generator).bfloat16()
        zeros = torch.randn(rows, columns // 32, generator=generator).bfloat16()
        wide = (codes.view(rows, -1, 32) - 8) * scales.float()[..., None] + zeros.float()[..., None]
        return TiledWeight.int4(codes, scales, zeros), wide.view(rows, columns)
    values = torch.randn(rows, columns, generator=generator)
    if kind is TileKind.INT8:
        plain = Int8Weight.quantize(values)
        return TiledWeight.int8(plain.codes, plain.scales), plain.codes * plain.scales.float()[:, None]
    return TiledWeight.bf16(values), values.bfloat16().float()


def rounded(x: torch.Tensor, kind: TileKind) -> torch.Tensor:
    """Activations as a product of a kind reads them: in 127 steps up and down of the largest of each 32."""
    if kind is TileKind.BF16:
        return x.bfloat16().float()
    groups = x.view(x.shape[0], -1, 32)
    peaks = groups.abs().amax(-1, keepdim=True)
    factors = torch.where(peaks > 0, 127 / peaks, 0.0)
    return ((groups * factors).round() * (peaks / 127)).view_as(x)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(TileKind),
    tiles=st.integers(1, 5),
    short=st.integers(0, 15),
    groups=st.integers(1, 20),
    count=st.integers(1, 27),
    size=st.sampled_from([1e-4, 1.0, 300.0]),
    seed=st.integers(0, 99),
)
def test_a_product_is_that_of_the_dense_values(
    library: Native, kind: TileKind, tiles: int, short: int, groups: int, count: int, size: float, seed: int
) -> None:
    weight, values = drawn(kind, tiles * 16 - short, groups * 32, seed)
    x = torch.randn(count, groups * 32, generator=torch.Generator().manual_seed(seed)) * size
    ours, exact = library.multiply(weight, x), rounded(x, kind).double() @ values.double().T
    bound = 2e-4 * size * values.abs().amax() * (groups * 32) ** 0.5
    if kind is not TileKind.BF16:  # one activation between two steps may be rounded the other way
        bound = bound + x.abs().amax() / 127 * values.abs().amax()
    assert ours.shape == exact.shape and (ours - exact).abs().max() <= bound


@pytest.mark.parametrize("kind", TileKind)
def test_a_rows_bits_do_not_depend_on_the_other_rows_or_on_threads(library: Native, kind: TileKind) -> None:
    weight, _ = drawn(kind, 80, 96, 1)
    x = torch.randn(21, 96)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = torch.cat([library.multiply(weight, row[None]) for row in x])
        torch.set_num_threads(3)
        assert torch.equal(library.multiply(weight, x), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 4, 16])
def test_a_groups_sum_is_exact(library: Native, count: int) -> None:
    """A group has 32 columns; its activations are whole steps, so nothing is lost but in the last bits of a float."""
    generator = torch.Generator().manual_seed(count)
    whole = torch.randint(-127, 128, (count, 32), generator=generator).float()
    whole[:, 3] = 127
    steps = torch.rand(count, 1, generator=generator) + 0.1
    codes = torch.randint(0, 16, (32, 32), generator=generator)
    signed = torch.randint(-127, 128, (32, 32), generator=generator).to(torch.int8)
    four = TiledWeight.int4(codes, torch.ones(32, 1), torch.zeros(32, 1))
    eight = TiledWeight.int8(signed, torch.ones(32))
    for weight, values in ((four, codes.double() - 8), (eight, signed.double())):
        exact = whole.double() @ values.T * steps
        ours = library.multiply(weight, whole * steps)
        # int4 subtracts 8 times the activations' sum, and so loses bits of the difference
        assert exact.abs().max() > 1_000 and torch.allclose(ours.double(), exact, rtol=1e-6, atol=0.02)


def test_what_nobody_writes_is_nowhere(library: Native) -> None:
    """The library writes every element of a result, the padding of the last tile left out."""
    weight, values = drawn(TileKind.INT8, 19, 64, 3)
    matrix, x = CLinear.of(weight), torch.ones(9, 64)
    y = torch.full((9, 19 + 1), float("nan")).flatten()
    assert not library._product(matrix, x.data_ptr(), y.data_ptr(), 9, 1.0, 1)
    assert torch.isfinite(y[: 9 * 19]).all() and torch.isnan(y[9 * 19 :]).all()
    assert torch.allclose(y[: 9 * 19].view(9, 19), rounded(x, TileKind.INT8) @ values.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_rows_that_are_not_numbers_do_no_harm(library: Native, value: float) -> None:
    weight, values = drawn(TileKind.INT4, 32, 64, 4)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(4))
    x[1] = value
    y = library.multiply(weight, x)
    for row in (0, 2):
        assert torch.allclose(y[row], rounded(x, TileKind.INT4)[row] @ values.T, rtol=1e-3, atol=0.3)
    assert value != 0.0 or not y[1].any()


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(TileKind), tiles=st.integers(1, 4), groups=st.integers(1, 5), seed=st.integers(0, 99))
def test_tiles_hold_the_values_that_they_were_made_of(kind: TileKind, tiles: int, groups: int, seed: int) -> None:
    weight, values = drawn(kind, tiles * 16, groups * 32, seed)
    assert torch.allclose(weight.dequantize().float(), values, rtol=2**-7, atol=1e-3)
    restored = TiledWeight.restore(weight.state(), groups * 32)
    assert torch.equal(restored.dequantize(), weight.dequantize()) and restored.out_features == tiles * 16
    index = torch.tensor([tiles * 16 - 1, 0, 5, 0])
    assert torch.equal(weight.rows(index), weight.dequantize()[index])


def test_stacked_parts_are_multiplied_side_by_side(library: Native) -> None:
    made = [
        drawn(kind, rows, 64, rows) for kind, rows in ((TileKind.INT4, 48), (TileKind.INT8, 16), (TileKind.BF16, 32))
    ]
    stacked: Weight = StackedWeight(tuple(weight for weight, _ in made))
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(6)).bfloat16().float()
    kinds = (TileKind.INT4, TileKind.INT8, TileKind.BF16)
    expected = torch.cat([rounded(x, k) @ values.T for k, (_, values) in zip(kinds, made, strict=True)], 1)
    assert torch.allclose(
        library.multiply(stacked, x), expected, rtol=1e-3, atol=0.3
    )  # a rounding may differ by a step


def test_a_child_process_computes_too(library: Native) -> None:
    """A fork has none of its parent's threads, and makes its own."""
    weight, _ = drawn(TileKind.INT8, 640, 64, 5)
    x = torch.randn(2, 64)
    expected = library.multiply(weight, x)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(torch.equal(library.multiply(weight, x), expected)))
    child.start()
    assert answers.get(timeout=30)
    child.join(timeout=30)
    assert child.exitcode == 0


def test_bad_operands_are_refused() -> None:
    with pytest.raises(ValueError, match="in groups of 32"):
        TiledWeight(TileKind.INT4, torch.zeros(7, dtype=torch.uint8), 16, 48)
    with pytest.raises(TypeError, match="TiledWeight"):
        CLinear.of(Int8Weight.quantize(torch.randn(16, 32)))
    bf16 = torch.zeros(4, 32, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="contiguous bf16"):
        CPair.of(bf16.float(), bf16)
    with pytest.raises(ValueError, match="do not cover"):
        CPair.of(bf16, bf16, [(3, 0, 32)])
    with pytest.raises(ValueError, match="do not fit"):
        CPair.of(bf16, bf16, [(4, 0, 31)])


def test_it_can_be_switched_off_and_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LORALOOP_NATIVE", "0")
    assert native.load(tmp_path) is None
    monkeypatch.setenv("LORALOOP_NATIVE", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not caplog.text
    assert native.load(tmp_path / "nowhere") is None, "without a compiler torch does the work"
    assert "no C compiler is here: torch's kernels are used" in caplog.text and len(caplog.records) == 1


def test_where_its_folder_cannot_be_written_it_is_built_for_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not native.has_compiler():
        pytest.skip("no C compiler")
    (tmp_path / "file").write_text("")
    assert native.load(tmp_path / "file" / "native") is not None
    assert "for this process alone: cannot write to" in caplog.text and len(caplog.records) == 1


def test_a_compiler_that_fails_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if not native.has_compiler():
        pytest.skip("no C compiler")
    assert native.build(tmp_path, ["-march=abacus"]) is None
    assert "cannot build the C kernels" in caplog.text and "abacus" in caplog.text


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_an_expand_matrix_keeps_its_values_when_it_is_laid_out(ranks: int) -> None:
    """Each block's values, per 16 columns: ranks in pairs, an odd one last."""
    blocks = [(ranks, 0, 32), (ranks, 32, 80)]
    matrix = torch.arange(2 * ranks * 80.0).view(2 * ranks, 80)
    plain = matrix.clone()
    tile_expand_([matrix], blocks)
    for number, (_, first, end) in enumerate(blocks):
        flat = matrix.view(-1)[number * ranks * 80 :]
        for column in range(first, end):
            tile = flat[(column - first) // 16 * 16 * ranks :]
            for rank in range(ranks):
                whole = rank < ranks // 2 * 2
                place = rank // 2 * 32 + column % 16 * 2 + rank % 2 if whole else rank * 16 + column % 16
                assert tile[place] == plain[number * ranks + rank, column]
