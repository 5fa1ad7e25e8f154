"""Readers and checker: every form is read, and everything broken is told with its file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from loraloop.adapters.training.data.checker import Checker
from loraloop.adapters.training.data.readers import FORMS, Broken, Reading, form_of, read_file
from loraloop.adapters.training.data.record import Record
from loraloop.adapters.training.recipe.gather import check_files
from loraloop.tool_schemas.errors import InputError, UnknownNameError

TOOL = {
    "name": "get_weather",
    "description": "The weather.",
    "parameters": {
        "type": "object",
        "properties": {"unit": {"enum": ["c", "f"]}, "city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CALL = {"name": "get_weather", "arguments": {"city": "Paris", "unit": "c"}}
CALLED = '[{"name":"get_weather","arguments":{"unit":"c","city":"Paris"}}]'
CALLED_AS_WRITTEN = '[{"name":"get_weather","arguments":{"city":"Paris","unit":"c"}}]'
ASK = {"role": "user", "content": "How warm is it in Paris?"}
OPENAI = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        ASK,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": json.dumps(CALL["arguments"])},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": '{"t": 20}'},
        {"role": "assistant", "content": "20 degrees."},
        {"role": "user", "content": "Thanks!"},
        {"role": "assistant", "content": "You are welcome."},
    ],
    "tools": [{"type": "function", "function": TOOL}],
}


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return path


def read(path: Path, contract: str = "text", **how: Any) -> list[Record]:
    found = list(read_file(path, Reading(contract, **how)))
    broken = [entry for entry in found if isinstance(entry, Broken)]
    assert not broken, broken
    return [entry for entry in found if isinstance(entry, Record)]


@pytest.mark.parametrize(
    ("form", "contract", "row", "completion"),
    [
        ("messages", "text", {"messages": [ASK], "completion": "Warm."}, "Warm."),
        ("messages", "code", {"messages": [ASK], "completion": "print(1)"}, "```python\nprint(1)\n```"),
        ("calls", "calls", {"request": "Paris?", "tools": [TOOL], "calls": [CALL]}, CALLED),
        ("calls", "calls", {"messages": [ASK], "tools": [TOOL], "calls": []}, "[]"),
        (
            "passages",
            "answer",
            {"question": "Who?", "passages": ["Ada did."], "answer": "Ada", "citations": ["1"]},
            '{"answerable":true,"citations":["1"],"answer":"Ada"}',
        ),
        ("passages", "answer", {"question": "Who?", "passages": ["x"], "answerable": False}, '{"answerable":false}'),
        ("label", "text", {"text": "Where is my parcel?", "label": "shipping"}, "shipping"),
        ("label", "verdict", {"text": "Hello", "label": "safe"}, '{"verdict":"safe"}'),
        ("label", "verdict", {"text": "x", "label": "fraud"}, '{"verdict":"unsafe","category":"fraud"}'),
        ("preference", "text", {"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}, "Hello."),
        ("alpaca", "text", {"instruction": "Sum up.", "input": "A long text.", "output": "Short."}, "Short."),
        ("prompt", "text", {"prompt": "Hi", "response": "Hello."}, "Hello."),
        ("prompt", "text", {"prompt": [ASK], "completion": "Warm."}, "Warm."),
    ],
)
def test_each_form_is_found_out_and_read(
    tmp_path: Path, form: str, contract: str, row: dict[str, Any], completion: str
) -> None:
    assert form_of(row) == form
    (record,) = read(lines(tmp_path / "a.jsonl", row), contract)
    assert record.completion == completion and record.messages[-1].role == "user"
    assert str(record.place).endswith("a.jsonl:1") and (record.rejected == "Go away.") == (form == "preference")


def test_a_dialogue_gives_a_record_for_each_turn_of_its_contract(tmp_path: Path) -> None:
    file = lines(tmp_path / "chat.jsonl", OPENAI)
    first, last = read(file, "calls")
    assert first.completion == CALLED, "arguments stand in the schema's order"
    assert last.completion == "[]" and last.messages[-1].content == "Thanks!"
    assert first.messages[0].content.startswith("Be brief.\n\n# Tools") and "get_weather" in first.messages[0].content
    assert last.messages[3].content == '{"name":"get_weather","result":{"t":20}}'
    assert [r.completion for r in read(file, "text")] == ["20 degrees.", "You are welcome."]
    assert [r.completion for r in read(file, "text", turns="last")] == ["You are welcome."]


def test_text_beside_calls_is_shown_later_and_learned_by_nobody(tmp_path: Path) -> None:
    plain = lines(tmp_path / "plain.jsonl", OPENAI)
    start, ask, call, *rest = OPENAI["messages"]
    talk = lines(tmp_path / "a.jsonl", {**OPENAI, "messages": [start, ask, {**call, "content": "A moment."}, *rest]})
    for contract in ("calls", "text"):
        assert [r.completion for r in read(talk, contract)] == [r.completion for r in read(plain, contract)]
    first, last = read(talk, "calls")
    assert first.messages == read(plain, "calls")[0].messages, "a step writes calls alone"
    assert [message.content for message in last.messages[2:4]] == ["A moment.", CALLED_AS_WRITTEN]


def test_a_turn_of_the_weight_0_is_shown_later_and_learned_by_nobody(tmp_path: Path) -> None:
    bad, good = ({"role": "assistant", "content": text, "weight": text == "yes"} for text in ("no", "yes"))
    (record,) = read(lines(tmp_path / "a.jsonl", {"messages": [ASK, bad, ASK, good]}))
    assert record.completion == "yes" and [m.content for m in record.messages][1] == "no"


def test_sharegpt_is_the_same_dialogue(tmp_path: Path) -> None:
    talk = [
        {"from": "human", "value": ASK["content"]},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": '{"t": 20}'},
        {"from": "gpt", "value": "20 degrees."},
        {"from": "human", "value": "Thanks!"},
        {"from": "gpt", "value": "You are welcome."},
    ]
    row = {"conversations": talk, "system": "Be brief.", "tools": json.dumps([TOOL])}
    ours = read(lines(tmp_path / "a.jsonl", row), "calls")
    theirs = read(lines(tmp_path / "b.jsonl", OPENAI), "calls")
    assert [(r.messages, r.completion) for r in ours] == [(r.messages, r.completion) for r in theirs]


def test_tables_have_columns_that_may_be_renamed(tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"
    path.write_text('body,queue\n"Two\nlines",billing\n\nOne,shipping\n\nonly one cell\n', encoding="utf-8")
    found = list(read_file(path, Reading("text", columns={"text": "body", "label": "queue"})))
    assert [(r.completion, r.place.line) for r in found if isinstance(r, Record)] == [("billing", 2), ("shipping", 5)]
    assert isinstance(found[2], Broken) and found[2].place.line == 7


def test_a_text_in_a_table_stays_a_text_where_it_looks_like_json(tmp_path: Path) -> None:
    """The text that a user wrote is trained on, as from JSON Lines: it is no list, and no Python `repr` of one."""
    alpaca = tmp_path / "alpaca.csv"
    alpaca.write_text('instruction,input,output\nKeys?,"{""a"": true}","[ 1 ]"\n', encoding="utf-8")
    (record,) = read(alpaca)
    assert (record.messages[-1].content, record.completion) == ('Keys?\n\n{"a": true}', "[ 1 ]")
    label = tmp_path / "label.csv"
    label.write_text('body,queue\n"[1, 2]","{""a"": 1.0}"\n', encoding="utf-8")
    (named,) = read(label, columns={"text": "body", "label": "queue"})
    assert (named.messages[-1].content, named.completion) == ("[1, 2]", '{"a": 1.0}')
    prompt = tmp_path / "prompt.csv"
    chat = json.dumps([ASK]).replace('"', '""')
    prompt.write_text(f'prompt,completion\n"{{""a"":1}}",yes\n"{chat}",no\n', encoding="utf-8")
    assert [record.messages[-1].content for record in read(prompt)] == ['{"a":1}', ASK["content"]]


def test_a_table_says_that_a_question_has_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('question,passages,answer,answerable\nWho?,"[""It rained.""]",,False\n', encoding="utf-8")
    assert read(path, "answer")[0].completion == '{"answerable":false}'


def test_passages_without_ids_are_numbered(tmp_path: Path) -> None:
    asked = {"question": "Who?", "answer": "Ada", "citations": ["2"]}
    named = {**asked, "passages": [{"text": "Rain."}, {"id": None, "text": "Ada."}]}
    (record,) = read(lines(tmp_path / "a.jsonl", named), "answer")
    assert [(passage.id, passage.text) for passage in record.passages] == [("1", "Rain."), ("2", "Ada.")]
    broken = [{**asked, "passages": [each]} for each in ({"id": "2"}, 7, {"text": None})]
    found = check_files([lines(tmp_path / "b.jsonl", *broken)], [], Reading("answer"), Checker()).findings
    message = "passages are a list of at least one text, or of {id, text, title}"
    assert [finding.message for finding in found] == [message] * 3


def test_answers_may_be_one_text(tmp_path: Path) -> None:
    asked = {"question": "Who?", "passages": ["Ada did."], "answer": "Ada", "citations": ["1"]}
    path = lines(tmp_path / "a.jsonl", {**asked, "answers": "Ada L."}, {**asked, "answers": ["Ada", "A. L."]})
    assert [record.gold["answers"] for record in read(path, "answer")] == [["Ada L."], ["Ada", "A. L."]]


def test_a_completion_may_be_written_as_a_chat_message(tmp_path: Path) -> None:
    """As preference sets are: what the assistant says is learnt, not the JSON of its message."""
    yes, no = ({"role": "assistant", "content": text} for text in ("Warm.", "Cold."))
    rows = [
        {"prompt": [ASK], "completion": [yes]},
        {"prompt": [ASK], "chosen": [yes], "rejected": [no]},
        {"prompt": ASK["content"], "chosen": [ASK, yes], "rejected": [ASK, no]},
    ]
    found = read(lines(tmp_path / "a.jsonl", *rows))
    assert [(r.completion, r.rejected) for r in found] == [("Warm.", None), ("Warm.", "Cold."), ("Warm.", "Cold.")]
    called = {"messages": [ASK], "tools": [TOOL], "completion": [OPENAI["messages"][2]]}
    assert read(lines(tmp_path / "b.jsonl", called), "calls")[0].completion == CALLED
    longer = {"prompt": "Hi", "completion": [ASK, yes]}
    (broken,) = read_file(lines(tmp_path / "c.jsonl", longer), Reading("text"))
    assert isinstance(broken, Broken) and "a completion is one message" in broken.reason


def test_an_output_that_its_label_calls_unwanted_is_not_learnt(tmp_path: Path) -> None:
    """TRL's form of single outputs for KTO: what is labelled false was learnt like the rest."""
    rows = [{"prompt": [ASK], "completion": f"{degrees} degrees.", "label": degrees == 20} for degrees in (20, 90)]
    for path in (
        lines(tmp_path / "a.jsonl", *rows, {"prompt": "Hi", "completion": "Hello.", "label": "greeting"}),
        tmp_path / "a.csv",
    ):
        if path.suffix == ".csv":
            path.write_text("prompt,completion,label\nWarm?,20 degrees.,True\nWarm?,90 degrees.,False\n")
        good, broken, *other = read_file(path, Reading("text"))
        assert isinstance(good, Record) and good.completion == "20 degrees." and len(other) == (path.suffix != ".csv")
        assert isinstance(broken, Broken) and broken.place.line in (2, 3), broken
        assert "label is false: an unwanted output" in broken.reason
    (kept,) = read_file(lines(tmp_path / "b.jsonl", *rows), Reading("text", where={"label": ["true"]}))
    assert isinstance(kept, Record) and kept.completion == "20 degrees."


