"""Traces and their differences on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from loraloop.render.steps import SHORT, add_steps, clip, data_text, harmless, shortened

if TYPE_CHECKING:
    from loraloop.agent.tracing.diff import Difference, Differences
    from loraloop.agent.tracing.trace import Trace


def trace_tree(trace: Trace, full: bool = False) -> Tree:
    """A run as a tree: its steps, and under each what it called or wrote.

    Args:
        trace: The run.
        full: Texts in full, the messages and passages it began with, and what else happened.
    """
    from loraloop.agent.messages import is_date_note

    base, end = trace.runtime.base, trace.end
    how = end.stop_reason if end else "no end"
    took = f"{end.ms:.0f} ms" if end else ""
    steps = f"{len(trace.steps)} step{'s' if len(trace.steps) != 1 else ''}"
    facts = " · ".join(part for part in (f"{base.name} {base.form}", steps, how, took, trace.started) if part)
    tree = Tree(Text.assemble(("run ", "bold"), (trace.run_id, "bold"), (f"  {facts}", "dim")), guide_style="dim")
    if full:
        for message in trace.messages:
            tree.add(_quoted(message.role, message.content, full))
        for passage in trace.passages:
            tree.add(_quoted(f"[{passage.id}]", f"{passage.title}\n{passage.text}".strip(), full))
    elif trace.prompt:
        for note in filter(is_date_note, trace.messages[-2:-1]):
            tree.add(_quoted("note", note.content, full))
        tree.add(_quoted("user", trace.prompt, full))
    screens = {each.step: each.data for each in trace.events if each.type == "Screened"}
    add_steps(tree, trace.steps, screens, full)
    for event in trace.events:
        if event.type == "Compacted":
            tree.add(Text(f"{event.type} at {event.at:.0f} ms: {data_text(event.data, full)}", style="yellow"))
    if trace.error:
        tree.add(Text(f"error: {trace.error}", style="bold red"))
    if end is not None:
        for call in end.calls:
            tree.add(Text(f"to be run by the caller: {call.name}({data_text(call.arguments, full)})"))
        style = "red" if end.stop_reason == "refused" else "bold"
        tree.add(Text(f"{end.stop_reason}: {clip(end.output, full)}", style=style))
        if end.citations:
            tree.add(Text(f"cites {', '.join(end.citations)}", style="dim"))
    if full:
        tree.add(_timeline(trace))
    return tree


def _timeline(trace: Trace) -> Tree:
    listed = Tree(Text("what happened", style="dim"), guide_style="dim")
    for event in trace.events:
        step = "" if event.step is None else f" step {event.step + 1}"
        details = ", ".join(f"{name} {data_text(_rounded(value), True)}" for name, value in event.data.items())
        listed.add(Text(f"{event.at:8.1f} ms {event.type}{step} {details}".rstrip()))
    return listed


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def _quoted(who: str, text: str, full: bool) -> Text:
    return Text.assemble((f"{who}: ", "dim"), clip(text, full))


def differences(found: Differences, full: bool = False) -> RenderableType:
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
    start = max(0, same - 40) if max(len(before), len(after)) > SHORT else 0
    mark = "…" if start else ""
    return mark + shortened(before[start:], SHORT), mark + shortened(after[start:], SHORT)
