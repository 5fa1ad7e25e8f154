"""Prompt tuning (arXiv 2104.08691): input embeddings of virtual tokens, learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.method import Method, checked_rank
from loraloop.adapters.payload.payload import Payload


@dataclass(frozen=True, slots=True)
class Prompt(Method):
    """The method. A fresh one is not the base: its tokens are read like any others.

    Its one parameter is `prompt` `[P, H]`, the embeddings of P virtual tokens.

    Attributes:
        tokens: virtual tokens.
        text: words whose embeddings they start at, repeated as often as needed; normal (0.02) without.
    """

    tokens: int = 16
    text: str = ""
    name = "prompt"

    def __post_init__(self) -> None:
        checked_rank(self.tokens, "tokens")

    def init(self, context: MethodContext, seed: int = 0) -> dict[str, Tensor]:
        """ "prompt" [P, H], as the embedding table holds tokens."""
        if self.text:
            rows = context.embedded(self.text)
            values = rows[torch.arange(self.tokens, device=rows.device) % rows.shape[0]].cpu().clone()
        else:
            generator = torch.Generator().manual_seed(seed)
            values = torch.empty(self.tokens, context.config.hidden_size).normal_(0, 0.02, generator=generator)
        return {"prompt": values.requires_grad_()}

    def payload(self, parameters: Mapping[str, Tensor], context: MethodContext) -> Payload:
        """The embeddings: `prompt` `[P, H]` of `parameters`."""
        return Payload(prompt=parameters["prompt"])
