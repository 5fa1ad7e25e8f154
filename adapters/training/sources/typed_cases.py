"""Cases made of the typed tools: single calls, parallel calls, calls that do not fit, states in the middle of a run."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.example import Split
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.records import in_valid
from loraloop.adapters.training.sources.tools_public import Case
from loraloop.adapters.training.sources.typed import Spec, Value, draw, drawn, family_specs, fill, specs
from loraloop.adapters.training.sources.typed_forms import rescaled
from loraloop.adapters.training.sources.typed_pools import PREFACES
from loraloop.adapters.training.sources.typed_shown import (
    PLAIN_VERBS,
    QUESTION,
    VERBS,
    Shown,
    joined,
    roughened,
    show,
    wrap,
)
from loraloop.tool_schemas.jsontext import dumps

ONE_EACH = ("pool", "code", "int", "num", "date")
"""Forms of values that a request can list, one for each call."""
SOURCE, LICENSE = "loraloop typed tools (made)", "Apache-2.0"


class Maker:
    """Makes cases of one part of the typed tools.

    Args:
        split: Part of the tools; validation has tools of its own.
        rng: Source of randomness.
    """

    def __init__(self, split: Split, rng: random.Random) -> None:
        held_out = split != "train"
        self.rng = rng
        self.specs = tuple(spec for spec in specs() if in_valid(spec.words, 8) == held_out)
        self.families = tuple(spec for spec in family_specs() if in_valid(spec.words, 8) == held_out)
        self.every = (*specs(), *family_specs()) if held_out else (*self.specs, *self.families)
        self._count = 0
        self._board: tuple[Shown, ...] = ()
        self._board_style, self._board_instructions = "", ""

    def single(self) -> Case:
        """One request, one call, one to six tools."""
        rng = self.rng
        spec, style = self._pick(), self._style()
        shown, values, text = self._asked(spec, style, mask=rng.random() < 0.06)
        return self._case("single", self._preface(text), [shown], [shown.call(values)], style)

    def parallel(self) -> Case:
        """One request, several calls of the same tool."""
        rng, style = self.rng, self._style()
        spec = self._pick()
        count = rng.choices((2, 3, 4, 5), (50, 30, 16, 4))[0]
        ways: list[Callable[[Spec, str, int], tuple[Shown, list[dict[str, Any]], str] | None]]
        ways = [self._shorts, self._varied, self._sentences]
        for way in sorted(ways, key=lambda way: rng.random() * (0.6 if way == self._sentences else 1), reverse=True):
            made = way(spec, style, count)
            if made is not None:
                shown, calls, text = made
                return self._case("parallel", self._preface(text), [shown], calls, style, few=True)
        return self.parallel()

    def near_miss(self) -> Case:
        """A request of a tool that is not offered."""
        style, spec = self._style(), self._stranger()
        _, _, text = self._asked(spec, style)
        return self._case("none", self._preface(text), [], [], style, near=spec)

    def lacking(self) -> Case:
        """A request that lacks something the tool requires."""
        rng, style = self.rng, self._style()
        offered = [s for s in ([one.spec for one in self._board] or self.specs) if s.lacking]
        if not offered:
            return self.near_miss()
        spec = rng.choice(offered)
        shown, values, _ = self._asked(spec, style)
        text = fill(rng.choice(spec.lacking), values)
        if rng.random() < 0.35 and spec.requests:
            # The missing piece arrives in a second turn.
            asked = Message("assistant", rng.choice(("Sure, which details?", "I need a bit more for that.")))
            answer = fill(spec.short or spec.requests[0], values)
            turns = (Message("user", text), asked, Message("user", answer + "."))
            call = shown.call({name: value for name, value in values.items() if spec.argument(name).required})
            return self._case("single", turns, [shown], [call], style)
        return self._case("none", text, [shown], [], style)

    def unrelated(self, texts: Iterator[str]) -> Case:
        """A request that needs no tool, next to tools whose words are near it."""
        return self._case("none", next(texts), [], [], self._style(), near=None)

    def after_result(self) -> Case:
        """A state after a tool's result: nothing left to call, or a follow-up."""
        rng = self.rng
        begun = rng.choice((self.single, self.single, self.parallel))()
        spec = self._pick()
        style = self._style()
        results = [Message("tool", dumps({"name": call["name"], "result": self._result()})) for call in begun.calls]
        turns = (*begun.turns, Message("assistant", dumps(list(begun.calls))), *results)
        way = rng.random()
        if way < 0.4:
            return self._grown(begun, turns, begun.tools, (), "none")
        if way < 0.55:
            thanks = rng.choice(("Thanks!", "Great, thank you.", "What does that mean?", "Perfect.", "Is that a lot?"))
            turns = (*turns, Message("assistant", "Here is what I found."), Message("user", thanks))
            return self._grown(begun, turns, begun.tools, (), "none")
        shown, values, text = self._asked(spec, style)
        if shown.tool["name"] in [tool["name"] for tool in begun.tools]:
            return self.after_result()
        called = {call["name"] for call in begun.calls}
        tools = [*sorted(begun.tools, key=lambda tool: tool["name"] not in called)[:3], shown.tool]
        rng.shuffle(tools)
        done = Message("assistant", rng.choice(("Done.", "Here is the result.", "It is done; anything else?")))
        return self._grown(begun, (*turns, done, Message("user", text)), tuple(tools), (shown.call(values),), "single")

    def tools(
        self, count: int, style: str, near: Spec | None, words: str = "", taken: Sequence[str] = ()
    ) -> list[Shown]:
        """Tools of other specifications: of the same domain, near in words, or any."""
        rng = self.rng
        others = [spec for spec in self.every if near is None or _apart(spec, near)]
        asked = set(re.findall(r"[a-z]{4,}", words.lower()))
        chosen: list[Spec] = []
        for _ in range(count):
            pool = others
            if near is not None and rng.random() < 0.5:
                pool = [spec for spec in others if spec.domain == near.domain] or others
            elif asked and rng.random() < 0.6:
                ranked = sorted(rng.sample(others, min(40, len(others))), key=lambda spec: -_overlap(spec, asked))
                pool = ranked[:1]
            chosen.append(rng.choice(pool))
        unique = {spec.words: spec for spec in chosen if spec.words not in taken}
        return [show(spec, style, rng) for spec in unique.values()]

    def _asked(
        self, spec: Spec, style: str, first: bool = True, mask: bool = False
    ) -> tuple[Shown, dict[str, Value], str]:
        shown, values, text = self._said(spec, style, 0.38, mask)
        return shown, values, wrap(text, self.rng, first)

    def _said(
        self, spec: Spec, style: str, share: float = 0.3, mask: bool = False
    ) -> tuple[Shown, dict[str, Value], str]:
        """A tool, values of its arguments, and a request that says them and is not yet a sentence."""
        rng = self.rng
        wanted = [a for a in spec.arguments if not a.required and a.clause and rng.random() < share][:2]
        shown = self._show(spec, style, [a.name for a in wanted], mask)
        wanted = [a for a in wanted if a.name in shown.names]
        values = drawn([a for a in spec.arguments if a.required or a in wanted], rng)
        return shown, values, fill(spec.request(rng), values) + clauses(wanted, values)

    def _shorts(self, spec: Spec, style: str, count: int) -> tuple[Shown, list[dict[str, Any]], str] | None:
        if not spec.short:
            return None
        rng = self.rng
        shown = self._show(spec, style)
        required = [a for a in spec.arguments if a.required]
        rounds = [drawn(required, rng) for _ in range(count)]
        if len({dumps(shown.call(values)) for values in rounds}) < count:
            return None
        head = wrap(fill(spec.request(rng), rounds[0]), rng)
        head = head if head[-1] in ".?!" else head + ("?" if QUESTION.match(head) else ".")
        rest = [fill(spec.short, values) for values in rounds[1:]]
        if rng.random() < 0.5:
            tail = " ".join(rng.choice(("Also {}.", "And {}.", "The same for {}.", "Then {}.")).format(r) for r in rest)
        else:
            listed = rest[0] if len(rest) == 1 else ", ".join(rest[:-1]) + " and " + rest[-1]
            tail = rng.choice(
                ("Also for {}.", "And the same for {}.", "Do that for {} too.", "I also need {}.")
            ).format(listed)
        return shown, [shown.call(values) for values in rounds], f"{head} {tail}"

    def _varied(
        self, spec: Spec, style: str, count: int, raw: bool = False
    ) -> tuple[Shown, list[dict[str, Any]], str] | None:
        rng = self.rng
        request = spec.request(rng)
        free = [
            a
            for a in spec.arguments
            if a.required and a.kind.form in ONE_EACH and request.count("{" + a.name + "}") == 1
        ]
        if not free or "{" + free[-1].name + "}." in request:
            return None
        varied = rng.choice(free)
        slot = "{" + varied.name + "}"
        if any(
            near in request for near in (f"{slot} and", f"and {slot}", f'"{slot}"', f"between {slot}", f"from {slot}")
        ):
            return None
        wanted = [a for a in spec.arguments if not a.required and a.clause and rng.random() < 0.2][:1]
        shown = self._show(spec, style, [a.name for a in wanted])
        wanted = [a for a in wanted if a.name in shown.names]
        shared = drawn([a for a in spec.arguments if a.required or a in wanted], rng)
        chosen: list[Value] = []
        for _ in range(count * 5):
            value = draw(varied.kind, rng)
            if len(chosen) < count and value.value not in [d.value for d in chosen]:
                chosen.append(value)
        if len(chosen) < count or any(" and " in value.words for value in chosen):
            return None
        last = ", and " if count > 2 and rng.random() < 0.4 else " and "
        words = ", ".join(v.words for v in chosen[:-1]) + last + chosen[-1].words
        if rng.random() < 0.15 and count == 2:
            words = f"both {chosen[0].words} and {chosen[1].words}"
        text = fill(request, {**shared, varied.name: Value(None, words)}) + clauses(wanted, shared)
        calls = [shown.call({**shared, varied.name: value}) for value in chosen]
        return shown, calls, text if raw else wrap(text, rng)

    def _sentences(self, spec: Spec, style: str, count: int) -> tuple[Shown, list[dict[str, Any]], str] | None:
        rng, count = self.rng, min(count, 3)
        wanted = [a for a in spec.arguments if not a.required and a.clause and rng.random() < 0.3][:1]
        shown = self._show(spec, style, [a.name for a in wanted])
        wanted = [a for a in wanted if a.name in shown.names]
        calls, texts = [], []
        for index in range(count):
            asked = wanted if rng.random() < 0.6 else []
            values = drawn([a for a in spec.arguments if a.required or a in asked], rng)
            texts.append(wrap(fill(spec.request(rng), values) + clauses(asked, values), rng, index == 0))
            calls.append(shown.call(values))
        return shown, calls, joined(texts, rng)

    def _case(
        self,
        kind: str,
        said: str | tuple[Message, ...],
        shown: Sequence[Shown],
        calls: Sequence[dict[str, Any]],
        style: str,
        few: bool = False,
        near: Spec | None = None,
    ) -> Case:
        rng = self.rng
        if isinstance(said, str):
            said = rescaled(said, [told for one in shown for told in one.descriptions], rng)
            said = (Message("user", roughened(said, calls, rng) if rng.random() < 0.07 else said),)
        turns = said
        extra = rng.choices((0, 1, 2, 3, 4, 5), (40, 20, 16, 12, 8, 4))[0]
        if few:
            extra = min(extra, 2)
        if not shown:
            extra = max(1, min(extra, 3))
        anchor = near or (shown[0].spec if shown else None)
        taken = [one.spec.words for one in shown]
        others = self.tools(extra, style, anchor, turns[-1].content, taken)
        names = {one.tool["name"] for one in shown}
        tools = [one.tool for one in shown] + [one.tool for one in others if one.tool["name"] not in names]
        tools = list({tool["name"]: tool for tool in tools}.values())
        rng.shuffle(tools)
        if self._board:
            tools = [one.tool for one in self._board]
        self._count += 1
        return Case(
            tools=tuple(tools),
            turns=turns,
            calls=tuple(calls),
            kind=kind,
            id=f"typed-{self._count}",
            group=f"typed-{anchor.words if anchor else 'chat'}",
            source=SOURCE,
            license=LICENSE,
            instructions=self._board_instructions if self._board else instructions_or_none(rng, 0.35),
        )

    def _grown(
        self,
        begun: Case,
        turns: tuple[Message, ...],
        tools: tuple[dict[str, Any], ...],
        calls: tuple[dict[str, Any], ...],
        kind: str,
    ) -> Case:
        self._count += 1
        return Case(
            tools=tools,
            turns=turns,
            calls=calls,
            kind=kind,
            id=f"typed-{self._count}",
            group=begun.group,
            source=SOURCE,
            license=LICENSE,
            instructions=begun.instructions,
        )

    def _show(self, spec: Spec, style: str, keep: Sequence[str] = (), mask: bool = False) -> Shown:
        """The tool as the board shows it, or else shown anew."""
        found = next((one for one in self._board if one.spec is spec), None)
        return found or show(spec, style, self.rng, keep, mask)

    def _stranger(self) -> Spec:
        """A tool that is not on the board, nor near one that is."""
        spec = self._pick(off_board=True)
        return spec if all(_apart(spec, one.spec) for one in self._board) else self._stranger()

    def _pick(self, off_board: bool = False) -> Spec:
        if self._board and not off_board:
            return self.rng.choice(self._board).spec
        return self.rng.choice(self.families if self.rng.random() < 0.3 else self.specs)

    def _style(self) -> str:
        if self._board:
            return self._board_style
        return self.rng.choices(("snake", "dotted", "camel", "pascal"), (50, 25, 20, 5))[0]

    def _preface(self, text: str) -> str:
        return f"{self.rng.choice(PREFACES)} {text}" if self.rng.random() < 0.12 else text

    def _result(self) -> Any:
        rng = self.rng
        number = round(rng.uniform(1, 900), rng.choice((0, 1, 2)))
        return rng.choice(
            (
                number,
                {"result": number},
                {"status": "ok"},
                {"status": "success", "id": rng.randrange(1000, 9999)},
                "done",
            )
        )


def clauses(wanted: Sequence[Any], values: Mapping[str, Value]) -> str:
    said = [values[a.name].words if a.kind.form == "bool" else fill(a.clause, values) for a in wanted]
    return "".join(s if s[0] == "," else f"{',' if len(s) > 28 else ''} {s}" for s in said if s)


def _apart(spec: Spec, near: Spec) -> bool:
    """Whether a tool cannot be mistaken for the one asked for: of its family, or about other things."""
    if spec.domain == near.domain:
        return spec.words != near.words
    return not _things(spec.words) & _things(near.words)


def _things(words: str) -> set[str]:
    return {
        word.removesuffix("s") for word in words.split()[words.split()[0] in VERBS or words.split()[0] in PLAIN_VERBS :]
    }


def _overlap(spec: Spec, asked: set[str]) -> int:
    words = set(re.findall(r"[a-z]{4,}", f"{spec.words} {spec.description} {spec.domain}".lower()))
    return len(words & asked)
