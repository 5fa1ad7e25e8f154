"""Scores: right is right, wrong is wrong, and every rule of the call match bites."""

from __future__ import annotations

import math

import pytest

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage, calls_of
from loraloop.adapters.training.data.example import CONTRACTS
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.adapters.training.scoring.call_match import mistake, same_calls
from loraloop.adapters.training.scoring.leaderboard import unaccepted
from loraloop.adapters.training.scoring.requested_names import defines, requested_names
from loraloop.adapters.training.scoring.score import bootstrap, rate, right, score, summary, token_f1
from loraloop.tool_schemas.errors import InputError

TOOL = {
    "name": "trip",
    "description": "Plans a trip.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "budget": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "flags": {"type": "object", "properties": {"fast": {"type": "boolean"}}},
            "legs": {"type": "array", "items": {"type": "number"}},
            "stops": {"type": "array", "items": {"type": "object"}},
            "note": {},
            "mode": {"type": "string", "default": "car"},
        },
        "required": ["city"],
    },
}
WANTED = {
    "city": ["New York", "NYC"],
    "days": ["", 3],
    "budget": ["", 10.0],
    "tags": ["", ["art", "food"]],
    "flags": ["", {"fast": [True]}],
    "mode": ["", "car"],
    "legs": ["", [1.5, 2.0]],
    "stops": ["", [{"at": ["Bonn"]}, {"at": ["Ulm", ""]}]],
    "note": ["", "x", 5],
}


def call(**arguments: object) -> dict[str, object]:
    return {"name": "trip", "arguments": arguments}


def example(skill: str, gold: dict[str, object], kind: str = "k", identity: str = "x-1", **more: object) -> Record:
    messages = (Message("user", "?"),)
    completion = str(more.pop("completion", ""))
    place = RecordPlace("made.jsonl", 1)
    return Record(messages, completion, CONTRACTS[skill], place, gold=gold, kind=kind, id=identity, **more)


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ({"city": "new-york"}, True),
        ({"city": "N.Y.C"}, True),
        ({"city": "Boston"}, False),
        ({}, False),
        ({"city": "NYC", "days": 3}, True),
        ({"city": "NYC", "days": 4}, False),
        ({"city": "NYC", "days": "3"}, False),
        ({"city": "NYC", "days": True}, False),
        ({"city": "NYC", "budget": 10}, True),
        ({"city": "NYC", "budget": 10.5}, False),
        ({"city": "NYC", "tags": ["Art", "food"]}, True),
        ({"city": "NYC", "tags": ["food", "art"]}, False),
        ({"city": "NYC", "flags": {"fast": True}}, True),
        ({"city": "NYC", "flags": {"fast": False}}, False),
        ({"city": "NYC", "flags": {"slow": True}}, False),
        ({"city": "NYC", "speed": 3}, False),
        ({"city": "NYC", "days": 3.0}, False),
        ({"city": "NYC", "tags": []}, True),
        ({"city": "NYC", "tags": "art"}, False),
        ({"city": "NYC", "tags": ["art", 1]}, False),
        ({"city": "NYC", "legs": [1.5, 2]}, True),
        ({"city": "NYC", "flags": {}}, False),
        ({"city": "NYC", "flags": {"fast": [True]}}, False),
        ({"city": "NYC", "stops": [{"at": "bonn"}, {}]}, True),
        ({"city": "NYC", "stops": [{"at": "bonn"}]}, False),
        ({"city": "NYC", "stops": [{}, {"at": "Bonn"}]}, False),
        ({"city": "NYC", "note": "X"}, True),
        ({"city": "NYC", "note": 5}, False),
        ({"city": "NYC", "mode": ""}, True),
    ],
)
def test_leaderboard_rule(arguments, fits):
    assert (not unaccepted([call(**arguments)], [{"trip": WANTED}], [TOOL])) is fits


@pytest.mark.parametrize(
    ("schema", "options", "value", "fits"),
    [
        ({"type": "array", "items": {"type": "number"}}, [[1.5, 2.0]], [1.5, 2], False),  # no optional "" lets it pass
        ({"type": "array", "items": {"type": "number"}}, [[1, 2]], [1, 2.0], True),  # the first item names the type
        ({"type": "integer"}, ["n"], "n", True),  # a variable's name …
        ({"type": "integer"}, ["n"], "N", False),  # … is compared as it is
        ({"type": "string"}, [7, "n"], "N", False),
        ({"type": "number"}, [10], 10.0, True),
        ({"type": "number"}, [0.5], 10**400, False),
        ({"type": "object"}, [{"a": [["X"]]}], {"a": ["x"]}, False),  # text inside lists in objects keeps its case
        ({"type": "object"}, [{"a": ["X y"]}], {"a": "xy"}, True),
        ({"type": "array", "items": {"type": "array"}}, [[["A"]]], [["a"]], False),
        ({"type": ["string", "null"]}, [None, "a"], None, True),
        ({"type": "array"}, [["A"]], ["a"], True),
    ],
)
def test_leaderboard_rule_on_one_value(schema, options, value, fits):
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"x": schema}, "required": ["x"]}}
    calls = [{"name": "f", "arguments": {"x": value}}]
    assert (not unaccepted(calls, [{"f": {"x": options}}], [tool])) is fits


