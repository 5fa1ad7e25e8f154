"""Payloads folded into the base's own matrices, for those skills that amount to other matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.payload.sites import GROUPS, rows_of
from loraloop.tool_schemas.errors import SkillError

NO_MATRIX = {
    "prefix": "its prefix is keys and values, which no matrix can hold",
    "prompt": "its virtual tokens are read before the text, which no matrix can do",
    "bottlenecks": "its bottlenecks are not linear",
}


class Folded(NamedTuple):
    """A module of a base with a skill in it: weight [O, K] and, where it has one, bias [O], in fp32."""

    layer: int
    module: str
    weight: Tensor
    bias: Tensor | None


def _check_foldable(payload: Payload, where: str) -> None:
    """Raises SkillError where a payload is more than matrices."""
    for kind, reason in NO_MATRIX.items():
        if kind in payload.kinds:
            raise SkillError(f"{where} cannot be merged into a base: {reason}; serve it as a skill")


@torch.no_grad()
def folded(payload: Payload, context: MethodContext, where: str = "the skill") -> Iterator[Folded]:
    """Every module that a payload changes, as it is with the skill inside.

    The weight is gain · (W + B A) · input gain; the bias is the layer's own and the payload's.

    Raises:
        SkillError: the payload is more than matrices, or adds a bias where the base has none.
    """
    _check_foldable(payload, where)
    config = context.config
    for layer in range(config.layers):
        for group, parts in GROUPS.items():
            site = layer, group
            pair, gain = payload.pairs.get(site), payload.gains.get(site)
            inner, added = payload.input_gains.get(site), payload.biases.get(site)
            if pair is None and gain is None and inner is None and added is None:
                continue
            for module in parts:
                rows = rows_of(config, module)
                weight = context.weight(layer, module).float().cpu()
                if pair is not None:
                    weight = torch.addmm(weight, pair.B[rows].float().cpu(), pair.A.float().cpu())
                if gain is not None:
                    weight = weight * gain[rows].float().cpu()[:, None]
                if inner is not None:
                    weight = weight * inner.float().cpu()
                bias = context.bias(layer, module)
                if added is not None and added[rows].any():
                    if bias is None:
                        raise SkillError(
                            f"{where} adds a bias to {module}, which has none in this base: serve it instead"
                        )
                    bias = bias.cpu() + added[rows].float().cpu()
                yield Folded(layer, module, weight, bias)
