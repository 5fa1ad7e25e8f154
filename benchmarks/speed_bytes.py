"""What a forward has to read and to multiply: the sizes behind the physical limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.adapters.payload.sites import MODULES, module_shape

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill


@dataclass(frozen=True, slots=True)
class Bytes:
    """Sizes of what a forward of one or a few tokens reads.

    Attributes:
        weights: of all layers and the head.
        kv_token: keys and values of one token of context.
        skill: of the adapter's matrices.
    """

    weights: int
    kv_token: int
    skill: int

    def read(self, context: int, skill: bool) -> int:
        """Bytes of one forward after `context` tokens."""
        return self.weights + self.kv_token * context + (self.skill if skill else 0)


def served_bytes(base: Base, skill: Skill) -> Bytes:
    """Bytes of our base, as it is served."""
    decoder = base.decoder
    weights = [decoder.head, *(w for each in decoder.layers for w in (each.qkv, each.o, each.gate_up, each.down))]
    cache = base.new_cache(1_024)
    return Bytes(
        sum(tensor.nbytes for weight in weights for tensor in weight.state().values()),
        cache.nbytes // cache.capacity,
        sum(tensor.numel() * base.dtype.itemsize for tensor in skill.tensors.values()),
    )


def ggml_bytes(base: Base, gguf: Path, skill: Skill) -> Bytes:
    """Bytes of llama.cpp: the file's tensors (the embedding counts where it is the head too), fp16 keys and values."""
    from gguf import GGUFReader

    config = base.config
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in GGUFReader(str(gguf)).tensors}
    if not config.tied_embeddings:
        sizes.pop("token_embd.weight", None)
    kv = 2 * 2 * config.layers * config.kv_heads * config.head_dim
    return Bytes(sum(sizes.values()), kv, sum(4 * tensor.numel() for tensor in skill.tensors.values()))


def flops(base: Base, tokens: int, past: int = 0, skill: Skill | None = None) -> float:
    """Operations of a forward: products with all layers' weights, causal attention, the last token's head."""
    config = base.config
    weights = config.layers * sum(out * inner for out, inner in (module_shape(config, m) for m in MODULES))
    if skill is not None:
        weights += sum(tensor.numel() for tensor in skill.tensors.values())
    attention = 2 * config.layers * config.heads * config.head_dim * tokens * (past + (tokens + 1) / 2)
    return 2 * (weights * tokens + attention + config.vocab_size * config.hidden_size)
