"""Examples through the base and a payload: final states of all completion tokens, for an objective to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.base.decoder.native_cache import NativeCache
from loraloop.adapters.payload.payload import Payload, PayloadAttached
from loraloop.adapters.training.data.encode import Encoded, EncodedBranch
from loraloop.adapters.training.forward.forward import BranchForward, Dropout, prefill
from loraloop.adapters.training.forward.heads import Heads
from loraloop.adapters.training.forward.past import Past
from loraloop.adapters.training.forward.plan import Plan
from loraloop.adapters.training.forward.served_trunks import served
from loraloop.adapters.training.forward.trunks import TrunkCache


@dataclass(frozen=True, slots=True)
class Scored:
    """A batch's completion tokens.

    Attributes:
        examples: the batch.
        branches: of all examples, in order.
        states: `[M, H]`, final-normed, each before a completion token.
        targets: `[M]`, those tokens.
        past: the trunks, for another forward on them; None where the context was computed by the skill.
        payload: what computed the states.
    """

    examples: Sequence[Encoded]
    branches: tuple[EncodedBranch, ...]
    states: Tensor
    targets: Tensor
    past: Past | None
    payload: Payload | None = None

    def sums(self, values: Tensor) -> Tensor:
        """The sum `[branches]` of `[M]` values over each branch's completion."""
        counts = torch.tensor([branch.counted for branch in self.branches], device=values.device)
        owner = torch.repeat_interleave(torch.arange(len(self.branches), device=values.device), counts)
        return values.new_zeros(len(self.branches)).index_add(0, owner, values)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads examples with a base.

    Attributes:
        decoder: differentiable; see `view.training_view`.
        store: trunks on disk, or None.
        checkpointing: see `TrainConfig`.
        server: the base that computes trunks as it serves them; None: `decoder` computes them.

    The system messages of the last batches are kept: examples of one assistant compute theirs once.
    """

    decoder: Decoder
    store: TrunkCache | None = None
    checkpointing: bool = False
    server: Base | None = None
    _served: Heads[NativeCache] = field(default_factory=Heads)
    _trained: Heads[Tensor] = field(default_factory=Heads)

    def read(
        self,
        examples: Sequence[Encoded],
        payload: Payload | None,
        *,
        full: bool = False,
        dropout: Dropout | None = None,
        past: Past | None = None,
    ) -> Scored:
        """States of the examples' completions.

        Args:
            examples: the batch.
            payload: on the branches; None: the bare base.
            full: the payload computes the whole context too, in the graph.
            dropout: on the adapters' input.
            past: the examples' trunks where they are computed already (`Scored.past`).
        """
        branches = tuple(branch for example in examples for branch in example.branches)
        owners = tuple(place for place, example in enumerate(examples) for _ in example.branches)
        contexts = [_context(examples[owner], branch) for owner, branch in zip(owners, branches, strict=True)]
        rows = [branch.tokens[:-1] for branch in branches]
        starts = [branch.start - 1 for branch in branches]
        own = None
        if full:
            starts = [start + len(context) for start, context in zip(starts, contexts, strict=True)]
            rows = [context + row for context, row in zip(contexts, rows, strict=True)]
        else:
            past = past or self.trunks(examples)
            own = past.taken(owners, [len(context) for context in contexts])
        attached = None if payload is None else PayloadAttached(payload, self.decoder.dtype)
        prompt = 0 if payload is None or payload.prompt is None else len(payload.prompt)
        prefix = 0 if payload is None else payload.virtual - prompt
        plan = Plan.of(rows, self.decoder.device, own.lengths if own else None, starts, prompt=prompt, prefix=prefix)
        states = BranchForward(
            self.decoder, plan, own, attached, dropout=dropout, checkpointing=self.checkpointing
        ).states()
        targets = [token for branch in branches for token in branch.tokens[branch.start :]]
        wanted = torch.tensor(targets, device=states.device)
        return Scored(
            examples=examples,
            branches=branches,
            states=states,
            targets=wanted,
            past=None if full else past,
            payload=payload,
        )

    def trunks(self, examples: Sequence[Encoded]) -> Past:
        """The examples' trunks: from the disk, or computed, a system message that several begin with once."""
        if self.store is None:
            return self._computed(examples)
        found = [self.store.get(example.trunk) for example in examples]
        missing = [place for place, trunk in enumerate(found) if trunk is None]
        if missing:
            made = self._computed([examples[place] for place in missing])
            for index, place in enumerate(missing):
                found[place] = made.row(index)
            self.store.put([(examples[place].trunk, made.row(index)) for index, place in enumerate(missing)])
            if len(missing) == len(examples):
                return made
        return Past.of([trunk.to(self.decoder.device) for trunk in found if trunk is not None])

    def _computed(self, examples: Sequence[Encoded]) -> Past:
        if self.server is not None:
            parts = [(e.trunk[: e.shared], e.trunk[e.shared :]) for e in examples]
            made = served(self.server, parts, self._kv_dtype, self._served)
            return Past(made.data.to(self.decoder.device), made.lengths)
        heads = [example.trunk[: example.shared] for example in examples]
        rests = [example.trunk[example.shared :] for example in examples]
        if not all(heads) or not all(rests):
            return prefill(self.decoder, [example.trunk for example in examples])
        # Each alone, so that a run that goes on after a kill, with nothing kept, computes the same bits.
        kept = self._trained.of(heads, lambda new: [prefill(self.decoder, [head]).row(0) for head in new])
        begun = Past.of([kept[head] for head in heads])
        after = prefill(self.decoder, rests, begun)
        return Past.of([torch.cat([begun.row(i), after.row(i)], dim=3) for i in range(len(examples))])

    @property
    def _kv_dtype(self) -> torch.dtype:
        return torch.float32 if self.decoder.config.qkv_bias else self.decoder.dtype


def _context(example: Encoded, branch: EncodedBranch) -> tuple[int, ...]:
    return example.trunk if branch.at is None else example.trunk[: branch.at]
