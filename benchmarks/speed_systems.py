"""The systems whose speed is compared, behind one question: how long does this case take you?

Each holds a filled cache for every length of context it is asked about, and after a measurement cuts it back. Weights
of a skill mean nothing here and are applied to whatever is computed while it is on; the context was read by the base.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import torch
from llama_peer import Llama
from transformers_peer import transformers_model, with_adapters

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.decoder.cache import KVCache
    from loraloop.adapters.skill.skill import Skill

WARM = 2
"""Untimed forwards before timed ones: whatever ran in between has taken the processor's caches."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time.

    Attributes:
        kind: `decode`, one token a forward; `rows`, some in one forward; `prefill`, a context into an empty cache.
        context: tokens in the cache before, or read by a prefill.
        count: tokens of a forward (`rows`).
        skill: under a skill, or the base alone.
    """

    kind: str
    context: int
    count: int = 1
    skill: bool = False

    @property
    def name(self) -> str:
        """As in the names of metrics."""
        size = self.count if self.kind == "rows" else self.context
        return f"{self.kind}_{size}{'_skill' if self.skill else ''}"

    @property
    def past(self) -> int:
        """Tokens in the cache when the forward begins."""
        return 0 if self.kind == "prefill" else self.context

    @property
    def bare(self) -> Case:
        """The case on the base alone."""
        return Case(self.kind, self.context, self.count)


class System(Protocol):
    """A way to run the model."""

    name: str

    def measure(self, case: Case) -> float:
        """Seconds of a forward (`decode`: the mean of several)."""
        ...


class Ours:
    """loraloop: a row on slot 0, or on the skill's."""

    name = "loraloop"

    def __init__(self, base: Base, skill: Skill, steps: int = 16) -> None:
        from loraloop.adapters.bank.bank import Bank

        self._base, self._steps = base, steps
        self._bank = Bank(base, slots=1, rank=skill.card.rank)
        self._slot = self._bank.slot(self._bank.add(skill))
        self._caches: dict[int, KVCache] = {}
        self._random = random.Random(1)

    def measure(self, case: Case) -> float:
        slot = self._slot if case.skill else 0
        if case.kind == "prefill":
            return self._forward(case.context, self._base.new_cache(), slot)
        cache = self._filled(case.context)
        for _ in range(WARM):
            self._forward(case.count, cache, slot)
        cache.truncate(case.context)
        repeats = self._steps if case.kind == "decode" else max(self._steps // 4, 1)
        seconds = 0.0
        for _ in range(repeats):
            seconds += self._forward(case.count, cache, slot)
            if case.kind == "rows":
                cache.truncate(case.context)
        cache.truncate(case.context)
        return seconds / repeats

    def _forward(self, count: int, cache: KVCache, slot: int) -> float:
        """Seconds of a forward of random tokens, with the last one's logits."""
        from loraloop.adapters.base import Row

        tokens = drawn(self._random, count, self._base.config.vocab_size)
        start = perf_counter()
        out = self._base.forward([Row(tokens, cache, slot)], attached=self._bank.attached)
        self._base.logits(out.hidden[-1:])
        return perf_counter() - start

    def _filled(self, context: int) -> KVCache:
        if context not in self._caches:
            cache = self._caches[context] = self._base.new_cache()
            self._forward(context, cache, 0)
        return self._caches[context]


class Transformers:
    """transformers' eager forward in bf16, and PEFT's around it for a skill. Both share their weights and caches."""

    name = "transformers"

    def __init__(self, base: Base, skill: Skill, folder: Path, steps: int = 4) -> None:
        self._vocabulary, self._steps = base.config.vocab_size, steps
        self._models = _models(base, skill, folder)
        self._caches: dict[int, Any] = {}
        self._random = random.Random(1)

    def measure(self, case: Case) -> float:
        return min(self._measure(case, attention) for attention in ("sdpa", "eager"))

    def _measure(self, case: Case, attention: str) -> float:
        from transformers import DynamicCache

        model = self._models[case.skill]
        _config(model)._attn_implementation = attention
        with torch.inference_mode():
            if case.kind == "prefill":
                return self._forward(model, case.context, DynamicCache())
            cache = self._filled(case.context)
            seconds = []
            for _ in range(1 + self._steps):
                seconds.append(self._forward(model, case.count, cache))
                cache.crop(-case.count)
        return sum(seconds[1:]) / self._steps

    def _forward(self, model: Any, count: int, cache: Any) -> float:
        tokens = drawn(self._random, count, self._vocabulary)
        start = perf_counter()
        model(torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return perf_counter() - start

    def _filled(self, context: int) -> Any:
        from transformers import DynamicCache

        if context not in self._caches:
            cache = self._caches[context] = DynamicCache()
            config = _config(self._models[False])
            before, config._attn_implementation = config._attn_implementation, "sdpa"
            self._forward(self._models[False], context, cache)
            config._attn_implementation = before
        return self._caches[context]


def _models(base: Base, skill: Skill, folder: Path) -> dict[bool, Any]:
    """The bare model, and PEFT's around a second one that shares its weights."""
    bare = transformers_model(base)
    other = deepcopy(bare, {id(each): each for each in bare.parameters()})
    return {False: bare, True: with_adapters(other, [skill], folder, "full")}


def _config(model: Any) -> Any:
    """Config of transformers' model, also inside PEFT's."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).config


class LlamaCpp:
    """llama.cpp's C interface in its own process."""

    name = "llama.cpp"

    def __init__(self, process: Llama, steps: int = 16) -> None:
        self._process = process
        self._more = {"decode": {"steps": steps}, "rows": {"repeats": max(steps // 4, 1)}, "prefill": {}}

    def measure(self, case: Case) -> float:
        given = {"context": case.context, "skill": case.skill, **self._more[case.kind]}
        given |= {"count": case.count} if case.kind == "rows" else {}
        return min(float(self._process.ask(case.kind, flash=flash, **given)["seconds"]) for flash in (True, False))


def drawn(rng: random.Random, count: int, vocabulary: int) -> list[int]:
    """Ordinary token ids."""
    low, high = min(100, vocabulary // 4), vocabulary - min(300, vocabulary // 4)  # special tokens stand at the ends
    return [rng.randrange(low, high) for _ in range(count)]
