"""Features of a routing point: pooled hidden states of the trunk over the last message.

The trunk's prefill computes these states anyway; pooling them is a handful of additions. A `Part` names a layer and
a pooling, and a router reads a fixed tuple of parts, one after another, as one vector.

`extract` reads many labelled transcripts, each with one prefill of the bare base, and computes shared prefixes once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.adapters.base.messages import Message

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import Base
    from loraloop.adapters.base.loading.convert import AnyDecoder

POOLINGS = ("close", "end", "tail", "mean")
TAIL = 32
HEAD = 3
FORWARD_TOKENS = 2000
SHARD = 512
ALONE = 30_000  # elements below which torch reduces on the calling thread


@dataclass(frozen=True, slots=True, order=True)
class FeaturePart:
    """One pooled state.

    Attributes:
        layer: Layer whose output is read; 0 stands for the embeddings.
        pooling: `close`: at the message's first closing token; `end`: at its last token; `tail`: the mean of the
            last 32 tokens of the content; `mean`: the mean of the whole content.
    """

    layer: int
    pooling: str

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {self.pooling!r}: use one of {', '.join(POOLINGS)}")
        if self.layer < 0:
            raise ValueError(f"layer {self.layer} is negative: count from 0, the embeddings")

    def __str__(self) -> str:
        return f"{self.pooling}@{self.layer}"


@dataclass(frozen=True, slots=True)
class RouterFeatures:
    """What the router reads of one routing point: a vector `[F]` (fp32) for the choice and one for the screen.

    Attributes:
        choice: For the choice.
        screen: For the screen.
    """

    choice: Tensor
    screen: Tensor


def pool(hidden: Tensor, pooling: str, closing: int) -> Tensor:
    """Pool one layer's states over a message.

    Args:
        hidden: States `[T, H]` of the whole message, from its opening to its closing tokens.
        pooling: One of `POOLINGS`.
        closing: How many tokens close a message in the base's chat format.

    Returns:
        A vector `[H]` in fp32.

    Raises:
        ValueError: If the message is shorter than its closing tokens.
    """
    total = hidden.shape[0]
    if total <= closing:
        raise ValueError(
            f"a message of {total} tokens cannot end with {closing} closing tokens: pass the whole message's states"
        )
    if pooling == "close":
        return hidden[total - closing].float()
    if pooling == "end":
        return hidden[total - 1].float()
    stop = total - closing
    start = min(HEAD, stop - 1)
    if pooling == "tail":
        start = max(start, stop - TAIL)
    return _mean(hidden[start:stop])


def _mean(rows: Tensor) -> Tensor:
    """Mean over `[T, H]` in fp32, in pieces too small for torch to wake its threads: that costs more than the sum."""
    step = max(1, ALONE // rows.shape[1])
    total: Tensor = rows[:step].float().sum(0)
    for start in range(step, len(rows), step):
        total += rows[start : start + step].float().sum(0)
    return total / len(rows)


def read(kept: Mapping[int, Tensor], parts: Sequence[FeaturePart], closing: int) -> Tensor:
    """Concatenate the parts of a message's kept states `{layer: [T, H]}` into one vector `[F]`.

    Raises:
        ValueError: If a layer was not kept.
    """
    import torch

    missing = sorted({part.layer for part in parts} - set(kept))
    if missing:
        raise ValueError(f"layers {missing} were not kept: pass keep=router.layers to the forward")
    return torch.cat([pool(kept[part.layer], part.pooling, closing) for part in parts])


Transcript = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ReadingJob:
    """A transcript that no other extends, and the message counts at which it is read."""

    messages: Transcript
    counts: tuple[int, ...]


def jobs(transcripts: Sequence[Transcript]) -> Iterator[ReadingJob]:
    """Group transcripts so that one that another extends is read on the way to the longer one."""
    ordered = sorted(set(transcripts), key=lambda messages: [(m.role, m.content) for m in messages])
    waiting: list[int] = []
    for here, following in zip(ordered, [*ordered[1:], ()], strict=True):
        waiting.append(len(here))
        if following[: len(here)] != here:
            yield ReadingJob(here, tuple(waiting))
            waiting = []


def parts_of(layers: Sequence[int]) -> tuple[FeaturePart, ...]:
    """All parts of some layers, in the order in which `extract` lays them out."""
    return tuple(FeaturePart(layer, pooling) for layer in layers for pooling in POOLINGS)


def select(features: Tensor, parts: Sequence[FeaturePart], layers: Sequence[int]) -> Tensor:
    """Concatenates some parts of features `[N, P, H]` that `extract` read of some layers, into fp32 `[N, F]`."""
    import torch

    order = parts_of(layers)
    return torch.cat([features[:, order.index(part)].float() for part in parts], 1)


def extract(base: Base, transcripts: Sequence[Transcript], layers: Sequence[int]) -> Tensor:
    """Read every transcript at its end.

    Args:
        base: The base whose trunk is read.
        transcripts: Each ends with the message to pool over.
        layers: Layers to read.

    Returns:
        fp16 `[N, P, H]`, P running over `parts_of(layers)`.
    """
    import torch

    complete = [tuple(base.chat.complete(list(t))) for t in transcripts]
    decoder = shortened(base, max(layers))
    done: dict[Transcript, Tensor] = {}
    ordered = sorted(jobs(complete), key=lambda job: job.messages[0].content)
    for _, group in groupby(ordered, key=lambda job: job.messages[0]):
        for batch in _batches(base, list(group)):
            _read(base, decoder, batch, tuple(layers), done)
    return torch.stack([done[t] for t in complete])


def _batches(base: Base, work: list[ReadingJob]) -> Iterator[list[tuple[ReadingJob, list[list[int]]]]]:
    """Jobs with their messages' tokens, about `FORWARD_TOKENS` at a time; all share their first message."""
    batch: list[tuple[ReadingJob, list[list[int]]]] = []
    size = 0
    for job in work:
        ids = [base.chat.message(m.role, m.content, not place) for place, m in enumerate(job.messages)]
        length = sum(map(len, ids[1:]))
        if batch and size + length > FORWARD_TOKENS:
            yield batch
            batch, size = [], 0
        batch.append((job, ids))
        size += length
    if batch:
        yield batch


