"""Every kind of payload on the torch decoder, against a plain formula of the whole forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, rms_norm, silu

from loraloop.adapters.base import Base, BranchCache, Row, random_base
from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.payload.payload import Bottleneck, LowRank, Payload, PayloadAttached
from loraloop.tool_schemas.errors import SkillError

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"architecture": "qwen2", "qkv_bias": True},
    "granite": {"architecture": "granite", "embedding_scale": 4.0, "residual_scale": 0.5},
}
Make = Callable[..., Payload]
KINDS = ("pairs", "gains", "input_gains", "biases", "prefix", "prompt", "bottlenecks")


def plain(base: Base, payload: Payload, trunk: list[int], branch: list[int]) -> Tensor:
    """Final states [T, H] of the branch: the trunk under the bare base, then virtual tokens, then the branch."""
    decoder, config = base.decoder, base.config
    assert isinstance(decoder, Decoder)
    prefix = next(iter(payload.prefix.values()))[0].shape[0] if payload.prefix else 0
    given = torch.zeros(0, config.hidden_size) if payload.prompt is None else payload.prompt
    own = torch.zeros(len(trunk) + len(given) + len(branch), 1)
    own[len(trunk) :] = 1  # rows that the payload changes
    table = base.decoder.embedding.dequantize()
    h = torch.cat([table[torch.tensor(trunk, dtype=torch.long)], given, table[torch.tensor(branch)]])
    h = h * config.scales.embedding
    positions = torch.arange(len(h)) + torch.where(own[:, 0] > 0, prefix, 0)
    angles = positions[:, None] / 10000 ** (torch.arange(0, config.head_dim, 2) / config.head_dim)
    cos, sin = angles.cos().repeat(1, 2)[:, None], angles.sin().repeat(1, 2)[:, None]

    def turned(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def product(layer: int, group: str, x: Tensor, weight: Tensor) -> Tensor:
        site = (layer, group)
        inside = x * payload.input_gains[site] if site in payload.input_gains else x
        y = inside @ weight.T
        if site in payload.pairs:
            y = y + inside @ payload.pairs[site].A.T @ payload.pairs[site].B.T
        if site in payload.gains:
            y = y * payload.gains[site]
        if site in payload.biases:
            y = y + payload.biases[site]
        return own * y + (1 - own) * (x @ weight.T)

    def narrow(layer: int, part: str, y: Tensor) -> Tensor:
        m = payload.bottlenecks.get((layer, part))
        if m is None:
            return y
        act = {"relu": relu, "gelu": gelu, "silu": silu}[m.activation]
        middle = act(y @ m.down.T + (0 if m.down_bias is None else m.down_bias))
        return y + own * (middle @ m.up.T + (0 if m.up_bias is None else m.up_bias))

    heads, keys, dim, at = config.heads, config.kv_heads, config.head_dim, len(trunk)
    for index, layer in enumerate(decoder.layers):
        x = rms_norm(h, (config.hidden_size,), layer.attention_norm, config.rms_eps)
        y = product(index, "qkv", x, layer.qkv.dequantize())
        if layer.qkv_bias is not None:
            y = y + layer.qkv_bias
        q, k, v = y.view(len(h), -1, dim).split([heads, keys, keys], dim=1)
        q, k = turned(q), turned(k)
        if payload.prefix:
            k, v = (
                torch.cat([own_[:at], given_, own_[at:]])
                for own_, given_ in zip((k, v), payload.prefix[index], strict=True)
            )
        k, v = k.repeat_interleave(heads // keys, 1), v.repeat_interleave(heads // keys, 1)
        seen = torch.arange(len(k))[None] <= positions[:, None]
        scores = torch.einsum("qhd,khd->hqk", q, k) * dim**-0.5
        x = torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v).reshape(len(h), -1)
        y = narrow(index, "attention", product(index, "o", x, layer.o.dequantize()))
        h = h + config.scales.residual * y
        x = rms_norm(h, (config.hidden_size,), layer.mlp_norm, config.rms_eps)
        gate, up = product(index, "gate_up", x, layer.gate_up.dequantize()).chunk(2, 1)
        y = narrow(index, "mlp", product(index, "down", silu(gate) * up, layer.down.dequantize()))
        h = h + config.scales.residual * y
    return rms_norm(h, (config.hidden_size,), decoder.norm, config.rms_eps)[len(h) - len(branch) :]


TRUNK, BRANCH = list(range(40, 51)), [1, 90, 91, 92]


def attached_states(base: Base, payload: Payload, trunk: list[int]) -> Tensor:
    """The branch's states by the decoder: the trunk in a cache, one differentiable forward on top of it."""
    cache = base.decoder.new_cache()
    with torch.no_grad():
        if trunk:
            base.decoder.forward([Row(trunk, cache)])
    row = Row(BRANCH, BranchCache(cache, payload.prefix), 1, payload.prompt)
    return base.decoder.forward([row], PayloadAttached(payload, base.dtype)).hidden[-len(BRANCH) :]


