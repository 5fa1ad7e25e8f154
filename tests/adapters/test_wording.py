"""Requests of made tools in a larger base's words."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base
from loraloop.adapters.training import wording
from loraloop.adapters.training.sources.typed import Value, drawn, fill, parse, specs
from loraloop.adapters.training.wording import accepted, collected, example, template

CYLINDER = """@ x
calc volume | The volume of a cylinder.
 radius: int(2,9) | Radius
 height: int(10,99) | Height
> Work out the volume of a cylinder with radius {radius} and height {height}
"""
(SPEC,) = parse(CYLINDER)
(REQUEST,) = SPEC.requests
VALUES = {"radius": Value(4, "4"), "height": Value(12, "12")}
VERBS = frozenset(("calculate", "work"))


ASKED = "What is the volume of a cylinder of radius {radius} and height {height}"


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("What is the volume of a cylinder of radius 4 and height 12?", ASKED),
        (
            '"Could you please calculate how much a cylinder 12 high with radius 4 holds?"',
            "Calculate how much a cylinder {height} high with radius {radius} holds",
        ),
        ("What is the volume of a cylinder of radius 4 and height 12?\n\nNote: in litres.", ASKED),
        ("What is the volume of a cylinder of radius 4 and height twelve?", None),
        ("What is the volume of a cylinder of radius 4 and height 12.5, please?", None),
        ("What is the volume of a cylinder of radius 4, height 12, and radius 4?", None),
        ("What is the volume of 2 cylinders of radius 4 and height 12?", None),
        ("Sure, the volume of a cylinder of radius 4 and height 12 is 603.2.", None),
        ("What is a cylinder? What does it hold with radius 4 and height 12?", None),
        ("The volume of a cylinder of radius 4 and height 12 is large", None),
        ("What is 4 times 12?", None),
        ("", None),
    ],
)
def test_a_text_becomes_a_template_only_if_it_says_every_value_once(text: str, made: str | None) -> None:
    assert template(text, VALUES, REQUEST, VERBS) == made


def test_texts_that_say_nearly_the_same_are_one() -> None:
    texts = ["What is the volume of a cylinder of radius 4 and height 12?"]
    texts += ["What's the volume of a cylinder of radius 4 and height 12?", REQUEST.format(radius=4, height=12)]
    assert len(accepted(texts, VALUES, REQUEST, VERBS, SPEC.requests)) == 1


@settings(deadline=None)
@given(st.sampled_from(specs()), st.integers(0, 2**32))
def test_an_example_can_be_turned_back(spec: object, seed: int) -> None:
    """Of what the request itself says, the request comes."""
    rng = random.Random(seed)
    for request in spec.requests:  # type: ignore[attr-defined]
        made = example(spec, request, rng)  # type: ignore[arg-type]
        if made is not None:
            text, values = made
            back = template(text + "?", values, request, frozenset((request.split()[0].lower(),)))
            assert back in (None, wording._PLEADING.sub("", request, count=1))


def test_what_ships_says_all_that_its_tool_requires() -> None:
    rng, shipped = random.Random(0), [spec for spec in specs() if spec.said]
    assert sum(len(spec.said) for spec in shipped) >= 300
    for spec in shipped:
        required = {argument.name for argument in spec.arguments if argument.required}
        for text in spec.said:
            assert all(text.count("{" + name + "}") == 1 for name in required), text
            assert "{" not in fill(text, drawn(spec.arguments, rng))


def test_a_request_is_sometimes_in_other_words() -> None:
    spec = next(spec for spec in specs() if spec.said)
    drawn_ = [spec.request(random.Random(seed)) for seed in range(200)]
    assert 0.2 < sum(text in spec.said for text in drawn_) / 200 < 0.5
    assert {text for text in drawn_ if text not in spec.said} == set(spec.requests)


def test_a_cut_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said is not asked again, and what comes after is as if nothing had been cut."""
    monkeypatch.setattr(wording, "specs", lambda: specs()[:5])
    base = Base.load()
    whole = tmp_path / "whole.jsonl"
    counts = list(wording.said(base, whole))
    assert counts[-1][0] == counts[-1][1] == len(whole.read_text().splitlines())
    cut = tmp_path / "cut.jsonl"
    lines = whole.read_text().splitlines()
    cut.write_text("".join(line + "\n" for line in lines[: wording.TOGETHER]) + lines[wording.TOGETHER][:20])
    list(wording.said(base, cut))
    assert cut.read_text() == whole.read_text()
    for text in (text for texts in collected(whole).values() for text in texts):
        assert "{" in text
    assert all(len(json.loads(line)["texts"]) == wording.SAMPLES for line in whole.read_text().splitlines())
