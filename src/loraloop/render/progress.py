"""What a person sees on standard error while something takes longer than a moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loraloop.agent import RunResult, RunStream


@contextmanager
def loading(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A spinner, and a progress bar for each thing that is fetched or converted.

    Args:
        quiet: Show nothing; nothing is shown off a terminal either.

    Yields:
        The callback for `Base.load`.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bars.add_task("loading", total=None)
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{what} the base", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


def watch(stream: RunStream, quiet: bool) -> RunResult:
    """Reads a run to its end, saying meanwhile which step it is at.

    Args:
        stream: A run that has not begun.
        quiet: Show nothing; nothing is shown off a terminal either.
    """
    if quiet or not sys.stderr.isatty():
        for _ in stream:
            pass
        return stream.result
    from rich.console import Console

    from loraloop.agent.events import Routed, ToolCallStarted

    with Console(stderr=True).status("reading") as status:
        for event in stream:
            match event:
                case Routed(step=step, skill=skill):
                    status.update(f"step {step + 1}: {skill}")
                case ToolCallStarted(step=step, name=name):
                    status.update(f"step {step + 1}: calling {name}")
                case _:
                    pass
    return stream.result


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar for work that is done in steps; off a terminal a line for each tenth of it.

    Yields:
        To be called after each step.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(what, total=total)
            yield lambda: bars.advance(task)
        return
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if total >= 100 and done * 10 // total > (done - 1) * 10 // total:
            sys.stderr.write(f"{what}: {done} of {total}\n")

    yield step
