"""Traces, routes and skills as tables on a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from loraloop.adapters.skill.card import Card
    from loraloop.agent.result import RunResult
    from loraloop.agent.step import Step
    from loraloop.agent.tools.calls import CallRecord
    from loraloop.router.decision import Route, ScreenResult

SKILL_STYLES = {"tools": "cyan", "code": "green", "retrieval": "blue", "safety": "red", "none": "white"}
_DROPPED = {
    "no_call": "no tool fits: dropped",
    "ask": "something is missing: the base asks for it",
    "not_answerable": "the passages do not answer: dropped",
    "repeated": "only repeats: dropped",
    "safe": "safe: nothing kept",
    "invalid": "invalid: dropped",
    "truncated": "cut off at a limit",
    "stopped": "stopped by the gate before the output",
}
_SHOWN = {"no_call": "no_call", "no_answer": "not_answerable"}
"""The outcome at which a weighed opening is shown; others are shown always."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line break


def harmless(text: str) -> str:
    """The text without control characters: what a model or a tool writes must not steer the terminal."""
    return _CONTROL.sub("", text)


def skill_text(name: str) -> Text:
    """A skill's name in its colour."""
    return Text(name, style=f"bold {SKILL_STYLES.get(name, 'magenta')}")


def shortened(text: str, width: int = 160) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def short_time(ms: float) -> str:
    """Milliseconds, or microseconds below one."""
    return f"{ms * 1e3:.0f} µs" if ms < 1 else f"{ms:.0f} ms"


def call_lines(call: CallRecord) -> Iterator[Text]:
    """A tool call, then its result or its error."""
    arguments = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items())
    yield Text.assemble((call.name, "bold"), f"({shortened(arguments)})")
    if call.error is not None:
        yield Text(f"→ error: {shortened(call.error)}", style="red")
    elif call.result is not None:
        noted = " (answered before)" if call.repeated else ""
        if call.left_out:
            noted += f" ({call.left_out} tokens not shown to the model)"
        yield Text(f"→ {shortened(json.dumps(call.result, ensure_ascii=False, default=str))}{noted}")


def step_body(step: Step) -> RenderableType:
    """What a step did: its calls, or the text it left."""
    lines: list[Text] = []
    if step.calls and step.outcome != "code":
        for call in step.calls:
            lines.extend(call_lines(call))
    elif step.text:
        lines.append(Text(shortened(step.text)))
        for call in step.calls:
            lines.extend(list(call_lines(call))[1:])
    if step.error:
        lines.append(Text(shortened(step.error), style="red"))
    if step.outcome in _DROPPED:
        lines.append(Text(_DROPPED[step.outcome], style="dim italic"))
    elif step.outcome == "unsafe":
        lines.append(Text("unsafe: refused", style="bold red"))
    if step.weighed is not None and _SHOWN.get(step.weighed.opening, step.outcome) == step.outcome:
        what, threshold = step.weighed.opening.replace("_", " "), step.weighed.threshold
        since = "" if threshold is None else f", {what} from {threshold:.3f}"
        lines.append(Text(f"p({what}) = {step.weighed.probability:.3f}{since}", style="dim"))
    if step.open_tools is not None:
        lines.append(Text(f"may call {', '.join(step.open_tools) or 'nothing'}", style="dim"))
    if step.asked:
        lines.append(Text(f"missing for a call: {', '.join(step.asked)}", style="dim"))
    if step.tried is not None:
        count, passed = step.tried
        tried = f", tried {count} programs" if count > 1 else ""
        lines.append(Text(f"{'gets through' if passed else 'fails'} the request's examples{tried}", style="dim"))
    return Group(*lines)


