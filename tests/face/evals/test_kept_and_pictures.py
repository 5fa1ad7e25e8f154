"""Kept outputs survive a kill and are never taken for another run's; curves equal scikit-learn's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.evals import pictures
from loraloop.evals.kept import Kept
from loraloop.tool_schemas.errors import InputError

CASES = st.lists(st.tuples(st.integers(0, 9).map(lambda n: n / 9), st.booleans()), min_size=2, max_size=40)


def test_what_is_kept_is_read_again_and_a_cut_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a" / "outputs.jsonl"
    Kept(path, {"base": "x"}).put("skill", "1", output="[]", seconds=0.5)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"system": "skill", "id": "2", "outp')
    again = Kept(path, {"base": "x"})
    assert again.get("skill", "1") == {"system": "skill", "id": "1", "output": "[]", "seconds": 0.5}
    assert again.get("skill", "2") is None
    again.put("skill", "2", output="é")
    assert Kept(path, {"base": "x"}).get("skill", "2") == {"system": "skill", "id": "2", "output": "é"}


def test_outputs_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    Kept(path, {"base": "x"})
    with pytest.raises(InputError, match="another evaluation"):
        Kept(path, {"base": "y"})


@settings(deadline=None)
@given(CASES)
def test_curves_equal_those_of_scikit_learn(cases: list[tuple[float, bool]]) -> None:
    from sklearn.metrics import roc_auc_score

    scores, labels = [s for s, _ in cases], [b for _, b in cases]
    if len(set(labels)) < 2:
        with pytest.raises(InputError, match="both kinds"):
            pictures.auroc(scores, labels)
    else:
        assert pictures.auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    coverage, risk = pictures.risk_points(scores, labels)[-1]
    assert coverage == 1 and risk == pytest.approx(labels.count(False) / len(labels))


def test_pictures_are_written(tmp_path: Path) -> None:
    scores, hits = [0.1, 0.4, 0.8, 1.0], [False, True, False, True]
    made = [
        pictures.confusion(tmp_path / "c.png", ("none", "tools"), {("none", "tools"): 2, ("tools", "tools"): 5}),
        pictures.reliability(tmp_path / "r.png", scores, hits, "router"),
        pictures.roc(tmp_path / "roc.png", {"screen": (scores, hits)}),
        pictures.risk_coverage(tmp_path / "risk.png", {"router": (scores, hits)}),
    ]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in made)
    before = made[1].read_bytes()
    assert pictures.reliability(tmp_path / "again.png", scores, hits, "router").read_bytes() == before
