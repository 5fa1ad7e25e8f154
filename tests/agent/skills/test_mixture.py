"""Several skills in one step: said by the caller or made from a route, and always visible."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from loraloop.adapters.base import Message, Row
from loraloop.agent import Agent, Guard, Limits, Mixture, Policy, Runtime
from loraloop.agent.engine import LedgerError
from loraloop.agent.events import Routed, SkillActivated
from loraloop.agent.policy import Thresholds
from loraloop.router.decision import Route
from loraloop.tool_schemas.errors import InputError, UnknownNameError

MakeRuntime = Callable[..., Runtime]
SHORT = Limits(step_tokens=8)


def test_a_mixture_is_checked_when_it_is_made() -> None:
    for weights, message in (
        ({}, "1 to 4 skills"),
        (dict.fromkeys("abcde", 1.0), "1 to 4 skills"),
        ({"none": 0.5, "code": 0.5}, "leave 'none' out"),
        ({"code": 0.0}, "other than 0"),
        ({"code": float("inf")}, "finite"),
        ({"code": True}, "finite"),
        ([("code", 0.5), ("code", 0.5)], "each skill once"),
    ):
        with pytest.raises(InputError, match=message):
            Mixture(weights)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=message):
            Policy(skills=(weights,)) if isinstance(weights, dict) else Mixture(weights)
    with pytest.raises(UnknownNameError, match="did you mean 'verdict'"):
        Mixture({"code": 1}, contract="verdikt")
    assert Mixture({"b": 0.5, "a": 0.5}) == Mixture({"a": 0.5, "b": 0.5})
    assert hash(Mixture({"b": 0.5, "a": 0.5})) == hash(Mixture({"a": 0.5, "b": 0.5}))
    assert Policy(skills=({"code": 1},)).choices == ("code",)


def test_unknown_members_name_the_nearest(make_runtime: MakeRuntime) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'code'"):
        Agent(make_runtime()).run_sync("Hi", skill={"cod": 0.7, "prose": 0.3})
    with pytest.raises(InputError, match="both forced and forbidden"):
        Policy(skills=({"code": 0.7, "prose": 0.3},), forbid=frozenset({"prose"}))
    with pytest.raises(InputError, match="give it tools"):
        Agent(make_runtime()).run_sync("Hi", skill={"prose": 0.3, "tools": 0.7})
    with pytest.raises(InputError, match="mix is 2"):
        Thresholds(mix=2)


def test_a_mixture_runs_as_one_row_with_several_slots(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime()
    base, bank = runtime.base, runtime.bank
    rng = random.Random(0)
    context, ids = [rng.randrange(3, 259) for _ in range(30)], [rng.randrange(3, 259) for _ in range(6)]
    trunk = runtime.trunk()
    trunk.append(Message("user", "x"), context)
    with runtime.engine.activate({"prose": 0.25, "code": 0.75}) as active:
        assert active.contract == "code"
        assert active.author.slot == ((bank.slot("code"), 0.75), (bank.slot("prose"), 0.25))
        branch = trunk.branch(active.author)
        found = torch.stack([branch.feed([token]) for token in ids])
        branch.close()
        cache = base.new_cache()
        base.forward([Row(context, cache)])
        row = Row(ids, cache, ((bank.slot("code"), 0.75), (bank.slot("prose"), 0.25)))
        expected = base.logits(base.forward([row], attached=bank.attached).hidden)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    with runtime.engine.activate({"code": 1.0}) as active:
        assert active.author.slot == bank.slot("code") and active.author.skill == "code"


def test_a_mixture_is_an_author_of_its_own(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime()

    def author(choice: Any) -> Any:
        with runtime.engine.activate(choice) as active:
            return active.author

    half, again = author({"code": 0.5, "prose": 0.5}), author({"prose": 0.5, "code": 0.5})
    other, alone, bare = author({"code": 0.5, "prose": 0.25}), author("code"), author("none")
    assert half.may_read(again) and half.may_read(bare) and not bare.may_read(half)
    for foreign in (other, alone):
        assert not half.may_read(foreign) and not foreign.may_read(half)
    assert not half.may_read(author({"code": 0.5000001, "prose": 0.5}))
    whole = author({"whole": 0.5})
    assert whole.activation == "full" and not whole.may_read(bare) and not whole.may_read(author("whole"))
    with (
        pytest.raises(InputError, match="mix skills of one activation"),
        runtime.engine.activate({"whole": 0.5, "code": 0.5}),
    ):
        pass
    trunk = runtime.trunk()
    trunk.extend([5, 6, 7])
    with runtime.engine.activate({"code": 0.5, "prose": 0.5}) as active:
        branch = trunk.branch(active.author)
        branch.feed([8])
        with pytest.raises(LedgerError, match=r"positions 3 to 4 were computed by skill '0\.5 code"):
            trunk.sequence.feed(alone, [9])


def test_members_stay_in_their_slots_while_a_mixture_runs(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime()
    with runtime.engine.activate({"code": 0.5, "prose": 0.5}):
        for name in ("code", "prose"):
            with pytest.raises(InputError, match="in use"):
                runtime.bank.remove(name)
    with pytest.raises(UnknownNameError), runtime.engine.activate({"code": 0.5, "nothing": 0.5}):
        pass
    assert not any(entry.pins for entry in runtime.bank._entries.values())


def test_the_trace_shows_the_mixture(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime(), limits=SHORT, guard=Guard(input=None))
    stream = agent.stream("Hi", skill={"prose": 0.6, "retrieval": 0.4}, passages=["a text"])
    events = list(stream)
    routed = next(event for event in events if isinstance(event, Routed))
    active = next(event for event in events if isinstance(event, SkillActivated))
    assert routed.skill == "0.6 prose + 0.4 retrieval" and routed.decided_by == "policy"
    assert routed.mixture == (("prose", 0.6), ("retrieval", 0.4))
    assert isinstance(active.slot, tuple) and len(active.slot) == 2
    step = stream.result.steps[0]
    assert (
        step.route.mixture.weights == routed.mixture
        and step.skill == routed.skill
        and step.outcome in ("text", "truncated")
    )
    assert stream.result.to_dict()["steps"][0]["route"]["mixture"]["weights"] == [["prose", 0.6], ["retrieval", 0.4]]
    other = agent.run_sync("Hi", skill="prose")
    assert other.steps[0].route.mixture is None


def test_a_mixture_writes_what_its_heaviest_member_writes_unless_told(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime(), limits=Limits(step_tokens=80, max_steps=1), guard=Guard(input=None))
    code = agent.run_sync("Hi", skill={"code": 0.6, "prose": 0.4}).steps[0]
    assert "```" in code.text
    free = agent.run_sync("Hi", policy=Policy(skills=(Mixture({"code": 0.6, "prose": 0.4}, "text"),)))
    assert "```" not in free.steps[0].text


class Sure:
    """A router of fixed probabilities."""

    layers = (1,)

    def __init__(self, **probabilities: float) -> None:
        self.ranked = sorted(probabilities.items(), key=lambda item: -item[1])

    def features(self, kept: Any, messages: Any = ()) -> Any:
        return None

    def screen(self, features: Any) -> Any:
        raise AssertionError("not asked")

    def choose(self, features: Any, state: Any) -> Route:
        free = [item for item in self.ranked if not state.blocked(item[0])]
        return Route(*free[0], False, tuple(free[1:]), tuple(sorted(state.masked)))


@pytest.mark.parametrize(
    "probabilities, expected",
    [
        ({"code": 0.6, "prose": 0.3, "none": 0.1}, (("code", 0.6 / 0.9), ("prose", 0.3 / 0.9))),
        ({"code": 0.6, "prose": 0.1, "none": 0.3}, ()),
        ({"none": 0.6, "prose": 0.3}, ()),
        ({"code": 0.6, "whole": 0.2, "safety": 0.2}, ()),
        ({"code": 0.4, "prose": 0.3, "tools": 0.3}, (("code", 0.4 / 0.7), ("prose", 0.3 / 0.7))),
    ],
)
def test_a_routed_mixture_takes_in_sure_enough_runners_up(
    make_runtime: MakeRuntime, probabilities: dict[str, float], expected: tuple[tuple[str, float], ...]
) -> None:
    runtime = make_runtime()
    runtime.router = Sure(**probabilities)  # type: ignore[assignment]
    limits = Limits(step_tokens=60, max_steps=1)
    agent = Agent(runtime, limits=limits, guard=Guard(input=None), policy=Policy(thresholds=Thresholds(mix=0.2)))
    step = agent.run_sync("Hi").steps[0]
    assert dict(step.route.mixture.weights if step.route.mixture else ()) == pytest.approx(dict(expected))
    assert step.decided_by == "router" and step.probability == max(probabilities.values())
    if expected:
        assert "```" in step.text
    assert Agent(runtime, limits=limits, guard=Guard(input=None)).run_sync("Hi").steps[0].route.mixture is None
