"""The journal of a session's run: each thing that happened is committed before the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.tokenizer import common_prefix
from loraloop.agent.job import Journal
from loraloop.agent.sessions.rows import (
    Place,
    begin,
    begin_again,
    calls_of,
    claim,
    end,
    finish,
    storable,
    touch,
    transcribe,
)
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.checkpoint import RunRequest
from loraloop.tool_schemas.errors import SessionBusyError
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.agent.sessions.store import Lease, SessionStore, Transaction
    from loraloop.agent.values.checkpoint import Checkpoint, Line
    from loraloop.agent.values.result import RunResult
    from loraloop.agent.values.step import Step
    from loraloop.tool_schemas.tools.calls import Call
    from loraloop.tool_schemas.tools.tool import Tool

OnUnfinished = Literal["run_again", "report", "fail"]
"""The ways to treat a call that had begun and has no end: it is made again, it is reported to the model as an error, or
the run is not resumed."""

UNFINISHED = (
    "the program was stopped during this call: it may have run already, and what it gave is lost (at-least-once). It "
    "was not run again: find out before you do so"
)
"""The error of such a call, which the model sees."""


@dataclass(kw_only=True, eq=False)
class SessionJournal(Journal):
    """Writes one run of a session into its store.

    Attributes:
        store: Where the session is.
        session: Id of the session.
        title: Title of the session, if this is its first run; where empty, the prompt's beginning.
        version: Version of the session when `lines` and `interrupted` were read.
        lines: The transcript of the session.
        interrupted: The run to go on with; None for a new one.
        on_unfinished: What becomes of calls that were interrupted; None runs those of idempotent tools again and
            reports others.
        architecture: Fingerprint of the base whose tokens `lines` has.
        lease: Takes the right to run the session.
        asked: What the run is asked, prompt and passages left out.
    """

    objects = ("session",)

    store: SessionStore
    session: str
    title: str
    version: int
    lines: Sequence[Line]
    interrupted: Checkpoint | None
    on_unfinished: OnUnfinished | None
    architecture: str
    lease: Callable[[], Lease]

    def __post_init__(self) -> None:
        self.asked = RunRequest("")
        self._key = self._run = -1
        self._owner = ""
        self._taken = False
        self._written: tuple[str, str] | None = None  # a step that is about to act, and the run's state
        self._made: dict[Place, CallRecord | None] = {}  # calls of the interrupted step; without a record, unfinished
        self._again: set[Place] = set()
        self._lock = Lock()

    @property
    def history(self) -> tuple[Message, ...]:
        """The transcript that a new run goes on from."""
        return tuple(message for message, _ in self.lines)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Has the session for itself while the run goes.

        Raises:
            SessionBusyError: Another runner has it, or had it since it was read.
        """
        lease = self.lease()
        self._owner = lease.owner
        try:
            self._check()
            yield
        finally:
            lease.release()

    def ids(self, index: int, message: Message) -> list[int] | None:
        if self.architecture != self.asked.architecture or index >= len(self.lines):
            return None
        kept, ids = self.lines[index]
        return ids if kept == message else None

    def opened(self, now: Checkpoint) -> None:
        moment = time()
        asked = replace(self.asked, prompt=now.asked.prompt, passages=now.asked.passages)
        title = storable(self.title or " ".join(now.asked.prompt.split())[:80])
        written, lines = None, list(now.lines)
        if now.written is not None:  # approved calls, which a run that is resumed from here still has to make
            written = dumps((now.written, lines.pop()))
        with self.store.writing() as database:
            database.execute(
                "INSERT INTO sessions (id, title, created, updated, version) VALUES (?, ?, ?, ?, 0) "
                "ON CONFLICT (id) DO NOTHING",
                (self.session, title, moment, moment),
            )
            (self._key,) = database.execute("SELECT key FROM sessions WHERE id = ?", (self.session,)).fetchone()
            self._take(database)
            touch(database, self._key, moment, self._owner)
            (self._run,) = database.execute("SELECT count(*) FROM runs WHERE session = ?", (self._key,)).fetchone()
            database.execute(
                "INSERT INTO runs (session, run, run_id, started, asked, state, written) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._key, self._run, now.run_id, moment, dumps(asked), dumps(now.state), written),
            )
            for step in now.steps:  # of a run that waited for approval
                self._keep(database, step)
            self._transcribe(database, lines)
        self._taken = True

    def written(self, now: Checkpoint) -> None:
        self._written = dumps((now.written, now.lines[-1])), dumps(now.state)

    def begun(self, index: int, number: int, call: Call, tool: Tool) -> CallRecord | None:
        """Call `number` of step `index` is about to run. Returns its record if it must not: it ran before.

        Args:
            index: Index of the step in its run, from 0.
            number: Number of the call in its step, from 0.
            call: The call, with the arguments that it runs with.
            tool: Its tool, which says whether a call that was interrupted may be made again.
        """
        place, now = (self._key, self._run, index, number), time()
        with self._lock:
            interrupted, known = place in self._made, self._made.pop(place, None)
            if known is not None:
                return known
            with self._committing(now) as database:
                if not interrupted:
                    self._commit_written(database)
                    begin(database, place, call, now)
                elif runs_again(tool, self.on_unfinished):
                    begin_again(database, place, now)
                    self._again.add(place)
                else:
                    known = CallRecord(
                        name=call.name,
                        arguments=call.arguments,
                        error=UNFINISHED,
                        source=tool.source,
                        at_least_once=True,
                        by_runtime=True,
                    )
                    end(database, place, known, now)
            return known

    def ended(self, index: int, number: int, record: CallRecord) -> CallRecord:
        place, now = (self._key, self._run, index, number), time()
        record = replace(record, at_least_once=place in self._again)
        with self._committing(now) as database:
            end(database, place, record, now)
        return record

    def stepped(self, now: Checkpoint) -> None:
        self._written = None
        with self._committing(time()) as database:
            self._keep(database, now.steps[-1])
            database.execute(
                "UPDATE runs SET state = ?, written = NULL WHERE session = ? AND run = ?",
                (dumps(now.state), self._key, self._run),
            )
            self._transcribe(database, list(now.lines))

    def finished(self, result: RunResult[Any]) -> None:
        now = time()
        with self._committing(now) as database:
            finish(database, self._key, self._run, result, now)
            if self.history != result.messages:  # it was made shorter, and no step followed
                self._transcribe(database, [(message, None) for message in result.messages])

    def _check(self) -> None:
        """Finds the session's place, and that nobody wrote to it since it was read."""
        with self.store.reading() as database:
            row = database.execute("SELECT key, version FROM sessions WHERE id = ?", (self.session,)).fetchone()
            self._check_version(row[1] if row else 0)
            if self.interrupted is not None:
                self._key = row[0]
                self._run = database.execute("SELECT max(run) FROM runs WHERE session = ?", row[:1]).fetchone()[0]
                for call in calls_of(database, self.session, self._run):
                    if call.step == len(self.interrupted.steps):
                        self._made[self._key, self._run, call.step, call.number] = call.record

    def _check_version(self, version: int) -> None:
        if version != self.version:
            raise SessionBusyError(f"session {self.session!r} went on meanwhile: another run of it has just ended")

    def _take(self, database: Transaction) -> None:
        """Makes the session this run's, with its first commit: later ones of another runner fail."""
        claim(database, self._key, self._owner)  # the other runner's commit is over, or waits for the end of this one
        row = database.execute("SELECT version FROM sessions WHERE key = ?", (self._key,)).fetchone()
        self._check_version(row[0] if row else -1)

    @contextmanager
    def _committing(self, now: float) -> Iterator[Transaction]:
        with self.store.writing() as database:
            if not self._taken:
                self._take(database)
            touch(database, self._key, now, self._owner)
            yield database
        self._taken = True

    def _transcribe(self, database: Transaction, lines: list[Line]) -> None:
        """Makes the kept transcript that of the run; what they share stays."""
        transcribe(database, self._key, lines, common_prefix(lines, list(self.lines)))
        self.lines = lines

    def _keep(self, database: Transaction, step: Step) -> None:
        database.execute(
            "INSERT INTO steps (session, run, step, body) VALUES (?, ?, ?, ?)",
            (self._key, self._run, step.index, dumps(step)),
        )

    def _commit_written(self, database: Transaction) -> None:
        """Has the text of a step that acts committed together with the first of its calls."""
        if self._written is not None:
            database.execute(
                "UPDATE runs SET written = ?, state = ? WHERE session = ? AND run = ?",
                (*self._written, self._key, self._run),
            )
            self._written = None


def runs_again(tool: Tool, on_unfinished: OnUnfinished | None) -> bool:
    """Whether an interrupted call of a tool is made again."""
    if on_unfinished is None:
        return tool.idempotent or tool.function is None
    return on_unfinished == "run_again"
