"""What grammars cost and what they save: masks, compilation, forced tokens, and whole calls against unconstrained ones.

    python benchmarks/grammar.py --json benchmarks/results/grammar.json

The tools skill answers requests with calls, greedily and under the grammar; the schemas and the tokens of those calls
are what every system goes through. `mask_us` is the time for one token's mask, written into the logits, `token_us_mean`
that of everything a grammar does per token, `compile_ms` is the first compilation of a schema and `again_ms` the next.
`outlines-…` are Outlines' own logits processors (each
as a generator makes it, so its compilation includes what it reads of the tokenizer), `xgrammar` is that library alone.

End to end: a call is decoded under the grammar; then the very same tokens are fed one by one, each after a forward and
an argmax, as unconstrained greedy decoding would. `constrained_ms` and `unconstrained_ms` are medians over the calls of
each one's median time, `end_to_end` is the median of the calls' ratios. Nothing is compiled in these times, and the
search for a way to close is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from grammar_cases import TOKENS, Case, branch_of, cases, decoded, written
from grammar_systems import Figures, Refused, Run, ours, outlines, xgrammar
from report import BenchmarkReport, finish, options, quantile
from transformers_peer import transformers_tokenizer

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.agent import Runtime
    from loraloop.agent.engine.generate import Generated
    from loraloop.agent.engine.trunk import Trunk

BACKENDS = ("llguidance", "outlines_core", "xgrammar")


class Scripted:
    """Samples greedily, then says what was to be said: the same work, and always the same tokens."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = iter(ids)

    def pick(self, logits: torch.Tensor) -> int:
        int(logits.argmax())
        return next(self._ids)


def systems(base: Base, peers: bool) -> dict[str, Run]:
    """What can be measured here."""
    found = {"loraloop": ours(base)}
    if not peers:
        return found
    tokenizer = transformers_tokenizer(base)
    size = base.config.vocab_size
    for backend in BACKENDS:
        try:
            found[f"outlines-{backend}"] = outlines(tokenizer, size, backend)
            if backend == "xgrammar":
                found["xgrammar"] = xgrammar(tokenizer, size, base.chat.closing[0])
        except ImportError as error:
            print(f"not measured: {backend} ({error})", file=sys.stderr)
    return found


def masks(base: Base, texts: Sequence[tuple[dict[str, Any], Sequence[int]]], peers: bool) -> dict[str, Figures]:
    """Every system over every text."""
    first = {"type": "array", "items": {"enum": ["a", "b"]}}, base.tokenizer.encode('["a","b","a"]')
    figures: dict[str, Figures] = {}
    for name, run in systems(base, peers).items():
        figures[name] = Figures()
        try:
            run(*first, Figures())  # first calls import, and compile what torch.compile was put on
        except (Refused, ImportError) as error:
            print(f"not measured: {name} ({error})", file=sys.stderr)
            continue
        for schema, ids in texts:
            try:
                run(schema, ids, figures[name])
            except Refused as error:
                figures[name].refused += 1
                print(f"{name}: {error}", file=sys.stderr)
    return figures


def both(runtime: Runtime, case: Case, trunk: Trunk, out: Generated, repeats: int) -> tuple[float, float]:
    """Median seconds of a call under the grammar, and of the same tokens without."""
    from loraloop.agent.engine.sampler import Sampler, Sampling
    from loraloop.tool_schemas.grammar.grammar import JsonSchema

    constrained, free = [], []
    grammar = runtime.grammar(JsonSchema(case.schema))
    for _ in range(repeats):
        with branch_of(runtime, trunk, "tools") as branch:
            start = perf_counter()
            again = written(runtime, branch, Sampler(Sampling()), TOKENS, grammar.start())
            constrained.append(perf_counter() - start)
        if again.ids != out.ids:
            raise RuntimeError("the same request gave two different calls")
        with branch_of(runtime, trunk, "tools") as branch:
            start = perf_counter()
            same = written(runtime, branch, Scripted(out.ids), len(out.ids), None)
            free.append(perf_counter() - start)
        if same.ids != out.ids or same.sampled != len(out.ids):
            raise RuntimeError("the tokens fed were not those of the call")
    return median(constrained), median(free)


def main() -> None:
    """Measures and reports."""
    from loraloop.agent import Runtime

    parser = options(__doc__.splitlines()[0], limit=200)
    parser.add_argument("--data", type=Path, metavar="DATA", help="folder with tools/bfcl.eval.jsonl")
    parser.add_argument("--repeats", type=int, default=3, help="of each call, end to end")
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    given = parser.parse_args()
    runtime = Runtime.load()
    texts: list[tuple[dict[str, Any], list[int]]] = []
    pairs: list[tuple[float, float]] = []
    tokens = sampled = 0
    for case in cases(given.data, given.limit):
        made = decoded(runtime, case)
        if made is None:
            print(f"left out, its calls do not fit or do not end: {case.messages[-1].content!r}", file=sys.stderr)
            continue
        trunk, out = made
        texts.append((case.schema, out.ids))
        pairs.append(both(runtime, case, trunk, out, given.repeats))
        tokens, sampled = tokens + len(out.ids), sampled + out.sampled
    figures = masks(runtime.base, texts, not given.no_peers)
    metrics = figures["loraloop"].metrics()
    metrics |= {
        "constrained_ms": 1e3 * median(one for one, _ in pairs),
        "unconstrained_ms": 1e3 * median(other for _, other in pairs),
        "tokens_per_call": tokens / len(pairs),
        "forwards_per_call": sampled / len(pairs),
    }
    peers = {name: each.metrics() for name, each in figures.items() if name != "loraloop"}
    ratios = {"end_to_end": median(other / one for one, other in pairs)}
    ratios["end_to_end_p10"] = quantile([other / one for one, other in pairs], 0.1)
    for name, each in peers.items():
        if "token_us_mean" in each:
            ratios[f"{name}_token"] = each["token_us_mean"] / metrics["token_us_mean"]
            ratios[f"{name}_compile"] = each["compile_ms_p50"] / metrics["compile_ms_p50"]
    finish(BenchmarkReport("grammar", len(texts), metrics, peers, ratios), given.json)


if __name__ == "__main__":
    main()
