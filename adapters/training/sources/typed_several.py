"""Requests for several calls: lists of values, pairs told respectively, the same again with a change, things in a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.tools_public import Case
from loraloop.adapters.training.sources.typed import Spec, Value, draw, drawn, fill
from loraloop.adapters.training.sources.typed_cases import ONE_EACH, Maker, clauses
from loraloop.adapters.training.sources.typed_shown import OWN, QUESTION, Shown, joined, show, wrap
from loraloop.tool_schemas.jsontext import dumps

Made = tuple[Shown, list[dict[str, Any]], str]
Way = Callable[[Spec, str, int], Made | None]
_HEADS = (
    "I need the following:",
    "Please do these things:",
    "Here is my list:",
    "Can you take care of this?",
    "Tasks:",
    "",
)
_SAME = ("Do the same for {}.", "And the same for {}.", "I also need it for {}.", "Repeat that for {}.", "Also: {}.")


class SeveralMaker(Maker):
    """A maker whose requests for several calls are said in more ways."""

    def parallel(self) -> Case:
        """One request, several calls of the same tool."""
        rng, style = self.rng, self._style()
        for _ in range(20):
            spec = self._pick()
            count = rng.choices((2, 3, 4, 5), (46, 32, 17, 5))[0]
            made = self._several(spec, style, count)
            if made is not None:
                shown, calls, text = made
                return self._case("parallel", self._preface(text), [shown], calls, style, few=True)
        return self.single()

    def multiple(self) -> Case:
        """One request, calls of different tools, some of them more than once."""
        rng, style = self.rng, self._style()
        wanted = rng.choices((2, 3, 4), (62, 30, 8))[0]
        chosen = list({spec.words: spec for spec in (self._pick() for _ in range(wanted))}.values())
        if len(chosen) < 2:
            return self.multiple()
        if wanted == 2 and rng.random() < 0.25 and (made := self._there(style)):
            shown_of, calls, text = made
            return self._case("parallel_multiple", text, shown_of, calls, style, few=True)
        plain = rng.random() < 0.45
        shown_of, calls, texts = [], [], list[str]()
        for spec in chosen:
            made_one = None
            if not plain and rng.random() < (0.55 if len(chosen) == 2 else 0.25):
                made_one = self._several(spec, style, rng.choice((2, 2, 3)), raw=True)
            shown, found, text = made_one or self._one(spec, style)
            if shown.tool["name"] in [one.tool["name"] for one in shown_of]:
                return self.multiple()
            shown_of.append(shown)
            calls += found
            texts.append(text)
        return self._case("parallel_multiple", self._linked(texts), shown_of, calls, style, few=True)

    def round(self, texts: Iterator[str], count: int = 4) -> list[Case]:
        """Different requests to the same tools: one call, several, none; a trainer computes what they share once.

        Args:
            texts: user texts that ask for no tool.
            count: how many requests.
        """
        rng, style = self.rng, self._style()
        anchor = self._pick()
        others = self.tools(rng.choices((0, 1, 2, 3, 4), (22, 30, 26, 14, 8))[0], style, anchor, "", [anchor.words])
        board = {one.tool["name"]: one for one in [show(anchor, style, rng, mask=rng.random() < 0.06), *others]}
        self._board_style, self._board_instructions = style, instructions_or_none(rng, 0.35)
        self._board = tuple(rng.sample(list(board.values()), len(board)))
        weights = (36, 19, 22 if len(board) > 1 else 0, 9, 9, 5)
        ways = (self.single, self.parallel, self.multiple, self.near_miss, lambda: self.unrelated(texts), self.lacking)
        try:
            return [way() for way in rng.choices(ways, weights, k=count)]
        finally:
            self._board = ()

    def _several(self, spec: Spec, style: str, count: int, raw: bool = False) -> Made | None:
        """Several calls of one tool, by whichever way of asking fits it; a `raw` text is not yet a sentence."""
        rng = self.rng
        ways: list[tuple[float, Way]] = [
            (1.0, self._varied_raw if raw else self._varied),
            (0.7, self._respectively),
            (0.6, self._once),
        ]
        if not raw:
            ways += [(0.8, self._shorts), (0.8, self._row), (0.5, self._listed), (0.3, self._sentences)]
        for _, way in sorted(ways, key=lambda it: rng.random() ** (1 / it[0]), reverse=True):
            made = way(spec, style, count)
            if made is not None and len({dumps(call) for call in made[1]}) == len(made[1]):
                finished = raw or way not in (self._respectively, self._once)
                return made if finished else (made[0], made[1], wrap(made[2], rng))
        return None

    def _one(self, spec: Spec, style: str) -> Made:
        """One call, its text not yet a sentence."""
        shown, values, text = self._said(spec, style)
        return shown, [shown.call(values)], text

    def _varied_raw(self, spec: Spec, style: str, count: int) -> Made | None:
        return self._varied(spec, style, count, raw=True)

    def _respectively(self, spec: Spec, style: str, count: int) -> Made | None:
        """Two arguments vary together: `with base 3 and 4 and height 6 and 8 respectively`."""
        rng, request = self.rng, spec.request(self.rng)
        free = [
            a
            for a in spec.arguments
            if a.required and a.kind.form in ONE_EACH and request.count("{" + a.name + "}") == 1
        ]
        if len(free) < 2 or '"{' in request or "({" in request:
            return None
        varied = rng.sample(free, 2)
        shown = self._show(spec, style)
        shared = drawn([a for a in spec.arguments if a.required], rng)
        rounds = [{**shared, **{a.name: draw(a.kind, rng) for a in varied}} for _ in range(count)]
        words = {a.name: [values[a.name].words for values in rounds] for a in varied}
        if any(len(set(said)) < count or any(" and " in one for one in said) for said in words.values()):
            return None
        listed = {name: Value(None, self._and(said)) for name, said in words.items()}
        text = fill(request, {**shared, **listed})
        text += rng.choice((" respectively", ", respectively", " in that order", ""))
        return shown, [shown.call(values) for values in rounds], text

    def _once(self, spec: Spec, style: str, count: int) -> Made | None:
        """The same again with another option: `once in feet and once in metres`."""
        rng = self.rng
        free = [
            a for a in spec.arguments if not a.required and a.clause and a.kind.form in ("enum", "int", "num", "date")
        ]
        if not free:
            return None
        varied, count = rng.choice(free), min(count, 3)
        shown = self._show(spec, style, [varied.name])
        if varied.name not in shown.names:
            return None
        values = drawn([a for a in spec.arguments if a.required], rng)
        said_so = {d.words: d for d in (draw(varied.kind, rng) for _ in range(count * 4))}
        options = list(said_so.values())[:count]
        if len(options) < 2:
            return None
        said = [fill(varied.clause, {varied.name: option}).lstrip(", ") for option in options]
        first = rng.choice(("once ", "first ", "", "both " if len(said) == 2 else ""))
        again = {"once ": "once ", "first ": "then "}.get(first, "")
        text = f"{fill(spec.request(rng), values)}, {first}{said[0]}"
        text += "".join(f", {again}{s}" for s in said[1:-1]) + f" and {again}{said[-1]}"
        return shown, [shown.call({**values, varied.name: option}) for option in options], text

    def _row(self, spec: Spec, style: str, count: int) -> Made | None:
        """Whole requests in a row, with options of their own."""
        rng = self.rng
        wanted = [a for a in spec.arguments if not a.required and a.clause and rng.random() < 0.35][:2]
        shown = self._show(spec, style, [a.name for a in wanted])
        wanted = [a for a in wanted if a.name in shown.names]
        calls, texts = [], []
        for _ in range(min(count, 4)):
            asked = [a for a in wanted if rng.random() < 0.7]
            values = drawn([a for a in spec.arguments if a.required or a in asked], rng)
            texts.append(fill(spec.request(rng), values) + clauses(asked, values))
            calls.append(shown.call(values))
        return shown, calls, self._linked(texts)

    def _listed(self, spec: Spec, style: str, count: int) -> Made | None:
        """A request, then a list of more values for it."""
        if not spec.short:
            return None
        rng = self.rng
        shown = self._show(spec, style)
        rounds = [drawn([a for a in spec.arguments if a.required], rng) for _ in range(count)]
        head = wrap(fill(spec.request(rng), rounds[0]), rng)
        head = head if head[-1] in ".?!" else head + "."
        rest = [fill(spec.short, values) for values in rounds[1:]]
        mark = rng.choice(("- ", "* ", "{}. ", "{}) "))
        way = rng.random()
        if way < 0.4 and len(rest) > 1:
            tail = "Same for:\n" + "\n".join(mark.format(index + 1) + text for index, text in enumerate(rest))
        elif way < 0.7:
            tail = rng.choice(_SAME).format("; ".join(rest))
        else:
            tail = rng.choice(_SAME).format(self._and(rest))
        return shown, [shown.call(values) for values in rounds], f"{head} {tail}"

    def _there(self, style: str) -> tuple[list[Shown], list[dict[str, Any]], str] | None:
        """Two tools for one place, which the second request calls `there`."""
        rng = self.rng
        for _ in range(40):
            first, second = self._pick(), self._pick()
            places = [self._place(spec, mark) for spec, mark in ((first, "{"), (second, " in {"))]
            if first.words == second.words or not all(places) or places[0][1] != places[1][1]:  # type: ignore[index]
                continue
            (one, _), (other, _) = places  # type: ignore[misc]
            shown, values, text = self._said(first, style, 0.15)
            again = self._show(second, style)
            values_there = drawn([a for a in second.arguments if a.required], rng)
            values_there[other] = values[one]
            request = next(r for r in second.requests if f" in {{{other}}}" in r)
            told = fill(request.replace(f" in {{{other}}}", " there"), values_there)
            if values[one].words not in text or shown.tool["name"] == again.tool["name"]:
                continue
            return [shown, again], [shown.call(values), again.call(values_there)], self._linked([text, told])
        return None

    @staticmethod
    def _place(spec: Spec, mark: str) -> tuple[str, str] | None:
        """A required argument that is a city or a country and is said after `mark`, with its pool."""
        for argument in spec.arguments:
            pool = argument.kind.options[0] if argument.kind.form == "pool" else ""
            said = any(f"{mark}{argument.name}}}" in request for request in spec.requests)
            if argument.required and pool in ("city", "country") and said:
                return argument.name, pool
        return None

    def _linked(self, texts: Sequence[str]) -> str:
        """Requests, not yet sentences, as one text: a sentence, sentences, or a list."""
        rng = self.rng
        texts = [re.sub(r"\ba (?=[aeio][a-z])", "an ", text) for text in texts]
        orders = not any(QUESTION.match(text) or OWN.match(text) for text in texts)
        questions = all(QUESTION.match(text) for text in texts)
        way = rng.random()
        if way < 0.13:
            mark = rng.choice(("- {1}", "{0}. {1}", "{0}) {1}"))
            lines = [mark.format(index + 1, text) for index, text in enumerate(texts)]
            between = "\n" if mark.startswith("-") or rng.random() < 0.7 else " "
            return f"{rng.choice(_HEADS)}{between}{between.join(lines)}".strip()
        if way < 0.5 and (orders or questions):
            low = [texts[0], *(text[0].lower() + text[1:] for text in texts[1:])]
            last = rng.choice((" and ", ", and ", " and then ", ", then ", " and also ", ", and also ", " as well as "))
            last = " and " if last == " as well as " and questions else last
            return wrap(", ".join(low[:-1]) + last + low[-1], rng)
        if way < 0.6 and orders:
            return wrap("; ".join([texts[0], *(text[0].lower() + text[1:] for text in texts[1:])]), rng)
        return joined([wrap(text, rng, index == 0) for index, text in enumerate(texts)], rng)

    def _and(self, words: Sequence[str]) -> str:
        last = ", and " if len(words) > 2 and self.rng.random() < 0.4 else " and "
        return ", ".join(words[:-1]) + last + words[-1] if len(words) > 1 else words[0]
