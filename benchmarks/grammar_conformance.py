"""How exactly schemas are enforced, beside llguidance and xgrammar alone.

    python benchmarks/grammar_conformance.py --data DATA --json benchmarks/results/grammar_conformance.json
    python benchmarks/grammar_conformance.py --file CASES.jsonl

The schemas and their instances are those of MaskBench and of the JSON Schema test suite. A schema passes if every
instance is judged rightly: a valid one can be decoded, an invalid one cannot. A refused schema does not pass. Without
`--data` and `--file` the cases are our own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from conformance import CASES, OurJudge, SchemaJudge, read_cases, score
from report import BenchmarkReport, finish, options

from loraloop.inputs.tool_sources import check_compiler
from loraloop.render.progress import counting
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler

FILES = ("maskbench.eval.jsonl", "json_schema_test_suite.eval.jsonl")


class LlguidanceJudge:
    """llguidance as it comes: its own JSON Schema compiler and its own options."""

    name = "llguidance"

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._tokenizer = compiler.vocabulary.tokenizer

    def compile(self, schema: dict[str, Any] | bool) -> Callable[[Any], bool]:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_json_schema(json.dumps(schema)), log_level=0)
        if matcher.is_error():
            raise SchemaError(matcher.get_error().strip().splitlines()[0])

        def accepts(instance: Any) -> bool:
            state = matcher.deep_copy()
            tokens = self._tokenizer.tokenize_str(json.dumps(instance, ensure_ascii=False))
            return state.try_consume_tokens(tokens) == len(tokens) and state.is_accepting()

        return accepts


class XgrammarJudge:
    """xgrammar's compiler with additional properties as JSON Schema has them (`strict_mode=False`)."""

    name = "xgrammar"

    def __init__(self, compiler: GrammarCompiler) -> None:
        import xgrammar

        vocabulary = compiler.vocabulary
        special = [
            token in vocabulary.ends or vocabulary.tokenizer.is_special_token(token) for token in range(vocabulary.size)
        ]
        texts = [b"" if special[token] else vocabulary.bytes_of(token) for token in range(vocabulary.size)]
        info = xgrammar.TokenizerInfo(texts, vocab_size=vocabulary.size, stop_token_ids=vocabulary.ends)
        self._compiler = xgrammar.GrammarCompiler(info, cache_enabled=False)

    def compile(self, schema: dict[str, Any] | bool) -> Callable[[Any], bool]:
        import xgrammar

        try:
            compiled = self._compiler.compile_json_schema(json.dumps(schema), strict_mode=False)
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            raise SchemaError(re.sub(r"^\[.*?\] \S+?: ", "", reason)) from error

        def accepts(instance: Any) -> bool:
            matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
            return bool(matcher.accept_string(json.dumps(instance, ensure_ascii=False))) and matcher.is_terminated()

        return accepts


def judges(compiler: GrammarCompiler) -> list[SchemaJudge]:
    """What can be measured here, ours first."""
    found: list[SchemaJudge] = [OurJudge(compiler, "check"), OurJudge(compiler, "refuse"), LlguidanceJudge(compiler)]
    try:
        found.append(XgrammarJudge(compiler))
    except ImportError as error:
        print(f"not measured: xgrammar ({error})", file=sys.stderr)
    return found


def report(files: Sequence[Path], limit: int | None) -> BenchmarkReport:
    """Every system over every schema of some files."""
    cases = [case for file in files for case in list(read_cases(file))[:limit]]
    scores = {}
    for judge in judges(check_compiler()[0]):
        with counting(judge.name, len(cases)) as step:
            scores[judge.name] = score(judge, cases, step)
    own = [name for name in scores if name.startswith("loraloop")]
    words = dict.fromkeys(word for name in own for word, _ in scores[name].refused.most_common())
    return BenchmarkReport(
        "grammar_conformance",
        len(cases),
        scores["loraloop"].metrics(),
        {name: each.metrics() for name, each in scores.items() if name != "loraloop"},
        {
            f"pass_rate_vs_{name}": scores["loraloop"].passed / max(each.passed, 1)
            for name, each in scores.items()
            if name not in own
        },
        {
            "refused": {f"{word}/{name}": scores[name].refused[word] for word in words for name in own},
            "wrong": {name: [case for case, _ in each.wrong] for name, each in scores.items()},
        },
    )


def main() -> None:
    """Measures and reports."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DATA", help="folder with jsonschema/")
    parser.add_argument("--file", type=Path, nargs="+", help="files of schemas with instances, JSON or JSON Lines")
    given = parser.parse_args()
    public = [given.data / "jsonschema" / name for name in FILES] if given.data else []
    finish(report([*public, *(given.file or ())] or [CASES], given.limit), given.json)


if __name__ == "__main__":
    main()