def test_code_with_text_around_it_is_refused(tmp_path: Path) -> None:
    """As one block it would be no Python, and hold a fence, which no code step can write."""
    block = "```python\nprint('hi')\n```"
    texts = (f"Here it is:\n\n{block}\nThat is all.", block, "print('```')")
    path = lines(
        tmp_path / "a.jsonl", *({"prompt": f"Say hi {n}.", "completion": text} for n, text in enumerate(texts))
    )
    checker = Checker()
    found = checker.check(read_file(path, Reading("code")))
    assert [record.completion for record in found] == [block, "```python\nprint('```')\n```"]
    assert [(f.kind, f.place.line) for f in checker.findings] == [("invalid completion", 1)]


class Point(BaseModel):
    x: int
    y: int


class Line(BaseModel):
    start: Point
    end: Point | None = None
    marks: list[Point] = []
    named: dict[str, Point] = {}


def test_nested_arguments_are_in_the_order_in_which_decoding_writes_them(tmp_path: Path) -> None:
    """Also behind references and alternatives, as pydantic writes nested models."""
    point = {"y": 2, "x": 1}
    drawn = {"named": {"a": point}, "marks": [point], "end": point, "start": point}
    tool = {"name": "draw", "description": "", "parameters": Line.model_json_schema()}
    row = {"request": "Draw it.", "tools": [tool], "calls": [{"name": "draw", "arguments": drawn}]}
    (record,) = read(lines(tmp_path / "a.jsonl", row), "calls")
    p = '{"x":1,"y":2}'
    arguments = f'{{"start":{p},"end":{p},"marks":[{p}],"named":{{"a":{p}}}}}'
    assert record.completion == f'[{{"name":"draw","arguments":{arguments}}}]'
    free = {
        "name": "f",
        "description": "",
        "parameters": {"type": "object", "properties": {"any": {"$ref": "#/$defs/any"}}},
    }
    free["parameters"]["$defs"] = {"any": True}
    row = {"request": "Do.", "tools": [free], "calls": [{"name": "f", "arguments": {"any": point}}]}
    assert read(lines(tmp_path / "b.jsonl", row), "calls")[0].gold["calls"][0]["arguments"] == {"any": point}