def leaves(payload: Payload) -> list[Tensor]:
    """Its parameters."""
    pairs = [t for pair in payload.pairs.values() for t in (pair.A, pair.B)]
    modules = [t for m in payload.bottlenecks.values() for t in (m.down, m.up, m.down_bias, m.up_bias) if t is not None]
    vectors = [t for part in (payload.gains, payload.input_gains, payload.biases) for t in part.values()]
    prefix = [t for both in payload.prefix.values() for t in both]
    return pairs + modules + vectors + prefix + ([] if payload.prompt is None else [payload.prompt])


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids=lambda kinds: "+".join(kinds)[:20])
@pytest.mark.parametrize("trunk", [TRUNK, []], ids=["branch", "full"])
def test_states_and_gradients_are_those_of_the_formula(
    config: str, kinds: tuple[str, ...], trunk: list[int], payload_of: Make
) -> None:
    base = random_base(**CONFIGS[config])
    payload = payload_of(base.config, kinds)
    payload.check(base.config, "test")
    made, exact = attached_states(base, payload, trunk), plain(base, payload, trunk, BRANCH)
    assert (made - exact).abs().max() < 2e-4
    assert (exact - plain(base, Payload(), trunk, BRANCH)).abs().max() > 0.05, "the payload must matter"
    ours, theirs = (
        torch.autograd.grad(states.square().sum(), leaves(payload), allow_unused=True) for states in (made, exact)
    )
    assert any(gradient is not None and gradient.abs().max() > 1e-3 for gradient in ours)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None and other is not None:
            assert (mine - other).norm() < 1e-3 * (other.norm() + 1e-2)


def test_rows_on_slot_0_keep_their_bits_beside_a_payload(payload_of: Make) -> None:
    base = random_base()
    payload = payload_of(base.config, KINDS)
    with torch.no_grad():
        alone = base.decoder.forward([Row(TRUNK, base.new_cache()), Row(BRANCH, base.new_cache())]).hidden
        beside = base.decoder.forward(
            [Row(TRUNK, base.new_cache()), Row(BRANCH, base.new_cache(), 1)], PayloadAttached(payload)
        ).hidden
    assert torch.equal(alone[: len(TRUNK)], beside[: len(TRUNK)])
    assert not torch.allclose(alone[len(TRUNK) :], beside[len(TRUNK) :])


def test_a_prefix_put_into_a_cache_is_the_one_that_is_trained(payload_of: Make) -> None:
    base = random_base()
    payload = payload_of(base.config, ("prefix", "prompt"))
    cache = base.new_cache(4)
    with torch.no_grad():
        base.decoder.forward([Row(TRUNK, cache)])
        cache.extend(payload.prefix)
        assert cache.length == len(TRUNK) + 3
        base.decoder.forward([Row([], cache, 1, payload.prompt)], PayloadAttached(payload))
        assert cache.length == len(TRUNK) + payload.virtual == len(TRUNK) + 5
        made = base.decoder.forward([Row(BRANCH, cache, 1)], PayloadAttached(payload)).hidden
        assert (made - plain(base, payload, TRUNK, BRANCH)).abs().max() < 2e-4


def test_kinds_are_named_and_misfits_refused(payload_of: Make) -> None:
    base = random_base()
    assert (
        payload_of(base.config, KINDS).kinds == set(KINDS) and Payload().kinds == frozenset() and Payload().virtual == 0
    )
    whole = payload_of(base.config, KINDS)
    some: list[tuple[Payload, str]] = [
        (Payload(gains={(0, "o"): torch.ones(3)}), "gains of layer 0, o"),
        (Payload(biases={(9, "o"): torch.ones(32)}), "layer 9"),
        (Payload(input_gains={(0, "oo"): torch.ones(32)}), "place that the base does not have"),
        (Payload(prefix={0: whole.prefix[0]}), "all 2 layers"),
        (Payload(prompt=torch.ones(2, 5)), "a prompt is"),
        (Payload(bottlenecks={(0, "mlp"): Bottleneck(torch.ones(2, 5), torch.ones(5, 2))}), "5 wide"),
        (Payload(pairs={(0, "o"): LowRank(torch.ones(2, 5), torch.ones(32, 2))}), "does not fit"),
    ]
    for payload, why in some:
        with pytest.raises(SkillError, match=why):
            payload.check(base.config, "it")
    with pytest.raises(ValueError, match="do not fit"):
        Bottleneck(torch.ones(2, 5), torch.ones(5, 3))
    with pytest.raises(ValueError, match="unknown activation"):
        Bottleneck(torch.ones(2, 5), torch.ones(5, 2), activation="tanh")  # type: ignore[arg-type]
