"""Texts decoded through a grammar without a model: the shortest way out, and a seeded random walk."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import LimitError, Violation

if TYPE_CHECKING:
    import torch

    from loraloop.tool_schemas.grammar.grammar import Grammar, State
    from loraloop.tool_schemas.grammar.matcher import Vocabulary

_TRIES = 200  # values that fail their check before a walk gives up
_WALKS = 6


def shortest(grammar: Grammar, vocabulary: Vocabulary, limit: int = 1024) -> str:
    """A short text of the grammar, as an agent closes a call that runs out of tokens; else the shortest of some walks.

    Raises:
        LimitError: If none was found.
    """
    path = grammar.start().closing(limit)
    if path is not None:
        return vocabulary.tokenizer.decode_bytes(path).decode(errors="replace")
    texts = []
    for seed in range(_WALKS):
        with suppress(LimitError):
            texts.append(random_walk(grammar, vocabulary, seed))
    if not texts:
        raise LimitError(f"no complete text was found, neither directly nor on {_WALKS} random walks")
    return min(texts, key=len)


def random_walk(grammar: Grammar, vocabulary: Vocabulary, seed: int, limit: int = 200) -> str:
    """A text decoded token by token from random logits: whatever the model, the grammar lets through no other.

    A value that fails a check is decoded again from where it began, as an agent does.

    Args:
        grammar: Compiled; short bounds make short texts.
        vocabulary: The vocabulary that it was compiled for.
        seed: Seed of the logits.
        limit: Tokens after which the text is closed.

    Raises:
        LimitError: If no complete text came out.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    state, taken, failures = grammar.start(), list[int](), 0
    while not state.done:
        if len(taken) >= limit or failures >= _TRIES:
            path = state.closing(limit)
            if path is None:
                raise LimitError(f"{failures} values failed their check, and no complete text was found")
            taken += path
            break
        step = state.forced() or [_drawn(state, vocabulary, generator)]
        if step[0] in vocabulary.ends:
            break
        try:
            state.accept(step)
        except Violation as violation:
            failures += 1
            start = violation.start if violation.start < len(taken) else 0  # what is forced would come again
            state.rollback(len(taken) - start)
            del taken[start:]
            continue
        taken += step
    return vocabulary.tokenizer.decode_bytes(taken).decode(errors="replace")


def _drawn(state: State, vocabulary: Vocabulary, generator: torch.Generator) -> int:
    """A token drawn from random logits under the mask."""
    import torch

    noise = -torch.log(-torch.log(torch.rand(vocabulary.size, generator=generator)))
    logits = noise + vocabulary.liking
    state.mask_(logits)
    return int(logits.argmax())
