"""Payloads against the papers' formulas, written plainly, and their gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loraloop.adapters.base import Base, Row, random_base
from loraloop.adapters.base.decoder.decoder import Decoder, Layer
from loraloop.adapters.methods import make_method
from loraloop.adapters.methods.context import BaseContext, MethodContext
from loraloop.adapters.methods.galore import retained
from loraloop.adapters.payload.pairs import low_rank_of
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import GROUPS, MODULES
from loraloop.adapters.peft.folding import folded
from loraloop.kernels.quantized import DenseWeight
from loraloop.tool_schemas.errors import InputError, SkillError

Tensors = dict[str, torch.Tensor]
TOKENS = [7, 9, 30, 41, 55, 60, 61, 77]


@pytest.fixture(scope="module")
def base() -> Base:
    return random_base(4, qkv_bias=True, architecture="qwen2")


@pytest.fixture(scope="module")
def trained(moved: Any) -> Callable[..., tuple[Tensors, Payload]]:
    """`trained(base, name, **options)`: parameters after something like a training, and their payload."""

    def make(base: Base, name: str, **options: Any) -> tuple[Tensors, Payload]:
        method, context = make_method(name, options), BaseContext(base)
        parameters = {key: tensor.detach() for key, tensor in moved(method, method.init(context, 2), 5).items()}
        return parameters, method.payload(parameters, context)

    return make


def merged(base: Base, payload: Payload) -> dict[tuple[int, str], tuple[torch.Tensor, torch.Tensor | None]]:
    return {(layer, module): (weight, bias) for layer, module, weight, bias in folded(payload, BaseContext(base))}


@pytest.mark.parametrize("name", ["lora", "rslora"])
def test_lora(base: Base, name: str, trained: Any) -> None:
    p, payload = trained(base, name, rank=3, alpha=5.0, rank_pattern={"k_proj": 2}, alpha_pattern={"k_proj": 7.0})
    context = BaseContext(base)
    for (layer, module), (weight, bias) in merged(base, payload).items():
        alpha, rank = (7.0, 2) if module == "k_proj" else (5.0, 3)
        scaling = alpha / math.sqrt(rank) if name == "rslora" else alpha / rank
        place = f"layers.{layer}.{module}."
        plain = context.weight(layer, module) + scaling * p[place + "lora_B"] @ p[place + "lora_A"]
        torch.testing.assert_close(weight, plain)
        own = context.bias(layer, module)
        assert (bias is None and own is None) or torch.equal(bias, own)  # type: ignore[arg-type]


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_from_the_weights_trains_their_principal_part(base: Base, start: str, trained: Any) -> None:
    p, payload = trained(base, "lora", rank=3, alpha=5.0, start=start)
    context = BaseContext(base)
    for (layer, module), (weight, _) in merged(base, payload).items():
        W, place = context.weight(layer, module), f"layers.{layer}.{module}."
        if start == "pissa":
            U, S, Vh = torch.linalg.svd(W, full_matrices=False)
            principal = U[:, :3] @ S[:3].diag() @ Vh[:3]
        else:
            Q, R = torch.linalg.qr(W)
            principal = Q[:, :3] @ R[:3] * 5 / 3
        plain = (W - principal) + 5 / 3 * p[place + "lora_B"] @ p[place + "lora_A"]
        torch.testing.assert_close(weight, plain, atol=1e-4, rtol=1e-4)


def test_the_old_name_of_a_context_warns() -> None:
    from loraloop.adapters.methods import context

    with pytest.warns(DeprecationWarning, match="use MethodContext"):
        assert context.ConfigContext is MethodContext


def test_loftq_names_what_it_needs(base: Base) -> None:
    with pytest.raises(InputError, match="give `checkpoint`"):
        make_method("lora", {"rank": 8, "alpha": 16.0, "start": "loftq"}).init(BaseContext(base))
    with pytest.raises(InputError, match="only the start 'loftq'"):
        make_method("lora", {"rank": 1, "alpha": 1.0, "checkpoint": "x"})


def test_loftq_reads_a_checkpoint(tmp_path: Path, save_llama: Any, shared_cache: Path) -> None:
    model = save_llama(tmp_path / "tiny", 4, hidden_size=64, intermediate_size=96)
    quantized = Base.load(str(tmp_path / "tiny"), quantize="nf4", device="cpu", cache_dir=shared_cache)
    method = make_method("lora", {"rank": 8, "alpha": 4.0, "start": "loftq", "checkpoint": str(tmp_path / "tiny")})
    context = BaseContext(quantized)
    parameters = method.init(context)
    weights = model.state_dict()
    for layer, module, weight, _ in folded(method.payload(parameters, context), context):
        block = "self_attn" if module in MODULES[:4] else "mlp"
        original = weights[f"model.layers.{layer}.{block}.{module}.weight"]
        now = context.weight(layer, module)
        A, B = low_rank_of(original - now, 8)
        torch.testing.assert_close(weight, now + B @ A, atol=1e-5, rtol=1e-4)
        assert (weight - original).norm() < 0.95 * (now - original).norm()
    assert method.reader(parameters).checkpoint == ""  # type: ignore[attr-defined]
    save_llama(tmp_path / "other", 4, hidden_size=32)
    with pytest.raises(InputError, match="give the checkpoint of this base"):
        make_method("lora", {"rank": 8, "alpha": 4.0, "start": "loftq", "checkpoint": str(tmp_path / "other")}).init(
            context
        )


def test_dora(base: Base, trained: Any) -> None:
    p, payload = trained(base, "dora", rank=3, alpha=5.0, targets=("q_proj", "v_proj", "o_proj", "up_proj"))
    context = BaseContext(base)
    found = merged(base, payload)
    for (layer, module), (weight, bias) in found.items():
        W, place = context.weight(layer, module), f"layers.{layer}.{module}."
        if place + "lora_A" not in p:
            torch.testing.assert_close(weight, W)
            continue
        V = W + 5 / 3 * p[place + "lora_B"] @ p[place + "lora_A"]
        plain = p[place + "magnitude"][:, None] * V / V.norm(dim=1, keepdim=True)
        torch.testing.assert_close(weight, plain)
        if bias is not None:
            assert torch.equal(bias, context.bias(layer, module))  # type: ignore[arg-type]


def test_dora_takes_no_gradient_through_the_norm(base: Base, moved: Any) -> None:
    method, context = make_method("dora", {"rank": 2, "alpha": 3.0, "targets": ("o_proj",)}), BaseContext(base)
    parameters = moved(method, method.init(context, 1), 3)
    x, target = torch.randn(4, 32), torch.randn(4, 32)
    payload = method.payload(parameters, context)
    pair = payload.pairs[0, "o"]
    y = (x @ context.weight(0, "o_proj").T + x @ pair.A.T @ pair.B.T) * payload.gains[0, "o"]
    (y * target).sum().backward()
    A, B, m = (parameters[f"layers.0.o_proj.{f}"].detach().requires_grad_() for f in ("lora_A", "lora_B", "magnitude"))
    V = context.weight(0, "o_proj") + 1.5 * B @ A
    ((x @ (m[:, None] * V / V.detach().norm(dim=1, keepdim=True)).T) * target).sum().backward()
    for ours, plain in zip(("lora_A", "lora_B", "magnitude"), (A, B, m), strict=True):
        torch.testing.assert_close(parameters[f"layers.0.o_proj.{ours}"].grad, plain.grad, atol=1e-4, rtol=1e-4)


def test_adalora(base: Base, trained: Any) -> None:
    p, payload = trained(base, "adalora", rank=4, target_rank=2, alpha=6.0)
    for (layer, module), (weight, _) in merged(base, payload).items():
        A, E, B = (p[f"layers.{layer}.{module}.lora_{f}"] for f in "AEB")
        plain = BaseContext(base).weight(layer, module) + 6 / 4 * B @ E.flatten().diag() @ A
        torch.testing.assert_close(weight, plain)


def test_vera(base: Base, trained: Any) -> None:
    p, payload = trained(base, "vera", rank=6, seed=9)
    generator = torch.Generator().manual_seed(9)
    A, B = torch.empty(6, 48), torch.empty(48, 6)
    for matrix in (A, B):  # Kaiming-uniform
        bound = math.sqrt(6 / matrix.shape[1])
        matrix.uniform_(-bound, bound, generator=generator)
    for (layer, module), (weight, _) in merged(base, payload).items():
        W = BaseContext(base).weight(layer, module)
        d, b = (p[f"layers.{layer}.{module}.vera_{f}"] for f in "db")
        plain = W + b.diag() @ B[: W.shape[0]] @ d.diag() @ A[:, : W.shape[1]]
        torch.testing.assert_close(weight, plain)


def test_ia3(base: Base, trained: Any) -> None:
    p, payload = trained(base, "ia3", targets=("k_proj", "v_proj", "up_proj", "down_proj"))
    found, context = merged(base, payload), BaseContext(base)
    for (layer, module), (weight, bias) in found.items():
        W, b, place = context.weight(layer, module), context.bias(layer, module), f"layers.{layer}.{module}."
        gain, inner = p.get(place + "gain", torch.ones(W.shape[0])), p.get(place + "input_gain", torch.ones(W.shape[1]))
        torch.testing.assert_close(weight, gain.diag() @ W @ inner.diag())
        if b is not None:
            torch.testing.assert_close(bias, gain * b)
    assert {module for _, module in found} >= {"k_proj", "v_proj", "up_proj", "down_proj"}


def test_galore(base: Base, trained: Any) -> None:
    targets = ("v_proj", "gate_proj", "up_proj", "down_proj")
    p, payload = trained(base, "galore", rank=4, targets=targets)
    for (layer, module), (weight, _) in merged(base, payload).items():
        W = BaseContext(base).weight(layer, module)
        torch.testing.assert_close(weight, W + p.get(f"layers.{layer}.{module}.delta", torch.zeros_like(W)))
    kept = retained(p, 4)
    method = make_method("galore", {"rank": 4, "targets": targets})
    tensors = method.finished(p, MethodContext(base.config))
    lost = whole = 0.0
    for key, delta in p.items():
        place = key.removesuffix("delta")
        rest = (delta - tensors[place + "lora_B"] @ tensors[place + "lora_A"]).square().sum()
        assert kept[place[:-1]] == pytest.approx(1 - float(rest / delta.square().sum()), abs=1e-4)
        lost, whole = lost + float(rest), whole + float(delta.square().sum())
    assert 0.2 < kept["all"] == pytest.approx(1 - lost / whole, abs=1e-4)
    assert (
        retained(p, 99)["all"] == pytest.approx(1)
        and retained({"layers.0.o_proj.delta": torch.zeros(2, 2)}, 1)["all"] == 1
    )


def test_prefix_projection(base: Base, trained: Any) -> None:
    p, payload = trained(base, "prefix", tokens=3, projection=5)
    flat = torch.tanh(p["prefix.embedding"] @ p["prefix.first"].T + p["prefix.first_bias"])
    flat = flat @ p["prefix.second"].T + p["prefix.second_bias"]
    for layer, (keys, values) in payload.prefix.items():
        width = base.config.kv_heads * base.config.head_dim
        torch.testing.assert_close(keys.reshape(3, -1), flat[:, 2 * layer * width : (2 * layer + 1) * width])
        torch.testing.assert_close(values.reshape(3, -1), flat[:, (2 * layer + 1) * width : (2 * layer + 2) * width])


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_virtual_tokens_from_text_are_that_text(base: Base, name: str, states: Any) -> None:
    """Under full activation a text's keys and values, or its embeddings, act as if the text stood before the tokens."""
    text = "Sort mail."
    ids = base.tokenizer.encode(text)
    method, context = make_method(name, {"tokens": len(ids), "text": text}), BaseContext(base)
    found = states(base, method.payload(method.init(context), context), TOKENS)
    whole = base.forward([Row([*ids, *TOKENS], base.new_cache())]).hidden[len(ids) :]
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_bottleneck(base: Base, placement: str, trained: Any) -> None:
    p, payload = trained(base, "bottleneck", placement=placement, reduction=8, activation="relu")
    parts = {"houlsby": {"attention", "mlp"}, "pfeiffer": {"mlp"}}[placement]
    assert {part for _, part in payload.bottlenecks} == parts
    h = torch.randn(3, 32)
    for (layer, part), module in payload.bottlenecks.items():
        place = f"layers.{layer}.{part}.bottleneck."
        middle = (h @ p[place + "down"].T + p[place + "down_bias"]).clamp_min(0)
        assert middle.shape == (3, 4)
        torch.testing.assert_close(module(h), h + middle @ p[place + "up"].T + p[place + "up_bias"])


