"""What activations in 8 bits cost: next-token probabilities of a base as served, against those with 16-bit activations.

    python benchmarks/rounding.py --base qwen2.5-coder-1.5b --json benchmarks/results/rounding_qwen.json

Both forms run in the C kernels, with keys and values in bf16. The other form has the values of the same weights in
bf16, so its products round activations to bf16 as well (the rounding of the values themselves is counted too, and is a
fraction of that of 8-bit activations). The transcripts are steps of the validation part of the frozen data, one of each
conversation; tokens of system messages, which they share, are read and not counted. Divergences are KL(16 bits ‖ 8
bits) in nats a token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from report import BenchmarkReport, finish, options, quantile
from torch import Tensor

from loraloop.adapters.base import Base, Row
from loraloop.adapters.base.decoder.decoder import Layer
from loraloop.adapters.base.decoder.native_decoder import NativeDecoder
from loraloop.adapters.payload.sites import GROUPS
from loraloop.adapters.training.data.encode import Encoded, encode
from loraloop.adapters.training.data.frozen import frozen_rows
from loraloop.adapters.training.data.readers import Reading, records_of
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.kernels.cpu.tiles import TiledWeight
from loraloop.kernels.quantized import Weight

SOURCE, CHUNK = "worlds", 256
"""Frozen data; tokens whose logits are held at once."""


def wide(decoder: NativeDecoder) -> NativeDecoder:
    """The decoder with its weights' values in bf16, whose products read activations in 16 bits."""

    def values(weight: Weight) -> TiledWeight:
        return TiledWeight.bf16(weight.dequantize())

    def layer_of(layer: Layer) -> Layer:
        return replace(layer, **{name: values(getattr(layer, name)) for name in GROUPS})

    layers = [layer_of(layer) for layer in decoder.layers]
    return NativeDecoder(
        decoder.config, values(decoder.embedding), layers, decoder.norm, values(decoder.head), decoder.native
    )


def transcripts(base: Base) -> Iterator[Encoded]:
    """The longest step of each conversation of the validation part."""
    reading = Reading("calls", turns="last", header=base.prompting.tools_header)
    longest: dict[str, Record] = {}
    for line, row in frozen_rows(SOURCE):
        for record in records_of(row, reading, RecordPlace(SOURCE, line)):
            if record.part == "valid":
                before = longest.get(record.group, record)
                longest[record.group] = max(before, record, key=lambda each: len(each.messages))
    return (encode(base, record.messages, record.completion) for record in longest.values())


def compared(forms: tuple[NativeDecoder, NativeDecoder], example: Encoded) -> tuple[Tensor, Tensor]:
    """For each counted token: the divergence, and whether both forms find the same next token likeliest."""
    ids = [*example.trunk, *example.branches[0].tokens]
    states = [form.forward([Row(ids, form.new_cache())]).hidden[example.shared :] for form in forms]
    divergences, equal = [], []
    for parts in zip(*(each.split(CHUNK) for each in states), strict=True):
        ours, exact = (form.logits(part).log_softmax(-1) for form, part in zip(forms, parts, strict=True))
        divergences.append((exact.exp() * (exact - ours)).sum(-1))
        equal.append(exact.argmax(-1) == ours.argmax(-1))
    return torch.cat(divergences), torch.cat(equal)


@torch.inference_mode()
def main() -> None:
    """Compares both forms token by token."""
    parser = options(__doc__.splitlines()[0], limit=200)
    parser.add_argument("--base", default="smollm2-135m")
    given = parser.parse_args()
    base = Base.load(given.base, device="cpu")
    if not isinstance(base.decoder, NativeDecoder):
        raise SystemExit("the C decoder does not serve this base here: install a C compiler (apt install gcc)")
    forms = (base.decoder, wide(base.decoder))
    found = [compared(forms, example) for example in islice(transcripts(base), given.limit)]
    divergences = torch.cat([each for each, _ in found]).double().tolist()
    metrics = {
        "kl_mean_nats": fmean(divergences),
        "kl_p99_nats": quantile(divergences, 0.99),
        "same_token_share": float(torch.cat([equal for _, equal in found]).double().mean()),
        "tokens": float(len(divergences)),
    }
    finish(BenchmarkReport("rounding", len(found), metrics, details={"base": base.name}), given.json)


if __name__ == "__main__":
    main()
