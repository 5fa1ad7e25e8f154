"""Every method: how it starts, what it stores, and that a stored skill is the one that was trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from loraloop.adapters.base import Base, BranchCache, Row, random_base
from loraloop.adapters.methods import METHODS, card_fields, make_method
from loraloop.adapters.methods.context import BaseContext, MethodContext
from loraloop.adapters.payload.payload import PayloadAttached
from loraloop.adapters.payload.sites import MODULES
from loraloop.adapters.peft.folding import folded
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import InputError, UnknownNameError

TOKENS = [7, 9, 30, 41, 55, 60, 61, 77]
OPTIONS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 3, "alpha": 5.0},
    "rslora": {"rank": 3, "alpha": 5.0},
    "dora": {"rank": 3, "alpha": 5.0},
    "adalora": {"rank": 4, "target_rank": 2, "alpha": 5.0},
    "vera": {"rank": 6, "seed": 3},
    "ia3": {},
    "prefix": {"tokens": 5},
    "prompt": {"tokens": 5},
    "bottleneck": {"reduction": 8.0},
    "galore": {"rank": 48},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, options) for name, options in OPTIONS.items()} | {
    "patterns": (
        "lora",
        {"rank": 3, "alpha": 5.0, "rank_pattern": {"q_proj": 2},
         "alpha_pattern": {"layers.1.self_attn.v_proj": 3.0, "up_proj": 2}},
    ),
    "patterns, rslora": ("rslora", {"rank": 3, "alpha": 5.0, "rank_pattern": {"q_proj": 5, "mlp.down_proj": 1}}),
    "patterns, dora": (
        "dora", {"rank": 3, "alpha": 5.0, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"o_proj": 1}},
    ),
    "gaussian": ("lora", {"rank": 3, "alpha": 5.0, "start": "gaussian"}),
    "pissa": ("lora", {"rank": 3, "alpha": 5.0, "start": "pissa"}),
    "olora": ("rslora", {"rank": 3, "alpha": 5.0, "start": "olora", "rank_pattern": {"o_proj": 4}}),
    "ia3 everywhere": ("ia3", {"targets": MODULES, "feedforward": ("o_proj",)}),
    "prefix from text": ("prefix", {"tokens": 5, "text": "Sort mail."}),
    "prefix, projected": ("prefix", {"tokens": 5, "projection": 7}),
    "prompt from text": ("prompt", {"tokens": 30, "text": "Sort mail."}),
    "houlsby": ("bottleneck", {"placement": "houlsby", "reduction": 4, "activation": "gelu"}),
    "some modules": ("galore", {"rank": 48, "targets": ("v_proj", "up_proj", "down_proj")}),
    "vera, some modules": ("vera", {"rank": 5, "targets": ("v_proj", "down_proj")}),
}  # fmt: skip


PATTERNS = [
    "q_proj",
    "k_proj",
    "layers.1.self_attn.v_proj",
    "mlp.up_proj",
    r"layers.\d.mlp.down_proj",
    "proj",
    ".*proj",
]
SMALL = random_base(1, hidden_size=16, intermediate_size=24, heads=2, kv_heads=2)


@pytest.fixture(scope="module")
def base() -> Base:
    """With biases of its own, so that gains that include them differ from gains that do not."""
    return random_base(3, qkv_bias=True, architecture="qwen2")


def bare(base: Base) -> torch.Tensor:
    return base.forward([Row(TOKENS, base.new_cache())]).hidden


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_skill_starts_as_the_base(base: Base, variant: str, states: Any) -> None:
    name, options = VARIANTS[variant]
    method, context = make_method(name, options), BaseContext(base)
    assert method.name == name
    parameters = method.init(context, seed=1)
    trained = method.trainable(parameters)
    assert trained and set(trained) <= set(parameters)
    for key in trained:
        tensor = parameters[key]
        assert tensor.is_leaf and tensor.requires_grad and tensor.dtype == torch.float32 and tensor.isfinite().all()
    payload = method.payload(parameters, context)
    payload.check(base.config, variant)
    difference = (states(base, payload, TOKENS) - bare(base)).abs().max()
    if name in ("prefix", "prompt"):
        assert difference > 1e-3 and payload.virtual == method.tokens  # type: ignore[attr-defined]
    else:
        assert difference < 2e-4
    again = method.init(context, seed=1)
    assert all(torch.equal(again[key], tensor) for key, tensor in parameters.items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_stored_is_what_was_trained(base: Base, variant: str, moved: Any, states: Any) -> None:
    name, options = VARIANTS[variant]
    method, context = make_method(name, options), BaseContext(base)
    parameters = moved(method, method.init(context, seed=1))
    expected = states(base, method.payload(parameters, context), TOKENS)
    assert (expected - bare(base)).abs().max() > 1e-2
    tensors = load(save(method.finished(parameters, context)))
    fields = card_fields(method, tensors)
    shared = {key: fields[key] for key in ("rank", "alpha", "targets") if key in fields}
    reader = make_method(fields["method"], {**shared, **fields.get("options", {})})
    alone = MethodContext(base.config)  # loading needs no weights
    payload = reader.payload(tensors, alone)
    payload.check(base.config, variant)
    torch.testing.assert_close(states(base, payload, TOKENS), expected, atol=1e-4, rtol=1e-4)
    again = reader.finished(tensors, context)
    assert all(torch.equal(again[key], tensor) for key, tensor in tensors.items())
    assert card_fields(reader, again) == fields
    ranks = [len(A) for key, A in tensors.items() if key.endswith(("lora_A", "vera_d"))]
    assert not ranks or set(ranks) == {fields["rank"]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(base: Base, variant: str, moved: Any) -> None:
    name, options = VARIANTS[variant]
    method, context = make_method(name, options), BaseContext(base)
    parameters = moved(method, method.init(context))
    payload = method.payload(parameters, context)
    cache = base.decoder.new_cache()
    row = Row(TOKENS, BranchCache(cache, payload.prefix), 1, before=payload.prompt)
    loss = base.decoder.forward([row], PayloadAttached(payload)).hidden[-len(TOKENS) :].square().sum()
    if (extra := method.regularizer(parameters)) is not None:
        loss = loss + extra
    loss.backward()
    for key in method.trainable(parameters):
        gradient = parameters[key].grad
        assert gradient is not None and gradient.isfinite().all() and gradient.any(), key


@pytest.mark.parametrize("name", ["ia3", "dora", "vera"])
def test_half_precision_keeps_gains(base: Base, name: str) -> None:
    """A gain of 1.001 is 1 in bfloat16."""
    method, context = make_method(name, OPTIONS[name]), BaseContext(base)
    parameters = {key: value.detach() * 1.001 for key, value in method.init(context).items()}
    tensors = method.finished(parameters, context)
    prints = {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights}
    fields = {"name": "x", "description": "x", "base": "x", "activation": "full", "fingerprints": prints}
    skill = Skill(Card.checked(fields | card_fields(method, tensors)), tensors)
    half, whole = skill.to(torch.bfloat16).payload(base.config), skill.payload(base.config)
    for kind in ("gains", "input_gains", "biases"):
        assert all(torch.equal(getattr(half, kind)[site], value) for site, value in getattr(whole, kind).items())
    if name != "vera":
        assert any((gain != 1).any() for gain in half.gains.values())


@settings(max_examples=25, deadline=None)
@given(
    heads=st.sampled_from([(2, 1), (4, 2), (3, 3)]),
    hidden=st.sampled_from([8, 12, 20]),
    inner=st.sampled_from([4, 9, 32]),
    targets=st.sets(st.sampled_from(MODULES), min_size=1).map(tuple),
    name=st.sampled_from(["lora", "rslora", "dora", "adalora", "vera", "galore"]),
    rank=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_any_shape_stores_what_it_trains(
    heads: tuple[int, int],
    hidden: int,
    inner: int,
    targets: tuple[str, ...],
    name: str,
    rank: int,
    seed: int,
    moved: Any,
) -> None:
    base = random_base(
        seed, hidden_size=hidden, intermediate_size=inner, heads=heads[0], kv_heads=heads[1], head_dim=4, layers=2
    )
    options: dict[str, Any] = {"rank": 64 if name == "galore" else rank, "targets": targets}
    if name not in ("galore", "vera"):
        options["alpha"] = 2.0
    if name == "adalora":
        options["target_rank"] = 1
    method, context = make_method(name, options), BaseContext(base)
    parameters = moved(method, method.init(context, seed), seed)
    tensors = method.finished(parameters, context)
    for key, tensor in tensors.items():
        assert key.split(".")[2] in targets and tensor.is_contiguous()
    made = method.reader(tensors).payload(tensors, MethodContext(base.config))
    made.check(base.config, name)
    trained = method.payload(parameters, context)
    assert made.pairs.keys() == trained.pairs.keys() and made.gains.keys() == trained.gains.keys()
    for site, pair in trained.pairs.items():
        torch.testing.assert_close(made.pairs[site].B @ made.pairs[site].A, pair.B @ pair.A, atol=1e-4, rtol=1e-4)


@settings(max_examples=50, deadline=None)
@given(
    ranks=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 5), max_size=3),
    alphas=st.dictionaries(st.sampled_from(PATTERNS), st.floats(0.5, 20), max_size=3),
    name=st.sampled_from(["lora", "rslora"]),
    start=st.sampled_from(["kaiming", "gaussian", "pissa", "olora"]),
)
def test_patterns_are_read_as_peft_reads_them(
    ranks: dict[str, int], alphas: dict[str, float], name: str, start: str, moved: Any
) -> None:
    from peft.utils.other import get_pattern_key

    base, context = SMALL, BaseContext(SMALL)
    options = {"rank": 4, "alpha": 6.0, "rank_pattern": ranks, "alpha_pattern": alphas, "start": start}
    method = make_method(name, options)
    parameters = moved(method, method.init(context))
    tensors = method.finished(parameters, context)
    payload = method.reader(tensors).payload(tensors, MethodContext(base.config))
    found = {made[:2]: made.weight - context.weight(*made[:2]) for made in folded(payload, context)}
    for layer in range(base.config.layers):
        for module in MODULES:
            key = f"model.layers.{layer}.{'self_attn' if module in MODULES[:4] else 'mlp'}.{module}"
            rank = ranks.get(get_pattern_key(ranks, key), 4)
            alpha = alphas.get(get_pattern_key(alphas, key), 6.0)
            A, B = (parameters[f"layers.{layer}.{module}.lora_{half}"] for half in "AB")
            assert A.shape[0] == B.shape[1] == rank
            scaling = alpha / (rank**0.5 if name == "rslora" else rank)
            wanted = scaling * B @ A
            if start in ("pissa", "olora"):
                A0, B0 = (parameters[f"layers.{layer}.{module}.lora_{half}0"] for half in "AB")
                wanted = wanted - scaling * B0 @ A0
            torch.testing.assert_close(found[layer, module], wanted.detach(), atol=2e-4, rtol=1e-4)


def test_names_and_options_are_checked() -> None:
    assert set(METHODS) == set(OPTIONS) and len(METHODS) == 10 and "lora" in METHODS
    with pytest.raises(UnknownNameError, match="no method is called 'lorra'; did you mean 'lora'"):
        make_method("lorra", {})
    with pytest.raises(UnknownNameError, match="no option of adalora is called 'tinit'; did you mean 't_init'"):
        make_method("adalora", {"tinit": 3})
    with pytest.raises(UnknownNameError, match="rslora"):
        make_method("lora", {"rank": 1, "alpha": 1, "rslora": True})
    with pytest.raises(InputError, match="lora needs rank, alpha"):
        make_method("lora", {})
    with pytest.raises(InputError, match="wrong type"):
        make_method("lora", {"rank": 4, "alpha": "high"})
    with pytest.raises(InputError, match="give BaseContext"):
        make_method("dora", OPTIONS["dora"]).init(MethodContext(random_base().config))
    with pytest.raises(InputError, match="give BaseContext"):
        make_method("prompt", {"text": "x"}).init(MethodContext(random_base().config))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("lora", {"rank": 1, "alpha": 1, "rank_pattern": {"q_proj": 0}}, "at least 1"),
        ("lora", {"rank": 1, "alpha": 1, "rank_pattern": {"(": 2}}, "not a regular expression"),
        ("lora", {"rank": 1, "alpha": 1, "alpha_pattern": {"q": -1}}, "positive"),
        ("lora", {"rank": 1, "alpha": 1, "start": "pisa"}, "did you mean 'pissa'"),
        ("adalora", {"target_rank": 20}, "above the initial rank"),
        ("adalora", {"beta1": 1.0}, "between 0 and 1"),
        ("adalora", {"t_init": -1}, "numbers of steps"),
        ("adalora", {"orthogonal": -1}, "negative"),
        ("vera", {"rank": 0}, "at least 1"),
        ("ia3", {"feedforward": ("up_proj",)}, "feeds other modules"),
        ("prefix", {"tokens": 0}, "at least 1"),
        ("prefix", {"projection": -1}, "width"),
        ("prefix", {"projection": 4, "text": "a"}, "one of them"),
        ("bottleneck", {"placement": "pfeifer"}, "did you mean 'pfeiffer'"),
        ("bottleneck", {"activation": "tanh"}, "activation"),
        ("bottleneck", {"reduction": 0}, "positive"),
        ("galore", {"targets": ()}, "at least one"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        make_method(name, options)
