"""The contradictions benchmark: which answers count as contradictions, and which as repetitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from loraloop.evals.desk.request import DeskRequest, DeskTurn

TURN = DeskTurn("Who has T-7?", "Ann Ivers has it until 3 May.", says=("Ann Ivers",))
REQUEST = DeskRequest("r", "single", (TURN,))


@pytest.fixture(scope="module")
def contradictions(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("contradictions")


@pytest.mark.parametrize(
    ("state", "statuses", "text", "wrong"),
    [
        ("done", ["done"], "Ann Ivers has it until 3 May.", False),
        ("done", ["done"], "Nobody has it.", True),
        ("done", ["done"], "Which of the two do you mean?", False),
        ("done", ["done"], "I did not find it. Which one do you mean?", True),
        ("done", ["failed"], "I could not ask: the system does not know it.", False),
        ("done", ["failed", "done"], "I could not ask: the system does not know it.", False),
        ("done", ["failed"], "It is in the staff room.", True),
        ("done", ["failed", "done"], "It is in the staff room.", False),
        ("failed", ["failed"], "I could not ask.", False),
        ("failed", ["failed"], "Ann Ivers has it, and not you.", True),
        ("failed", ["failed"], "Which one do you mean?", False),
        ("denied", ["denied"], "It was not sent to Ann Ivers.", False),
        ("denied", ["denied"], "It was sent.", True),
        ("empty", ["empty"], "Nothing was found.", False),
    ],
)
def test_what_contradicts_what_happened(
    contradictions: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    statuses: Sequence[str],
    text: str,
    wrong: bool,
) -> None:
    def judge(world: Any, request: DeskRequest, answers: Sequence[Any]) -> str:
        return "" if answers[0].text == TURN.good else "not what was asked for"

    monkeypatch.setattr(contradictions, "judge", judge)
    receipts = [SimpleNamespace(status=status) for status in statuses]
    result = SimpleNamespace(output=text, cited=(), steps=(), stop_reason="answer", complete=True, receipts=receipts)
    assert contradictions.contradicts(None, REQUEST, state, text, result) is wrong


@pytest.mark.parametrize(
    ("text", "earlier", "again"),
    [
        ("It is free at nine. Shall I book it?", ["It is taken at six. it is free at nine."], True),
        ("It is free at ten.", ["It is free at nine."], False),
        ("Yes, of course.", ["Yes, of course."], False),
        ("It is free at nine.", [], False),
    ],
)
def test_what_repeats_an_earlier_answer(
    contradictions: ModuleType, text: str, earlier: Sequence[str], again: bool
) -> None:
    assert contradictions.repeats(text, earlier) is again
