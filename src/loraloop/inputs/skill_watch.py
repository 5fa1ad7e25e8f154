"""Watches the folders of a server's skills: a version that is registered meanwhile is used from the next step on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.adapters.skill import store
from loraloop.adapters.skill.skill import SkillFolder
from loraloop.tool_schemas.errors import LoraloopError

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime

SECONDS = 2.0
"""Between two looks."""
LOG = logging.getLogger("loraloop.server")

Written = list[tuple[int, ...]]


class SkillWatch:
    """Replaces skills of a runtime by what their folders hold now. Runs go on: a step in progress ends on the old one.

    Args:
        runtime: The runtime whose skills are replaced.
        find: The folders of the skills that the runtime should have; asked at each look. Names that the runtime does
            not have are not added.

    Attributes:
        replaced: How many skills were replaced so far.
    """

    def __init__(self, runtime: Runtime, find: Callable[[], Sequence[Path]]) -> None:
        self.runtime, self.find = runtime, find
        self.replaced = 0
        self._known: dict[Path, Written] = {folder: store.written(folder) for folder in find()}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, seconds: float = SECONDS) -> None:
        """Reads all skills, so that no run reads one from a folder that was replaced, and looks from now on."""
        for name in self.runtime.bank.names:
            with suppress(LoraloopError):  # of a damaged skill, the step that runs on it is told
                self.runtime.bank.read(name)

        def watch() -> None:
            while not self._stopped.wait(seconds):
                self.look()

        self._thread = threading.Thread(target=watch, name="loraloop-skills", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def look(self) -> list[str]:
        """Replaces what has changed; the names of the skills that were replaced.

        What cannot be used is logged, and the old skill stays until the folder changes again. A skill that stays in use
        is tried again at the next look.
        """
        done = []
        try:
            found = {folder: store.written(folder) for folder in self.find()}
        except LoraloopError as error:
            LOG.warning("the skills were not looked at: %s", error)
            return []
        for folder, written in found.items():
            if self._known.get(folder) == written:
                continue
            try:
                opened = SkillFolder.open(folder)
                if opened.card.name in self.runtime.bank:
                    # Read whole: by the time that a run asks for it, the folder may hold the next version.
                    done.append(self.runtime.bank.replace(opened.load()))
                    LOG.info("the skill %s was replaced by %s", opened.card.name, folder)
            except LoraloopError as error:
                LOG.warning("the skill in %s was not taken: %s", folder, error)
                if "is in use" in str(error):
                    found[folder] = self._known.get(folder, [])
        self._known = found
        self.replaced += len(done)
        return done
