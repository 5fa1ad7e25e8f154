"""Traces and pending runs that strangers send: good ones, changed at some places, cut, or nested without end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraloop import Agent, Trace, Tracer, diff
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import LoraloopError

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "branch", "full", "\ud800", "<|im_end|>", 2**70, -1, 1e400])
)
values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """A copy of a document in which up to three places hold something else, or are gone."""
    document = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        holder, key = draw(st.sampled_from(places))
        if key in (holder if isinstance(holder, dict) else range(len(holder))):
            if draw(st.booleans()):
                holder[key] = draw(values)
            else:
                del holder[key]
    return document


@st.composite
def texts(draw: st.DrawFn, good: Any) -> str | bytes:
    """The text of a changed document; or one that was cut, is no JSON, or is nested thousands of levels deep."""
    text = json.dumps(draw(changed(good)))
    kind = draw(st.sampled_from(["whole", "cut", "bytes", "deep"]))
    if kind == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if kind == "bytes":
        return text.encode()[: draw(st.integers(0, len(text)))] + draw(st.binary(max_size=20))
    if kind == "deep":
        levels = draw(st.sampled_from([90, 300, 600, 900, 2000, 50_000]))
        place = draw(st.sampled_from(["null", json.dumps("sunny in Oslo"), json.dumps("Oslo")]))
        return text.replace(place, "[" * levels + "]" * levels, 1)
    return text


def _places(value: Any) -> Any:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def traced() -> Trace:
    tracer = Tracer()
    runtime = ScriptedRuntime(calls(weather={"city": "Oslo"}), "It is sunny.")
    Agent(runtime, [weather], hooks=[tracer]).run_sync("How is Oslo?", passages=["Oslo is cold."])
    return tracer.last


TRACE = traced()


@pytest.mark.parametrize("count", [90, 300, 600, 900, 2000, 50_000])
def test_a_trace_nested_without_end_is_refused(count: int) -> None:
    text = TRACE.to_json().replace(json.dumps("sunny in Oslo"), "[" * count + "]" * count, 1)
    if count == 90:
        assert Trace.from_json(text).masked(str.upper).to_json()
        return
    with pytest.raises(LoraloopError, match=r"nested|recursion"):
        Trace.from_json(text)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=texts(TRACE.to_dict()))
def test_a_trace_is_read_or_refused_in_words(text: str | bytes) -> None:
    try:
        trace = Trace.from_json(text)
    except LoraloopError:
        return
    assert Trace.from_json(trace.to_json()).to_json() == trace.to_json()
    for other in (trace.without_contents(), trace.masked(str.upper)):
        assert other.content != "full" and other.to_json()
    diff(TRACE, trace) if trace.content != "none" else None
