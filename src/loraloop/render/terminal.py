"""A rich console on which no text steers the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from loraloop.render.steps import harmless


class HarmlessConsole(Console):
    """Writes texts without control characters, whatever a model, a tool or a file put into them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable; rich's own control codes, such as those of progress bars, stay."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else harmless(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)
