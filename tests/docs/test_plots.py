"""The pictures on the pages show the numbers of the committed results."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plots(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("plots")


@pytest.fixture
def elsewhere(plots, monkeypatch, tmp_path):
    """`plots`, reading and drawing in an empty folder with one result in it."""
    monkeypatch.setattr(plots, "RESULTS", tmp_path)
    monkeypatch.setattr(plots, "PLOTS", tmp_path / "plots")
    write(tmp_path, 20.0)
    return plots


def write(folder, slow):
    figures = {"switch_100_ms": 2.0, "switch_4000_ms": 3.0, "switch_cost_100_ms": 1.0}
    peer = {"switch_100_ms": slow, "switch_4000_ms": 300.0}
    document = {"metrics": figures, "peers": {"peft": peer}}
    (folder / "switch.json").write_text(json.dumps(document))


def test_the_pictures_agree_with_the_results(plots):
    assert plots.stale() == [], "run `make docs`"


def test_every_picture_is_on_the_page(plots):
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name in plots.PICTURES:
        assert f"<!-- plot: {name} |" in page


def test_a_stale_picture_is_noticed_and_drawn_again(elsewhere, tmp_path, capsys):
    assert elsewhere.main(["--check"]) == 1 and "switch" in capsys.readouterr().err
    assert elsewhere.main([]) == 0 and elsewhere.main(["--check"]) == 0
    write(tmp_path, 21.0)
    assert elsewhere.main(["--check"]) == 1
    (tmp_path / "switch.json").unlink()
    assert elsewhere.main(["--check"]) == 1
    assert elsewhere.main([]) == 0 and not (tmp_path / "plots" / "switch.svg").exists()


def test_a_picture_is_drawn_the_same_twice(elsewhere, tmp_path):
    elsewhere.draw("switch")
    path = tmp_path / "plots" / "switch.svg"
    first = path.read_bytes()
    elsewhere.draw("switch")
    assert path.read_bytes() == first
    text = first.decode()
    assert "PEFT" in text and "tokens of context" in text  # words stay words
    assert "<dc:date>" not in text and "fill: #ffffff" not in text.split("<defs>")[1][:600]


def test_what_is_not_above_a_metric_is_not_a_size(plots):
    data = importlib.import_module("plot_data")
    document = {"metrics": {"switch_cost_100_ms": 1, "switch_100_ms": 2, "switch_20_ms": 3, "switch_20_skill_ms": 4}}
    assert data.sizes(document, "switch") == [20, 100]
