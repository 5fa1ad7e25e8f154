"""What a person sees of a training: a live line with loss, speed and time left; plain lines off a terminal."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loraloop.adapters.training.trainer.progress import Progress

LINES = 20
"""Lines that a training prints off a terminal, about; validations have their own."""


class Watch:
    """Shows a run on standard error.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = not quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        if not self.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    @contextmanager
    def trained(self, steps: int) -> Iterator[Callable[[Progress], None]]:
        """Yields what takes the trainer's progress, once a step."""
        pace = TrainingPace(steps)
        if not self.live:
            every = max(1, steps // LINES)

            def line(at: Progress) -> None:
                if pace.take(at) or at.step % every == 0 or at.step == steps:
                    self.say(pace.text())

            yield line
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = (BarColumn(), TextColumn("{task.description}"))
        with Bars(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bars:
            task = bars.add_task("training", total=steps)

            def moved(at: Progress) -> None:
                pace.take(at)
                bars.update(task, completed=at.step, description=pace.text())

            yield moved
        self.say(pace.text())

    def measured(self, records: int) -> AbstractContextManager[Callable[[], None]]:
        """Gives what is called after each record of the evaluation."""
        from loraloop.render.progress import counting

        return nullcontext(lambda: None) if self.quiet else counting("evaluating", records)

    def working(self, what: str, count: int) -> AbstractContextManager[Callable[[], None]]:
        """Gives what is called after each piece of some work; on a terminal one line says how far it is.

        Args:
            what: What is done, for the line.
            count: Number of its pieces.
        """
        from loraloop.render.progress import counting

        return counting(what, count) if self.live else nullcontext(lambda: None)


class TrainingPace:
    """Loss, speed and time left, from a trainer's progress.

    Attributes:
        steps: Steps of the schedule.
        at: The last step.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.at: Progress | None = None
        self._losses: deque[float] = deque(maxlen=20)

    def take(self, at: Progress) -> bool:
        """Reads a step; whether the validation loss is a new one."""
        known = None if self.at is None else self.at.valid_loss
        self.at = at
        self._losses.append(at.loss)
        return at.valid_loss != known

    def text(self) -> str:
        """One line; the loss is the mean of the last twenty steps."""
        at = self.at
        if at is None:
            return f"step 0/{self.steps}"
        parts = [f"step {at.step}/{self.steps}", f"loss {sum(self._losses) / len(self._losses):.4f}"]
        if at.valid_loss is not None:
            parts.append(f"validation {at.valid_loss:.4f}")
        parts.append(f"{at.tokens_per_s:,.0f} tokens/s")
        if at.step < self.steps:
            parts.append(f"{clock(at.eta_s)} left")
        return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or as hours and minutes."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60}:{whole % 60:02d}"