@pytest.mark.parametrize("judged", ["leaderboard", "exact"])
def test_a_mistake_has_a_name(judged):
    gold = [call(city="Rome"), call(city="Oslo", days=2)]
    accepts = [{"trip": {"city": ["Rome"]}}, {"trip": {"city": ["Oslo"], "days": [2]}}]
    other = {"name": "other", "arguments": {}}
    cases = {
        "": gold[::-1],
        "no list of calls": None,
        "should have called": [],
        "wrong count": gold[:1],
        "wrong function": [gold[0], other],
        "missing argument": [call(city="Oslo"), gold[0]],
        "unexpected argument": [gold[0], call(city="Oslo", days=2, budget=1.0)],
        "wrong value": [gold[0], call(city="Oslo", days=3)],
    }
    for reason, calls in cases.items():
        assert mistake(calls, gold, accepts if judged == "leaderboard" else None, [TOOL]) == reason
    flagged = {"name": "trip", "arguments": {"city": "Rome", "days": True}}
    assert mistake([flagged], [call(city="Rome", days=1)], None, [TOOL]) == "wrong value", "true is no 1"
    assert mistake([other], [], None, [TOOL]) == "should have abstained" and not mistake([], [], None, [TOOL])


def test_leaderboard_rule_on_several_calls():
    wanted = [{"trip": {"city": ["Rome"]}}, {"trip": {"city": ["Oslo"]}}]
    assert not unaccepted([call(city="Oslo"), call(city="Rome")], wanted, [TOOL])
    assert unaccepted([call(city="Oslo"), call(city="Oslo")], wanted, [TOOL])
    assert unaccepted([call(city="Oslo")], wanted, [TOOL])
    assert unaccepted([{"name": "other", "arguments": {}}], [{"trip": {}}], [TOOL])


def test_required_argument_must_be_given_even_if_it_may_be_empty():
    assert unaccepted([call(days=3)], [{"trip": {"city": [""], "days": [3]}}], [TOOL])


def test_exact_match_is_light():
    assert same_calls([call(city="new  york", days=3.0)], [call(city="New York", days=3)], [TOOL])
    assert same_calls([call(city="Rome")], [call(city="Rome", mode="car")], [TOOL])
    anything = {**TOOL, "parameters": {"type": "object", "properties": {"city": True}}}
    assert same_calls([call(city="Rome")], [call(city="rome")], [anything])
    assert same_calls([call(city="a"), call(city="b")], [call(city="b"), call(city="a")], [TOOL])
    assert not same_calls([call(city="Rome", days=3)], [call(city="Rome")], [TOOL])
    assert not same_calls([], [call(city="Rome")], [TOOL])


@pytest.mark.parametrize("text", ["", "{}", '[{"name":"trip"}]', "[1]", '[{"name":1,"arguments":{}}]'])
def test_what_is_no_list_of_calls(text):
    assert calls_of(text) is None


def test_tools_scores_by_category():
    asked = [
        example("tools", {"calls": (), "category": "irrelevance"}, tools=(TOOL,)),
        example("tools", {"calls": (), "category": "irrelevance"}, tools=(TOOL,)),
        example("tools", {"category": "simple_python", "accepts": [{"trip": WANTED}]}, tools=(TOOL,)),
        example("tools", {"calls": (call(city="Rome"),)}, "single", "sgd-3", tools=(TOOL,)),
        example("tools", {"calls": ()}, "none", "sgd-4", tools=(TOOL,)),
    ]
    trip = '[{"name":"trip","arguments":{"city":"NYC"}}]'
    found = score("calls", asked, ["[]", trip, trip, trip, "oops"])
    assert found["irrelevance"] == 0.5 and found["irrelevance_n"] == 2
    assert found["simple_python"] == 1 and found["bfcl_n"] == 3
    assert found["sgd"] == 0 and found["right_tools"] == 1 and found["no_call"] == 0
    assert found["irrelevance_low"] < 0.5 < found["irrelevance_high"]
    assert right(asked[0], "[]") and not right(asked[0], trip)


