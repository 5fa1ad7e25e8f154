"""The names that a pattern of `patternProperties` fits, where these are few."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np

from loraloop.tool_schemas.schema.formats import portable, too_many_repeats

_MOST = 32
"""Names that are few, and bytes that one of them has at most."""
_REPEATS = 1000
"""Repeats beyond which a pattern is not tried: the engine takes seconds for a million, and no name so long counts."""


@lru_cache(1024)
def few_names(pattern: str) -> tuple[str, ...]:
    """The names that a pattern fits; empty where they are not few, or the engine does not take the pattern."""
    from llguidance import LLMatcher, LLTokenizer

    if too_many_repeats(pattern, _REPEATS):
        return ()
    try:
        source = LLMatcher.grammar_from_json_schema(json.dumps({"type": "string", "pattern": portable(pattern)}))
    except ValueError:
        return ()
    tokenizer = LLTokenizer("byte")
    mask = np.zeros((tokenizer.vocab_size + 31) // 32, dtype=np.int32)
    places, found = [(b"", LLMatcher(tokenizer, source, log_level=0))], dict[str, None]()
    while places:
        text, place = places.pop()
        if place.is_accepting():
            found[json.loads(text)] = None
            continue
        place.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        following = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[:256]).tolist()
        if place.is_error() or len(text) > _MOST or len(found) + len(places) + len(following) > _MOST:
            return ()
        for byte in following:
            after = place.deep_copy()
            after.consume_token(byte)
            places.append((text + bytes([byte]), after))
    return tuple(sorted(found))