@pytest.mark.parametrize(
    "name, options",
    [
        ("lora", {"rank": 3, "alpha": 5.0}), ("dora", {"rank": 3, "alpha": 5.0}), ("adalora", {"rank": 4}),
        ("vera", {"rank": 6}), ("ia3", {"targets": MODULES[1:5]}), ("galore", {"rank": 2}),
    ],
)  # fmt: skip
def test_a_folded_base_computes_what_the_payload_does(
    base: Base, name: str, options: dict[str, Any], states: Any, trained: Any
) -> None:
    options = {**options, "target_rank": 4} if name == "adalora" else options
    if name == "ia3":
        options = {**options, "feedforward": ("o_proj",)}
    _, payload = trained(base, name, **options)
    context, changed = BaseContext(base), merged(base, payload)
    layers = []
    for index, layer in enumerate(base.decoder.layers):
        whole = {
            group: torch.cat([changed.get((index, m), (context.weight(index, m), None))[0] for m in parts])
            for group, parts in GROUPS.items()
        }
        bias = torch.cat([changed.get((index, m), (None, context.bias(index, m)))[1] for m in GROUPS["qkv"]])  # type: ignore[misc]
        layers.append(
            Layer(
                layer.attention_norm, DenseWeight(whole["qkv"]), DenseWeight(whole["o"]), layer.mlp_norm,
                DenseWeight(whole["gate_up"]), DenseWeight(whole["down"]), bias, layer.q_norm, layer.k_norm,
            )
        )  # fmt: skip
    d = base.decoder
    assert isinstance(d, Decoder)
    with torch.no_grad():
        made = Decoder(d.config, d.embedding, layers, d.norm, d.head, d.dtype, d.device)
        found = made.forward([Row(TOKENS, made.new_cache())]).hidden
    torch.testing.assert_close(found, states(base, payload, TOKENS), atol=2e-4, rtol=2e-4)


