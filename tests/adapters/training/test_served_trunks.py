"""Trunks as they are served: what the C decoder computes is what a training stands on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.base import Base, Message, Row, random_base
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.data.encode import Encoded, encode
from loraloop.adapters.training.forward.heads import Heads
from loraloop.adapters.training.forward.served_trunks import served
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.tool_schemas.errors import InputError


def asked(base: Base) -> list[Encoded]:
    """Two requests under one system message, and one without any."""
    brief = Message("system", "Be brief. " * 8)
    talks = [
        [brief, Message("user", "Name three rivers.")],
        [brief, Message("user", "Why is the sky blue, and the sea too?")],
        [Message("user", "Hello!")],
    ]
    return [encode(base, talk, "Yes.") for talk in talks]


def parts(examples: list[Encoded]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(example.trunk[: example.shared], example.trunk[example.shared :]) for example in examples]


@pytest.fixture
def native(base: Base) -> Base:
    if not base.native:
        pytest.skip("needs the C decoder")
    return base


def test_they_are_the_bits_that_a_served_context_has(native: Base) -> None:
    examples = asked(native)
    past = served(native, parts(examples), torch.float32, Heads())
    assert past.lengths == tuple(len(example.trunk) for example in examples)
    for row, example in enumerate(examples):
        cache = native.new_cache()
        native.forward([Row(example.trunk[: example.shared], cache)] if example.shared else [])
        native.forward([Row(example.trunk[example.shared :], cache)])
        for layer in (0, native.config.layers - 1):
            for ours, theirs in zip(past.layer(layer, slice(None)), cache.planes(layer), strict=True):
                assert torch.equal(ours[row, :, : len(example.trunk)], theirs)


def test_the_next_batch_does_not_read_the_same_system_message_again(
    native: Base, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    examples = asked(native)[:2]
    whole = served(native, parts(examples), torch.float32, Heads())
    read: list[int] = []
    forward = Base.forward
    monkeypatch.setattr(
        Base,
        "forward",
        lambda self, rows, *more: read.extend(len(row.tokens) for row in rows) or forward(self, rows, *more),
    )
    config = TrainConfig.of(steps=1, batch=2, precision="fp32", trunks="served")
    reader = Trainer(native, Lora(4, 8), examples, examples, config, tmp_path).reader
    rests = [len(example.trunk) - example.shared for example in examples]
    for expected in ([examples[0].shared, *rests], rests):
        read.clear()
        assert torch.equal(reader.trunks(examples).data, whole.data)
        assert read == expected


def test_the_system_messages_used_last_are_kept() -> None:
    heads, made = Heads[int](most=6), list[tuple[int, ...]]()

    def computed(new: Sequence[tuple[int, ...]]) -> list[int]:
        made.extend(new)
        return [sum(head) for head in new]

    one, two, three = (1, 1, 1), (2, 2, 2), (3, 3, 3)
    assert heads.of([one, two, one], computed) == {one: 3, two: 6}
    assert heads.of([one, three], computed) == {one: 3, three: 9}
    assert made == [one, two, three]
    assert heads.of([one, two], computed) == {one: 3, two: 6}
    assert made == [one, two, three, two]
    assert heads.of([(4,) * 9], computed) == {(4,) * 9: 36}


def test_a_loss_on_them_is_near_that_on_trained_ones(native: Base, tmp_path: Path) -> None:
    examples = asked(native)
    losses = []
    for trunks in ("served", "trained"):
        config = TrainConfig.of(steps=2, batch=3, precision="fp32", trunks=trunks)  # type: ignore[arg-type]
        made = Trainer(native, Lora(4, 8), examples, examples, config, tmp_path / trunks)
        assert (made.reader.server is native) == (trunks == "served")
        losses.append(float(made.loss(examples, grad=False)))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_kept_trunks_of_another_origin_are_not_read(
    save_llama: Any, shared_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run that ended before its first checkpoint may begin again with other settings, or other kernels."""
    save_llama(tmp_path / "tiny", hidden_size=64, intermediate_size=96, num_attention_heads=2, head_dim=32)
    native = Base.load(str(tmp_path / "tiny"), quantize="int4", device="cpu", cache_dir=shared_cache)
    if not native.native:
        pytest.skip("needs the C decoder")
    examples = asked(native)

    def misses(**settings: Any) -> int:
        config = TrainConfig.of(steps=1, batch=3, trunk_cache_gb=0.1, **settings)
        reader = Trainer(native, Lora(4, 8), examples, examples, config, tmp_path / "run").reader
        found = reader.trunks(examples).data
        if settings["trunks"] == "served":
            assert torch.equal(found, served(native, parts(examples), torch.float32, Heads()).data)
        assert reader.store is not None
        return reader.store.misses

    kinds: list[dict[str, Any]] = [
        {"trunks": "trained", "precision": "fp32"},
        {"trunks": "trained", "precision": "served"},
        {"trunks": "served", "precision": "fp32"},
    ]
    for settings in kinds:
        assert [misses(**settings), misses(**settings)] == [len(examples), 0]
    monkeypatch.setattr(native.decoder.native, "build", "another")  # type: ignore[attr-defined]
    assert misses(**kinds[-1]) == len(examples)


def test_a_base_that_torch_serves_is_refused(tmp_path: Path) -> None:
    base = random_base(0)
    examples = asked(base)
    with pytest.raises(InputError, match="set trunks to 'trained'"):
        Trainer(base, Lora(4, 8), examples, examples, TrainConfig.of(steps=1, trunks="served"), tmp_path)
