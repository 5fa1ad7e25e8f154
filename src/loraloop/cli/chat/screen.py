"""What a conversation shows: the answers as they come, and each step's route, calls and times in dim lines."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.text import Text

from loraloop.render.steps import gate_lines, harmless, short_time, shortened, unsaid
from loraloop.render.terminal import HarmlessConsole

if TYPE_CHECKING:
    from loraloop.agent import Runtime, Step


class ChatScreen:
    """Answers go to standard output. So does the rest on a terminal; off one it goes to standard error.

    Args:
        runtime: Knows what skills write.
        terminal: Whether a person reads it.
        quiet: Answers alone.
    """

    def __init__(self, runtime: Runtime, terminal: bool, quiet: bool = False) -> None:
        self.terminal = terminal
        self._runtime = runtime
        self._quiet = quiet
        self._detail = HarmlessConsole(file=None if terminal else sys.stderr, width=None if terminal else 120)
        self._streams = False  # whether the step's text is shown as it comes
        self._open = False  # whether a line has begun
        self._shown = ""  # what was shown of the last text

    def event(self, event: Any) -> None:
        """Shows an event."""
        from loraloop.agent import events

        match event:
            case events.Routed(skill=skill):
                contract = self._runtime.contract(skill)
                self._streams, self._shown = contract in ("text", "code"), ""
            case events.TokenGenerated(text=text) if self._streams:
                self._write(text)
            case events.ToolCallStarted(name=name, arguments=arguments):
                self._aside(f"  {name}({_arguments(arguments)})")
            case events.ToolCallFinished(call=call):
                shown = json.dumps(call.result, ensure_ascii=False) if call.error is None else call.error
                mark = "→" if call.error is None else "→ try again:" if call.retry else "→ error:"
                self._aside(
                    f"  {mark} {call.name}: {shortened(shown)}  {call.ms:.0f} ms", "" if not call.error else "red"
                )
            case events.StepFinished(step=step):
                self._aside(route_line(step))
            case events.Ungrounded(values=values, ask=ask):
                self._aside(f"  nobody gave {', '.join(map(str, values))}{': asks for it' if ask else ''}", "yellow")
            case events.AnswerFlawed(flaws=flaws):
                self._aside(f"  {', '.join(map(str, flaws))}", "yellow")
            case events.HookFailed(hook=hook, error=error):
                self._aside(f"  the hook {hook} failed: {error}", "red")
            case events.RunFinished(result=result):
                self._finish(result)
            case _:
                pass

    def say(self, shown: Any) -> None:
        """Shows what a command gives."""
        self._end_line()
        out = HarmlessConsole(width=None if self.terminal else 100)
        out.print(Text(shown) if isinstance(shown, str) else shown)
        sys.stdout.flush()

    def error(self, message: str) -> None:
        """Shows an error in one line."""
        self._end_line()
        sys.stdout.flush()
        sys.stderr.write(f"error: {' '.join(harmless(message).split())}\n")
        sys.stderr.flush()

    def _finish(self, result: Any) -> None:
        if result.output and harmless(result.output).strip() != self._shown.strip():
            self._end_line()
            self._write(result.output)
        self._end_line()
        for call in result.calls:
            self._aside(f"  to be run by you: {call.name}({_arguments(call.arguments)})", "yellow")
        for receipt in unsaid(result):
            if receipt.status not in ("done", "empty"):
                self._aside(f"  {shortened(receipt.text)}", "yellow")
        for line in gate_lines(result):
            self._aside(f"  {line}", "yellow")
        if result.citations:
            self._aside(f"  cites {', '.join(result.citations)}")
        if result.stop_reason not in ("answer", "code", "tool_call"):
            self._aside(f"  ({result.stop_reason})")

    def _write(self, text: str) -> None:
        text = harmless(text)
        self._shown += text
        sys.stdout.write(text)
        sys.stdout.flush()
        self._open = not self._shown.endswith("\n")

    def _end_line(self) -> None:
        if self._open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._open = False

    def _aside(self, line: str, style: str = "dim") -> None:
        if not self._quiet:
            self._end_line()
            self._detail.print(Text(harmless(line), style=style), soft_wrap=True)


def route_line(step: Step) -> str:
    """A step in a line: its skill, how sure, who decided if not the router, tokens and times."""
    parts = [f"{step.skill} {step.probability:.2f}"]
    if step.decided_by != "router":
        parts[0] += f" by {step.decided_by}"
    if step.route.abstained:
        parts[0] += " abstained"
    if step.written_by:
        parts.append(f"written by {harmless(step.written_by)}")
    if not step.kept:
        parts.append(f"{step.outcome}, dropped")
    tokens = f"{step.tokens.generated} tokens"
    parts.append(tokens + (f", {step.tokens.forced} forced" if step.tokens.forced else ""))
    if "first_token" in step.ms:
        parts.append(f"first after {step.ms['first_token']:.0f} ms")
    parts.append(f"{sum(took for name, took in step.ms.items() if name != 'first_token'):.0f} ms")
    if "switch" in step.ms:
        parts.append(f"switch {short_time(step.ms['switch'])}")
    return f"  [{' · '.join(parts)}]"


def _arguments(arguments: dict[str, Any]) -> str:
    return shortened(", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items()))
