"""The systems whose masks the grammar benchmark times: ours, Outlines' processors, xgrammar alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from report import quantile

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

Run = Callable[[dict[str, Any], Sequence[int], "Figures"], None]
"""Takes a schema and the tokens of a text under it through a system, and adds what it measured."""

PATIENCE = 20.0  # seconds for one compilation


class Refused(Exception):
    """A system does not take a schema, takes the schema and not the text, or takes too long."""


@dataclass(slots=True)
class Figures:
    """What was measured of one system; seconds."""

    cold: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    masks: list[float] = field(default_factory=list)
    total: float = 0.0
    tokens: int = 0
    forced: int = 0
    refused: int = 0

    def add(
        self, cold: float, again: float, masks: Sequence[float], total: float, tokens: int, forced: int = 0
    ) -> None:
        """One text that was gone through to its end."""
        self.cold.append(cold)
        self.again.append(again)
        self.masks += masks
        self.total += total
        self.tokens += tokens
        self.forced += forced

    def metrics(self) -> dict[str, float]:
        """By name, with units; only what there is."""
        if not self.masks:
            return {"refused": self.refused}
        return {
            "mask_us_p50": 1e6 * quantile(self.masks, 0.5),
            "mask_us_p99": 1e6 * quantile(self.masks, 0.99),
            "token_us_mean": 1e6 * self.total / self.tokens,
            "compile_ms_p50": 1e3 * quantile(self.cold, 0.5),
            "compile_ms_p99": 1e3 * quantile(self.cold, 0.99),
            "again_ms_p50": 1e3 * quantile(self.again, 0.5),
            "again_ms_p99": 1e3 * quantile(self.again, 0.99),
            "forced_share": self.forced / self.tokens,
            "refused": self.refused,
        }


def in_time(compile: Callable[[], object]) -> bool:
    """Whether something that cannot be interrupted ends within the patience, tried in a process of its own."""
    child = get_context("fork").Process(target=compile)
    child.start()
    child.join(PATIENCE)
    late = child.is_alive()
    child.kill()
    return not late


def compiled_twice(make: Callable[[], Any], refusal: type[Exception] = Exception) -> tuple[Any, float, float]:
    """What is compiled, and the seconds of the first and of the second compilation.

    Raises:
        Refused: The system does not take the schema.
    """
    start = perf_counter()
    try:
        make()
        middle = perf_counter()
        made = make()
    except refusal as error:
        raise Refused(str(error)) from error
    return made, middle - start, perf_counter() - middle


def ours(base: Base) -> Run:
    """Ours: masks where there is a choice, forced tokens elsewhere."""
    from loraloop.tool_schemas.errors import InputError, SchemaError
    from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
    from loraloop.tool_schemas.grammar.grammar import JsonSchema

    compiler = GrammarCompiler(base.vocabulary)
    compiler.compile({"type": "null"})
    logits = torch.zeros(base.config.vocab_size)

    def run(schema: dict[str, Any], ids: Sequence[int], figures: Figures) -> None:
        grammar, cold, again = compiled_twice(lambda: compiler.compile(JsonSchema(schema)), SchemaError)
        state, done = grammar.start(), 0
        times: list[float] = []
        forced, total = 0, 0.0
        while done < len(ids):
            start_token = perf_counter()
            ahead = state.forced()
            if ahead and list(ids[done : done + len(ahead)]) == ahead:
                state.accept(ahead)
                done += len(ahead)
                forced += len(ahead)
                total += perf_counter() - start_token
                continue
            state.mask_(logits)
            masked = perf_counter()
            times.append(masked - start_token)
            try:
                state.accept(ids[done : done + 1])
            except InputError as error:
                raise Refused(str(error)) from error
            total += perf_counter() - start_token
            done += 1
            logits.zero_()
        figures.add(cold, again, times, total, len(ids), forced)

    return run


def outlines(tokenizer: Any, vocab_size: int, backend: str) -> Run:
    """A backend of Outlines, as `outlines.Generator(model, type, backend)` makes it."""
    from types import SimpleNamespace

    from outlines.backends import get_json_schema_logits_processor
    from outlines.models.transformers import Transformers

    model = Transformers(SimpleNamespace(device="cpu"), tokenizer)

    def run(schema: dict[str, Any], ids: Sequence[int], figures: Figures) -> None:
        make = partial(get_json_schema_logits_processor, backend, model, json.dumps(schema))
        if backend == "outlines_core" and not in_time(make):
            raise Refused(f"takes more than {PATIENCE:g} seconds")
        processor, cold, again = compiled_twice(make)
        times: list[float] = []
        seen = torch.zeros(1, 1, dtype=torch.int64)
        for position, token in enumerate(ids):
            logits = torch.zeros(1, vocab_size)
            begin = perf_counter()
            try:
                logits = processor.process_logits(seen, logits)
            except (RuntimeError, ValueError) as error:
                raise Refused(str(error)) from error
            times.append(perf_counter() - begin)
            if not torch.isfinite(logits[0, token]):
                raise Refused(f"token {position} is masked")
            seen = torch.tensor([[token]])
        figures.add(cold, again, times, sum(times), len(ids))

    return run


def xgrammar(tokenizer: Any, vocab_size: int, stop: int) -> Run:
    """xgrammar by itself, with one compiler for all schemas and compact JSON.

    Raises:
        ImportError: It is not installed.
    """
    import xgrammar as xgr

    info = xgr.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size, stop_token_ids=[stop])
    compiler = xgr.GrammarCompiler(info, max_threads=1)

    def run(schema: dict[str, Any], ids: Sequence[int], figures: Figures) -> None:
        form = {"any_whitespace": False, "separators": (",", ":")}
        compiled, cold, again = compiled_twice(partial(compiler.compile_json_schema, json.dumps(schema), **form))
        matcher = xgr.GrammarMatcher(compiled)
        bitmask = xgr.allocate_token_bitmask(1, vocab_size)
        logits = torch.zeros(1, vocab_size)
        times: list[float] = []
        total = 0.0
        for token in ids:
            begin = perf_counter()
            matcher.fill_next_token_bitmask(bitmask)
            xgr.apply_token_bitmask_inplace(logits, bitmask)
            masked = perf_counter()
            times.append(masked - begin)
            if not matcher.accept_token(token):
                raise Refused(f"token {token} is not accepted")
            total += perf_counter() - begin
            logits.zero_()
        figures.add(cold, again, times, total, len(ids))

    return run
