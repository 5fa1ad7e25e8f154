"""States in the middle of a run: a tool needs what another finds, or a call failed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.example import Split
from loraloop.adapters.training.sources.records import in_valid
from loraloop.adapters.training.sources.tools_public import Case
from loraloop.adapters.training.sources.typed import Spec, Value, chains, draw, drawn, fill
from loraloop.adapters.training.sources.typed_cases import clauses
from loraloop.adapters.training.sources.typed_several import SeveralMaker
from loraloop.adapters.training.sources.typed_shown import show, wrap
from loraloop.tool_schemas.jsontext import dumps

_UNKNOWN = (
    "ValueError: no {what} called {value!r}",
    "KeyError: {value!r}",
    "unknown {what}: {value}",
    "LookupError: {what} {value!r} was not found",
)
_BROKEN = (
    "TimeoutError: the service did not answer within 30 s",
    "PermissionError: this account may not do that",
    "ConnectionError: connection refused",
    "RuntimeError: internal error, try again tomorrow",
)


class RunMaker(SeveralMaker):
    """A maker of whole runs."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        super().__init__(split, rng)
        held_out = split != "train"
        self.chains = tuple(pair for pair in chains() if any(in_valid(spec.words, 8) for spec in pair) == held_out)

    def dependent(self) -> Case:
        """A request for a tool and another one that takes what the first finds: at its start, between them, at its end.

        Before the first has answered only it can be called; then the second; then neither.
        """
        rng, style = self.rng, self._style()
        first, second = rng.choice(self.chains)
        subject = second.arguments[0]
        wanted = [a for a in second.arguments if not a.required and a.clause and rng.random() < 0.25]
        finder = show(first, style, rng, plain=True)
        user = show(second, style, rng, [a.name for a in wanted], plain=True)
        values = drawn([*first.arguments, *(a for a in second.arguments[1:] if a.required or a in wanted)], rng)
        text = wrap(fill(rng.choice(second.chained), values) + clauses(wanted, values), rng)
        found = draw(subject.kind, rng)
        calls = [finder.call({a.name: values[a.name] for a in first.arguments})]
        calls.append(user.call({**{a.name: values[a.name] for a in second.arguments[1:] if a.name in values},
                                subject.name: found}))  # fmt: skip
        outcomes = [self._found(first, second, values, found), self._result()]
        turns: tuple[Message, ...] = (Message("user", self._preface(text)),)
        done = rng.choices((0, 1, 2), (30, 50, 20))[0]
        for call, outcome in zip(calls[:done], outcomes, strict=False):
            told = dumps({"name": call["name"], "result": outcome})
            turns = (*turns, Message("assistant", dumps([call])), Message("tool", told))
        left = calls[done : done + 1]
        return self._case("single" if left else "none", turns, [finder, user], left, style, few=True)

    def failed(self) -> Case:
        """A call failed: call again where its argument was not what the user had said, else give it up."""
        rng, style = self.rng, self._style()
        for _ in range(40):
            spec = self._pick()
            named = [a for a in spec.arguments if a.required and a.kind.form in ("pool", "code")]
            if named:
                break
        else:
            return self.single()
        shown, values, text = self._asked(spec, style)
        argument = rng.choice(named)
        right = values[argument.name]
        fixable = rng.random() < 0.65
        tried = _misread(right.words, spec, argument.name, rng) if fixable else right.words
        call = shown.call({**values, argument.name: Value(tried, tried)})
        if fixable or rng.random() < 0.4:
            error = rng.choice(_UNKNOWN).format(what=argument.name.replace("_", " "), value=tried)
        else:
            error = rng.choice(_BROKEN)
        told = dumps({"name": call["name"], rng.choice(("error", "error", "retry")) if fixable else "error": error})
        turns = (Message("user", self._preface(text)), Message("assistant", dumps([call])), Message("tool", told))
        again = [shown.call(values)] if fixable else []
        return self._case("single" if again else "none", turns, [shown], again, style)

    def _found(self, first: Spec, second: Spec, values: Mapping[str, Value], found: Value) -> Any:
        """What the first tool answers, in one of the forms that functions answer in."""
        rng, name = self.rng, second.arguments[0].name
        asked = {a.name: values[a.name].value for a in first.arguments}
        way = rng.random()
        if way < 0.2:
            return found.value
        if way < 0.3:
            return {"result": found.value}
        if way < 0.4:
            return {"status": "ok", name: found.value}
        return {**asked, name: found.value}


def _misread(words: str, spec: Spec, argument: str, rng: random.Random) -> str:
    """A value as it is copied wrongly: with its thing, with the word for it, or in part."""
    thing, what = spec.words.split()[-1], argument.replace("_", " ")
    ways = [f"{words}'s {thing}", f"the {words}", f"{what} {words}", f"{words} {what}", f"{words}'s", what]
    if " " in words:
        ways += [words.split()[0], words.split()[-1]]
    return rng.choice(ways)
