"""Results, routes and skills on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loraloop.render.steps import gate_lines, harmless, shortened, skill_text, steps_tree, unsaid
from loraloop.render.terminal import table_of

if TYPE_CHECKING:
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.history import Version
    from loraloop.agent.values.result import RunResult
    from loraloop.router.decision import Route, ScreenResult


def show_result(console: Console, result: RunResult) -> None:
    """A run's steps and what came of them."""
    console.print(steps_tree(result.steps))
    for line in gate_lines(result):
        console.print(Text(line, style="dim"))
    if result.stop_reason == "tool_call":
        for call in result.calls:
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            console.print(Text.assemble("to be run by you: ", (call.name, "bold"), f" {arguments}"))
    for waiting in result.pending.waiting if result.pending else ():
        arguments = json.dumps(waiting.arguments, ensure_ascii=False)
        console.print(Text.assemble("waits for approval: ", f"{waiting.id} ", (waiting.name, "bold"), f" {arguments}"))
        for value in waiting.ungrounded:
            console.print(Text(harmless(f"  nobody gave {value}"), style="yellow"))
    if result.output and result.pending is None:
        style = "red" if result.stop_reason == "refused" else ""
        console.print(Text(result.output, style=style))
    for receipt in unsaid(result):
        style = "dim" if receipt.status in ("done", "empty") else "yellow"
        console.print(Text(shortened(harmless(receipt.text)), style=style))
    if result.citations:
        console.print(Text(f"cites: {', '.join(result.citations)}", style="dim"))
    for passage in result.cited:
        if passage.source:
            console.print(Text(f"  [{passage.id}] {passage.title or passage.id}, {passage.source}", style="dim"))
    skills = " → ".join(step.skill for step in result.steps)
    console.print(Text(f"{skills}   {result.stop_reason}   {result.ms:.0f} ms", style="dim"))


def show_route(
    console: Console, screen: ScreenResult, route: Route, explanation: Mapping[str, Any] | None = None
) -> None:
    """The screen, the choice, and the training examples nearest to the request.

    Args:
        console: Where it is written.
        screen: What the screen says of the last message.
        route: The choice, its runners-up and the masked outcomes.
        explanation: Thresholds, distances and nearest training examples; where None or empty, they are not shown.
    """
    mark = Text("unsafe?", style="bold red") if screen.positive else Text("passed", style="green")
    console.print(Text.assemble("screen  ", mark, f"  p = {screen.probability:.3f}, threshold {screen.threshold:.3f}"))
    abstained = "  (abstained)" if route.abstained else ""
    console.print(Text.assemble("choice  ", skill_text(route.skill), f"  p = {route.probability:.3f}{abstained}"))
    if route.reason:
        console.print(Text(f"        {route.reason}", style="dim"))
    if route.call is not None:
        console.print(Text(f"call    {'needed' if route.call >= 0.5 else 'not needed'}  p = {route.call:.3f}"))
    open_ = ((route.skill, route.probability), *route.runners_up)
    rows = [(skill_text(name), Text(f"{probability:.3f}")) for name, probability in open_]
    rows += [(Text(name, style="dim"), Text("masked", style="dim")) for name in route.masked]
    console.print(table_of(("outcome", "p"), rows, ("p",)))
    if explanation:
        show_explanation(console, explanation)


def show_explanation(console: Console, explanation: Mapping[str, Any]) -> None:
    """Thresholds, the distance to the training data, and the training examples nearest to the request."""
    console.print(
        f"abstains below p = {explanation['threshold']:.3f} or farther than {explanation['distance_limit']:.2f} "
        f"from the training data; this request is at {explanation['distance']:.2f}"
    )
    rows = []
    for near in explanation["nearest"]:
        shown = shortened(near["text"], 90) or "(its licence keeps the text out)"
        rows.append((f"{near['similarity']:.3f}", skill_text(near["label"]), Text(shown), near["source"]))
    headings = ("similarity", "label", "said", "source")
    console.print(table_of(headings, rows, ("similarity",), "nearest training examples"))


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else shortened(str(value), 100)


def skills_table(cards: Mapping[str, Card], sizes: Mapping[str, int]) -> Table:
    """The skills of a library."""
    rows = []
    for name, card in cards.items():
        kind = (card.contract, card.method, str(card.rank or "–"))
        rows.append((skill_text(name), *kind, f"{sizes[name] / 2**20:.1f} MiB", card.description))
    return table_of(("skill", "writes", "method", "rank", "size", "description"), rows, ("rank", "size"))


def versions_table(name: str, found: Sequence[Version]) -> Table:
    """The versions of a user's skill, the newest first; the one that is used is marked."""
    rows = []
    for each in reversed(found):
        more = ", ".join(f"{key}: {value}" for key, value in each.origin.items() if key != "command")
        used = "yes" if each.current else ""
        rows.append((str(each.number), used, each.when, Text(str(each.origin.get("command", ""))), Text(more)))
    return table_of(("version", "used", "registered", "from", "more"), rows, ("version",), name)


def show_card(console: Console, card: Mapping[str, Any]) -> None:
    """One card, field by field."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in card.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            shown = "\n".join(", ".join(f"{k} {v}" for k, v in row.items()) for row in value)
        elif isinstance(value, Mapping):
            shown = "\n".join(f"{key}: {_cell(item)}" for key, item in value.items())
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(name, shown)
    console.print(table)