def test_parquet_is_read_through_datasets(tmp_path: Path) -> None:
    import datasets

    for name in ("a[1]", "a1", "a*"):  # the name is no pattern
        row = {"messages": [ASK], "completion": name}
        datasets.Dataset.from_list([row]).to_parquet(str(tmp_path / f"{name}.parquet"))
        assert [record.completion for record in read(tmp_path / f"{name}.parquet")] == [name]


def test_a_json_list_has_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n {"text": "a", "label": "x"},\n {"text": "b",\n  "label": "y"},\n {"text" "c"}\n]')
    found = list(read_file(path, Reading("text")))
    assert [entry.place.line for entry in found] == [2, 3, 5] and isinstance(found[-1], Broken)


@pytest.mark.parametrize(
    ("end", "says"), [(",", "not closed: the file may"), ("", "not closed"), ("]\n[]", "one list a file")]
)
def test_what_is_lost_of_a_json_list_is_said(tmp_path: Path, end: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "a", "label": "x"}' + end)
    found = list(read_file(path, Reading("text")))
    assert isinstance(found[0], Record) and isinstance(found[1], Broken) and says in found[1].reason


def test_a_note_stands_before_the_message_that_it_explains(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    note = {"role": "system", "content": "Dates: tomorrow = 2026-03-19"}
    talk = [{"role": "system", "content": "Be brief."}, note, ASK]
    path.write_text(json.dumps({"messages": talk, "completion": "y", "extra_prompt": "Again."}))
    (record,) = read_file(path, Reading("text"))
    assert isinstance(record, Record) and record.extra_prompt == "Again."
    assert [message.role for message in record.messages] == ["system", "system", "user"]
    assert record.messages[1].content == note["content"]


BAD = [
    ("broken JSON", "{broken", "no JSON"),
    ("broken JSON", "[1]", "JSON object"),
    ("broken JSON", '{"messages": [], "completion": NaN}', "NaN is no JSON"),
    ("broken JSON", "[" * 100_000, "nested|no JSON"),
    ("wrong roles", {"messages": [{"role": "usr", "content": "x"}], "completion": "y"}, "'usr'"),
    ("wrong roles", {"messages": [ASK, {"role": "assistant", "content": "x"}], "completion": "y"}, "next turn"),
    ("wrong roles", {"messages": [{"role": "tool", "content": "x"}], "completion": "y"}, "nothing was called"),
    ("wrong roles", {"messages": [ASK, {"role": "system", "content": "x"}], "completion": "y"}, "only the first"),
    ("empty completion", {"messages": [ASK], "completion": " ", "tools": [TOOL]}, "empty"),
    ("empty completion", {"messages": [ASK, {"role": "assistant", "content": ""}]}, "empty"),
    ("wrong form", {"question?": "x"}, "no known form"),
    ("wrong form", {"text": "x", "label": "y"}, "the skill writes calls"),
    (
        "invalid call",
        {"request": "x", "tools": [TOOL], "calls": [{"name": "get_wether", "arguments": {}}]},
        "get_wether",
    ),
    ("invalid call", {"request": "x", "tools": [TOOL], "calls": [{"name": "get_weather", "arguments": {}}]}, "'city'"),
    ("invalid call", {"request": "x", "tools": [TOOL], "calls": "call it"}, "JSON list"),
    ("invalid call", {"messages": [ASK], "completion": "[]"}, "add tools"),
    (
        "invalid tool",
        {"request": "x", "tools": [{"name": "f", "parameters": {"type": "tree"}}], "calls": []},
        "'object'",
    ),
]


def test_whatever_is_broken_is_told_with_its_line(tmp_path: Path) -> None:
    good = {"messages": [ASK], "completion": CALLED, "tools": [TOOL]}
    huge = {"messages": [{"role": "user", "content": "word " * 1_000_000}], "completion": CALLED, "tools": [TOOL]}
    file = lines(tmp_path / "bad.jsonl", *(record for _, record, _ in BAD), huge, good)
    found = check_files([file], [], Reading("calls"), Checker())
    assert [r.place.line for r in found.records] == [len(BAD) + 2]
    assert [f.place.line for f in found.errors] == [*range(1, len(BAD) + 2)]
    for (kind, _, words), finding in zip(BAD, found.findings, strict=False):
        assert finding.kind == kind, finding
        assert any(word in finding.message for word in words.split("|")), finding
        assert finding.to_dict()["line"] == finding.place.line
    assert found.findings[-1].kind == "overlong line" and "5,0" in found.findings[-1].message


@pytest.mark.parametrize(
    "row", [{"prompt": "Hi", "completion": "Ho"}, {"messages": [ASK, {"role": "assistant", "content": "Ho"}]}]
)
def test_a_part_that_there_is_not_is_no_part_by_chance(tmp_path: Path, row: dict[str, Any]) -> None:
    path = lines(tmp_path / "a.jsonl", *({**row, "part": part} for part in ("validation", "Train", ["test"])))
    found = list(read_file(path, Reading()))
    assert all(isinstance(each, Broken) for each in found) and len(found) == 3
    assert "part is 'validation': write train, valid, test, or leave it out" in str(found[0])


def test_a_call_that_is_wrong_anywhere_spoils_its_dialogue(tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(OPENAI).replace("Paris\\\\", "Paris\\\\").replace('\\"city\\"', '\\"town\\"'))
    found = check_files([lines(tmp_path / "a.jsonl", wrong)], [], Reading("text"), Checker())
    assert not found.records and found.errors[0].kind == "invalid call" and "town" in found.errors[0].message


def test_repeated_and_leaking_records_are_found(tmp_path: Path) -> None:
    long = "Please tell me when the parcel with the blue cover that I ordered last week will be at my door"
    rows = [
        {"text": "Where is my parcel?", "label": "shipping"},
        {"text": "Where is my parcel?", "label": "shipping"},
        {"text": "Where is my parcel?", "label": "billing"},
        {"text": long, "label": "shipping"},
        {"text": f"{long} today", "label": "shipping"},
        {"text": "word " * 3000, "label": "other"},
        {"text": "WHERE is my invoice", "label": "billing"},
    ]
    train = lines(tmp_path / "train.jsonl", *rows)
    held_out = lines(
        tmp_path / "eval.jsonl",
        {"text": "Where is my invoice?", "label": "x"},
        {"text": f"Hello! {long}", "label": "x"},
    )
    found = check_files([train], [held_out], Reading("text"), Checker())
    assert found.counts == {
        "contradiction": 1, "duplicate": 1, "near duplicate": 1, "overlong record": 1, "leakage": 3,
    }  # fmt: skip
    assert [r.place.line for r in found.records] == [1, 3] and not found.errors
    leaks = [f.message for f in found.findings if f.kind == "leakage"]
    assert "eval.jsonl:2" in leaks[0] and "eval.jsonl:1" in leaks[-1]


def test_pairs_of_one_transcript_contradict_each_other_where_they_reject_what_the_other_chose(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("a", "c"), ("d", "c"), ("b", "a"), ("a", "b")]
    rows = [{"prompt": "Which?", "chosen": chosen, "rejected": rejected} for chosen, rejected in pairs]
    found = check_files([lines(tmp_path / "pairs.jsonl", *rows)], [], Reading("text"), Checker())
    assert [(f.kind, f.place.line) for f in found.findings] == [("contradiction", 4), ("duplicate", 5)]


def test_a_schema_of_text_is_checked(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"queue": {"enum": ["a"]}}, "required": ["queue"]}
    file = lines(
        tmp_path / "a.jsonl",
        *({"text": str(k), "label": x} for k, x in enumerate(('{"queue":"a"}', '{"queue":"b"}', "a"))),
    )
    found = check_files([file], [], Reading("text"), Checker(schema=schema))
    assert len(found.records) == 1 and [f.kind for f in found.errors] == ["invalid completion"] * 2


