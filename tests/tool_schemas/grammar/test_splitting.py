"""Forced tokens are those of the base's own tokenizer, also where numbers, arrays and objects follow a name."""

import json
from typing import Any

from loraloop.adapters.base import Base
from loraloop.tool_schemas import GrammarCompiler
from loraloop.tool_schemas.grammar.splitting import Splitter

SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "flag": {"type": "boolean"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "words": {"type": "array", "items": {"enum": ["one", "two"]}, "minItems": 1},
        "inner": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}}},
        "maybe": {"type": ["integer", "null"]},
    },
    "required": ["count", "ratio", "flag", "numbers", "words", "inner", "maybe"],
    "additionalProperties": False,
}
VALUES = [
    (1, 2.5, True, [1, 2], ["one"], {"x": 3}, None),
    (-7, -0.25, False, [], ["two", "one"], {}, -12),
    (0, 0, True, [-1], ["one"], {"y": "t"}, 4),
]


def test_forced_tokens_are_the_tokenizers_own(base: Base) -> None:
    compiler = GrammarCompiler(base.vocabulary)
    grammar = compiler.compile(SCHEMA)
    for value in VALUES:
        fields: dict[str, Any] = dict(zip(SCHEMA["properties"], value, strict=True))
        wanted = base.tokenizer.encode(json.dumps(fields, separators=(",", ":")))
        state, done, forced = grammar.start(), 0, 0
        while done < len(wanted):
            ahead = state.forced()
            assert ahead == wanted[done : done + len(ahead)], base.tokenizer.decode(wanted[:done])
            state.accept(ahead or wanted[done : done + 1])
            done += len(ahead) or 1
            forced += len(ahead)
        assert state.can_stop
        assert forced > len(wanted) * 0.45


def test_what_depends_on_what_follows_is_not_sure(base: Base) -> None:
    from llguidance import LLTokenizer

    splitter = Splitter(LLTokenizer(base.tokenizer.json))
    name = base.tokenizer.encode('":')
    digits = [base.tokenizer.encode(each)[0] for each in ("1", "2", "-")]
    assert splitter.shared(b'":', digits, False) == name
    comma = base.tokenizer.encode(",")
    assert splitter.shared(b"}}", comma, False) == base.tokenizer.encode("}},")[:1]
    assert splitter.shared(b"}}", comma, True) == []  # "}}" at the end, "}" and "}," before another call
    assert splitter.shared(b'":', list(range(100)), False) == []
