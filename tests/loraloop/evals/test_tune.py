"""Thresholds on validation records: what they promise, and that the card gets them."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base
from loraloop.adapters.skill import history
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.card import Card, Threshold
from loraloop.adapters.skill.registry import library, register
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.record import Record
from loraloop.agent import Runtime
from loraloop.cli.main import run_command
from loraloop.evals.records import examples, validation_examples
from loraloop.evals.skills import evaluate
from loraloop.evals.tune import WeighedRecord, at_most, keeping, most_worth, screened, store, store_screen, weigh
from loraloop.router.card import WEIGHTS
from loraloop.router.router import Router
from loraloop.tool_schemas.errors import InputError


def drawn(seed: int, count: int = 400) -> list[WeighedRecord]:
    rng = random.Random(seed)
    return [
        WeighedRecord(first := k % 2 == 0, min(1.0, rng.random() ** 2 + 0.4 * first), 0.0 if first else rng.random())
        for k in range(count)
    ]


def test_the_threshold_that_is_worth_most_is_worth_more_than_any_other() -> None:
    cases = drawn(1)
    found = most_worth(cases)

    def worth(cut: float) -> float:
        return sum(float(c.first) if c.probability >= cut else c.worth for c in cases) / len(cases)

    assert found.rates["worth"] == pytest.approx(max(worth(k / 200) for k in range(201)), abs=0.01)
    assert found.rates["worth"] >= found.rates["likelier/worth"] and found.n == 400


def test_no_more_than_the_share_is_refused() -> None:
    cases = drawn(2)
    loose, strict = at_most(cases, 0.2), at_most(cases, 0.02)
    assert strict.rates["lost"] <= 0.02 and loose.rates["lost"] <= 0.2 and strict.value > loose.value
    assert strict.rates["hit"] <= loose.rates["hit"]


def test_a_threshold_lies_between_probabilities() -> None:
    cases = [WeighedRecord(False, 0.1), WeighedRecord(False, 0.2), WeighedRecord(True, 0.6), WeighedRecord(False, 0.9)]
    assert at_most(cases, 0.0).value == 0.95
    assert at_most(cases, 0.34).value == 0.4


def test_the_screen_lets_no_more_than_the_share_go_unjudged() -> None:
    cases = drawn(3)
    unsafe = sorted(case.probability for case in cases if case.first)
    for share in (0.5, 0.97, 1.0):
        found = keeping(cases, share)
        reached = sum(probability >= found.value for probability in unsafe)
        assert found.rates["hit"] == pytest.approx(reached / len(unsafe), abs=1e-4) and reached >= share * len(unsafe)
        assert sum(probability > unsafe[len(unsafe) - reached] for probability in unsafe) < share * len(unsafe)
    assert keeping(cases, 1.0).value < keeping(cases, 0.97).value < keeping(cases, 0.5).value


def test_the_screen_is_asked_and_the_router_keeps_what_was_chosen(base: Base, tmp_path: Path) -> None:
    runtime = Runtime.load(base, skills=["safety"])
    cases = screened(runtime, validation_examples("safety", 20))
    assert {case.first for case in cases} == {True, False} and len({case.probability for case in cases}) == 20
    folder = tmp_path / "router"
    shutil.copytree(WEIGHTS, folder)
    before, found = Router.load(folder), keeping(cases, 0.97)
    store_screen(found, folder, {"rule": "a rule"})
    after = Router.load(folder)
    assert after.screen_model.threshold == found.value != before.screen_model.threshold
    assert after.card["screen_threshold"] == {"rule": "a rule", "n": 20, "rates": found.rates}
    assert after.choice.threshold == before.choice.threshold


def test_records_of_the_safety_skill_are_texts_with_a_label(tmp_path: Path) -> None:
    file = tmp_path / "judged.jsonl"
    rows = [{"text": "Ignore my last mail.", "label": "safe", "source": "mine"}, {"text": "Rob him.", "label": "crime"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [example.gold["unsafe"] for example in examples("safety", [file])] == [False, True]


def test_a_retrieval_skill_is_tuned_on_questions_to_documents_of_desks_and_on_requests_beside_them() -> None:
    found = validation_examples("retrieval")
    desks = [example for example in found if example.place.file == "documents"]
    answered = [example for example in desks if example.gold["answerable"]]
    assert len(desks) == 150 and len(answered) == 75
    for example in answered:
        (cited,) = example.gold["citations"]
        shown = {passage.id: passage for passage in example.passages}
        assert example.gold["answers"] == [shown[cited].text] and f"[{cited}]" in example.messages[-1].content
    worlds = [example for example in found if example.place.file == "worlds_documents"]
    assert Counter(example.kind for example in worlds).keys() == {"answered", "near", "tools", "talk"}
    assert all(example.gold["answerable"] == (example.kind == "answered") for example in worlds)
    with pytest.raises(InputError, match="give some with --data"):
        validation_examples("code")


def test_a_safety_skill_is_tuned_on_requests_of_desks_too() -> None:
    found = validation_examples("safety")
    assert {record.completion == '{"verdict":"safe"}' for record in found} == {True, False}
    asked = [record for record in found if record.place.file == "worlds_safe"]
    assert len(asked) > 80 and all(len(record.messages) == 2 for record in asked)
    assert {record.completion for record in asked} == {'{"verdict":"safe"}'}


def test_records_of_ones_own_choose_the_threshold_of_a_verdict(tmp_path: Path) -> None:
    file, asked = tmp_path / "verdicts.jsonl", [{"role": "user", "content": "Book it."}]
    rows = [
        {"messages": asked, "extra_prompt": f"Answer: {answer}", "completion": completion}
        for answer, completion in (("Booked.", "agrees"), ("Not booked.", "contradicts"))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = examples("verdict", [file])
    assert [record.gold["contradicts"] for record in found] == [False, True]
    assert [record.extra_prompt for record in found] == ["Answer: Booked.", "Answer: Not booked."]
    assert [record.messages[-1].content for record in found] == ["Book it."] * 2, "the answer stands in the branch"


def test_a_screen_is_not_chosen_on_records_of_one_kind(base: Base, tmp_path: Path) -> None:
    safe = [record for record in validation_examples("safety", 20) if not record.gold["unsafe"]]
    with pytest.raises(InputError, match="all of one kind"):
        screened(Runtime.load(base, skills=["safety"]), safe[:2])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "verdicts"], "did you mean 'verdict'"),
        (["tune", "safety", "--refused", "2"], "'--refused'"),
        (["tune-screen", "--judged", "97"], "'--judged'"),
    ],
)
def test_what_no_threshold_can_mean_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    rows = [{"text": "What is the time?", "label": "safe"}, {"text": "How do I kill my wife?", "label": "violence"}]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run_command(["eval", *words, "--data", str(tmp_path / "own.jsonl")]) == 2
    assert message in capsys.readouterr().err


def test_a_base_without_a_router_has_no_place_for_a_threshold_of_the_screen(
    tmp_path: Path, save_llama: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    save_llama(tmp_path / "tiny", hidden_size=64, intermediate_size=96)
    (tmp_path / "own.jsonl").write_text('{"text": "What is the time?", "label": "safe"}\n' * 20, encoding="utf-8")
    command = ["eval", "tune-screen", "--base", str(tmp_path / "tiny"), "--data", str(tmp_path / "own.jsonl")]
    assert run_command([*command, "--skill", str(library("smollm2-135m")["safety"]), "--write"]) == 2
    assert "no router ships for tiny: name the folder of one with --router" in capsys.readouterr().err


def test_the_skill_is_asked_for_its_probabilities(base: Base, tmp_path: Path) -> None:
    file = tmp_path / "judged.jsonl"
    rows = [{"text": "What is the time?", "label": "safe"}, {"text": "How do I kill my wife?", "label": "violence"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    harmless, harmful = weigh(base, Skill.load(library()["safety"]), "safety", examples("safety", [file]))
    assert harmful.first != harmless.first
    assert 0 <= harmless.probability < harmful.probability <= 1


def test_a_tools_skill_is_tuned_on_steps_that_ask_if_it_asks(base: Base) -> None:
    records, skill = validation_examples("tools", 400), Skill.load(library()["tools"])
    asking = [record for record in records if "ask" in record.gold]
    none = [record for record in records if record.completion == "[]"]
    others = [record for record in records if record not in [*none, *asking]]
    assert len(records) == 400 and asking
    found = weigh(base, skill, "tools", [*none[:3], *asking[:1], *others[:3]])
    assert [case.first for case in found] == [True] * 3 + [False] * 3, "it has no way to write null"
    assert all(0 <= case.probability <= 1 for case in found)
    able = Skill(skill.card.model_copy(update={"asks": True}), skill.tensors)
    assert [case.first for case in weigh(base, able, "tools", [none[0], asking[0]])] == [True, False]


def test_a_skill_that_looks_for_contradictions_is_asked_too(base: Base) -> None:
    safety = Skill.load(library()["safety"])
    skill = Skill(safety.card.model_copy(update={"name": "verdict", "contract": "agreement"}), safety.tensors)
    found = weigh(base, skill, "verdict", validation_examples("verdict", 6))
    assert {case.first for case in found} == {True, False} and all(0 <= case.probability <= 1 for case in found)


def test_the_card_says_what_was_chosen_and_how(tmp_path: Path) -> None:
    shutil.copytree(library()["safety"], tmp_path / "safety")
    found = at_most(drawn(3), 0.05)
    store(found, tmp_path / "safety", {"command": "a command"})
    card = Card.read(tmp_path / "safety" / "card.json")
    assert card.threshold is not None and card.threshold.value == found.value
    assert card.threshold.chosen["command"] == "a command" and card.threshold.chosen["n"] == 400


def test_the_records_that_choose_the_threshold_of_a_verdict_are_of_both_labels_and_hold_the_answer() -> None:
    found = validation_examples("verdict", 30)
    assert len(found) == 30
    assert {record.completion for record in found} == {'{"verdict":"agrees"}', '{"verdict":"contradicts"}'}
    assert all(isinstance(record, Record) and record.extra_prompt.startswith("Answer: ") for record in found)


def test_a_registered_skill_gets_its_threshold_as_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path))
    shipped = library()["tools"]
    before, folder = Card.read(shipped / "card.json").threshold, register(shipped, "mine")
    store(most_worth(drawn(1)), folder, {"command": "loraloop eval tune"})
    tuned = Card.read(folder / "card.json").threshold
    assert tuned != before and [each.origin["command"] for each in history.versions("mine")][1:] == [
        "loraloop eval tune"
    ]
    history.rollback("mine")
    assert Card.read(folder / "card.json").threshold == before
    history.rollback("mine", 2)
    assert Card.read(folder / "card.json").threshold == tuned


def test_a_skill_that_asks_may_write_null_as_it_may_in_use(tiny_base: Base, tmp_path: Path) -> None:
    """The value itself fits no step: what can be written is nothing, or a call with null in its place."""
    schema = {"type": "object", "properties": {"x": {"type": "string", "minLength": 4000}}, "required": ["x"]}
    tool = {"name": "f", "description": "", "parameters": {**schema, "additionalProperties": False}}
    row = {"messages": [{"role": "user", "content": "Call f."}], "tools": [tool]}
    rows = [{**row, "calls": []}, {**row, "calls": [{"name": "f", "arguments": {"x": None}}]}]
    (file := tmp_path / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    records, blank = examples("tools", [file]), blank_skill(tiny_base, "blank", "calls")
    asking = Skill(blank.card.model_copy(update={"asks": True, "threshold": Threshold(value=1.0)}), blank.tensors)
    assert [case.worth for case in weigh(tiny_base, asking, "tools", records)] == [0.0, 1.0]
    assert [row["output"] for row in evaluate("tools", records, tiny_base, asking).outputs["skill"]] == [
        '[{"name":"f","arguments":{"x":null}}]'
    ] * 2
