"""Decode attention over caches named by their addresses, in Triton's interpreter (see test_triton.py)."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.kernels import reference

pytest.importorskip("triton", reason="triton is installed on Linux only")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="runs in test_triton.py's process")

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=3),
    heads=st.sampled_from([(2, 1), (3, 3), (9, 3), (4, 2)]),
    dim=st.sampled_from([8, 24, 64]),
    window=st.sampled_from([None, None, 1, 20]),
    dtype=st.sampled_from(list(TOLERANCE)),
    programs=st.sampled_from([1, 8, 24]),
    seed=st.integers(0, 999),
)
def test_agrees_with_the_definition(lengths, heads, dim, window, dtype, programs, seed) -> None:
    from loraloop.kernels.gpu import triton_attention

    triton_attention.PROGRAMS = programs
    torch.manual_seed(seed)
    (query_heads, kv_heads), count, layers, layer = heads, len(lengths), 2, 1
    stores = [torch.randn(2 * layers, kv_heads, n + 1 + row * 64, dim).to(dtype) for row, n in enumerate(lengths)]
    q, k, v = (torch.randn(count, n, dim) for n in (query_heads, kv_heads, kv_heads))
    keys, values = (torch.zeros(2, count, kv_heads, 301, dim, dtype=dtype)).unbind(0)
    for row, (store, n) in enumerate(zip(stores, lengths, strict=True)):
        keys[row, :, :n], values[row, :, :n] = store[layer, :, :n], store[layers + layer, :, :n]
        store[:, :, n:] = float("nan")  # behind the length, nothing is read
    before = [store.clone() for store in stores]
    out = triton_attention.decode_attention(
        q, k, v, torch.tensor([store.data_ptr() for store in stores]),
        torch.tensor([store.shape[2] for store in stores]), torch.tensor(lengths), dtype,
        (layer, layers + layer), window,
    )  # fmt: skip
    want = reference.decode_attention(q.to(dtype), k, v, keys, values, torch.tensor(lengths), window)
    assert (out - want).abs().max() <= TOLERANCE[dtype] * want.abs().max()
    for row, (store, old, n) in enumerate(zip(stores, before, lengths, strict=True)):
        error = (store[layer, :, n].float() - k[row]).abs().max()  # the interpreter cuts bfloat16 off
        assert error <= 2**-7 * k.abs().max() * (dtype is not torch.float32)
        store[layer, :, n], store[layers + layer, :, n] = old[layer, :, n], old[layers + layer, :, n]
        assert torch.equal(store.nan_to_num(), old.nan_to_num())  # and nothing else is written
