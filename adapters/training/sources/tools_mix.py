"""The plan of the tools mixture: which kinds of cases, and how much of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from loraloop.adapters.training.example import Example, Split
from loraloop.adapters.training.sources import tools_made
from loraloop.adapters.training.sources.records import endless
from loraloop.adapters.training.sources.tools_public import FILES, Case, public_cases
from loraloop.adapters.training.sources.typed_cases import Maker


def tools_parts(data: Path, split: Split, rng: random.Random) -> list[tuple[float, Callable[[], Example | None]]]:
    """Shares and draws. About 27 % of the examples need no call, 22 % several calls, the rest one."""
    maker = Maker(split, rng)
    cases = {name: public_cases(data, name, split) for name in FILES}
    called = {name: endless([c for c in cases[name] if c.calls], rng) for name in FILES}
    uncalled = {name: endless([c for c in cases[name] if not c.calls], rng) for name in ("sgd", "snips")}
    plain = {name: endless([c for c in cases[name] if c.plain], rng) for name in ("snips", "sealtools", "toolformer")}
    chat = tools_made.chat_texts(data, split, rng)

    def others(case: Case) -> Sequence[dict[str, object]]:
        return [shown.tool for shown in maker.tools(rng.choice((0, 0, 1, 2)), "snake", None, case.text)]

    def changed(case: Case) -> Example:
        if rng.random() < 0.35:
            case = tools_made.renamed(case, rng)
        return tools_made.shuffled(case, rng, others(case)).example()

    def several() -> Example | None:
        name = rng.choices(("snips", "sealtools", "toolformer"), (40, 40, 20))[0]
        made = tools_made.composed([next(plain[name]) for _ in range(rng.choice((2, 2, 3)))], rng)
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
        (0.130, lambda: changed(next(called["sgd"]))),
        (0.055, lambda: changed(next(uncalled["sgd"]))),
        (0.080, lambda: changed(next(called["sealtools"]))),
        (0.060, lambda: changed(next(called["snips"]))),
        (0.010, lambda: changed(next(uncalled["snips"]))),
        (0.035, lambda: changed(next(called["toolformer"]))),
        (0.240, lambda: maker.single().example()),
        (0.085, lambda: maker.parallel().example()),
        (0.080, lambda: maker.multiple().example()),
        (0.030, several),
        (0.040, gone),
        (0.055, lambda: maker.near_miss().example()),
        (0.030, lambda: maker.lacking().example()),
        (0.070, lambda: maker.unrelated(chat).example()),
        (0.040, lambda: maker.after_result().example()),
    ]
