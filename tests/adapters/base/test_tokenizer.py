"""Long texts, and what a `tokenizer.json` may say."""

from __future__ import annotations

import json
import threading

from loraloop.adapters.base import Base
from loraloop.adapters.base.tokenizer import Tokenizer


def test_other_threads_run_while_a_long_text_is_encoded(base: Base) -> None:
    text, ticks, done = "Some words, and some more. " * 40_000, [0], threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    while not ticks[0]:
        pass
    start = ticks[0]
    ids = base.tokenizer.encode(text)
    meanwhile = ticks[0] - start
    done.set()
    thread.join()
    assert meanwhile > 20
    assert base.tokenizer.decode(ids) == text
    assert base.tokenizer.encode(text[:2699]) == ids[:700], "in the same tokens as short ones"


def test_no_token_has_more_bytes_than_the_longest(base: Base) -> None:
    tokenizer = base.tokenizer
    sizes = [len(tokenizer.token_bytes(token)) for token in set(range(tokenizer.vocab_size)) - tokenizer.special_ids]
    assert len(sizes) > 200 and max(sizes) == tokenizer.longest


def test_the_bytes_of_all_tokens_are_those_of_each(base: Base) -> None:
    tokenizer = base.tokenizer
    assert tokenizer.all_bytes() == [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]


def test_a_vocabulary_that_is_searched_before_merges_gives_no_special_token(base: Base) -> None:
    """The copy that encodes keeps the normalizer and the splitting, and merges where the other need not."""
    spec = json.loads(base.tokenizer.json)
    spec["model"]["ignore_merges"], spec["normalizer"] = True, {"type": "NFC"}
    spec["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    token = spec["added_tokens"][0]
    spec["model"]["vocab"][token["content"]] = token["id"]
    tokenizer = Tokenizer(json.dumps(spec), base.tokenizer.eos_ids)
    assert token["id"] not in tokenizer.encode(token["content"])
    assert tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9")
