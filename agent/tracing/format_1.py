"""Traces and steps as loraloop 0.1 wrote them, brought to the form of now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WEIGHED = ("unsafe", "no_call", "no_answer")
_CONTRACTS = {"code": "code", "answer": "answer", "not_answerable": "answer", "text": "text"}
_ROUTE = ("probability", "routed", "abstained", "runners_up", "masked")


_RUNTIME = ("base", "skills", "router", "versions", "machine")


def trace_of(old: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a trace."""
    settings = {**old["settings"], "policy": policy_of(old["settings"]["policy"])}
    runtime = {name: old[name] for name in _RUNTIME if name in old}
    return {**old, "runtime": runtime, "settings": settings, "steps": [step_of(step) for step in old["steps"]]}


def step_of(old: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a step."""
    weighed = next((name for name in _WEIGHED if old.get(name) is not None), "")
    kept = ("index", "skill", "decided_by", "outcome", "kept", "text", "calls", "tokens", "ms", "error", "open_tools")
    step = {name: old[name] for name in (*kept, "prefetched") if name in old}
    step["route"] = {name: old[name] for name in _ROUTE if name in old}
    if old.get("mixture"):
        contract = _CONTRACTS.get(old["outcome"], "calls")
        step["route"]["mixture"] = {"weights": old["mixture"], "contract": contract}
    if weighed:
        threshold = old.get(f"{weighed}_from")
        step["weighed"] = {"opening": weighed, "probability": old[weighed], "threshold": threshold}
    return step


def policy_of(old: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a policy, without what is the base's or is gone."""
    kept = ("skills", "forbid", "decide", "tool_choice", "min_calls", "max_calls", "repeat_calls", "repairs", "ask")
    policy = {name: old[name] for name in (*kept, "approve", "after_answer") if name in old}
    mix = old.get("mix") or None
    policy["thresholds"] = {"no_call": old.get("no_call_from"), "no_answer": old.get("no_answer_from"), "mix": mix}
    return policy


def decision_of(old: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a decision."""
    route = {name: old[name] for name in (*_ROUTE, "mixture") if name in old}
    return {"skill": old["skill"], "by": old["by"], "route": route}
