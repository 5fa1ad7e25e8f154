"""A recipe's sources: weights, limits, splits that part nothing that belongs together, licences and their terms."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.training.data.readers import Reading, read_file
from loraloop.adapters.training.recipe.gather import Gathered, gather, non_commercial, share_alike
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.tool_schemas.errors import InputError


def rows(folder: Path, name: str, count: int, **more: Any) -> dict[str, Any]:
    path = folder / name
    talk = [{"role": "user", "content": ""}, {"role": "assistant", "content": "yes"}]
    lines = []
    for k in range(count):
        first = {"role": "user", "content": f"{name} number {k}"}
        messages = [first, talk[1], {"role": "user", "content": "Go on."}, {"role": "assistant", "content": f"{k}"}]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"file": str(path), "license": "MIT", "form": "openai", **more}


def gathered(*sources: dict[str, Any], **parts: dict[str, Any]) -> Gathered:
    data = {"sources": list(sources), "validation": 0.2, **parts.pop("data", {})}
    return gather(read_recipe({"skill": {"name": "x", "description": "y"}, "data": data, **parts}))


def test_weights_say_how_often_a_record_is_taken(tmp_path: Path) -> None:
    found = gathered(rows(tmp_path, "a.jsonl", 100, weight=2), rows(tmp_path, "b.jsonl", 100, weight=0.5))
    times = Counter((record.source, record.key) for record in found.train)
    assert {count for (source, _), count in times.items() if source == "a.jsonl"} == {2}
    half = [count for (source, _), count in times.items() if source == "b.jsonl"]
    assert set(half) == {1} and 0.3 < len(half) / sum(r.source == "b.jsonl" for r in found.checked.records) < 0.7
    assert {source.name: source.n for source in found.sources} == Counter(record.source for record in found.train)
    assert gathered(rows(tmp_path, "a.jsonl", 30), data={"limit": 7}).sources[0].n == 7


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_of_few_dialogues_one_is_kept_out_for_validation(tmp_path: Path, count: int) -> None:
    found = gathered(rows(tmp_path, "a.jsonl", count), data={"validation": 0.01}, evaluation={"enabled": False})
    places = [{record.place.line for record in part} for part in (found.train, found.valid)]
    assert len(places[1]) == 1 and not places[0] & places[1] and len(places[0]) == count - 1


def test_data_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    source = rows(tmp_path, "a.jsonl", 1)
    with pytest.raises(InputError, match=r"no record is left to validate \(1 read\): give more data"):
        gathered(source, evaluation={"enabled": False})
    with pytest.raises(InputError, match=r"no record is left to train on \(1 read, overlong record: 2\)"):
        gathered(source, data={"longest": 2}, evaluation={"enabled": False})
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(InputError, match=r"a\.jsonl has no records: correct it"):
        gathered(source)


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv"])
def test_a_label_is_a_string_under_a_schema_of_strings(tmp_path: Path, name: str) -> None:
    labels = ("warm", "7", "cold")
    if name.endswith(".csv"):
        lines = ["text,label", *(f"Colour {k},{labels[k % 3]}" for k in range(30))]
    else:
        lines = [json.dumps({"text": f"Colour {k}", "label": labels[k % 3]}) for k in range(30)]
    (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    pairs = [json.dumps({"prompt": f"Paint {k}", "chosen": "warm", "rejected": "cold"}) for k in range(30)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs), encoding="utf-8")
    skill = {"name": "x", "description": "y", "schema": {"enum": [*labels]}}
    for file, wanted in ((name, {'"warm"', '"7"', '"cold"'}), ("pairs.jsonl", {'"warm"'})):
        data = {"sources": [{"file": str(tmp_path / file), "license": "MIT"}]}
        found = gather(read_recipe({"skill": skill, "data": data}))
        assert {record.completion for record in found.train} == wanted
        assert {record.rejected for record in found.train} == ({'"cold"'} if file == "pairs.jsonl" else {None})
    (tmp_path / name).write_text("\n".join(lines).replace("warm", "worm"), encoding="utf-8")
    with pytest.raises(InputError, match="no JSON"):
        gather(read_recipe({"skill": skill, "data": {"sources": [{"file": str(tmp_path / name), "license": "MIT"}]}}))


def test_a_small_share_of_much_data_is_held_out(tmp_path: Path) -> None:
    assert gathered(rows(tmp_path, "a.jsonl", 400), evaluation={"share": 0.004}).held_out


def test_no_dialogue_is_parted(tmp_path: Path) -> None:
    found = gathered(rows(tmp_path, "a.jsonl", 200), evaluation={"share": 0.2, "limit": 1000})
    places = [{record.place.line for record in part} for part in (found.train, found.valid, found.held_out)]
    assert all(len(part) >= 15 for part in places)
    assert not places[0] & places[1] and not places[0] & places[2] and not places[1] & places[2]
    assert len(found.train) == 2 * len(places[0]), "both turns are there"
    again = gathered(rows(tmp_path, "a.jsonl", 200), evaluation={"share": 0.2, "limit": 1000})
    assert again.train == found.train and again.held_out == found.held_out


@pytest.mark.parametrize("form", ["openai", "prompt"])
def test_a_record_may_say_its_part(tmp_path: Path, form: str) -> None:
    parts = ["train", "valid", "test", "train", "valid", "test", "", None]
    turns = [{"role": "user", "content": "Hi {}"}, {"role": "assistant", "content": "Ho {}"}]
    made: list[dict[str, Any]] = []
    for n in range(80):
        named = [{**turn, "content": turn["content"].format(n)} for turn in turns]
        row = {"messages": named} if form == "openai" else {"prompt": f"Hi {n}", "completion": f"Ho {n}"}
        made.append({**row, "part": parts[n % 8]})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    source = {"file": str(tmp_path / "a.jsonl"), "license": "MIT"}
    found = gathered(source, data={"validation": 0.01}, evaluation={"share": 0.1, "limit": 100})
    for name, records in (("train", found.train), ("valid", found.valid), ("test", found.held_out)):
        places = {record.place.line - 1 for record in records}
        assert {n for n in range(80) if parts[n % 8] == name} <= places
        assert {parts[n % 8] for n in places} <= {name, "", None}
    assert len(found.train) + len(found.valid) + len(found.held_out) == 80


def test_validation_is_bounded_and_parts_no_dialogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = rows(tmp_path, "a.jsonl", 200)
    every = gathered(source, evaluation={"enabled": False}).valid
    assert len(every) > 31
    monkeypatch.setattr("loraloop.adapters.training.recipe.gather.VALIDATION", 31)
    found = gathered(source, evaluation={"enabled": False}).valid
    assert len(found) == 30, "whole dialogues of two records"
    assert set(Counter(record.group for record in found).values()) == {2}
    assert {record.key for record in found} < {record.key for record in every}


def test_evaluation_files_are_kept_out_of_training(tmp_path: Path) -> None:
    held_out = rows(tmp_path, "held_out.jsonl", 5)
    source = rows(tmp_path, "a.jsonl", 40)
    with open(tmp_path / "a.jsonl", "a", encoding="utf-8") as file:
        file.write((tmp_path / "held_out.jsonl").read_text(encoding="utf-8"))
    found = gathered(source, evaluation={"sources": [held_out], "limit": 3})
    assert found.checked.counts["leakage"] == 5 and len(found.held_out) == 3
    assert not any("held_out" in record.group for record in (*found.train, *found.valid))


def test_a_record_for_evaluation_beside_evaluation_files_is_told(tmp_path: Path) -> None:
    source = rows(tmp_path, "a.jsonl", 40)
    marked = [{**json.loads(line), "part": "test"} for line in (tmp_path / "a.jsonl").read_text().splitlines()[:3]]
    more = {**source, "file": str(tmp_path / "more.jsonl")}
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row).replace("a.jsonl", "b") + "\n" for row in marked))
    found = gathered(source, more, evaluation={"sources": [rows(tmp_path, "held_out.jsonl", 5)]})
    told = [finding for finding in found.checked.findings if finding.kind == "unused"]
    assert [finding.place.line for finding in told] == [1, 2, 3] and found.checked.counts["unused"] == 3
    assert {finding.severity for finding in told} == {"warning"}
    assert "add its file to evaluation.sources, with where: {part: [test]}" in told[0].message
    again = gathered(source, more, evaluation={"sources": [{**more, "where": {"part": ["test"]}}]})
    assert "unused" not in again.checked.counts and len(again.held_out) == 6


def test_licences_and_generated_texts_are_named(tmp_path: Path) -> None:
    found = gathered(
        rows(tmp_path, "a.jsonl", 20, license="CC-BY-SA-4.0"),
        rows(tmp_path, "b.jsonl", 20, license="CC-BY-NC-4.0", terms="ask first"),
        rows(tmp_path, "c.jsonl", 20, generated_by="a model", terms="no competing models"),
    )
    assert found.terms == {
        "share_alike": ["a.jsonl (CC-BY-SA-4.0)"],
        "non_commercial": ["b.jsonl (CC-BY-NC-4.0)"],
        "generated_text": ["c.jsonl: written by a model; no competing models"],
        "terms": {"b.jsonl": "ask first"},
    }
    assert share_alike("GPL-3.0-only") and share_alike("ODbL-1.0") and not share_alike("MIT")
    assert non_commercial("cc-by-nc-sa-4.0") and not non_commercial("Apache-2.0")


def test_contradictions_of_a_recipe_are_refused(tmp_path: Path) -> None:
    source = rows(tmp_path, "a.jsonl", 40)
    with pytest.raises(InputError, match="two sources have the same name"):
        gathered(source, source)
    with pytest.raises(InputError, match="sources are given, but no metrics"):
        gathered(source, evaluation={"sources": [rows(tmp_path, "b.jsonl", 4)], "enabled": False})
    with pytest.raises(InputError, match="no record is left to train on"):
        gathered({**source, "file": str(tmp_path / "a.jsonl")}, data={"longest": 1})


def test_a_mixture_has_the_shares_of_its_sources_and_the_parts_of_frozen_data() -> None:
    recipe = {
        "skill": {"name": "x", "description": "y", "contract": "verdict"},
        "data": {"sources": [{"frozen": "safety", "share": 1.0}], "limit": 3000},
        "evaluation": {"limit": 20},
    }
    found = gather(read_recipe(recipe))
    assert len(found.train) == 3000 and len(found.held_out) == 20
    assert [(source.name, source.license) for source in found.sources] == [("safety", "Apache-2.0")]
    assert {record.part for record in found.train} == {"train"} and {r.part for r in found.valid} == {"valid"}


def test_a_part_of_a_source_takes_contexts_that_begin_alike_together(tmp_path: Path) -> None:
    path = tmp_path / "desks.jsonl"
    lines = []
    for k in range(200):
        talk = [("system", f"You work at desk {k % 20}."), ("user", f"Request {k}."), ("assistant", f"{k}")]
        lines.append(json.dumps({"messages": [{"role": role, "content": text} for role, text in talk]}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = {"file": str(path), "license": "MIT", "form": "openai", "share": 1.0}
    found = gathered(source, data={"limit": 45, "validation": 0.01}, evaluation={"enabled": False})
    taken = Counter(record.messages[0].content for record in found.train)
    whole = Counter(record.messages[0].content for record in found.checked.records)
    assert len(found.train) == 45 and 5 <= len(taken) <= 6
    assert sum(taken[desk] < whole[desk] for desk in taken) <= 1


def test_a_source_may_be_a_part_of_a_file_or_of_frozen_data(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    lines = [{"text": f"Text {k}", "label": "a", "kind": "ask" if k % 3 else "tell", "n": k % 4} for k in range(48)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    source = {"file": str(path), "license": "MIT", "where": {"kind": ["ask"], "n": ["1", "2"]}}
    found = gathered(source, evaluation={"enabled": False})
    chosen = {k + 1 for k, row in enumerate(lines) if row["kind"] == "ask" and row["n"] in (1, 2)}
    assert {record.place.line for record in (*found.train, *found.valid)} == chosen and len(chosen) == 16
    other = {**source, "name": "others", "where": {"sort": ["ask"]}}
    for parts in ({"evaluation": {"enabled": False}}, {"evaluation": {"sources": [other]}}):
        others = () if "sources" in parts["evaluation"] else (other,)
        with pytest.raises(InputError, match="others has no records that its where selects: correct it, or remove"):
            gathered(source, *others, **parts)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"talk\.jsonl has no records: correct it, or remove"):
        gathered({"file": str(path), "license": "MIT"})
    recipe = {
        "skill": {"name": "x", "description": "y", "contract": "calls"},
        "data": {"sources": [{"frozen": "worlds", "where": {"kind": ["no_tool"]}}]},
        "evaluation": {"enabled": False},
    }
    assert {record.completion for record in gather(read_recipe(recipe)).train} == {"[]"}


@pytest.mark.parametrize(("wanted", "lines"), [("true", {1, 3}), ("false", {2}), ("null", {4}), ("1", {5})])
def test_rows_are_selected_by_values_as_json_writes_them(tmp_path: Path, wanted: str, lines: set[int]) -> None:
    made = [{"prompt": f"Hi {n}", "completion": "Ho", "ok": ok} for n, ok in enumerate((True, False, True, None, 1))]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    found = read_file(path, Reading(where={"ok": [wanted]}))
    assert {record.place.line for record in found} == lines


def test_what_is_wrong_with_a_source(tmp_path: Path) -> None:
    own = rows(tmp_path, "a.jsonl", 40)
    with pytest.raises(InputError, match="one of file, frozen and public"):
        gathered({**own, "frozen": "tools"})
    with pytest.raises(InputError, match="license is missing"):
        gathered({"file": own["file"]})
    with pytest.raises(InputError, match="share of every source"):
        gathered(own, {**own, "name": "b", "share": 1})
    with pytest.raises(InputError, match="--data"):
        gathered({"public": "tools"})
