"""The gate before documents: a passage that gives orders, or is harmful, is left out of the run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from loraloop.adapters.base.messages import Message
from loraloop.agent.engine.cache.sequence import UNBOUNDED, Interrupted, RequestContext
from loraloop.agent.guard.gates import UNDECIDED, judged_alone
from loraloop.agent.guard.guard import Gate, judges
from loraloop.agent.messages import user_message
from loraloop.agent.tools.observation import observation
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.step import GateRecord

if TYPE_CHECKING:
    from loraloop.adapters.skill.contracts import Passage
    from loraloop.agent.job import Job
    from loraloop.agent.runtime import Runtime

KEPT = 4096
"""Passages of which the decision is kept."""
_ASKED = Message("user", "Look it up.")
_CALLED = Message("assistant", '[{"name":"search","arguments":{}}]')


class DocumentGate:
    """Judges passages as results of a search, each by itself; what it decided about a text is kept.

    Next to other passages and a question the screen does not notice an order, so a passage is read once more, the
    first time that it is found.

    Args:
        runtime: The runtime whose router screens and whose skill judges.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: OrderedDict[tuple[Gate, str, str], GateRecord] = OrderedDict()
        self._lock = Lock()

    def safe(
        self, passages: Sequence[Passage], gate: Gate | None, request_context: RequestContext = UNBOUNDED
    ) -> tuple[tuple[Passage, ...], tuple[GateRecord, ...]]:
        """The passages that may be read, and the records of what was decided beyond the screen.

        Args:
            passages: As they were found or given.
            gate: The guard's gate before what comes from outside; None for none.
            request_context: Bounds the judging; what was not judged then is left out.
        """
        if gate is None or not judges(self._runtime, gate):
            return tuple(passages), ()
        records = [replace(self._record(passage, gate, request_context), tool=passage.id) for passage in passages]
        kept = tuple(each for each, record in zip(passages, records, strict=True) if record.outcome != "withheld")
        return kept, tuple(record for record in records if record.outcome != "passed" or record.undecided)

    def of_job(self, job: Job, began: float) -> Job:
        """The job of a run without the passages that may not be read; what was decided is among its records.

        Where none is left, no skill that answers from passages is forced.

        Args:
            job: With the passages as they were found or given.
            began: The run's beginning by `time.monotonic()`, from which its deadline counts.
        """
        if not job.passages or job.guard.trust_passages:
            return job
        seconds = job.limits.deadline
        bounds = RequestContext(job.limits.priority, None if seconds is None else began + seconds)
        kept, records = self.safe(job.passages, job.guard.tools, bounds)
        if len(kept) == len(job.passages):
            return replace(job, gates=records)
        policy, contract = job.policy, self._runtime.contract
        if not kept:
            policy = replace(policy, skills=tuple(each for each in policy.skills if contract(each) != "answer"))
        asked = user_message(job.prompt, kept, trusted=False)
        return replace(job, policy=policy, passages=kept, messages=(*job.messages[:-1], asked), gates=records)

    def _record(self, passage: Passage, gate: Gate, request_context: RequestContext) -> GateRecord:
        text = f"{passage.title}\n{passage.text}".strip()
        skill = self._runtime.with_contract("verdict")[0]
        key = gate, self._runtime.bank.identity(skill), text
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = [_ASKED, _CALLED, Message("tool", observation(CallRecord("search", {}, text)))]
        record = GateRecord(0, "documents", "passed")
        try:
            record = judged_alone(self._runtime, gate, record, found, "withheld", request_context=request_context)
        except Interrupted:  # the run ends before it reads anything
            return replace(record, outcome="withheld", category=UNDECIDED, undecided=True)
        if record.undecided:  # perhaps no slot was free
            return record
        with self._lock:
            self._known[key] = record
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return record
