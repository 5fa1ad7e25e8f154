"""Training records out of real dialogues: what is asked for is what nobody has said yet."""

from __future__ import annotations

import random
from typing import Any

from loraloop.adapters.training.data.frozen import PublicSets
from loraloop.recipes.make.dialogues import rows_of, said_from, steps_of, unsaid_in

BOOK = {
    "name": "book_table",
    "description": "Books a table.",
    "parameters": {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "The restaurant"},
            "day": {"type": "string", "description": "The day"},
            "seats": {"type": "integer", "description": "How many"},
            "room": {"type": "string", "enum": ["inside", "garden"], "description": "Where"},
        },
        "required": ["place", "day", "seats"],
    },
}
PLAY = {"name": "play", "description": "Plays a song.", "parameters": {"type": "object", "properties": {}}}


def dialogue(*texts: str, number: int = 1, **arguments: Any) -> dict[str, Any]:
    """A dialogue whose speakers take turns and that ends in a call."""
    roles, tool = ("user", "assistant"), BOOK if number == 1 else PLAY
    return {
        "id": f"made-{number}-9",
        "tools": [tool],
        "messages": [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)],
        "calls": [{"name": tool["name"], "arguments": arguments}],
    }


TALK = dialogue(
    "A table at Mori's, please.",
    "For which day, and for how many?",
    "On the 4th of March.",
    "How many will you be?",
    "There are five of us.",
    "A table at Mori's on March 4th for 5. Is that right?",
    "Yes.",
    place="Mori's",
    day="March 4th",
    seats=5,
)


def test_a_question_asks_for_what_was_not_said_until_then() -> None:
    assert list(steps_of(TALK)) == [(7, []), (3, ["seats"]), (1, ["day", "seats"])]


def test_a_question_whose_answer_says_something_else_is_none() -> None:
    asked = ("A table, please.", "Do you like fish?", "Yes.", "For which day?", "March 4th, Mori's, we are 5.")
    talk = dialogue(*asked, **TALK["calls"][0]["arguments"])
    assert list(steps_of(talk)) == [(5, []), (3, ["place", "day", "seats"])]


def test_an_offer_is_no_question_for_a_value() -> None:
    arguments = TALK["calls"][0]["arguments"]
    asked = dialogue("A table on March 4th for 5.", "Which place?", "Mori's.", **arguments)
    offered = dialogue("A table on March 4th for 5.", "Shall it be Mori's?", "Mori's.", **arguments)
    assert list(steps_of(asked)) == [(3, []), (1, ["place"])] and list(steps_of(offered)) == [(3, [])]


def test_what_is_unsaid_leaves_out_what_the_tool_does_not_require() -> None:
    asked = ("A table at Mori's for 5.", "For which day?", "March 4th, in the garden.")
    talk = dialogue(*asked, **TALK["calls"][0]["arguments"], room="garden") | {"source": "made", "license": "CC0"}
    assert list(steps_of(talk)) == [(3, []), (1, ["day", "room"])]
    rows = list(rows_of([talk, *(dialogue("Play.", number=n) for n in range(2, 9))], random.Random(1)))
    assert [row.get("unsaid") for row in rows if "made-1-9" in row["from"][0]] == [None, [1, 3]]
    sets = PublicSets.__new__(PublicSets)
    others = {each["id"]: each for each in (dialogue("Play.", number=n) for n in range(2, 9))}
    sets._by_id = {"tools/sgd.train": {talk["id"]: talk, **others}}
    found = [sets.rebuilt(row)["calls"][0]["arguments"] for row in rows if "made-1-9" in row["from"][0]]
    assert found == [talk["calls"][0]["arguments"], {"place": "Mori's", "day": None, "seats": 5}]


def test_a_text_of_few_letters_is_said_where_the_user_says_it_first() -> None:
    """Nothing tells such a text from a plain word: it counts as known wherever it stands, or does not."""
    talk = dialogue("A table for 5 on March 4th.", "Where?", "In NY.", place="NY", day="March 4th", seats=5)
    assert unsaid_in([talk["messages"][0]["content"]], talk["calls"][0], BOOK) == []
    assert list(steps_of(talk)) == [(3, []), (1, ["place"])]
    texts = ["In the garden.", "Where?", "In NY, in the garden, for 5.", "At 7 pm?", "Yes."]
    call = {"name": "book_table", "arguments": {"place": "NY", "seats": 5, "room": "garden", "day": "7 pm"}}
    assert said_from(texts, 1, call) == ["place"]
    assert said_from(texts, 3, call) == [], "the assistant alone has it so"


def test_a_call_on_what_nobody_said_is_not_learnt() -> None:
    assert not list(steps_of(dialogue("A table at Mori's for 5.", place="Mori's", day="March 4th", seats=5)))


def test_records_are_rebuilt_from_the_dialogues_alone() -> None:
    talks = [TALK | {"source": "made", "license": "CC0"}, *(dialogue("Play.", number=n) for n in range(2, 9))]
    rows = list(rows_of(talks, random.Random(1)))
    sets = PublicSets.__new__(PublicSets)
    sets._by_id = {"tools/sgd.train": {talk["id"]: talk for talk in talks}}
    call, *asks = [sets.rebuilt(row) for row in rows if row["from"][0].endswith("made-1-9")]
    assert call["calls"] == TALK["calls"] and call["messages"] == TALK["messages"]
    assert all(set(row) == {"source", "license", "kind", "messages", "tools", "calls"} for row in (call, *asks))
    arguments = [
        {"place": "Mori's", "day": "March 4th", "seats": None},
        {"place": "Mori's", "day": None, "seats": None},
    ]
    assert [row["calls"] for row in asks] == [[{"name": "book_table", "arguments": each}] for each in arguments]
    assert all(row["messages"] == TALK["messages"][: len(row["messages"])] for row in asks)
    assert {tool["name"] for tool in call["tools"]} <= {"book_table", "play"} and BOOK in call["tools"]
    assert "Mori" not in str(rows) and "Books" not in str(rows)


def test_a_dialogue_is_for_validation_as_a_whole_or_not_at_all() -> None:
    talks = [TALK | {"id": f"made-{number}-{turn}"} for number in range(60) for turn in (3, 9)]
    parts = dict[str, set[str]]()
    for row in rows_of(talks, random.Random(1)):
        parts.setdefault(row["from"][0].rpartition("-")[0], set()).add(row.get("part", "train"))
    assert sorted(map(len, parts.values())) == [1] * 60
    assert 0 < sum(part == {"valid"} for part in parts.values()) < 20