def test_what_no_matrix_can_hold_is_not_folded(base: Base, trained: Any) -> None:
    for name, options in (("prefix", {}), ("prompt", {}), ("bottleneck", {})):
        with pytest.raises(SkillError, match="cannot be merged into a base"):
            merged(base, trained(base, name, **options)[1])
    plain = random_base(4)
    with pytest.raises(SkillError, match="adds a bias to o_proj, which has none"):
        merged(plain, Payload(biases={(0, "o"): torch.ones(32)}))


TINY = SimpleNamespace(hidden_size=4, intermediate_size=3, layers=1, heads=2, kv_heads=1, head_dim=2)


@pytest.mark.parametrize(
    "name, options",
    [
        ("lora", {"rank": 2, "alpha": 3.0}), ("rslora", {"rank": 2, "alpha": 3.0}),
        ("adalora", {"rank": 2, "target_rank": 1}),
        ("vera", {"rank": 2}), ("ia3", {"targets": MODULES}), ("prefix", {"tokens": 2}),
        ("prefix", {"tokens": 2, "projection": 3}), ("prompt", {"tokens": 2}), ("galore", {"rank": 2}),
        ("bottleneck", {"reduction": 2, "activation": "gelu", "placement": "houlsby"}),
    ],
)  # fmt: skip
def test_gradcheck(name: str, options: dict[str, Any], moved: Any) -> None:
    method, context = make_method(name, options), MethodContext(TINY)
    parameters = moved(method, method.init(context), 1)
    names = method.trainable(parameters)
    h = torch.randn(2, 4, dtype=torch.float64)

    def flat(*values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, values, strict=True))
        payload = method.payload({**parameters, **given}, context)
        parts = [pair.B @ pair.A for pair in payload.pairs.values()]
        parts += [*payload.gains.values(), *payload.input_gains.values(), *payload.biases.values()]
        parts += [part for pair in payload.prefix.values() for part in pair]
        parts += [] if payload.prompt is None else [payload.prompt]
        parts += [module(h) for module in payload.bottlenecks.values()]
        made = torch.cat([part.flatten() for part in parts]).double()
        extra = method.regularizer({**parameters, **given})
        return made if extra is None else torch.cat([made, extra[None].double()])

    doubles = tuple(parameters[key].detach().double().requires_grad_() for key in names)
    assert torch.autograd.gradcheck(flat, doubles)
