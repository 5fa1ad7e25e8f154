"""The training forward against the decoder's own, for every kind of payload; its pieces against autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as plain_cross_entropy
from torch.nn.functional import log_softmax

from loraloop.adapters.base import BranchCache, Row, random_base
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.payload.payload import Bottleneck, LowRank, Payload, PayloadAttached
from loraloop.adapters.payload.sites import GROUPS, group_shape
from loraloop.adapters.training.data.encode import Encoded, EncodedBranch
from loraloop.adapters.training.forward import fused
from loraloop.adapters.training.forward.forward import Dropout
from loraloop.adapters.training.forward.scored import Reader
from loraloop.adapters.training.objectives import head
from loraloop.kernels.quantized import DenseWeight

LENGTHS = [(5, 4), (9, 7), (1, 3), (9, 2)]
KINDS = ("pairs", "gains", "input_gains", "biases", "prefix", "prompt", "bottlenecks")
BASES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen": {"qkv_bias": True, "qk_norm": True},
    "granite": {"residual_scale": 0.3, "embedding_scale": 2.0, "attention_scale": 0.2, "logits_scale": 4.0},
    "mistral": {"sliding_window": 6},
}


def examples(seed: int = 0, lengths: list[tuple[int, int]] = LENGTHS) -> list[Encoded]:
    draw = torch.Generator().manual_seed(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 259, (count,), generator=draw).tolist())

    return [Encoded(ids(trunk), (EncodedBranch(ids(branch), min(2, branch - 1)),)) for trunk, branch in lengths]


def payload(kinds: tuple[str, ...], config: Any, leaves: list[Tensor]) -> Payload:
    draw = torch.Generator().manual_seed(1)

    def leaf(*shape: int, around: float = 0.0) -> Tensor:
        leaves.append((around + 0.2 * torch.randn(*shape, generator=draw)).requires_grad_())
        return leaves[-1]

    sites = [(layer, group) for layer in range(config.layers) for group in GROUPS]
    shape = {site: group_shape(config, site[1]) for site in sites}
    keys = (3, config.kv_heads, config.head_dim)
    hidden = config.hidden_size
    made: dict[str, Callable[[], Any]] = {
        "pairs": lambda: {site: LowRank(leaf(2, shape[site][1]), leaf(shape[site][0], 2)) for site in sites},
        "gains": lambda: {site: leaf(shape[site][0], around=1) for site in sites},
        "input_gains": lambda: {(layer, "down"): leaf(shape[layer, "down"][1], around=1) for layer in (0, 1)},
        "biases": lambda: {(0, "qkv"): leaf(shape[0, "qkv"][0])},
        "prefix": lambda: {layer: (leaf(*keys), leaf(*keys)) for layer in range(config.layers)},
        "prompt": lambda: leaf(2, hidden),
        "bottlenecks": lambda: {(1, "mlp"): Bottleneck(leaf(4, hidden), leaf(hidden, 4), leaf(4), leaf(hidden))},
    }
    return Payload(**{kind: made[kind]() for kind in kinds})


def expected(base: Any, batch: list[Encoded], made: Payload | None, full: bool = False) -> Tensor:
    """States of the completions by `Decoder.forward`."""
    found = []
    for example in batch:
        cache = base.decoder.new_cache()
        (branch,) = example.branches
        tokens, first = branch.tokens[:-1], branch.start - 1
        if full:
            tokens, first = example.trunk + tokens, first + len(example.trunk)
        else:
            base.decoder.forward([Row(example.trunk, cache)])
        prefix, prompt = (made.prefix, made.prompt) if made else ({}, None)
        row = Row(tokens, BranchCache(cache, prefix or None), 1, prompt)
        attached = PayloadAttached(made) if made else None
        hidden = base.decoder.forward([row], attached).hidden
        found.append(hidden[first + (0 if prompt is None else len(prompt)) :])
    return torch.cat(found)


def same(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    mine, plain = (torch.autograd.grad((states * weights).sum(), leaves) for states in (ours, theirs))
    for one, other in zip(mine, plain, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), ("pairs", "gains", "prefix", "prompt", "bottlenecks")])
@pytest.mark.parametrize("full", [False, True])
def test_states_and_gradients_are_the_decoder_s(kinds: tuple[str, ...], full: bool) -> None:
    base, leaves, batch = random_base(0), list[Tensor](), examples()
    made = payload(kinds, base.config, leaves)
    ours = Reader(base.decoder).read(batch, made, full=full).states
    same(ours, expected(base, batch, made, full), leaves)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("lengths", [LENGTHS, [(8, 5)] * 3])
def test_every_architecture(kind: str, lengths: list[tuple[int, int]]) -> None:
    base, leaves, batch = random_base(1, **BASES[kind]), list[Tensor](), examples(3, lengths)
    made = payload(("pairs", "prefix"), base.config, leaves)
    ours = Reader(base.decoder).read(batch, made).states
    same(ours, expected(base, batch, made), leaves)
    torch.testing.assert_close(Reader(base.decoder).read(batch, None).states, expected(base, batch, None))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_is_seeded_and_checkpointing_changes_nothing(checkpointing: bool) -> None:
    base, leaves = random_base(0), list[Tensor]()
    made = payload(("pairs",), base.config, leaves)

    def run(seed: int, checkpointing: bool) -> list[Tensor]:
        states = Reader(base.decoder, None, checkpointing).read(examples(), made, dropout=Dropout(0.5, seed)).states
        return [states, *torch.autograd.grad(states.square().sum(), leaves)]

    first = run(1, False)
    assert all(torch.equal(a, b) for a, b in zip(first, run(1, checkpointing), strict=True))
    assert not torch.equal(first[0], run(2, checkpointing)[0])


def test_dropout_drops_what_adapters_read() -> None:
    """The adapted product with a mask equals autograd through x * mask, and the mask keeps the mean."""
    draw = torch.Generator().manual_seed(0)
    x, weight, A, B = (torch.randn(*s, generator=draw).requires_grad_() for s in ((6, 8), (5, 8), (2, 8), (5, 2)))
    y = fused.apply(fused.AdaptedLinear, x, A, B, (DenseWeight(weight.detach()), 0.25, 7))
    mask = fused.keep_mask(x, 0.25, 7)
    plain = x @ weight.detach().T + (x * mask) @ A.T @ B.T
    torch.testing.assert_close(y, plain)
    for ours, theirs in zip(
        torch.autograd.grad(y.square().sum(), (x, A, B)),
        torch.autograd.grad(plain.square().sum(), (x, A, B)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    big = fused.keep_mask(torch.empty(400, 400), 0.25, 1)
    assert float(big.mean()) == pytest.approx(1, abs=0.02)
    assert big.unique().tolist() == pytest.approx([0, 4 / 3])


def test_the_head_in_chunks_is_the_plain_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK", 3)
    decoder, draw = random_base(0, logits_scale=2.0).decoder, torch.Generator().manual_seed(0)
    states = torch.randn(10, 32, generator=draw).requires_grad_()
    targets = torch.randint(0, 259, (10,), generator=draw)
    weights = torch.randn(10, generator=draw)
    for ours, theirs in (
        (head.cross_entropy(decoder, states, targets),
         plain_cross_entropy(decoder.logits(states), targets, reduction="sum")),
        ((head.log_probs(decoder, states, targets) * weights).sum(),
         (log_softmax(decoder.logits(states), -1).gather(1, targets[:, None])[:, 0] * weights).sum()),
    ):  # fmt: skip
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        mine, plain = (torch.autograd.grad(loss * 3, states)[0] for loss in (ours, theirs))
        torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-4)


def test_weights_that_are_not_kept_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    base, leaves = random_base(0), list[Tensor]()
    made = payload(("pairs",), base.config, leaves)

    def run() -> list[Tensor]:
        states = Reader(base.decoder).read(examples(), made).states
        return [states, *torch.autograd.grad(states.square().sum(), leaves)]

    kept = run()
    monkeypatch.setattr(fused, "_KEPT", 0)
    assert all(torch.equal(a, b) for a, b in zip(kept, run(), strict=True))


def test_long_trunks_go_in_blocks() -> None:
    base, batch = random_base(0), examples(4, [(300, 4), (140, 6)])
    torch.testing.assert_close(
        Reader(base.decoder).read(batch, None).states, expected(base, batch, None), atol=1e-4, rtol=1e-4
    )


def test_bf16_stays_near_fp32() -> None:
    """Loss and gradients of a bf16 view of an fp32 base: within what bf16 rounds."""
    from loraloop.adapters.base.training_view import training_view

    base, method = random_base(0, scale=0.1, layers=3), Lora(4, 8)
    from loraloop.adapters.methods.context import MethodContext

    context = MethodContext(base.config)
    parameters = method.init(context, 0)
    for tensor in parameters.values():
        tensor.data.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    found = []
    for precision in ("fp32", "bf16"):
        decoder = training_view(base, precision)  # type: ignore[arg-type]
        scored = Reader(decoder).read(examples(), method.payload(parameters, context))
        loss = head.cross_entropy(decoder, scored.states, scored.targets)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        found.append((loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])))
    (loss, gradient), (near, rough) = found
    assert float(near) == pytest.approx(float(loss), rel=0.01)
    assert float((gradient - rough).norm() / gradient.norm()) < 0.1


def test_branches_of_a_trunk_stand_where_they_say() -> None:
    base = random_base(0)
    (example,) = examples(0, [(9, 5)])
    both = replace(example, branches=(replace(example.branches[0], at=4), *example.branches))
    cut = replace(example, trunk=example.trunk[:4])
    states = Reader(base.decoder).read([both], None).states
    torch.testing.assert_close(states, expected(base, [cut, example], None), atol=1e-5, rtol=1e-5)
