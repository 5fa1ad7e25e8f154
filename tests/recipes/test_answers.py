"""What the maker of the answer skill's records writes says what their results say, and nothing else."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.training.data.frozen import frozen_rows

MAKE = Path(__file__).parents[2] / "recipes" / "make"
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


@pytest.fixture(scope="module")
def makers() -> Any:
    """The maker as a module; it lies in a folder of scripts."""
    sys.path.insert(0, str(MAKE))
    try:
        import answers

        yield answers
    finally:
        sys.path.remove(str(MAKE))


@pytest.fixture(scope="module")
def rows(makers: Any) -> list[dict[str, Any]]:
    return list(makers.part_of(makers.read_desks()[:9], "train", 400, 5))


def last_turn(row: dict[str, Any]) -> list[dict[str, str]]:
    start = max(at for at, message in enumerate(row["messages"]) if message["role"] == "user")
    return row["messages"][start:]


def results(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(message["content"]) for message in last_turn(row) if message["role"] == "tool"]


def numbers(text: str) -> set[str]:
    found = {number.replace(",", ".") for number in NUMBER.findall(text)}
    days = {str(int(part)) for day in re.findall(r"\d{4}-\d\d-\d\d", text) for part in day.split("-")}
    return found | days | {f"{float(number):g}" for number in found}


def test_every_number_of_an_answer_stands_in_its_turn(rows: list[dict[str, Any]]) -> None:
    checked = 0
    for row in rows:
        known = numbers(" ".join(message["content"] for message in last_turn(row)))
        counted = {str(len(each["result"])) for each in results(row) if isinstance(each.get("result"), list)}
        said = numbers(row["completion"].replace(row.get("extra_prompt", ""), ""))
        earlier = numbers(
            " ".join(m["content"] for m in row["messages"])
        )  # a name that was shown before has its number
        assert said <= known | counted | earlier, row["completion"]
        checked += bool(said)
    assert checked > 150


def test_what_failed_is_not_told_as_done(rows: list[dict[str, Any]]) -> None:
    marks = (
        r"\b(not|no|but|declined|refused|impossible|refusé|pas|nicht|abgelehnt|keinen|rechazaste|non|rifiutato|niet|geweigerd|geen)"
        r"\b|n't|n'existe"
    )
    failed = [row for row in rows if row["kind"] in ("error", "denied", "partly", "not_done")]
    assert len(failed) > 60
    for row in failed:
        assert re.search(marks, row["completion"], re.IGNORECASE), row["completion"]
        if row["kind"] != "not_done":
            assert any("error" in each for each in results(row))


def test_kinds_follow_their_results(rows: list[dict[str, Any]]) -> None:
    kinds = Counter(row["kind"] for row in rows)
    assert len(kinds) == 11
    for row in rows:
        given = results(row)
        if row["kind"] in ("result", "results", "done", "empty", "rule"):
            assert "result" in given[-1]
        if row["kind"] in ("no_document", "not_done"):
            assert not given and row["extra_prompt"].startswith(("Not in the documents", "Not done"))


def test_a_question_names_arguments_that_a_shown_tool_has(rows: list[dict[str, Any]]) -> None:
    asked = [row for row in rows if row["kind"] == "ask"]
    assert len(asked) > 20
    for row in asked:
        names = row["extra_prompt"].removeprefix("Missing: ").split(", ")
        assert any(set(names) <= set(tool["parameters"]["properties"]) for tool in row["tools"])


def test_the_same_seed_gives_the_same_rows(makers: Any) -> None:
    desks = makers.read_desks()[:3]
    assert makers.part_of(desks, "valid", 40, 2) == makers.part_of(desks, "valid", 40, 2)


def test_the_frozen_records_are_what_the_readme_says() -> None:
    frozen = [row for _, row in frozen_rows("answers")]
    parts = Counter(row["part"] for row in frozen)
    later = sum(sum(m["role"] == "user" for m in row["messages"]) > 1 for row in frozen)
    assert parts == {"train": 4000, "valid": 200}
    assert later > 0.58 * len(frozen)
    assert 0.2 < sum(row["lang"] != "en" for row in frozen) / len(frozen) < 0.3


def test_what_no_passage_answers_is_not_shown(makers: Any) -> None:
    import documents

    made = documents.of_desks(60, 1)
    answers = {doc[2]: doc[1] for desk in makers.read_desks() for doc in desk.docs}
    for row in made:
        shown = [passage["text"] for passage in row["passages"]]
        question = next((q for q in answers if q in row["messages"][-1]["content"]), "")
        assert (answers.get(question) in shown) == row["completion"]["answerable"]
    assert sum(row["completion"]["answerable"] for row in made) == 30


def test_questions_to_the_documents_of_worlds_cite_what_answers_them(makers: Any) -> None:
    import documents

    worlds = {world.name: world for world in documents.load_worlds(documents.WORLDS)}
    held_back = {text["text"] for name in documents.HELD_BACK for text in worlds[name].documents}
    cites = {
        wording: next(each["text"] for each in world.documents if each["id"] == turn.cites)
        for world in worlds.values()
        for template in world.templates
        if template.kind == "retrieval"
        for request in world.draw_of(template, 40, 1)
        for turn, wording in [(request.turns[0], request.turns[0].say)]
        if turn.cites
    }
    made = documents.of_worlds(4, 1)
    assert sum(row["completion"]["answerable"] for row in made) > 20
    for row in made:
        shown = {passage["id"]: passage["text"] for passage in row["passages"]}
        wording = row["messages"][-1]["content"].rpartition("\n\n")[2]
        assert not held_back & set(shown.values())
        assert row["completion"]["answerable"] == (cites.get(wording) in shown.values())
        if row["completion"]["answerable"]:
            assert [shown[each] for each in row["completion"]["citations"]] == [cites[wording]]
