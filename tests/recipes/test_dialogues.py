"""What is made of dialogues in SGD's and STAR's forms is what a careful teacher would write at each step."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.training.data.checker import Checker
from loraloop.adapters.training.data.readers import Reading
from loraloop.adapters.training.recipe.gather import check_files
from loraloop.agent.dates.resolve import resolve_dates

MAKE = Path(__file__).parents[2] / "recipes" / "make"
sys.path.insert(0, str(MAKE))
import dialogue_days  # noqa: E402  (a program beside the data, not part of the package)

sys.path.remove(str(MAKE))
Json = dict[str, Any]


def slot(name: str, *values: str) -> Json:
    return {
        "name": name,
        "description": f"The {name} of the plot",
        "is_categorical": bool(values),
        "possible_values": list(values),
    }


def schema(find: str, book: str, place: str) -> list[Json]:
    """A service that lets garden plots, and a second one that has nothing to do with it."""
    slots = [slot(place), slot("day"), slot("plot"), slot("spade", "True", "False"), slot("people", "1", "2", "3")]
    names = [each["name"] for each in slots]
    gardens = {
        "service_name": "Gardens_1",
        "description": "Garden plots",
        "slots": slots,
        "intents": [
            {
                "name": find,
                "description": f"{find} in a town",
                "is_transactional": False,
                "required_slots": [place, "day"],
                "optional_slots": {"spade": "dontcare"},
                "result_slots": names,
            },
            {
                "name": book,
                "description": f"{book} for a day",
                "is_transactional": True,
                "required_slots": ["plot", "day"],
                "optional_slots": {"people": "1"},
                "result_slots": names,
            },
        ],
    }
    ferry = {
        "name": "CountFerries",
        "description": "How many ferries go",
        "is_transactional": False,
        "required_slots": ["harbour"],
        "optional_slots": {},
        "result_slots": [],
    }
    ferries = {
        "service_name": "Ferries_1",
        "description": "Ferries",
        "slots": [slot("harbour")],
        "intents": [ferry],
    }
    return [gardens, ferries]


def act(name: str, about: str = "", *values: str, canonical: str = "") -> Json:
    return {
        "act": name,
        "slot": about,
        "values": list(values),
        "canonical_values": [canonical] if canonical else list(values),
    }


def user(text: str, intent: str, state: Json, *acts: Json) -> Json:
    kept = {"active_intent": intent, "requested_slots": [], "slot_values": {k: [v] for k, v in state.items()}}
    frame = {"service": "Gardens_1", "slots": [], "actions": list(acts), "state": kept}
    return {"speaker": "USER", "utterance": text, "frames": [frame]}


def system(text: str, *acts: Json, call: tuple[str, Json] | None = None, results: list[Json] | None = None) -> Json:
    frame: Json = {"service": "Gardens_1", "slots": [], "actions": list(acts)}
    if call is not None:
        frame |= {"service_call": {"method": call[0], "parameters": call[1]}, "service_results": results or []}
    return {"speaker": "SYSTEM", "utterance": text, "frames": [frame]}


PLOTS = [
    {"town": "Aldham", "day": "2019-03-09", "plot": "Plot of Hollies", "spade": "True", "people": "2"},
    {"town": "Aldham", "day": "2019-03-09", "plot": "Plot of Ferns", "spade": "False", "people": "2"},
]
FOUND = {"town": "Aldham", "day": "March 9th"}
PICKED = {**FOUND, "plot": "Plot of Ferns"}


def dialogue(name: str, agrees: str = "Yes.", town: str = "Aldham") -> Json:
    agreed = [act("AFFIRM")] if agrees == "Yes." else [act("NEGATE"), act("INFORM", "people", "3")]
    booked = {"plot": "Plot of Ferns", "day": "2019-03-09", "people": "1" if agrees == "Yes." else "3"}
    confirm = [act("CONFIRM", k, v) for k, v in {**booked, "people": "1"}.items()]
    turns = [
        user("I look for a garden plot on March 9th.", "FindPlot", {"day": "March 9th"}, act("INFORM_INTENT")),
        system("In which town?", act("REQUEST", "town")),
        user("In Aldham, please.", "FindPlot", FOUND, act("INFORM", "town", "Aldham", canonical=town)),
        system(
            "There is the Plot of Hollies.",
            act("OFFER", "plot", "Plot of Hollies"),
            call=("FindPlot", {"town": town, "day": "2019-03-09", "spade": "True"}),
            results=PLOTS,
        ),
        user("Is there another one?", "FindPlot", FOUND, act("REQUEST_ALTS")),
        system("The Plot of Ferns.", act("OFFER", "plot", "Plot of Ferns")),
        user("Book it then.", "BookPlot", PICKED, act("SELECT"), act("INFORM_INTENT")),
        system("Please confirm: the Plot of Ferns on March 9th for 1.", *confirm),
        user(agrees, "BookPlot", {**PICKED, "people": booked["people"]}, *agreed),
        system("It is booked.", act("NOTIFY_SUCCESS"), call=("BookPlot", booked), results=[{**PLOTS[1], **booked}]),
        user("Thank you, that is all.", "NONE", {}, act("THANK_YOU")),
        system("Goodbye.", act("GOODBYE")),
    ]
    return {"dialogue_id": name, "services": ["Gardens_1"], "turns": turns}


def written(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def made(folder: Path, *options: str) -> list[Json]:
    """The rows that the program writes."""
    folder_is_searched = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, str(MAKE / "dialogues.py"), "--seed", "5", "--out", str(folder / "rows.jsonl"), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=folder_is_searched)
    assert "| kind | SGD | STAR |" in done.stdout
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def sgd(folder: Path, dialogues: list[Json]) -> Path:
    wordings = [("FindPlot", "BookPlot", "town"), ("SeekGarden", "TakeGarden", "village")]
    wordings += [(f"FindBed{n}", f"BookBed{n}", f"place_{n}") for n in range(4)]
    places = ["train", *(f"sgd_x/data/v{n}/train" for n in range(1, 6))]
    for place, words in zip(places, wordings, strict=True):
        written(folder / place / "schema.json", schema(*words))
    written(folder / "train" / "dialogues_001.json", dialogues)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    folder = tmp_path_factory.mktemp("sgd")
    agrees = ("Yes.", "Yes.", "No, for 3.")
    path = sgd(folder, [dialogue(f"1_{n:05}", agrees[n % 3]) for n in range(60)])
    return made(folder, "--sgd", str(path), "--steps", "4000", "0", "--valid", "20")


def plain(row: Json) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in row["messages"] if not m["content"].startswith("Dates: ")][1:]


def of(rows: list[Json], kind: str, *begins: str) -> Iterator[Json]:
    """The rows of a kind whose last message begins so; at least ten."""
    found = [row for row in rows if row["kind"] == kind and plain(row)[-1][1].startswith(begins)]
    assert len(found) >= 10, (kind, begins)
    yield from found


def test_every_row_is_a_record_that_training_takes(rows: list[Json], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = check_files([path], [], Reading("calls"), Checker(longest=2000))
    assert not found.errors and len(found.records) > 150
    assert {record.part for record in found.records} == {"train", "valid"}


def test_what_nobody_said_is_asked_for(rows: list[Json]) -> None:
    for row in of(rows, "ask", "I look for"):
        finds = next(t for t in row["tools"] if "in a town" in t["description"])
        assert row["calls"] == {"ask": finds["parameters"]["required"][:1]}


def test_a_call_has_what_was_said_and_nothing_else(rows: list[Json]) -> None:
    for row in of(rows, "call", "In Aldham"):
        (call,) = row["calls"]
        town, day = call["arguments"].values()  # a spade was never spoken of
        assert town == "Aldham" and re.fullmatch(r"\d{4}-\d\d-\d\d", day)


def test_days_of_text_results_notes_and_calls_agree(rows: list[Json]) -> None:
    several, explained = set(), 0
    for row in of(rows, "second", "Book it"):
        day = row["calls"][0]["arguments"]
        (iso,) = re.findall(r"\d{4}-\d\d-\d\d", json.dumps(day))
        moved = date.fromisoformat(iso)
        assert f"on {moved:%B} {dialogue_days.ordinal(moved.day)}." in plain(row)[0][1]
        (result,) = (text for role, text in plain(row) if role == "tool")
        assert result.count(iso) == len(json.loads(result)["result"]["results"]) if "count" in result else iso in result
        notes = [m["content"] for m in row["messages"] if m["content"].startswith("Dates: ")]
        assert all(f" = {iso} ({moved:%A})" in note for note in notes)
        several.add(iso)
        explained += len(notes)
    assert len(several) > 5 and explained > 10


def test_a_request_with_all_values_is_carried_out_without_a_question(rows: list[Json]) -> None:
    for row in of(rows, "second", "Book it"):
        assert "Plot of Ferns" in row["calls"][0]["arguments"].values() and len(row["calls"][0]["arguments"]) == 2
    kept = cut = 0
    for row in of(rows, "result", "{"):
        texts = [text for _, text in plain(row)]
        if "Book it then." in texts and "No, for 3." not in texts:
            asked = any(text.startswith("Please confirm") for text in texts)
            assert asked == ("Yes." in texts)
            kept, cut = kept + asked, cut + (not asked)
    assert kept and cut


def test_a_correction_is_the_call_with_the_new_value(rows: list[Json]) -> None:
    for row in of(rows, "second", "No, for 3"):
        assert 3 in row["calls"][0]["arguments"].values()


def test_after_results_and_where_they_hold_the_answer_nothing_is_called(rows: list[Json]) -> None:
    for row in (*of(rows, "result", "{"), *of(rows, "talk", "Is there another", "Thank you")):
        assert row["calls"] == []
    for row in of(rows, "talk", "Is there another"):
        assert "Plot of Ferns" in "".join(text for role, text in plain(row) if role == "tool")


def test_without_its_tool_a_step_calls_nothing(rows: list[Json]) -> None:
    absent = [row for row in rows if row["kind"] == "absent"]
    assert len(absent) >= 10
    for row in absent:
        said = plain(row)[-1][1]
        gone = "for a day" if said.startswith("Book it") else "in a town"
        assert row["calls"] == [] and row["tools"]
        assert not any(gone in tool["description"] for tool in row["tools"])


def test_names_are_of_all_wordings_or_say_nothing(rows: list[Json]) -> None:
    names = {re.sub(r"[^a-z0-9]", "", tool["name"].lower()) for row in rows for tool in row["tools"]}
    assert {"findplot", "seekgarden", "findbed0", "takegarden"} <= names
    neutral = [row for row in rows if not any(re.search("plot|garden|bed", t["name"], re.I) for t in row["tools"][:1])]
    assert 0.1 < len(neutral) / len(rows) < 0.6


def test_dialogues_stay_whole_and_steps_of_one_share_their_list(rows: list[Json]) -> None:
    for source in {row["source"] for row in rows}:
        own = [row for row in rows if row["source"] == source]
        assert len({row["part"] for row in own}) == 1
        assert len({json.dumps(row["tools"]) for row in own if row["kind"] != "absent"}) <= 1


def test_a_value_that_nobody_said_ends_the_dialogue(tmp_path: Path) -> None:
    path = sgd(tmp_path, [dialogue(f"1_{n:05}", town="Aldham-on-Sea") for n in range(5)])
    found = made(tmp_path, "--sgd", str(path), "--steps", "900", "0", "--valid", "0")
    calls = [row["calls"][0] for row in found if row["kind"] == "call"]
    assert calls and all("Aldham" in call["arguments"].values() for call in calls)  # as the user wrote it
    broken = [dialogue(f"1_{n:05}") for n in range(5)]
    for each in broken:
        each["turns"][3]["frames"][0]["service_call"]["parameters"]["town"] = "Wexcombe"
        each["turns"][2]["frames"][0]["state"]["slot_values"]["town"] = ["Wexcombe"]
    sgd(tmp_path, broken)
    found = made(tmp_path, "--sgd", str(path), "--steps", "900", "0", "--valid", "0")
    assert {row["kind"] for row in found} == {"ask", "absent"}


def test_what_evaluations_show_is_left_out(tmp_path: Path) -> None:
    path = sgd(tmp_path, [dialogue(f"1_{n:05}") for n in range(40)])
    tools = [{"name": "find_plot", "description": "BookPlot for a day"}, {"name": "seekGarden", "description": ""}]
    written(tmp_path / "held" / "x.eval.jsonl", {"tools": tools, "messages": [{"role": "user", "content": "Hi"}]})
    options = ("--sgd", str(path), "--steps", "4000", "0", "--held-out", str(tmp_path / "held"))
    found = made(tmp_path, *options)
    shown = [tool for row in found for tool in row["tools"]]
    names = {re.sub(r"[^a-z0-9]", "", tool["name"].lower()) for tool in shown}
    assert {"findbed0", "takegarden"} <= names and not names & {"findplot", "seekgarden"}
    assert not any(tool["description"] == "BookPlot for a day" for tool in shown)
    request = {"messages": [{"role": "user", "content": "Is there something that i can do?"}]}
    written(tmp_path / "held" / "y.eval.jsonl", request)
    for each in (dialogues := [dialogue(f"1_{n:05}") for n in range(40)]):
        each["turns"][0]["utterance"] = "Is there something that I can do"
    sgd(tmp_path, dialogues)
    assert not any(len(plain(row)) == 1 for row in made(tmp_path, *options))


@settings(deadline=None)
@given(
    st.dates(date(2023, 1, 1), date(2028, 12, 1)),
    st.integers(0, 13),
    st.sampled_from(
        ("March {o}", "{o} of March", "on the {o}", "{o} of this month", "{w} this week", "{w} next week", "this {w}")
    ),
)
def test_moved_words_mean_the_moved_day(today: date, ahead: int, form: str) -> None:
    day = dialogue_days.TODAY + timedelta(ahead)
    weekday = f"{day:%A}"
    if "next week" in form and not 3 <= ahead <= 9:
        ahead = ahead % 7 + 3
    elif "this" in form and "{w}" in form:
        ahead = 1 + ahead % 2
    day = dialogue_days.TODAY + timedelta(ahead)
    weekday = f"{day:%A}"
    text = form.format(o=dialogue_days.ordinal(day.day), w=weekday)
    move = dialogue_days.Move(today)
    try:
        moved = move.text(f"I want it {text}.")
    except dialogue_days.CannotMove:
        assert "week" in form and move.days % 7
        return
    meant = today + timedelta(ahead)
    assert move.value({"a": [day.isoformat()]}) == {"a": [meant.isoformat()]}
    if move.days % 7 == 0 and "{w}" in form:
        assert moved == f"I want it {text}."
    if form != "{o} of this month":  # another month is named where it is one
        assert [(found.start, found.end) for found in resolve_dates(moved, today)] == [(meant, meant)], moved


STAR = {
    "input": [
        {
            "Name": "Name",
            "Type": "Categorical",
            "Categories": ["The Heron", "Blue Door"],
            "ReadableName": "Restaurant Name",
        },
        {"Name": "Time", "Type": "Categorical", "Categories": ["6 pm", "7 pm"], "ReadableName": "Time"},
        {"Name": "PartySize", "Type": "Integer", "ReadableName": "Party Size"},
        {"Name": "CustomerName", "Type": "ShortString", "ReadableName": "Customer Name"},
        {"Name": "RequestType", "Type": "RequestType", "ReadableName": "Request Type"},
    ],
    "required": ["Name", "Time", "PartySize", "CustomerName", "RequestType"],
}
TASK = "restaurant_book"


def query(way: str, **values: Any) -> list[Json]:
    given = {"Name": "Blue Door", "Time": "7 pm", "PartySize": 4, "CustomerName": "ida", **values, "RequestType": way}
    constraints = [{name: json.dumps(value)} for name, value in given.items()]
    item = {"APIName": TASK, "Message": "Available" if way == "Check" else "Confirmed"}
    return [
        {"Action": "query", "Agent": "Wizard", "APIName": TASK, "Constraints": constraints},
        {"Action": "return_item", "Agent": "KnowledgeBase", "Item": item, "TotalItems": 1},
    ]


def said(text: str) -> Json:
    return {"Action": "utter", "Agent": "User", "Text": text}


def picked(label: str, text: str) -> Json:
    return {"Action": "pick_suggestion", "Agent": "Wizard", "ActionLabel": label, "Text": text}


def star(folder: Path, *events: Json) -> list[Json]:
    written(folder / "apis" / "apis" / f"{TASK}.json", STAR)
    scenario = {"WizardCapabilities": [{"Task": TASK}]}
    for n in range(6):
        told = {"CompletionLevel": "Complete", "DialogueID": n, "Scenario": scenario, "Events": list(events)}
        written(folder / "dialogues" / f"{n}.json", told)
    return made(folder, "--star", str(folder), "--steps", "0", "900", "--valid", "0")


def test_star_asks_checks_and_books(tmp_path: Path) -> None:
    rows = star(
        tmp_path,
        said("Hello, a table at the Blue Door for four please."),
        picked("restaurant_ask_time", "At what time?"),
        said("At 7pm. My name is Ida."),
        *query("Check"),
        picked("restaurant_ask_confirm_booking", "They have one. Shall I book it?"),
        said("Yes, please."),
        *query("Book"),
        picked("restaurant_inform_booking_successful", "It is booked."),
    )
    by_kind: dict[str, list[Json]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    assert {*by_kind} >= {"ask", "call", "second", "result"} and all(row["calls"] == [] for row in by_kind["result"])
    for row in by_kind["ask"]:
        required = row["tools"][0]["parameters"]["required"]
        checks = next(t for t in row["tools"] if "Books nothing" in t["description"])
        assert row["calls"] == {"ask": [checks["parameters"]["required"][n] for n in (1, 3)]} and len(required) == 4
    for kind, words in (("call", "Books nothing"), ("second", "once the guest has agreed")):
        for row in by_kind[kind]:
            (call,) = row["calls"]
            assert words in next(t["description"] for t in row["tools"] if t["name"] == call["name"])
            assert [*call["arguments"].values()] == ["Blue Door", "19:00", 4, "Ida"]


@pytest.mark.parametrize(
    ("text", "way", "values"),
    [
        ("A table at the Blue Door for four at 7 pm, for Ida.", "Book", {}),  # was never checked
        ("A table at the Blue Door for four at 7 pm.", "Check", {}),  # nobody said a name
        ("A table at the Blue Door for four at 7 pm, for Ida.", "Check", {"PartySize": 5}),
        ("A table at the Blue Door for four at 6 pm, for Ida.", "Check", {}),
        (
            "At the Blue Door, for four, 7 pm, for Ida. No, at the Heron.",
            "Check",
            {"Name": "The Heron", "Time": "6 pm"},
        ),
    ],
)
def test_star_takes_no_call_that_the_user_did_not_ask_for(tmp_path: Path, text: str, way: str, values: Json) -> None:
    hello = (said("Hello"), picked("hello", "Hello, how can I help?"))
    rows = star(tmp_path, *hello, said(text), *query(way, **values))
    assert {row["kind"] for row in rows} == {"talk"}


@pytest.mark.parametrize("name", ["The Heron", "Blue Door"])
def test_star_takes_no_call_with_a_value_that_was_replaced(tmp_path: Path, name: str) -> None:
    asked = (said("A table at the Blue Door for four at 7 pm, for Ida."), picked("hello", "One moment."))
    rows = star(tmp_path, *asked, said("No, I prefer the Heron."), *query("Check", Name=name))
    assert any(row["kind"] == "call" for row in rows) == (name == "The Heron") and rows
