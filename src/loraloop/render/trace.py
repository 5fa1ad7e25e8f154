"""Traces and their differences on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from loraloop.render.result import harmless, short_time, shortened, skill_text

if TYPE_CHECKING:
    from loraloop.agent.step import Step
    from loraloop.agent.tools.calls import CallRecord
    from loraloop.agent.tracing.diff import Difference, Differences, PhaseTimes
    from loraloop.agent.tracing.trace import Trace

_LINE = 160  # characters of a text in the short form


def trace_tree(trace: Trace, full: bool = False) -> Tree:
    """A run as a tree: its steps, and under each what it called or wrote.

    Args:
        trace: The run.
        full: Texts in full, the messages and passages it began with, and what else happened.
    """
    base, end = trace.runtime.base, trace.end
    how = end.stop_reason if end else "no end"
    took = f"{end.ms:.0f} ms" if end else ""
    steps = f"{len(trace.steps)} step{'s' if len(trace.steps) != 1 else ''}"
    facts = " · ".join(part for part in (f"{base.name} {base.form}", steps, how, took, trace.started) if part)
    tree = Tree(Text.assemble(("run ", "bold"), (trace.run_id, "bold"), (f"  {facts}", "dim")), guide_style="dim")
    if full:
        for message in trace.messages:
            tree.add(_said(message.role, message.content, full))
        for passage in trace.passages:
            tree.add(_said(f"[{passage.id}]", f"{passage.title}\n{passage.text}".strip(), full))
    elif trace.prompt:
        tree.add(_said("user", trace.prompt, full))
    screens = {each.step: each.data for each in trace.events if each.type == "Screened"}
    for step in trace.steps:
        branch = tree.add(_step_line(step, screens.get(step.index)))
        branch.add(_counts(step))
        for line in _did(step, full):
            branch.add(line)
    for event in trace.events:
        if event.type == "Compacted":
            tree.add(Text(f"{event.type} at {event.at:.0f} ms: {_data(event.data, full)}", style="yellow"))
    if trace.error:
        tree.add(Text(f"error: {trace.error}", style="bold red"))
    if end is not None:
        for call in end.calls:
            tree.add(Text(f"to be run by the caller: {call.name}({_data(call.arguments, full)})"))
        style = "red" if end.stop_reason == "refused" else "bold"
        tree.add(Text(f"{end.stop_reason}: {_clip(end.output, full)}", style=style))
        if end.citations:
            tree.add(Text(f"cites {', '.join(end.citations)}", style="dim"))
    if full:
        tree.add(_timeline(trace))
    return tree


def _step_line(step: Step, screen: dict[str, Any] | None) -> Text:
    line = Text.assemble(f"{step.index + 1} ", skill_text(step.skill), f" {step.probability:.2f}")
    line.append(f"  by {step.decided_by}", style="dim")
    if step.routed and step.routed != step.skill:
        line.append(f", the router: {step.routed}", style="yellow")
    if step.route.abstained:
        line.append(", abstained", style="dim")
    if step.route.runners_up:
        others = ", ".join(f"{name} {probability:.2f}" for name, probability in step.route.runners_up)
        line.append(f"  over {others}", style="dim")
    if step.route.masked:
        line.append(f"  masked {', '.join(step.route.masked)}", style="dim")
    if screen is not None and screen.get("positive"):
        line.append(f"  screened {screen['probability']:.2f}", style="red")
    return line


def _counts(step: Step) -> Text:
    tokens, ms = step.tokens, step.ms
    parts = [f"{tokens.generated} tokens"]
    parts += [f"{count} {what}" for what, count in (("forced", tokens.forced), ("read", tokens.prefilled)) if count]
    if tokens.reused:
        parts.append(f"{tokens.reused} known")
    if "switch" in ms:
        parts.append(f"switch {short_time(ms['switch'])}")
    phases = {name: took for name, took in ms.items() if name != "first_token"}
    parts.append(f"{sum(phases.values()):.1f} ms")
    parts += [f"{name} {took:.1f}" for name, took in phases.items() if took >= 0.05 and name != "switch"]
    return Text(" · ".join(parts), style="dim")


def _did(step: Step, full: bool) -> Iterator[Text]:
    if step.text and (full or not step.calls or step.outcome == "code"):
        yield Text(_clip(step.text, full))
    for call in step.calls:
        yield _call_line(call, full)
    notes = [] if step.kept else [f"{step.outcome}: dropped"]
    if step.kept and step.outcome in ("truncated", "invalid"):
        notes.append(step.outcome)
    notes += [step.error] if step.error else []
    notes += [f"asks for {', '.join(step.asked)}"] if step.asked else []
    if step.weighed is not None and step.weighed.opening in ("unsafe", step.outcome):
        notes.append(f"p({step.weighed.opening.replace('_', ' ')}) {step.weighed.probability:.3f}")
    if notes:
        yield Text(_clip("; ".join(notes), full), style="italic red" if step.error else "italic dim")


def _call_line(call: CallRecord, full: bool) -> Text:
    arguments = ", ".join(f"{name}={_data(value, full)}" for name, value in call.arguments.items())
    line = Text.assemble((call.name, "bold"), f"({arguments if full else shortened(arguments, _LINE)})")
    if call.error is not None:
        word = "try again" if call.retry else "error"
        line.append(f" → {word}: {_clip(call.error, full)}", style="yellow" if call.retry else "red")
    else:
        line.append(f" → {_data(call.result, full)}")
    said = "answered before" if call.repeated else f"{call.ms:.1f} ms"
    if call.left_out:
        said += f", {call.left_out} tokens not shown to the model"
    line.append(f"  {said}", style="dim")
    return line


def _timeline(trace: Trace) -> Tree:
    listed = Tree(Text("what happened", style="dim"), guide_style="dim")
    for event in trace.events:
        step = "" if event.step is None else f" step {event.step + 1}"
        said = ", ".join(f"{name} {_data(_rounded(value), True)}" for name, value in event.data.items())
        listed.add(Text(f"{event.at:8.1f} ms {event.type}{step} {said}".rstrip()))
    return listed


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def _said(who: str, text: str, full: bool) -> Text:
    return Text.assemble((f"{who}: ", "dim"), _clip(text, full))


def _clip(text: str, full: bool) -> str:
    return harmless(text) if full else shortened(harmless(text), _LINE)


def _data(value: Any, full: bool) -> str:
    return _clip(json.dumps(value, ensure_ascii=False), full)


def differences(found: Differences, times: bool = False, full: bool = False) -> RenderableType:
    """What is different, grouped by place, the first first."""
    parts: list[RenderableType] = []
    for title, listed in (("setup", found.setup), ("behaviour", found.behaviour)):
        place = ""
        if listed:
            parts.append(Text(f"{title}: {len(listed)} difference{'s' if len(listed) != 1 else ''}", style="bold"))
        for each in listed:
            if each.place not in (place, "setup"):
                place = each.place
                parts.append(Text(f"  {place}"))
            parts.extend(_difference(each, full))
    if not found:
        parts.append(Text("no difference", style="green"))
    parts += [Text(f"note: {note}", style="yellow") for note in found.notes]
    if times:
        parts.append(_times(found.times))
    return Group(*parts)


def _difference(each: Difference, full: bool) -> Iterator[Text]:
    before, after = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                     for value in (each.before, each.after))  # fmt: skip
    if not full:
        before, after = _parting(before, after)
    before, after = harmless(before), harmless(after)
    yield Text(f"    {each.field}")
    yield Text(f"    - {before}", style="red")
    yield Text(f"    + {after}", style="green")


def _parting(before: str, after: str) -> tuple[str, str]:
    """Two texts from shortly before the place where they part."""
    same = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - 40) if max(len(before), len(after)) > _LINE else 0
    mark = "…" if start else ""
    return mark + shortened(before[start:], _LINE), mark + shortened(after[start:], _LINE)


def _times(times: Sequence[PhaseTimes]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("step", "phase", "ms before", "ms after", "after / before"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for each in times:
        ratio = f"{each.after / each.before:.2f}" if each.before else ""
        table.add_row(str(each.step + 1), each.phase, f"{each.before:.2f}", f"{each.after:.2f}", ratio)
    return table
