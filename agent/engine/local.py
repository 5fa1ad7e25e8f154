"""The engine of this process: transcripts and steps on a base that the scheduler shares between all runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from loraloop.agent.engine.cache.ledger import Active, Author
from loraloop.agent.engine.cache.prefix_cache import FullCaches, Memory, PrefixCache
from loraloop.agent.engine.cache.prefix_folder import PrefixFolder
from loraloop.agent.engine.generate import Delta, Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import EndChoice, TwoWayChoice
from loraloop.agent.engine.scheduler import QUEUE, Scheduler, SchedulerStats
from loraloop.agent.engine.step import OpenStep, StepOutput, StepRequest
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.engine.trunk import Trunk, TrunkStore
from loraloop.agent.values.step import Tokens
from loraloop.router.decision import NONE
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler

if TYPE_CHECKING:
    from pathlib import Path

    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.branch import Branch
    from loraloop.tool_schemas.grammar.grammar import Grammar, Term

SLOT_SECONDS = 300.0
"""How long a step waits for a slot where the steps of other runs have all of them."""


class LocalStep:
    """A step in an open branch; see `OpenStep`.

    Args:
        engine: The engine that opened it.
        active: The skill and its slot.
        branch: What the step writes to.
        request: What is written.
    """

    def __init__(self, engine: LocalEngine, active: Active, branch: Branch, request: StepRequest) -> None:
        chat = engine.base.chat
        self.active, self.branch = active, branch
        self.room = branch.left - len(chat.generation_prompt) - len(chat.closing if request.stays else ())
        self.request, self._engine, self._chat = request, engine, chat
        self.output = self._output(Generated())

    def write(self) -> Iterator[Delta]:
        """Writes the text; see `OpenStep.write`."""
        own = self.request.call_format
        for piece in self._engine.generate(self.branch, self._generate_request()):
            if isinstance(piece, Generated):
                if own is not None:  # in one piece, and what the grammar forced has no place in the runtime's form
                    piece = replace(piece, text=own.read(piece.text), spans=())
                    yield Delta(piece.text, len(piece.ids))
                self.output = self._output(piece)
            elif own is None:
                yield piece

    def keep(self, message: Message) -> None:
        """Appends what was written to the trunk."""
        self.branch.close([*self._chat.generation_prompt, *self.output.ids, *self._chat.closing], message)

    def _generate_request(self) -> GenerateRequest:
        request, room, prompt = self.request, self.room, list(self._chat.generation_prompt)
        base = self._engine.base
        tokens = min(request.max_tokens, room)
        extra = self._extra_prompt(max(room - tokens, room // 2))
        plain: list[int] = []
        if request.not_first and request.plain_words:
            words = self._chat.message("user", request.plain_words)
            if len(words) < room // 4:
                plain = [*extra, *words, *prompt]
                room -= len(words)
        self.room = room - len(extra)
        return GenerateRequest(
            invocation=[*extra, *prompt],
            sampler=request.sampler,
            max_tokens=min(tokens, self.room),
            bounds=self.branch.sequence.request_context,
            stop_ids=base.end_ids if request.call_format is None else base.stop_ids,  # calls may hold special tokens
            constraint=None if request.grammar is None else request.grammar.start(),
            stops=request.sampler.sampling.stop,
            not_first=base.vocabulary.beginning(request.not_first) if request.not_first else None,
            other_invocation=plain,
            two_way=self._two_way(),
            clock=request.clock,
        )

    def _two_way(self) -> TwoWayChoice | None:
        openings = self.request.openings
        if openings is None:
            return None
        if self.request.call_format is not None:
            return EndChoice(self._chat.closing[0], openings.threshold)
        tokenizer, ways = self._engine.base.tokenizer, (openings.first, openings.second)
        written = tokenizer.encode(ways[0]), tokenizer.encode(ways[1])
        return TwoWayChoice(*ways, tokenizer.token_bytes, openings.threshold, written)

    def _extra_prompt(self, most: int) -> list[int]:
        for messages in self.request.extra_prompt:
            ids = [token for each in messages for token in self._chat.message(each.role, each.content)]
            if len(ids) <= most:
                return ids
        return []

    def _output(self, out: Generated) -> StepOutput:
        branch = self.branch
        computed = branch.recomputed if self.active.author.activation == "full" else branch.prefilled
        tokens = Tokens(
            prefilled=branch.prefilled,
            reused=branch.start - computed,
            generated=len(out.ids),
            forced=out.forced,
            spans=out.spans,
            recomputed=branch.recomputed,
            retried=out.retried,
            drafted=branch.drafts.drafted,
            accepted=branch.drafts.accepted,
            shared=self.request.clock.sharing,
        )
        return StepOutput(**{name: getattr(out, name) for name in Generated.__dataclass_fields__}, tokens=tokens)


class LocalEngine:
    """Transcripts and steps on one base; see `Engine`. Thread-safe.

    Args:
        base: The model.
        bank: The skills of the base.
        layers: Layers whose hidden states of the last message are kept, for the router.
        context: Positions that a transcript may use.
        reuse: Positions that the kept caches of past transcripts take.
        full_reuse: Positions that contexts kept under full-activation skills take.
        queue: Rows of runs that wait for the base at most.
        prefix_folder: Where first messages are kept for the next process; None: nowhere.

    Attributes:
        scheduler: Computes for all runs.
        store: Past transcripts.
        prefixes: Beginnings that transcripts share.
        full: Contexts under full-activation skills.
    """

    missing: tuple[str, ...] = ()

    def __init__(
        self,
        base: Base,
        bank: Bank,
        layers: Sequence[int] = (),
        *,
        context: int | None = None,
        reuse: int = 16_384,
        full_reuse: int = 16_384,
        queue: int = QUEUE,
        prefix_folder: Path | None = None,
    ) -> None:
        self.base, self.bank = base, bank
        self.scheduler = Scheduler(base, bank.attached, queue)
        self.store = TrunkStore(reuse)
        self.prefixes = PrefixCache(reuse, PrefixFolder(prefix_folder, base) if prefix_folder else None)
        self.full = FullCaches(full_reuse)
        self.author = Author(base.fingerprints.weights)
        self._layers, self._context = layers, context
        self.compiler = GrammarCompiler(base.vocabulary)

    def open(self, messages: Sequence[Message] = ()) -> Trunk:
        """A trunk that goes on from what is kept of these messages; an empty one where nothing is."""
        return self.store.take(messages) or Trunk(
            self.base,
            self._layers,
            scheduler=self.scheduler,
            context=self._context,
            full=self.full,
            prefixes=self.prefixes,
        )

    def close(self, trunk: Transcript) -> None:
        """Keeps a trunk that nobody uses any more, for others to go on from."""
        self.store.put(_trunk(trunk))

    @contextmanager
    def step(self, trunk: Transcript, request: StepRequest) -> Iterator[OpenStep]:
        """Activates the step's skill and opens a branch at the trunk's end; both end with the block.

        Raises:
            UnknownNameError: There is no such skill.
            LimitError: Every slot has been in use for too long.
        """
        with self.activate(request.choice) as active:
            request.clock.add("switch", active.seconds)
            branch = _trunk(trunk).branch(active.author, request.clock)
            try:
                yield LocalStep(self, active, branch, request)
            finally:
                branch.close()

    def generate(self, branch: Branch, request: GenerateRequest) -> Iterator[Delta | Generated]:
        """Generates in a branch. All text of this engine comes from here."""
        return generate(branch, request)

    @contextmanager
    def activate(self, skill: str, wait: float = SLOT_SECONDS) -> Iterator[Active]:
        """Makes a skill ready: its slot is known and stays its own while the block runs.

        Args:
            skill: Name of the skill.
            wait: Seconds to wait for a slot where the steps of other runs have all of them.

        Raises:
            UnknownNameError: no such skill.
            LimitError: every slot that could hold it has been in use for as long as that.
        """
        if skill == NONE:
            yield Active(self.author, 0.0)
            return
        start = perf_counter()
        slot = self.bank.pin(skill, wait)  # pinned, no other thread can load another skill into it
        try:
            activation, identity = self.bank.card(skill).activation, self.bank.identity(skill)
            author = Author(self.author.weights, skill, slot, activation, identity)
            yield Active(author, perf_counter() - start)
        finally:
            self.bank.unpin(skill)

    def grammar(self, term: Any) -> Grammar:
        """Compiles a term against the base's tokenizer; what was compiled before is kept. Holds up no forward."""
        return self.compiler.compile(term)

    def compiled(self, term: Term) -> bool:
        """Whether `grammar` would return at once."""
        return self.compiler.compiled(term)

    def prepare(self, skill: str) -> None:
        """Reads a skill into memory where no slot holds it."""
        if skill != NONE and skill not in self.bank.resident:
            self.bank.read(skill)

    def pin(self, trunk: Transcript) -> None:
        """Computes a beginning of transcripts and keeps it for all that begin so."""
        trunk.flush()
        self.prefixes.put(_trunk(trunk).sequence, pinned=True)

    @property
    def stats(self) -> SchedulerStats:
        """What was computed so far, and what waits."""
        return self.scheduler.stats

    def memory(self) -> Memory:
        """What is kept for later runs, each beside its bound."""
        return Memory(self.store.held, self.prefixes.held, self.full.held, self.bank.bytes, *self.compiler.kept)


def _trunk(transcript: Transcript) -> Trunk:
    assert isinstance(transcript, Trunk)  # this engine opened it
    return transcript
