"""``loraloop run --stream``: what happens, while it happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.agent import Agent


def stream_run(agent: Agent, prompt: str, as_json: bool, **options: Any) -> None:
    """Runs a request and prints its tokens, or each event as a line of JSON.

    Args:
        agent: Who runs it.
        prompt: The request.
        as_json: Events instead of text.
        **options: Of the run.
    """
    for event in agent.stream(prompt, **options):
        if as_json:
            sys.stdout.write(event.to_json() + "\n")
        else:
            _tell(event)
        sys.stdout.flush()


def _tell(event: Any) -> None:
    from loraloop.agent import events

    match event:
        case events.Routed(skill=skill, probability=probability, decided_by=by):
            sys.stdout.write(f"[{skill} {probability:.2f}{'' if by == 'router' else ' ' + by}] ")
        case events.TokenGenerated(text=text):
            sys.stdout.write(text)
        case events.ToolCallFinished(call=call):
            sys.stdout.write(f"\n→ {call.name}: {call.error if call.error is not None else call.result}")
        case events.Refused(text=text):
            sys.stdout.write(f"\n{text}")
        case events.StepFinished():
            sys.stdout.write("\n")
        case events.RunFinished(result=result):
            sys.stdout.write(f"({result.stop_reason}, {len(result.steps)} steps, {result.ms:.0f} ms)\n")
        case _:
            pass
