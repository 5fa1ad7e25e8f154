"""The fallback: a larger model behind an OpenAI-compatible server, which writes the steps that a run hands over."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from loraloop.agent.engine.remote.adapters import models_of
from loraloop.agent.engine.remote.engine import RemoteEngine, RemoteStep
from loraloop.agent.engine.remote.grammar import KINDS, Kind
from loraloop.agent.engine.remote.server import RefusedError, RemoteServer
from loraloop.tool_schemas.errors import BaseModelError, ContextLengthError, InputError, LoraloopError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.agent.engine.generate import Delta
    from loraloop.agent.engine.step import StepRequest
    from loraloop.agent.engine.transcript import Transcript

REST = 60.0
"""Seconds for which a fallback that could not be reached is not asked again."""
log = logging.getLogger("loraloop")


class Fallback:
    """A larger model that writes a step where the router abstains, an answer is flawed or a check has failed twice.

    A step that it writes sends the whole transcript, with the descriptions of the tools, to its server. Thread-safe;
    agents may share one.

    Args:
        url: The address of an OpenAI-compatible API, which ends with `/v1`.
        model: The model's name there; the first one that the server lists where empty.
        key_env: Environment variable with the key, which is sent as a bearer token; empty for no key.
        engine: What the server is, as in `Runtime.connect`.
        connect: Seconds until a connection is made.
        read: Seconds between two pieces of an answer.

    Raises:
        InputError: The variable is empty, the address is none, or the key cannot be sent.
        UnknownNameError: There is no such engine.
    """

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        key_env: str = "",
        engine: Kind = "openai",
        connect: float = 5.0,
        read: float = 120.0,
    ) -> None:
        key = os.environ.get(key_env, "").strip() if key_env else ""
        if key_env and not key:
            raise InputError(f"the variable {key_env} is empty: put the key of the fallback there")
        if engine not in KINDS:
            raise unknown("engine", engine, KINDS)
        self.url, self.model = url, model
        self._kind: Kind = engine
        self._server = RemoteServer(url, key, connect=connect, read=read)
        self._finding = Lock()
        self._rests_until = 0.0

    def __repr__(self) -> str:
        return f"Fallback({self.url!r}, {self.model!r})"

    @property
    def ready(self) -> bool:
        """Whether it is asked: not for a minute after it could not be reached."""
        return monotonic() >= self._rests_until

    def write(self, base: Base, bank: Bank, trunk: Transcript, request: StepRequest) -> FallbackStep | None:
        """Has a step written, which is not yet kept. None, and a warning in the log, where that fails.

        Args:
            base: The base of the run, whose tokens the transcript has.
            bank: The skills of the base.
            trunk: The transcript.
            request: What is written; a grammar in it is a `RemoteGrammar`.
        """
        try:
            engine = RemoteEngine(base, bank, self._server, self._kind, self._model_name(), adapters={}, folders={})
            step = FallbackStep(engine, trunk, request)
            if not step.output.text.strip() and step.output.reason in ("stop", "unenforced"):
                raise BaseModelError(f"{self.model} at {self.url} wrote nothing")
        except LoraloopError as error:
            log.warning("the fallback does not write this step, its own skill does: %s", error)
            refused = isinstance(error, RefusedError) and error.status < 500
            if not refused and not isinstance(error, ContextLengthError):  # these are of this request alone
                self._rests_until = monotonic() + REST
            return None
        return step

    def _model_name(self) -> str:
        with self._finding:
            self.model = self.model or next(iter(models_of(self._server)))
        return self.model


class FallbackStep(RemoteStep):
    """A step that the fallback has written: its text is given out when it is whole, so that none of it is lost."""

    def __init__(self, engine: RemoteEngine, trunk: Transcript, request: StepRequest) -> None:
        super().__init__(engine, trunk, request)
        self._pieces = list(super().write())
        self.output = replace(self.output, tokens=replace(self.output.tokens, written_by=engine.model))

    def write(self) -> Iterator[Delta]:
        """Gives out the text that has been written."""
        yield from self._pieces
