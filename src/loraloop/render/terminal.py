"""A rich console on which no text steers the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from loraloop.render.steps import harmless


def table_of(
    columns: Sequence[str], rows: Iterable[Sequence[RenderableType]], numbers: Collection[str] = (), title: str = ""
) -> Table:
    """A table; the columns named among `numbers` are aligned to the right.

    Args:
        columns: The headings, in their order.
        rows: Cells of each row, as many as there are columns.
        numbers: Headings of the columns that hold numbers.
        title: Stands above the table; where empty, nothing does.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*row)
    return table


class HarmlessConsole(Console):
    """Writes texts as they are, without control characters, whatever a model, a tool or a file put into them.

    rich's marks for styles and emoji stay text too, and nothing is coloured by what it looks like.

    Args:
        **options: See `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable; rich's own control codes, such as those of progress bars, stay."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else harmless(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)
