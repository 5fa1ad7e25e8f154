"""``loraloop run``, once its options are read: the run, what somebody says of calls that wait, and what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from loraloop.approving import WAITS, Waiting, asked

if TYPE_CHECKING:
    from loraloop.agent import Agent, RunResult, RunStream


def run_to_end(agent: Agent, run: RunStream, waiting: Waiting, stream: bool, as_json: bool) -> None:
    """Reads a run, asks about calls that wait where somebody can be asked, and shows what came of it.

    Args:
        agent: Whose run it is.
        run: It has not begun.
        waiting: Where a run that waits goes.
        stream: Tokens, or with `as_json` events, as they come.
        as_json: One document instead of tables.

    Raises:
        typer.Exit: The run waits for approval.
    """
    from loraloop.cli import console, print_line
    from loraloop.streaming import stream_run
    from loraloop.waiting import watch

    def read(part: RunStream) -> RunResult:
        return stream_run(part, as_json) if stream else watch(part, as_json)

    result = read(run)
    while result.pending is not None and waiting.asks:
        decisions = asked(result.pending, {tool.name: tool for tool in agent.tools})
        result = read(agent.resume_stream(result.pending, decisions))
    if as_json and not stream:
        print_line(result.to_json())
    elif not stream:
        from loraloop.show import show_result

        show_result(console(), result)
    if result.pending is not None:
        waiting.keep(result.pending)
        raise typer.Exit(WAITS)
