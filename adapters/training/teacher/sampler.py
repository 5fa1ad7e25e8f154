"""Completions of a base or a skill for many transcripts: plain sampling without a grammar, in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message, Row
from loraloop.adapters.skill.skill import Skill
from loraloop.tool_schemas.errors import InputError


@dataclass(slots=True)
class SkillSampler:
    """Writes completions as a step would, from the trunk on.

    Attributes:
        base: it.
        skill: computes the branch; None: the bare base.
        temperature: 0 takes the likeliest token.
        longest: tokens of a completion; a longer one is cut.
        batch: completions written at once.
        seed: each transcript and each of its samples draws from a generator of its own.
    """

    base: Base
    skill: Skill | None = None
    temperature: float = 0.0
    longest: int = 256
    batch: int = 8
    seed: int = 0
    _bank: Bank | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf or self.longest < 1 or self.batch < 1:
            raise InputError("temperature must be finite and not negative; longest and batch must be at least 1")
        if self.skill is not None:
            self._bank = Bank(self.base, slots=1, rank=max(1, self.skill.card.rank or 1))
            self._bank.add(self.skill)

    def write(
        self, transcripts: Sequence[Sequence[Message]], samples: int = 1, done: Callable[[], None] = lambda: None
    ) -> list[list[str]]:
        """`samples` completions of each transcript.

        Args:
            transcripts: messages up to the step.
            samples: drawn independently.
            done: called after each transcript.
        """
        written: list[list[str]] = [[] for _ in transcripts]
        step = max(1, self.batch // samples)
        order = sorted(range(len(transcripts)), key=lambda place: sum(len(m.content) for m in transcripts[place]))
        for start in range(0, len(order), step):
            places = order[start : start + step]
            texts = self._together([transcripts[place] for place in places], places, samples)
            for place, found in zip(places, texts, strict=True):
                written[place] = found
                done()
        return written

    def _together(self, transcripts: Sequence[Sequence[Message]], places: Sequence[int], samples: int) -> Any:
        base, bank = self.base, self._bank
        trunks = [base.chat.render(messages) for messages in transcripts]
        caches = [base.new_cache(len(trunk) + self.longest) for trunk in trunks]
        base.forward([Row(trunk, cache) for trunk, cache in zip(trunks, caches, strict=True)])
        with bank.using(self.skill.card.name) if bank and self.skill else nullcontext(0) as slot:
            attached = bank.attached if bank else None
            virtual = attached.virtual(slot) if attached else None
            rows, draws = [], []
            for place, cache in zip(places, caches, strict=True):
                for index in range(samples):
                    own: Any = cache.fork() if index + 1 < samples else cache
                    if virtual is not None and virtual.prefix:
                        own.extend(virtual.prefix)
                    before = None if virtual is None else virtual.prompt
                    rows.append(Row(base.chat.generation_prompt, own, slot, before))
                    draws.append(torch.Generator().manual_seed((self.seed * 65_537 + place) * 257 + index))
            texts = self._written(rows, draws, attached)
        return [texts[start : start + samples] for start in range(0, len(texts), samples)]

    def _written(self, rows: list[Row], draws: list[torch.Generator], attached: Any) -> list[str]:
        ids: list[list[int]] = [[] for _ in rows]
        open_ = list(range(len(rows)))
        for _ in range(self.longest):
            batch = [rows[place] for place in open_]
            hidden = self.base.forward(batch, attached=attached).hidden
            ends, offset = [], 0
            for row in batch:
                offset += len(row.tokens) + (0 if row.before is None else row.before.shape[0])
                ends.append(offset - 1)
            logits = self.base.logits(hidden[ends]).cpu()
            kept = []
            for place, row in zip(open_, logits, strict=True):
                token = self._chosen(row, draws[place])
                if token in self.base.stop_ids:
                    continue
                ids[place].append(token)
                rows[place] = Row([token], rows[place].cache, rows[place].slot)
                kept.append(place)
            open_ = kept
            if not open_:
                break
        return [self.base.tokenizer.decode(tokens) for tokens in ids]

    def _chosen(self, logits: Tensor, draw: torch.Generator) -> int:
        if self.temperature == 0:
            return int(logits.argmax())
        weights = torch.softmax(logits.float() / self.temperature, -1)
        return int(torch.multinomial(weights, 1, generator=draw))
