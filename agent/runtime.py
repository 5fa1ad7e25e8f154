"""The runtime: base, bank and router, shared by any number of agents and threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from loraloop.agent.engine.best_of_n import best_of_n
from loraloop.agent.engine.generate import Delta, Generated
from loraloop.agent.engine.ledger import Active, Author
from loraloop.agent.engine.prefix_cache import FullCaches, PrefixCache
from loraloop.agent.engine.scheduler import QUEUE, Scheduler
from loraloop.agent.engine.trunk import Trunk, TrunkStore
from loraloop.agent.limits import check_messages, check_number
from loraloop.agent.skills.mixture import Mixture, as_choice, names_of
from loraloop.agent.skills.prefetch import Ahead
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base, Message
    from loraloop.adapters.skill.card import Card
    from loraloop.agent.engine.best_of_n import Tries
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.generate import Budget, Form
    from loraloop.agent.engine.prefix_cache import Memory
    from loraloop.agent.engine.sampler import Sampler
    from loraloop.agent.skills.outlines_model import OutlinesModel
    from loraloop.agent.skills.skills import Skills
    from loraloop.router.decision import Route, RouterState, ScreenResult
    from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
    from loraloop.tool_schemas.grammar.grammar import Grammar
    from loraloop.tool_schemas.schema.findings import OnUnsupported
    from loraloop.tool_schemas.tools.call_format import CallFormat


SLOT_SECONDS = 300.0
"""How long a step waits for a slot where the steps of other runs have all of them."""
MEMBER_SECONDS = 2.0
"""The same for the second skill of a mixture and those after it, while the slots of the first are held."""


class Chooser(Protocol):
    """What the runtime asks of a router; `loraloop.router.Router` is one."""

    @property
    def layers(self) -> tuple[int, ...]: ...

    def features(self, kept: Mapping[int, Tensor], messages: Sequence[Message]) -> Any: ...

    def screen(self, features: Any) -> ScreenResult: ...

    def choose(self, features: Any, state: RouterState) -> Route: ...


class Runtime:
    """Shared by agents and threads: runs that generate at the same time share each forward, whatever their skills.

    Args:
        base: The model.
        bank: Its skills.
        router: Decides which of them a step gets.
        context: Positions that a transcript may use; the base's own number where None.
        reuse: Positions that the kept caches of past transcripts take, for conversations that go on; see `memory`.
        prefetch: Whether skills that may be next are read in the background.
        full_reuse: Positions that contexts kept under full-activation skills take, over all of them.
        queue: Rows of runs that wait for the base at most; one more is a LimitError.
    """

    def __init__(
        self,
        base: Base,
        bank: Bank,
        router: Chooser,
        *,
        context: int | None = None,
        reuse: int = 16_384,
        prefetch: bool = True,
        full_reuse: int = 16_384,
        queue: int = QUEUE,
    ) -> None:
        self.base = base
        self.bank = bank
        self.router = router
        most = base.config.max_positions
        self.context = most if context is None else context
        check_number("context", self.context, least=1)
        check_number("queue", queue, least=1)
        if self.context > most:
            raise InputError(f"context is {context}: {base.name} has {most} positions; give at most these")
        self.scheduler = Scheduler(base, bank.attached, queue)
        self.store = TrunkStore(reuse)
        self.prefixes = PrefixCache(reuse)
        self.full = FullCaches(full_reuse)
        self.ahead = Ahead(bank, base.device, prefetch)
        self._bare = Active(Author(base.fingerprints.weights), "text", 0.0)
        self._authors: dict[str, tuple[Card, Author]] = {}
        self._compiler: GrammarCompiler | None = None
        self._openers: dict[str, Tensor] = {}
        self._compiling = Lock()

    @classmethod
    def load(
        cls,
        base: str | os.PathLike[str] | Base = "smollm2-135m",
        *,
        quantize: str | None = None,
        device: str | None = None,
        skills: Sequence[str | Path] | Path | str | None = None,
        router: Chooser | str | Path | None = None,
        slots: int = 8,
        host_bytes: int | None = None,
        context: int | None = None,
        own_calls: bool = False,
    ) -> Runtime:
        """Loads a base with skills and a router.

        Args:
            base: What `Base.load` takes, or a loaded base.
            quantize: `int4`, `int8`, `bf16`, `fp32` or `nf4`; by default int4 on a CPU and nf4 on a GPU.
            device: By default the first CUDA device, else the CPU.
            skills: Skill folders, or names of shipped skills or of the user's; all shipped ones where None. A folder
                alone, such as `loraloop skills build` writes: all skills in it, and its router. Where none of the
                skills calls tools, the base itself does, as the skill `tools`.
            router: A router, or its folder. Where None: that of the user's skills if it knows one of those that are
                named, else the one that ships for the base. For a base without one, the embedded base reads the
                transcript too, and its router decides.
            slots: Skills that are resident at the same time; those of a rank above 16 have slots of their own.
            host_bytes: What other skills that have been read may take in memory; see `Bank`.
            context: Positions that a transcript may use.
            own_calls: Whether a base that calls tools by itself, since none of the skills does, is shown them and
                writes calls as its chat template has it.

        Raises:
            BaseModelError, SkillError, UnknownNameError: if something cannot be loaded; each says what to do.
            InputError: An option has a value that means nothing.
        """
        from loraloop.adapters.bank.bank import Bank
        from loraloop.adapters.bank.device import slots_for
        from loraloop.adapters.bank.host import HOST_BYTES
        from loraloop.adapters.base import Base
        from loraloop.adapters.skill.blank import blank_skill
        from loraloop.adapters.skill.registry import built_skills, library, own_router, registered
        from loraloop.adapters.skill.skill import SkillFolder
        from loraloop.router import Router
        from loraloop.router.eyes import router_for

        check_number("slots", slots, least=1)
        if not isinstance(skills, Sequence | Path | None):
            raise InputError(f"skills is {skills!r}: give a list of names and folders, or one folder of skills")
        if not (router is None or isinstance(router, str | Path) or hasattr(router, "choose")):
            raise InputError(f"router is {router!r}: give a Router, or its folder")
        if isinstance(skills, str | Path):
            skills, beside = built_skills(Path(skills))
            router = router or beside
        model = base if isinstance(base, Base) else Base.load(base, quantize=quantize, device=device)
        shipped = library(model.name)
        known = {**shipped, **registered()} if skills else shipped
        folders = []
        for skill in shipped.values() if skills is None else skills:
            if isinstance(skill, str) and skill in known:
                skill = known[skill]
            elif isinstance(skill, str) and os.sep not in skill and not Path(skill).exists():
                raise unknown("skill", skill, known)
            folders.append(SkillFolder.open(skill))
        ranks = slots_for((folder.card.width for folder in folders), slots)
        bank = Bank(model, rank=ranks, host_bytes=HOST_BYTES if host_bytes is None else host_bytes)
        for folder in folders:
            bank.add(folder)
        if not bank.with_contract("calls") and "tools" not in bank:
            bank.add(blank_skill(model, "tools", "calls"))  # the base itself calls, under the grammar
            model = model.with_own_calls() if own_calls else model
        if router is None:
            names = {name for name in bank.names if name not in shipped}
            router = own_router(model.fingerprints.architecture, names) or router_for(model)
        if isinstance(router, str | Path):
            router = Router.load(router)
        if isinstance(router, Router):
            router.check(model)
        model.warm_up(bank.attached)
        return cls(model, bank, router, context=context)

    def __reduce__(self) -> str:
        raise TypeError("a Runtime cannot be pickled or copied: load it in each process, with Runtime.load(…)")

    @property
    def skills(self) -> Skills:
        """The skills that can be chosen: a sequence of their names, each also a function. `none` is always one more."""
        from loraloop.agent.skills.skills import Skills

        return Skills(self)

    def contract(self, skill: str | Mixture) -> str:
        """What a skill writes: `calls`, `code`, `answer`, `verdict` or `text`; a mixture as its heaviest member.

        Raises:
            UnknownNameError: naming the nearest skill.
        """
        self.check(skill)
        if isinstance(skill, Mixture):
            if skill.contract:
                return skill.contract
            skill = skill.heaviest
        if skill == NONE:
            return "text"
        return str(self.bank.card(skill).contract)

    def text_schema(self, skill: str) -> dict[str, Any] | None:
        """JSON Schema of what a text skill writes, as its recipe says; None for any text."""
        return self.bank.card(skill).text_schema if skill in self.bank else None

    def threshold(self, skill: str) -> float | None:
        """The probability from which a skill's verdict is unsafe, or its step calls nothing; None: what is likelier."""
        threshold = self.bank.card(skill).threshold if skill in self.bank else None
        return None if threshold is None else threshold.value

    def ask_threshold(self, skill: str) -> float | None:
        """The probability from which a step of a tools skill asks for arguments; None: what is likelier."""
        threshold = self.bank.card(skill).ask_threshold if skill in self.bank else None
        return None if threshold is None else threshold.value

    def check(self, skill: str | Mixture) -> None:
        """Raises UnknownNameError, naming the nearest skill, if there is no such skill; InputError if it cannot mix."""
        for name in names_of(skill):
            if name != NONE and name not in self.bank:
                raise unknown("skill", name, (*self.bank.names, NONE))
            if isinstance(skill, Mixture) and not (card := self.bank.card(name)).blends:
                raise InputError(
                    f"the mixture {skill} has the skill {name!r}, which is of the method {card.method!r}: a mixture is "
                    "a weighted sum of low-rank updates; use that skill alone, or mix LoRA skills only"
                )

    def with_contract(self, contract: str) -> tuple[str, ...]:
        """Names of the skills that write this."""
        return self.bank.with_contract(contract)

    @property
    def closer(self) -> str | None:
        """Name of the skill that closes runs in the place of the base (`Card.closes`); None where the base does."""
        return next((name for name in self.with_contract("text") if self.bank.card(name).closes), None)

    def let_call(self) -> None:
        """Sees to it that some skill writes calls: if none does, the base itself under the grammar, as `tools`."""
        with self._compiling:
            if not self.with_contract("calls"):
                from loraloop.adapters.skill.blank import blank_skill

                self.bank.add(blank_skill(self.base, "calls" if "tools" in self.bank else "tools", "calls"))

    def trunk(self) -> Trunk:
        """An empty trunk."""
        return Trunk(
            self.base,
            self.router.layers,
            scheduler=self.scheduler,
            context=self.context,
            full=self.full,
            prefixes=self.prefixes,
        )

    def openers(self, characters: str) -> Tensor:
        """Ids of the tokens whose text begins with one of these characters, after white space."""
        import torch

        if characters in self._openers:
            return self._openers[characters]
        vocabulary = self.base.tokenizer.backend.get_vocab()
        blanks = "\u0120\u010a\u0109"  # how byte-level vocabularies write space, line break and tab
        found = torch.tensor(
            sorted(i for piece, i in vocabulary.items() if piece.lstrip(blanks).startswith(tuple(characters)))
        )
        self._openers[characters] = found
        return found

    @contextmanager
    def activate(self, skill: str | Mapping[str, float] | Mixture, wait: float = SLOT_SECONDS) -> Iterator[Active]:
        """Makes a skill or a mixture of skills ready: slots are known and stay their own while the block runs.

        Args:
            skill: Its name, or a mixture.
            wait: Seconds to wait for a slot where the steps of other runs have all of them.

        Raises:
            UnknownNameError: no such skill.
            InputError: a mixture of skills that act on the whole context with others that do not, or of a skill that
                has more than low-rank pairs.
            LimitError: every slot that could hold it has been in use for as long as that.
        """
        if not isinstance(skill, str):
            skill = as_choice(skill)
            if isinstance(skill, Mixture):
                with self._mixed(skill) as active:
                    yield active
                return
        if skill == NONE:
            yield self._bare
            return
        start = perf_counter()
        slot = self.bank.pin(skill, wait)  # pinned, no other thread can load another skill into it
        try:
            card = self.bank.card(skill)
            known = self._authors.get(skill)
            if known is None or known[0] is not card or known[1].slot != slot:
                author = Author(self._bare.author.weights, skill, slot, card.activation, self.bank.identity(skill))
                known = self._authors[skill] = (card, author)
            yield Active(known[1], card.contract, perf_counter() - start)
        finally:
            self.bank.unpin(skill)

    @contextmanager
    def _mixed(self, mixture: Mixture) -> Iterator[Active]:
        start = perf_counter()
        self.check(mixture)
        with ExitStack() as stack:
            # Who waits while holding a slot may be who the others wait for: only the first one is worth a long wait.
            members = [
                (stack.enter_context(self.activate(name, MEMBER_SECONDS if at else SLOT_SECONDS)).author, weight)
                for at, (name, weight) in enumerate(mixture.weights)
            ]
            kinds = {author.activation for author, _ in members}
            if len(kinds) > 1:
                raise InputError(
                    f"the mixture {mixture} joins skills that act on the whole context with skills that act on the "
                    "branch alone: mix skills of one activation"
                )
            author = Author(
                self._bare.author.weights,
                str(mixture),
                tuple((author.slot, weight) for author, weight in members if isinstance(author.slot, int)),
                kinds.pop(),
                " + ".join(f"{weight!r} {author.adapter}" for author, weight in members),
            )
            yield Active(author, self.contract(mixture), perf_counter() - start)

    def generate(
        self,
        branch: Branch,
        invocation: Sequence[int],
        sampler: Sampler,
        budget: Budget,
        tries: Tries | None = None,
        call_format: CallFormat | None = None,
        **form: Unpack[Form],
    ) -> Iterator[Delta | Generated]:
        """Generates in a branch; see `engine.generate` and `engine.best_of_n`. All of a runtime's text is from here.

        Calls in a format of the base's own (`call_format`) come in one piece, in the form that all calls have.
        """
        if call_format is None:
            return best_of_n(branch, invocation, sampler, budget, tries, **form)
        form["stop_ids"] = self.base.stop_ids  # special tokens may be part of a call
        return _translated(best_of_n(branch, invocation, sampler, budget, tries, **form), call_format)

    def grammar(self, term: Any) -> Grammar:
        """Compiles a term against the base's tokenizer; what was compiled before is kept. Holds up no forward."""
        return self.compiler.compile(term)

    @property
    def compiler(self) -> GrammarCompiler:
        """What compiles terms for the base's tokenizer."""
        with self._compiling:
            if self._compiler is None:
                from loraloop.tool_schemas.grammar.compiler import GrammarCompiler

                base = self.base
                self._compiler = GrammarCompiler(base.tokenizer.json, base.config.vocab_size, base.chat.closing[0])
            return self._compiler

    def pin(self, messages: Sequence[Message]) -> None:
        """Reads the beginning of transcripts and keeps it for all that begin so; `prefixes.clear()` lets it go.

        Args:
            messages: The beginning: usually one system message, the first of a result's `messages`.

        Raises:
            ContextLengthError: It does not fit the context.
            InputError: It is no list of messages.
        """
        check_messages(messages)
        trunk = self.trunk()
        for message in messages:
            trunk.append(message, self.base.chat.message(message.role, message.content, not trunk.messages))
        trunk.flush()
        self.prefixes.put(trunk.sequence, pinned=True)

    def memory(self) -> Memory:
        """What is kept for later runs, each beside its bound."""
        from loraloop.agent.engine.prefix_cache import Memory

        return Memory(self.store.held, self.prefixes.held, self.full.held, self.bank.bytes, *self.compiler.kept)

    def as_outlines(
        self, skill: str | None = None, *, max_tokens: int = 512, on_unsupported: OnUnsupported = "refuse"
    ) -> OutlinesModel:
        """The base, or one of its skills, as a model that `outlines.Generator` takes.

        Types are enforced by the runtime's own grammars, and forced tokens are read in one forward: docs/grammars.md.

        Args:
            skill: The skill that writes; None for the bare base.
            max_tokens: Tokens of one answer, where a call does not say.
            on_unsupported: What becomes of keywords of a JSON Schema that no grammar enforces.

        Raises:
            UnknownNameError: naming the nearest skill.
        """
        from loraloop.agent.skills.outlines_model import OutlinesModel

        return OutlinesModel(self, skill, max_tokens, on_unsupported)


def _translated(pieces: Iterator[Delta | Generated], format: CallFormat) -> Iterator[Delta | Generated]:
    """What was generated, with its calls in the runtime's form; what a grammar forced of them has no place in it."""
    for piece in pieces:
        if isinstance(piece, Generated):
            written = replace(piece, text=format.read(piece.text), spans=())
            yield Delta(written.text, len(written.ids))
            yield written