def shortened(base: Base, layers: int) -> AnyDecoder:
    """The base's decoder up to a layer: what lies above it is never read here."""
    decoder = base.decoder
    if layers >= base.config.layers:
        return decoder
    return replace(decoder, config=replace(base.config, layers=layers), layers=decoder.layers[:layers])


def _read(
    base: Base,
    decoder: AnyDecoder,
    batch: list[tuple[ReadingJob, list[list[int]]]],
    layers: tuple[int, ...],
    done: dict[Transcript, Tensor],
) -> None:
    import torch

    from loraloop.adapters.base import Row

    head = decoder.new_cache()
    shared = int(batch[0][0].messages[0].role == "system")  # the one message that is never read itself
    with torch.inference_mode():
        if shared:
            decoder.forward([Row(batch[0][1][0], head)])
        rows = [Row([t for message in ids[shared:] for t in message], head.fork()) for _, ids in batch]
        kept = decoder.forward(rows, keep=layers).kept
    start = 0
    for job, ids in batch:
        ends = [start]
        for message in ids[shared:]:
            ends.append(ends[-1] + len(message))
        for count in job.counts:
            span = slice(ends[count - shared - 1], ends[count - shared])
            pooled = [pool(kept[part.layer][span], part.pooling, len(base.chat.closing)) for part in parts_of(layers)]
            done[job.messages[:count]] = torch.stack(pooled).half()
        start = ends[-1]


class FeatureCache:
    """A folder of shards that remembers the features of transcripts."""

    def __init__(self, folder: Path, base: Base, layers: Sequence[int]) -> None:
        self.folder, self.base, self.layers = folder, base, tuple(layers)
        self._salt = f"{base.fingerprints.weights}-{self.layers}"
        self._known: dict[str, Tensor] = {}
        folder.mkdir(parents=True, exist_ok=True)
        from safetensors.torch import load_file

        for index in sorted(folder.glob("*.json")):
            keys = json.loads(index.read_text())
            rows = load_file(str(index.with_suffix(".safetensors")))["features"]
            self._known.update(zip(keys, rows, strict=True))

    def key(self, transcript: Transcript) -> str:
        text = json.dumps([self._salt, [[m.role, m.content] for m in transcript]])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def features(self, transcripts: Sequence[Transcript]) -> Tensor:
        """Features `[N, P, H]` (fp16), from the shards where possible; new ones are written shard by shard."""
        import torch
        from safetensors.torch import save_file

        keys = [self.key(t) for t in transcripts]
        fresh = sorted(
            {k: t for k, t in zip(keys, transcripts, strict=True) if k not in self._known}.items(),
            key=lambda item: [(m.role, m.content) for m in item[1]],
        )
        for start in range(0, len(fresh), SHARD):
            shard = fresh[start : start + SHARD]
            rows = extract(self.base, [t for _, t in shard], self.layers)
            name = self.folder / hashlib.sha256("".join(k for k, _ in shard).encode()).hexdigest()[:16]
            save_file({"features": rows}, str(name.with_suffix(".safetensors")))
            name.with_suffix(".json").write_text(json.dumps([k for k, _ in shard]))
            self._known.update(zip([k for k, _ in shard], rows, strict=True))
        return torch.stack([self._known[k] for k in keys])