def trace_table(steps: Sequence[Step]) -> Table:
    """One row a step: which skill, how sure, what it did, its tokens and its milliseconds."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("skill", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("what", ratio=1)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    for step in steps:
        chosen = {"screen": "screened", "policy": "forced", "repair": "repair"}.get(step.decided_by, "")
        sure = Text(f"{step.probability:.2f}")
        if step.route.abstained or chosen:
            sure.append(f"\n{chosen or 'abstained'}", style="dim")
        tokens = Text(f"+{step.tokens.generated}")
        if step.tokens.forced:
            tokens.append(f"\n{step.tokens.forced} forced", style="dim")
        tokens.append(f"\n{step.tokens.prefilled} prefilled", style="dim")
        if step.tokens.recomputed:
            tokens.append(f"\n{step.tokens.recomputed} recomputed", style="dim")
        phases = {name: ms for name, ms in step.ms.items() if name != "first_token"}
        total = Text(f"{sum(phases.values()):.0f}")
        for name, ms in phases.items():
            if ms >= 1.0:
                total.append(f"\n{name} {ms:.0f}", style="dim")
        table.add_row(str(step.index + 1), skill_text(step.skill), sure, step_body(step), tokens, total)
    return table


def show_result(console: Console, result: RunResult, trace: bool = True) -> None:
    """A run's trace and what came of it."""
    if trace:
        console.print(trace_table(result.steps))
    for gate in result.gates:
        if gate.outcome not in ("passed", "safe") or gate.undecided:
            which = f"{gate.place} ({gate.tool})" if gate.tool else gate.place
            why = f": {gate.category}" if gate.category else ""
            console.print(Text(f"gate at {which}: {gate.outcome}{why}", style="dim"))
    if result.stop_reason == "tool_call":
        for call in result.calls:
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            console.print(Text.assemble("to be run by you: ", (call.name, "bold"), f" {arguments}"))
    for waiting in result.pending.waiting if result.pending else ():
        arguments = json.dumps(waiting.arguments, ensure_ascii=False)
        console.print(Text.assemble("waits for approval: ", f"{waiting.id} ", (waiting.name, "bold"), f" {arguments}"))
    if result.output and result.pending is None:
        style = "red" if result.stop_reason == "refused" else ""
        console.print(Text(result.output, style=style))
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
    """The screen, the choice, and the training examples nearest to the request."""
    mark = Text("unsafe?", style="bold red") if screen.positive else Text("passed", style="green")
    console.print(Text.assemble("screen  ", mark, f"  p = {screen.probability:.3f}, threshold {screen.threshold:.3f}"))
    abstained = "  (abstained)" if route.abstained else ""
    console.print(Text.assemble("choice  ", skill_text(route.skill), f"  p = {route.probability:.3f}{abstained}"))
    if route.reason:
        console.print(Text(f"        {route.reason}", style="dim"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("outcome")
    table.add_column("p", justify="right")
    for name, probability in ((route.skill, route.probability), *route.runners_up):
        table.add_row(skill_text(name), f"{probability:.3f}")
    for name in route.masked:
        table.add_row(Text(name, style="dim"), Text("masked", style="dim"))
    console.print(table)
    if explanation:
        show_explanation(console, explanation)


def show_explanation(console: Console, explanation: Mapping[str, Any]) -> None:
    """Thresholds, the distance to the training data, and the training examples nearest to the request."""
    console.print(
        f"abstains below p = {explanation['threshold']:.3f} or farther than {explanation['distance_limit']:.2f} "
        f"from the training data; this request is at {explanation['distance']:.2f}"
    )
    table = Table(title="nearest training examples", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("similarity", justify="right")
    table.add_column("label")
    table.add_column("said", ratio=1)
    table.add_column("source")
    for near in explanation["nearest"]:
        said = shortened(near["text"], 90) or "(its licence keeps the text out)"
        table.add_row(f"{near['similarity']:.3f}", skill_text(near["label"]), Text(said), near["source"])
    console.print(table)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else shortened(str(value), 100)


def skills_table(cards: Mapping[str, Card], sizes: Mapping[str, int]) -> Table:
    """The skills of a library."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("skill", "writes", "method", "rank", "size", "description"):
        table.add_column(column, justify="right" if column in ("rank", "size") else "left")
    for name, card in cards.items():
        size = f"{sizes[name] / 2**20:.1f} MiB"
        table.add_row(skill_text(name), card.contract, card.method, str(card.rank or "–"), size, card.description)
    return table


def show_card(console: Console, card: Mapping[str, Any]) -> None:
    """One card, field by field."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in card.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            said = "\n".join(", ".join(f"{k} {v}" for k, v in row.items()) for row in value)
        elif isinstance(value, Mapping):
            said = "\n".join(f"{key}: {_cell(item)}" for key, item in value.items())
        else:
            said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(name, said)
    console.print(table)