def test_what_cannot_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        list(read_file(tmp_path / "none.jsonl", Reading()))
    with pytest.raises(InputError, match="is a folder: give the files in it"):
        list(read_file(tmp_path, Reading()))
    with pytest.raises(UnknownNameError, match=r"jsonl"):
        list(read_file(lines(tmp_path / "a.jsnl", {}), Reading()))
    with pytest.raises(UnknownNameError, match="alpaca"):
        Reading(form="alpacca")


KEYS = (
    *("messages", "role", "content", "completion", "tools", "calls", "text", "label", "conversations", "from", "value"),
    *("question", "passages", "name", "arguments", "function", "user", "assistant"),
)
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(KEYS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(GARBAGE, max_size=4), st.sampled_from(["calls", "code", "answer", "verdict", "text"]))
def test_no_garbage_gets_past_the_reader_or_through_it(rows: list[Any], contract: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = lines(
            Path(folder) / "a.jsonl", *({"messages": r, "completion": r} for r in rows), *map(json.dumps, rows)
        )
        found = check_files([file], [], Reading(contract), Checker())
        assert found.read == len(file.read_text(encoding="utf-8").splitlines())
        assert all(r.completion and r.messages for r in found.records)


def test_all_forms_are_tried() -> None:
    assert {form_of(dict.fromkeys(keys, "")) for choices in FORMS.values() for keys in choices} == set(FORMS)


def test_null_in_a_call_is_what_the_user_is_asked_for(tmp_path: Path) -> None:
    """Only where the tool requires the argument and takes no null; a tool that is wrong is what is wrong then."""
    schemas: list[dict[str, Any]] = [
        {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"]},
        {"properties": {"a": {"type": "integer"}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"]},
    ]
    rows = [
        {
            "messages": [{"role": "user", "content": f"Number {number}, please."}],
            "tools": [{"name": "f", "description": "", "parameters": {"type": "object", **schema}}],
            "calls": [{"name": "f", "arguments": {"a": None}}],
        }
        for number, schema in enumerate(schemas)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    checker = Checker()
    kept = checker.check(read_file(path, Reading("calls", source="me")))
    assert [record.gold.get("ask") for record in kept] == [["a"], None]
    found = [finding.kind for finding in checker.findings if finding.severity == "error"]
    assert found == ["invalid call", "invalid tool"]
