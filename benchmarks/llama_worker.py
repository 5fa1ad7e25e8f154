"""llama.cpp as a process that measures on request: one JSON document a line in, one a line out.

It runs under any interpreter that has llama-cpp-python and needs nothing else, so that llama.cpp can live in an
environment of its own. Only the C interface is timed (`llama_decode`, then `llama_synchronize`), never a Python loop
around it: a token's logits are computed, nothing is sampled. `llama_peer` is the other end.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import llama_cpp as llama

WARM = 2
"""Untimed tokens before timed ones: whatever ran in between has taken the caches of the processor."""


class Worker:
    """A model, adapters of which the first can be applied, and a context for each length with and without flash
    attention, which is filled when it is first used.
    """

    def __init__(self, gguf: str, threads: int, loras: Sequence[str] = (), ubatch: int = 512) -> None:
        self._quiet = llama.llama_log_callback(lambda level, text, data: None)
        llama.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self._model = llama.llama_model_load_from_file(gguf.encode(), llama.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {gguf}")
        self._threads, self._ubatch = threads, ubatch
        adapters = [llama.llama_adapter_lora_init(self._model, path.encode()) for path in loras]
        if not all(adapters):
            raise RuntimeError(f"llama.cpp cannot load an adapter of {', '.join(loras)}")
        self._adapter = adapters[0] if adapters else None
        self._vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        self._contexts: dict[tuple[int, bool], Any] = {}
        self._random = random.Random(0)
        self._gguf, self._chat = gguf, None

    def facts(self) -> dict[str, Any]:
        """Version and instruction sets."""
        info = llama.llama_print_system_info().decode()
        return {"version": llama.__version__, "system": " ".join(info.split()), "ubatch": self._ubatch}

    def say(
        self, messages: list[Any], tools: list[Any], tokens: int = 512, context: int = 8192
    ) -> dict[str, str | bool]:
        """What the model says under the file's own chat template, greedily, and whether it got to the end."""
        if self._chat is None:
            counts = {"n_threads": self._threads, "n_threads_batch": self._threads}
            self._chat = llama.Llama(self._gguf, n_ctx=context, verbose=False, **counts)
        out = self._chat.create_chat_completion(messages, tools=tools, temperature=0.0, max_tokens=tokens)
        choice = out["choices"][0]
        return {"text": choice["message"]["content"] or "", "whole": choice["finish_reason"] != "length"}

    def close(self) -> None:
        """Frees the chat while the interpreter still can."""
        if self._chat is not None:
            self._chat.close()

    def prefill(self, context: int, flash: bool, skill: bool, repeats: int = 1) -> dict[str, float]:
        """Seconds to read `context` tokens into an empty cache, with the last one's logits."""
        ctx = self._context(0, flash, context)
        self._apply(ctx, skill)
        seconds = []
        for _ in range(repeats):
            self._cut(ctx, 0)
            seconds.append(self._feed(ctx, self._tokens(context), 0))
        return {"seconds": min(seconds)}

    def decode(self, context: int, flash: bool, skill: bool, steps: int) -> dict[str, float]:
        """Seconds a token after `context` tokens, one token a call."""
        ctx = self._filled(context, flash)
        self._apply(ctx, skill)
        tokens = self._tokens(WARM + steps)
        for place, token in enumerate(tokens[:WARM]):
            self._feed(ctx, [token], context + place)
        start = perf_counter()
        for place, token in enumerate(tokens[WARM:], WARM):
            self._feed(ctx, [token], context + place)
        seconds = perf_counter() - start
        self._cut(ctx, context)
        return {"seconds": seconds / steps}

    def rows(self, context: int, flash: bool, skill: bool, count: int, repeats: int) -> dict[str, float]:
        """Seconds of a call with `count` tokens after `context` tokens, with the last one's logits."""
        ctx = self._filled(context, flash)
        self._apply(ctx, skill)
        seconds = []
        for repeat in range(repeats + 1):
            spent = self._feed(ctx, self._tokens(count), context)
            self._cut(ctx, context)
            if repeat:
                seconds.append(spent)
        return {"seconds": sum(seconds) / len(seconds)}

    def _context(self, key: int, flash: bool, room: int) -> Any:
        """A context for `room` tokens; `key` tells contexts apart that hold different things."""
        found = self._contexts.get((key, flash))
        if found is not None and llama.llama_n_ctx(found) >= room:
            return found
        if found is not None:
            llama.llama_free(found)
        given = llama.llama_context_default_params()
        given.n_ctx = room
        given.n_batch, given.n_ubatch = 2048, self._ubatch
        given.n_threads = given.n_threads_batch = self._threads
        given.flash_attn_type = int(flash)
        made = llama.llama_init_from_model(self._model, given)
        if not made:
            raise RuntimeError(f"llama.cpp makes no context of {room} tokens")
        self._contexts[key, flash] = made
        return made

    def _filled(self, context: int, flash: bool) -> Any:
        """A context that holds `context` tokens."""
        known = (context, flash) in self._contexts
        ctx = self._context(context, flash, context + 128)
        if not known:
            self._apply(ctx, False)
            for start in range(0, context, 2048):
                self._feed(ctx, self._tokens(min(2048, context - start)), start)
        return ctx

    def _feed(self, ctx: Any, tokens: list[int], past: int) -> float:
        """Seconds of one `llama_decode`."""
        batch = llama.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for index, token in enumerate(tokens):
                batch.token[index] = token
                batch.pos[index] = past + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = index == len(tokens) - 1
            start = perf_counter()
            status = llama.llama_decode(ctx, batch)
            llama.llama_synchronize(ctx)
            seconds = perf_counter() - start
        finally:
            llama.llama_batch_free(batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        return seconds

    def _apply(self, ctx: Any, skill: bool) -> None:
        """Sets or removes the adapter."""
        if skill and self._adapter is None:
            raise RuntimeError("no adapter was given")
        adapters = (llama.llama_adapter_lora_p_ctypes * 1)(self._adapter if skill else None)
        scales = (ctypes.c_float * 1)(1.0)
        llama.llama_set_adapters_lora(ctx, adapters, int(skill), scales)

    def _cut(self, ctx: Any, length: int) -> None:
        llama.llama_memory_seq_rm(llama.llama_get_memory(ctx), 0, length, -1)

    def _tokens(self, count: int) -> list[int]:
        return [self._random.randrange(100, self._vocabulary - 100) for _ in range(count)]


def main() -> None:
    worker: Worker | None = None
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        name = asked.pop("do")
        try:
            if name == "open":
                worker = Worker(**asked)
                answer: Mapping[str, Any] = worker.facts()
            else:
                answer = getattr(worker, name)(**asked)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    if worker is not None:
        worker.close()


if __name__ == "__main__":
    main()
