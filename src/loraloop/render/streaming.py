"""``loraloop run --stream``: what happens, while it happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from loraloop.render.console import plural

if TYPE_CHECKING:
    from loraloop.agent import RunResult, RunStream


def stream_run(run: RunStream, as_json: bool) -> RunResult:
    """Reads a run to its end and prints its tokens, or each event as a line of JSON.

    Args:
        run: It has not begun.
        as_json: Events instead of text.
    """
    for event in run:
        if as_json:
            sys.stdout.write(event.to_json() + "\n")
        else:
            _tell(event)
        sys.stdout.flush()
    return run.result


def _tell(event: Any) -> None:
    from loraloop.agent import events
    from loraloop.render.steps import harmless, unsaid
    from loraloop.tool_schemas import dumps

    match event:
        case events.Routed(skill=skill, probability=probability, decided_by=by):
            sys.stdout.write(f"[{skill} {probability:.2f}{'' if by == 'router' else ' ' + by}] ")
        case events.TokenGenerated(text=text):
            sys.stdout.write(harmless(text))
        case events.ApprovalRequested(calls=calls):
            for call in calls:
                sys.stdout.write(harmless(f"\nwaits for approval: {call.id} {call.name} {dumps(call.arguments)}"))
                for value in call.ungrounded:
                    sys.stdout.write(harmless(f"\n  nobody gave {value}"))
            sys.stdout.write("\n")
        case events.Ungrounded(values=values, ask=ask):
            shown = f"\nnobody gave {', '.join(map(str, values))}{'; it is asked for' if ask else ''}\n"
            sys.stdout.write(harmless(shown))
        case events.AnswerFlawed(flaws=flaws, again=again):
            then = "is written again by the fallback" if again else "is what the records say"
            shown = f"\n{', '.join(map(str, flaws))}; the answer {then}\n"
            sys.stdout.write(harmless(shown))
        case events.ToolCallFinished(call=call):
            shown = call.error if call.error is not None else call.result
            sys.stdout.write(harmless(f"\n→ {call.name}: {shown}"))
        case events.Refused(text=text):
            sys.stdout.write(harmless(f"\n{text}"))
        case events.StepFinished():
            sys.stdout.write("\n")
        case events.RunFinished(result=result):
            for receipt in unsaid(result):
                sys.stdout.write(harmless(f"{receipt.text}\n"))
            sys.stdout.write(f"({result.stop_reason}, {plural(len(result.steps), 'step')}, {result.ms:.0f} ms)\n")
        case _:
            pass
