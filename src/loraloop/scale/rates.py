"""The rates of this machine, measured in a few seconds with a loaded base, and the dimensions of a base by its name."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.decoder import Row
from loraloop.adapters.base.decoder.native_cache import NativeCache
from loraloop.adapters.base.loading.catalog import CATALOG
from loraloop.adapters.base.loading.fetch import gguf_file
from loraloop.adapters.base.loading.gguf_source import GGUFSource
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.payload.sites import matrix_values
from loraloop.adapters.skill.blank import blank_skill
from loraloop.scale.capacity import Capacity, Rates, skill_bytes
from loraloop.tool_schemas.errors import BaseModelError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

SHORT, LONG = 64, 448
"""Tokens of the two parts of the prompt that is timed."""
REPEATS, DECODED = 3, 8
"""How often a part is read, and a token decoded after each; the shortest counts, as other work only adds to it."""
RANK = 16
"""Rank of the skills whose loading is timed."""

Clock = Callable[[], float]


def config_of(model: str) -> ModelConfig:
    """The dimensions of a base, from a file's header or a `config.json`; no weights are read.

    Args:
        model: A name of the catalog, a GGUF file, a folder with a `config.json`, or a hub id.

    Raises:
        BaseModelError: There is no such base, or it is of an unsupported architecture.
    """
    path = Path(model).expanduser()
    if model in CATALOG or path.is_file():
        return GGUFSource(gguf_file(model)).config
    try:
        file = str(path / "config.json")
        if not path.is_dir() and model.count("/") == 1:
            from huggingface_hub import hf_hub_download

            file = hf_hub_download(model, "config.json")
        return ModelConfig.from_hf(json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds too
        if isinstance(error, BaseModelError):
            raise
        reason = str(error).splitlines()[0]
        raise BaseModelError(
            f"cannot read the config of {model!r} ({reason}); give a name of `loraloop bases`, a GGUF file, a folder "
            "with a config.json, or a hub id like 'owner/name'"
        ) from error


def weights_of(base: Base) -> tuple[int, int]:
    """Bytes of a loaded base's matrices: of all, and of those that a forward of one token reads."""
    decoder = base.decoder
    layers = [weight for each in decoder.layers for weight in (each.qkv, each.o, each.gate_up, each.down)]
    sizes = [sum(part.nbytes for part in weight.state().values()) for weight in (*layers, decoder.head)]
    embedding = 0 if decoder.head is decoder.embedding else sum(p.nbytes for p in decoder.embedding.state().values())
    return sum(sizes) + embedding, sum(sizes)


def measure(base: Base, clock: Clock = perf_counter) -> Capacity:
    """A loaded base on this machine: its weights as they are in memory, and rates measured now, in a few seconds.

    Args:
        base: It should be idle.
        clock: Gives seconds. With one thread on a busy machine, `time.thread_time` leaves out the time of others.
    """
    on_cpu = base.device.type == "cpu"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not on_cpu:
        memory = torch.cuda.get_device_properties(base.device).total_memory
    cache = base.new_cache(1)
    width = cache.nbytes // (cache.capacity * 2 * base.config.layers * base.config.kv_heads * base.config.head_dim)
    machine = "this processor" if on_cpu else torch.cuda.get_device_name(base.device)
    rates = replace(_forward_rates(base, width, clock), **_skill_rates(base, clock))
    pages = isinstance(cache, NativeCache)
    weights = weights_of(base)[0]
    return Capacity(
        base=base.name,
        form=base.form,
        machine=machine,
        config=base.config,
        weights=weights,
        memory=memory,
        rates=rates,
        width=width,
        pages=pages,
        gpu=not on_cpu,
    )


def _forward_rates(base: Base, width: int, clock: Clock) -> Rates:
    """Rates of forwards: two parts of a prompt and a token after each give the four unknowns."""
    config, draw = base.config, random.Random(0)

    def timed(cache: Any, count: int) -> float:
        ids = [draw.randrange(config.vocab_size) for _ in range(count)]
        start = clock()
        hidden = base.forward([Row(ids, cache)]).hidden
        if count == 1:
            base.logits(hidden)
        if base.device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    timed(base.new_cache(), SHORT)
    parts: list[list[float]] = [[], []]
    tokens: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        cache = base.new_cache()
        for at, count in enumerate((SHORT, LONG)):
            parts[at].append(timed(cache, count))
            tokens[at] += [timed(cache, 1) for _ in range(DECODED)]
            cache.truncate(cache.length - DECODED)
    first, second = min(parts[0]) / SHORT, min(parts[1]) / LONG
    pair = max((second - first) / ((SHORT + LONG) / 2), 1e-15)
    token = max(first - pair * SHORT / 2, first / 2)
    position = max((min(tokens[1]) - min(tokens[0])) / LONG, 1e-15)
    forward = max(min(tokens[0]) - position * SHORT, min(tokens[0]) / 2)
    products = token * (1 + config.vocab_size * config.hidden_size / matrix_values(config))
    reading = sqrt(max(forward**2 - products**2, (forward / 2) ** 2))
    each = 2 * config.layers * config.kv_heads * config.head_dim * width
    return Rates(weights_of(base)[1] / reading, each / max(position - pair, position / 10), 1 / token, 1 / pair)


def _skill_rates(base: Base, clock: Clock) -> dict[str, float]:
    """Rates at which a skill comes from its file and from memory, by replacing one by another in a single slot."""
    bank = Bank(base, slots=1, rank=RANK)

    def activated(name: str) -> float:
        start = clock()
        bank.slot(name)
        return clock() - start

    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "second"):
            bank.add(blank_skill(base, name, method=Lora(RANK, RANK)).save(Path(folder, name)))
        read = [activated(name) for name in ("first", "second")]
        copied = min(activated(name) for name in 2 * ("first", "second"))
    file = skill_bytes(base.config, RANK)
    return {"copy": bank.bytes.device / copied, "file": file / max(min(read) - copied, copied / 10)}
