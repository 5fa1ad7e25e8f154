"""The grammar benchmark on the repository's own tools: the same tokens, and fewer forwards under a grammar."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from loraloop.adapters.base import Base
from loraloop.agent import Runtime


@pytest.fixture(scope="module")
def grammar(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("grammar")


def test_it_measures(grammar: ModuleType, base: Base) -> None:
    runtime = Runtime.load(base)
    texts = []
    for case in grammar.cases(None, 2):
        trunk, out = grammar.decoded(runtime, case)
        assert out.sampled < len(out.ids) and out.text.startswith('[{"name":"')
        times = grammar.both(runtime, case, trunk, out, 1)
        assert min(times) > 0
        texts.append((case.schema, out.ids))
    figures = grammar.masks(base, texts, peers=False)
    assert set(figures) == {"loraloop"}
    for each in figures.values():
        metrics = each.metrics()
        assert metrics["refused"] == 0 and 0.3 < metrics["forced_share"] < 1
        assert metrics["mask_us_p50"] <= metrics["mask_us_p99"]
        assert each.forced + len(each.masks) == each.tokens


def test_conformance_is_measured_beside_the_engine_alone(benchmark: Callable[[str], ModuleType]) -> None:
    from loraloop.adapters.base.random_weights import byte_tokenizer_json
    from loraloop.adapters.base.tokenizer import Tokenizer
    from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
    from loraloop.tool_schemas.grammar.matcher import Vocabulary

    module = benchmark("grammar_conformance")
    compiler = GrammarCompiler(Vocabulary(Tokenizer(byte_tokenizer_json(), (0,)), 259, 0))
    ours, _, theirs = (module.score(judge, module.read_cases(module.CASES)) for judge in module.judges(compiler)[:3])
    assert theirs.schemas == ours.schemas
    assert 0 < theirs.passed < ours.passed


@pytest.mark.slow
def test_outlines_own_processors_take_the_same_tokens(benchmark: Callable[[str], ModuleType], base: Base) -> None:
    systems = benchmark("grammar_systems")
    tokenizer = benchmark("transformers_peer").transformers_tokenizer(base)
    run = systems.outlines(tokenizer, base.config.vocab_size, "outlines_core")
    figures = systems.Figures()
    schema, ids = {"type": "array", "items": {"enum": ["a", "b"]}}, base.tokenizer.encode('["a","b"]')
    run(schema, ids, figures)
    assert figures.tokens == len(ids) == len(figures.masks) and figures.forced == 0
    with pytest.raises(systems.Refused):
        run(schema, base.tokenizer.encode('["a","c"]'), figures)
