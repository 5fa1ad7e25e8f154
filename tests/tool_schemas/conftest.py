"""A small real byte-level BPE tokenizer, trained on the spot, for the grammar tests."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from loraloop.tool_schemas import GrammarCompiler

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = (
    "weather city unit celsius fahrenheit information Paris London name arguments value result true false null the "
    "of and number text integer string item date start query search event title minutes recommendation community"
)


def _texts() -> list[str]:
    words = WORDS.split()
    calls = [
        json.dumps([{"name": a, "arguments": {b: c, "n": 12}}], separators=(",", ":"))
        for a in words
        for b in words[:12]
        for c in words[::4]
    ]
    return [*calls, " ".join(words), "```python\nprint('hello')\n```\n" * 3, "Zürich, Köln, 東京 été naïve"]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(_texts(), trainer)
    return made


@pytest.fixture(scope="session")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    end = tokenizer.token_to_id("<|im_end|>")
    return GrammarCompiler(tokenizer.to_str(), tokenizer.get_vocab_size(), end)
