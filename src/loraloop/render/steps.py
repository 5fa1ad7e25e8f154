"""Steps of a run on a terminal: each with its route, tokens and times, and what it called or wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from loraloop.agent.values.calls import CallRecord
    from loraloop.agent.values.receipts import Receipt
    from loraloop.agent.values.result import RunResult
    from loraloop.agent.values.step import Step

SKILL_STYLES = {"tools": "cyan", "code": "green", "retrieval": "blue", "safety": "red", "none": "white"}
_NOTES = {
    "no_call": "no tool fits: dropped",
    "ask": "something is missing, and the user is asked for it: dropped",
    "not_answerable": "the documents do not answer: dropped",
    "repeated": "only repeats: dropped",
    "safe": "safe: nothing kept",
    "unsafe": "unsafe: refused",
    "ungrounded": "a value that nobody gave: dropped",
    "flawed": "the records do not bear it out: dropped",
    "truncated": "cut off at a limit",
    "stopped": "stopped by the gate before the output: dropped",
}
_SHOWN = {"no_call": "no_call", "no_answer": "not_answerable"}
"""The outcome at which a weighed opening is shown; `unsafe` is shown always."""
SHORT = 160  # characters of a text in the short form
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


def unsaid(result: RunResult[Any]) -> list[Receipt]:
    """The receipts of a run that do not stand in its answer."""
    return [receipt for receipt in result.receipts if receipt.text not in result.output]


def gate_lines(result: RunResult[Any]) -> Iterator[str]:
    """A line for each text that a gate of the guard did not let pass, or could not decide about."""
    for gate in result.gates:
        if not gate.passed:
            which = f"{gate.place} ({gate.tool})" if gate.tool else gate.place
            yield f"gate at {which}: {gate.outcome}{f': {gate.category}' if gate.category else ''}"


def steps_tree(steps: Sequence[Step]) -> Tree:
    """Steps as a tree of their own."""
    return add_steps(Tree("", hide_root=True, guide_style="dim"), steps)


def add_steps(
    tree: Tree, steps: Sequence[Step], screens: Mapping[int | None, Mapping[str, Any]] | None = None, full: bool = False
) -> Tree:
    """The tree, with a branch for each step.

    Args:
        tree: Where the branches go.
        steps: The steps of a run.
        screens: Results of the screen, by step.
        full: Texts in full.
    """
    for step in steps:
        branch = tree.add(_step_line(step, (screens or {}).get(step.index)))
        branch.add(_counts(step))
        for line in _did(step, full):
            branch.add(line)
    return tree


def _step_line(step: Step, screen: Mapping[str, Any] | None) -> Text:
    line = Text.assemble(f"{step.index + 1} ", skill_text(step.skill), f" {step.probability:.2f}")
    line.append(f"  by {step.decided_by}", style="dim")
    if step.written_by:
        line.append(f", written by {harmless(step.written_by)}", style="yellow")
    others = {name: f"{name} {probability:.2f}" for name, probability in step.route.runners_up}
    if step.routed and step.routed != step.skill:  # then the router did not choose the skill over the others
        line.append(f", the router: {others.pop(step.routed, step.routed)}", style="yellow")
    if step.route.abstained:
        line.append(", abstained", style="dim")
    if others:
        line.append(f"  over {', '.join(others.values())}", style="dim")
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
        yield Text(clip(step.text, full))
    for call in step.calls:
        yield _call_line(call, full)
    if notes := list(_notes(step)):
        yield Text(clip("; ".join(notes), full), style="italic red" if step.error else "italic dim")


def _notes(step: Step) -> Iterator[str]:
    if not step.kept or step.outcome in ("truncated", "invalid"):
        yield _NOTES.get(step.outcome, f"{step.outcome}{'' if step.kept else ': dropped'}")
    if step.error:
        yield step.error
    if step.flaws and not step.error:
        yield ", ".join(map(str, step.flaws))
    if step.asked:
        yield f"asks for {', '.join(step.asked)}"
    if (weighed := step.weighed) is not None and _SHOWN.get(weighed.opening, step.outcome) == step.outcome:
        threshold = "" if weighed.threshold is None else f", threshold {weighed.threshold:.3f}"
        yield f"p({weighed.opening.replace('_', ' ')}) {weighed.probability:.3f}{threshold}"
    if step.open_tools is not None:
        yield f"may call {', '.join(step.open_tools) or 'nothing'}"


def _call_line(call: CallRecord, full: bool) -> Text:
    arguments = ", ".join(f"{name}={data_text(value, full)}" for name, value in call.arguments.items())
    line = Text.assemble((call.name, "bold"), f"({arguments if full else shortened(arguments, SHORT)})")
    if call.error is not None:
        word = "try again" if call.retry else "error"
        line.append(f" → {word}: {clip(call.error, full)}", style="yellow" if call.retry else "red")
    else:
        line.append(f" → {data_text(call.result, full)}")
    note = "answered before" if call.repeated else f"{call.ms:.1f} ms"
    if call.left_out:
        note += f", {call.left_out} tokens not shown to the model"
    line.append(f"  {note}", style="dim")
    return line


def clip(text: str, full: bool) -> str:
    """A text without control characters, on one line unless `full`."""
    return harmless(text) if full else shortened(harmless(text), SHORT)


def data_text(value: Any, full: bool) -> str:
    """A value as JSON, without control characters, shortened unless `full`."""
    return clip(json.dumps(value, ensure_ascii=False, default=str), full)
