"""Long texts."""

from __future__ import annotations

import threading

from loraloop.adapters.base import Base


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
