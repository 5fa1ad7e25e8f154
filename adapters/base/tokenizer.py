"""Text to token ids and back, on the `tokenizers` library; plain text never yields a special token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from loraloop.tool_schemas.errors import BaseModelError

_LONG = 20_000  # characters; encoding them takes ten milliseconds and more


class Tokenizer:
    """A byte-level BPE tokenizer read from a `tokenizer.json`.

    Two copies are held: `backend` knows the special tokens (for grammars and decoding); the one that encodes
    text does not know them, so that no text, whoever wrote it, can become one.
    """

    def __init__(self, tokenizer_json: str, eos_ids: tuple[int, ...]) -> None:
        import tokenizers

        self.json = tokenizer_json
        self.eos_ids = eos_ids
        spec: dict[str, Any] = json.loads(tokenizer_json)
        added = spec.get("added_tokens", [])
        self.special = {token["content"]: int(token["id"]) for token in added}
        self.special_ids = frozenset(self.special.values())
        if "ByteLevel" not in json.dumps([spec.get("pre_tokenizer"), spec.get("decoder")]):
            raise BaseModelError(
                "only byte-level BPE tokenizers are supported, not SentencePiece's (Llama 2, Mistral 7B): use a model "
                "with a byte-level one, such as Llama 3, Mistral Nemo, Qwen or Granite"
            )
        self.backend = tokenizers.Tokenizer.from_str(tokenizer_json)
        model = self.backend.model  # both copies share it
        if (spec.get("model") or {}).get("ignore_merges"):  # it would find special tokens that are in the vocabulary
            model = tokenizers.Tokenizer.from_str(tokenizer_json).model
            model.ignore_merges = False
        self._plain = tokenizers.Tokenizer(model)
        self._plain.pre_tokenizer = self.backend.pre_tokenizer
        if self.backend.normalizer is not None:
            self._plain.normalizer = self.backend.normalizer
        vocabulary = self._plain.get_vocab(with_added_tokens=False)
        self.longest = max(map(len, vocabulary))  # bytes of the longest token
        self._absent = frozenset(byte for char, byte in self._byte_of.items() if char not in vocabulary)

    @property
    def vocab_size(self) -> int:
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Ids of plain text. Text that spells a special token is encoded as ordinary characters.

        A character that the vocabulary cannot spell (SmolLM2 lacks some control bytes) becomes U+FFFD, and half of a
        surrogate pair a question mark, so that their loss can be seen; Hugging Face's tokenizer drops the former.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            data = text.encode("utf-8", "replace")
            text = data.decode()
        if not self._absent.isdisjoint(data):
            text = "".join(c if self._absent.isdisjoint(c.encode()) else "\ufffd" for c in text)
        if len(text) < _LONG:
            ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        else:  # other threads run meanwhile: of the library's functions, only those for several texts let them
            ids = self._plain.encode_batch_fast([text], add_special_tokens=False)[0].ids
        if not self.special_ids.isdisjoint(ids):
            raise BaseModelError("this tokenizer turns ordinary text into a special token; it cannot be used safely")
        return ids

    def decode(self, ids: list[int], skip_special: bool = True) -> str:
        text: str = self.backend.decode(ids, skip_special_tokens=skip_special)
        return text

    def token_bytes(self, token: int) -> bytes:
        """The bytes one id stands for (a special token's own name for a special id)."""
        piece = self.backend.id_to_token(token)
        if piece is None:
            raise ValueError(f"token id {token} is outside the vocabulary of {self.vocab_size}")
        if token in self.special_ids:
            return bytes(piece, "utf-8")
        return bytes(self._byte_of[char] for char in piece)

    def all_bytes(self) -> list[bytes]:
        """`token_bytes` of every id below `vocab_size`, empty where the vocabulary has a hole."""
        table = str.maketrans({char: chr(byte) for char, byte in self._byte_of.items()})
        pieces = (self.backend.id_to_token(token) or "" for token in range(self.vocab_size))
        return [
            piece.encode() if token in self.special_ids else piece.translate(table).encode("latin-1")
            for token, piece in enumerate(pieces)
        ]

    @cached_property
    def joins_fences(self) -> bool:
        """Whether a token can be a backquote with line breaks behind it, as in Qwen's vocabulary."""
        line_break = next(char for char, byte in self._byte_of.items() if byte == 10)
        return self.backend.token_to_id(f"`{line_break}{line_break}") is not None

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        """GPT-2's printable stand-in character of each byte, inverted."""
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        stand_in = {chr(byte): byte for byte in printable}
        for count, byte in enumerate(b for b in range(256) if b not in set(printable)):
            stand_in[chr(256 + count)] = byte
        return stand_in


def common_prefix(left: Sequence[object], right: Sequence[object]) -> int:
    """The number of leading tokens that two texts share, or of items that two lists do."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size
    low, high = 0, size  # the first `low` are the same, the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
