"""Other engines, each as its own documentation says to use it: llguidance, xgrammar and outlines_core alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from loraloop.tool_schemas.errors import InputError, SchemaError, unknown
from loraloop.tool_schemas.grammar.conformance import Judge, Vocabulary

SECONDS = 10.0  # that one schema may take to compile
MEGABYTES = 4096


class LlguidanceJudge:
    """llguidance as it comes: its own JSON Schema compiler and its own options."""

    name = "llguidance"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokenizer = vocabulary.ours

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

    def __init__(self, vocabulary: Vocabulary) -> None:
        import xgrammar

        info = xgrammar.TokenizerInfo(
            vocabulary.texts, vocab_size=vocabulary.size, stop_token_ids=list(vocabulary.ends)
        )
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


class OutlinesCoreJudge:
    """outlines_core: a regular expression, and an index of the vocabulary, in a process that can be stopped."""

    name = "outlines_core"

    def __init__(self, vocabulary: Vocabulary) -> None:
        from loraloop.tool_schemas.engines.outlines_core_worker import IndexWorker

        tokens: dict[bytes, list[int]] = {}
        for token, text in enumerate(vocabulary.texts):
            if text:
                tokens.setdefault(text, []).append(token)
        self._single = {text[0]: ids[0] for text, ids in tokens.items() if len(text) == 1}
        self._worker = IndexWorker(vocabulary.size, tokens, SECONDS, MEGABYTES)

    def compile(self, schema: dict[str, Any] | bool) -> Callable[[Any], bool]:
        from outlines_core.json_schema import build_regex_from_schema

        try:
            index = self._worker.build(build_regex_from_schema(json.dumps(schema)))
        except Exception as error:
            raise SchemaError(str(error).strip().splitlines()[0] if str(error).strip() else repr(error)) from error

        def accepts(instance: Any) -> bool:
            state = index.get_initial_state()
            for byte in json.dumps(instance, ensure_ascii=False).encode():
                following = index.get_next_state(state, self._single[byte]) if byte in self._single else None
                if following is None:
                    return False
                state = following
            return bool(index.is_final_state(state))

        return accepts


PEERS: dict[str, Callable[[Vocabulary], Judge]] = {
    "llguidance": LlguidanceJudge,
    "xgrammar": XgrammarJudge,
    "outlines_core": OutlinesCoreJudge,
}


def peers(names: Sequence[str], vocabulary: Vocabulary) -> list[Judge]:
    """The engines of these names.

    Raises:
        UnknownNameError: With the nearest name.
        InputError: If one is not installed.
    """
    made = []
    for name in names:
        if name not in PEERS:
            raise unknown("engine", name, PEERS)
        try:
            made.append(PEERS[name](vocabulary))
        except ImportError as error:
            raise InputError(f"{name} is not installed ({error}): pip install {name}, or leave it out") from error
    return made
