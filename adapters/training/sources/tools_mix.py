"""The plan of the tools mixture: which kinds of cases, and how much of each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from loraloop.adapters.training.data.example import Example, Split
from loraloop.adapters.training.sources import tools_made
from loraloop.adapters.training.sources.records import endless
from loraloop.adapters.training.sources.tools_public import FILES, Case, public_cases
from loraloop.adapters.training.sources.typed_runs import RunMaker


def tools_parts(data: Path, split: Split, rng: random.Random) -> list[tuple[float, Callable[[], Example | None]]]:
    """Shares and draws. About 24 % of the examples need no call, 34 % several calls, the rest one."""
    maker = RunMaker(split, rng)
    cases = {name: public_cases(data, name, split) for name in FILES}
    called = {name: endless([c for c in cases[name] if c.calls], rng) for name in FILES}
    uncalled = {name: endless([c for c in cases[name] if not c.calls], rng) for name in ("sgd", "snips")}
    plain = {name: endless([c for c in cases[name] if c.plain], rng) for name in ("snips", "sealtools", "toolformer")}
    same = {name: tools_made.by_tool([c for c in cases[name] if c.plain]) for name in ("snips", "toolformer")}
    chat = tools_made.chat_texts(data, split, rng)
    rounds = (case.example() for _ in itertools.repeat(None) for case in maker.round(chat))

    def others(case: Case) -> Sequence[dict[str, object]]:
        return [shown.tool for shown in maker.tools(rng.choice((0, 0, 1, 2)), "snake", None, case.text)]

    def changed(case: Case) -> Example:
        if rng.random() < 0.35:
            case = tools_made.renamed(case, rng)
        return tools_made.shuffled(case, rng, others(case)).example()

    def several() -> Example | None:
        size = rng.choice((2, 2, 3))
        if rng.random() < 0.5:
            group = rng.choice(rng.choices((same["snips"], same["toolformer"]), (70, 30))[0])
            chosen = rng.sample(group, min(size, len(group)))
        else:
            names = rng.choices(("snips", "sealtools", "toolformer", "made"), (25, 40, 10, 25), k=size)
            chosen = [maker.single() if name == "made" else next(plain[name]) for name in names]
        made = tools_made.composed(chosen, rng)
        if made is None:
            return None
        return (tools_made.renamed(made, rng) if rng.random() < 0.4 else made).example()

    def gone() -> Example | None:
        name = rng.choices(("sealtools", "snips", "sgd"), (45, 20, 35))[0]
        case = next(called[name])
        if len(case.turns) > 3:
            return None
        made = tools_made.without_right_tool(case, [s.tool for s in maker.tools(2, "camel", None, case.text)], rng)
        return None if made is None else made.example()

    return [
        (0.060, lambda: changed(next(called["sgd"]))),
        (0.040, lambda: changed(next(uncalled["sgd"]))),
        (0.075, lambda: changed(next(called["sealtools"]))),
        (0.045, lambda: changed(next(called["snips"]))),
        (0.010, lambda: changed(next(uncalled["snips"]))),
        (0.025, lambda: changed(next(called["toolformer"]))),
        (0.340, lambda: next(rounds)),
        (0.085, lambda: maker.single().example()),
        (0.070, lambda: maker.parallel().example()),
        (0.075, lambda: maker.multiple().example()),
        (0.040, several),
        (0.040, gone),
        (0.020, lambda: maker.near_miss().example()),
        (0.020, lambda: maker.lacking().example()),
        (0.025, lambda: maker.unrelated(chat).example()),
        (0.020, lambda: maker.after_result().example()),
        (0.045, lambda: maker.dependent().example()),
        (0.025, lambda: maker.failed().example()),
    ]