def test_code_scores():
    asked = [example("code", {"tests": "assert f() == 1"})] * 3
    outputs = ["```python\ndef f():\n    return 1\n```", "```python\ndef f(:\n```", "def f(): return 1"]

    def runs(program: str) -> bool:
        try:
            exec(program, {})
        except Exception:
            return False
        return True

    found = score("code", asked, outputs, runs)
    assert found["pass_at_1"] == pytest.approx(1 / 3) and found["syntax_valid"] == pytest.approx(1 / 3)
    assert "pass_at_1" not in score("code", asked, outputs)
    assert found["defines"] == 1 and found["syntax_valid_defining"] == pytest.approx(1 / 3)


def test_code_that_defines_what_is_asked():
    tests = "import math\nassert set(pairs(1)) == {math.sqrt(one(2))}"
    made = example("code", {"tests": tests}, completion="```python\ndef pairs(n):\n    return 1\n```")
    assert requested_names(made) == {"pairs"}, "what the reference defines"
    assert requested_names(example("code", {"tests": tests})) == {"pairs", "one"}, "no builtins, no attributes"
    assert requested_names(example("code", {"tests": "from m import f\ndef g(): ...\nf(g())"})) == set()
    assert requested_names(example("code", {"tests": "assert ("})) == set()
    outputs = ["```python\ndef pairs(n:\n```", "x = pairs(1)", "```python\nclass pairs: ...\n```", "def pairs2(): ..."]
    assert [defines(output, ["pairs"]) for output in outputs] == [True, False, True, False]
    found = score("code", [made] * 4, outputs)
    assert found["defines"] == 0.5 and found["syntax_valid_defining"] == 0.5 and found["syntax_valid"] == 0.25
    assert found["syntax_valid_defining_n"] == 2
    found = score("code", [made, example("code", {})], outputs[:2], lambda program: True)
    assert found["pass_at_1_n"] == 1, "code without tests passes none"


def test_retrieval_scores():
    passages = (Passage("1", "a"), Passage("2", "b"))
    gold = {"answerable": True, "citations": ("1", "2"), "answers": ("The red fox",)}
    asked = [
        example("retrieval", gold, identity="nq-1", passages=passages),
        example("retrieval", {"answerable": False, "citations": (), "answers": ()}, identity="nq-2"),
        example("retrieval", gold, identity="clapnq-3", passages=passages),
    ]
    outputs = [
        '{"answerable":true,"citations":["1"],"answer":"red fox"}',
        '{"answerable":false}',
        '{"answerable":false}',
    ]
    found = score("answer", asked, outputs)
    assert found["answerable_accuracy"] == pytest.approx(2 / 3)
    assert found["answerable_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["citation_f1"] == pytest.approx((2 / 3) / 2)
    assert found["answer_f1"] == 0.5 and found["nq/answer_em"] == 1 and found["clapnq/citation_f1"] == 0
    assert score("answer", asked[1:2], ["broken"])["answerable_accuracy"] == 0


def test_safety_scores():
    asked = [
        example("safety", {"unsafe": True, "category": "cyber"}, "a"),
        example("safety", {"unsafe": True, "category": "fraud"}, "a"),
        example("safety", {"unsafe": False}, "b"),
        example("safety", {"unsafe": False}, "b"),
    ]
    cyber, safe = '{"verdict":"unsafe","category":"cyber"}', '{"verdict":"safe"}'
    found = score("verdict", asked, [cyber, cyber, cyber, "broken"])
    assert found["recall"] == 1 and found["category"] == 0.5
    assert found["over_refusal"] == 1 and found["accuracy"] == 0.5
    assert score("verdict", asked, [cyber, safe, safe, safe])["b/over_refusal"] == 0


def test_intervals():
    p, low, high = rate([True] * 8 + [False] * 2)
    assert p == 0.8 and low == pytest.approx(0.4902, abs=1e-4) and high == pytest.approx(0.9433, abs=1e-4)
    assert rate([True] * 5)[2] == 1.0
    value, low, high = bootstrap([0.0, 1.0] * 50, lambda rows: float(rows.mean()))
    assert value == 0.5 and 0.38 < low < 0.45 and 0.55 < high < 0.62
    assert bootstrap([0.2, 0.4], lambda rows: float(rows.mean())) == bootstrap(
        [0.2, 0.4], lambda rows: float(rows.mean())
    )


def test_words_are_compared_as_squad_does():
    assert token_f1("The Red-fox!", ["red fox"]) == 1
    assert math.isclose(token_f1("red", ["red fox", "cat"]), 2 / 3)
    assert token_f1("", ["red"]) == 0


def test_lists_must_match():
    with pytest.raises(InputError, match="one output an example"):
        score("calls", [], [])


def test_summary_has_the_scores_alone():
    asked = [example("safety", {"unsafe": False}, "b")]
    assert summary(score("verdict", asked, ['{"verdict":"safe"}'])) == {
        "accuracy": 1.0,
        "over_refusal": 0.0,
        "b/over_refusal": 0.0,
    }
