"""The runtime: base, bank and router, shared by any number of agents and threads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

from loraloop.adapters.skill.blank import blank_skill, is_blank
from loraloop.adapters.skill.contracts import openings
from loraloop.agent.engine.local import LocalEngine
from loraloop.agent.engine.scheduler import QUEUE
from loraloop.agent.engine.step import Engine, Openings, transcript
from loraloop.agent.values.limits import check_messages, check_number
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base, Message
    from loraloop.agent.engine.cache.prefix_cache import Memory
    from loraloop.agent.engine.cache.sequence import RequestContext
    from loraloop.agent.engine.remote.grammar import Kind
    from loraloop.agent.engine.transcript import Transcript
    from loraloop.agent.outlines_model import OutlinesModel
    from loraloop.agent.skills.skills import Skills
    from loraloop.router.decision import Route, RouterState, ScreenResult
    from loraloop.tool_schemas.grammar.grammar import Grammar
    from loraloop.tool_schemas.schema.findings import OnUnsupported
    from loraloop.tool_schemas.tools.call_format import CallFormat


class ConnectOptions(TypedDict, total=False):
    """Options of a connection to a server; see `Runtime.connect`."""

    key: str
    concurrency: int
    connect: float
    read: float


class Chooser(Protocol):
    """The interface of a router; `loraloop.router.Router` implements it."""

    @property
    def layers(self) -> tuple[int, ...]: ...

    def features(self, kept: Mapping[int, Tensor], messages: Sequence[Message]) -> Any:
        """What `screen` and `choose` read of the last message of a transcript.

        Args:
            kept: Hidden states `[T, H]` of the message, for each layer of `layers`.
            messages: The transcript, up to and including the message.

        Returns:
            A value that the router itself understands.
        """
        ...

    def screen(self, features: Any) -> ScreenResult: ...

    def choose(self, features: Any, state: RouterState) -> Route: ...


class Runtime:
    """Shared by agents and threads: runs that generate at the same time share each forward, whatever their skills.

    Args:
        base: The model.
        bank: The skills of the base.
        router: Decides which of them a step gets.
        context: Positions that a transcript may use; the base's own number where None.
        reuse: Positions that the kept caches of past transcripts take, for conversations that go on; see `memory`.
        full_reuse: Positions that contexts kept under full-activation skills take, over all of them.
        queue: Rows of runs that wait for the base at most; one more is a LimitError.
        engine: Keeps transcripts and writes steps; by default the base in this process.
        keep_prefixes: Whether, or in which folder, what is computed of instructions and tools is kept; see `load`.
    """

    def __init__(
        self,
        base: Base,
        bank: Bank,
        router: Chooser,
        *,
        context: int | None = None,
        reuse: int = 16_384,
        full_reuse: int = 16_384,
        queue: int = QUEUE,
        engine: Engine | None = None,
        keep_prefixes: bool | str | Path = False,
    ) -> None:
        self.base = base
        self.bank = bank
        self.router = router
        most = base.config.max_positions
        self.context = most if context is None else context
        check_number("context", self.context, least=1)
        check_number("queue", queue, least=1)
        if self.context > most:
            raise InputError(f"context is {context}: {base.name} has {most} positions: give at most that many")
        self.engine = engine or self._local_engine(
            context=self.context,
            reuse=reuse,
            full_reuse=full_reuse,
            queue=queue,
            prefix_folder=_prefix_folder(keep_prefixes),
        )
        self._adding = Lock()

    def _local_engine(self, **options: Any) -> LocalEngine:
        return LocalEngine(self.base, self.bank, self.router.layers, **options)

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
        keep_prefixes: bool | str | Path = False,
        own_calls: bool = False,
    ) -> Runtime:
        """Loads a base with skills and a router.

        Args:
            base: What `Base.load` takes, or a loaded base.
            quantize: `int4`, `int8`, `bf16`, `fp32` or `nf4`; by default int4 on a CPU and nf4 on a GPU.
            device: Device of the base; by default the first CUDA device, else the CPU.
            skills: Skill folders, or names of shipped skills or of the user's; where None, all of them that were made
                for the base, as `loraloop run` has them. A folder alone, such as `loraloop skills build` writes: all
                skills in it, and its router. Where none of the skills calls tools, the base itself does, as the skill
                `tools`.
            router: A router, or its folder. Where None: that of the user's skills if it knows one of those that are
                named, else the one that ships for the base. For a base without one, the embedded base reads the
                transcript too, and its router decides.
            slots: Skills that are resident at the same time; those of a rank above 16 have slots of their own.
            host_bytes: What other skills that have been read may take in memory; see `Bank`.
            context: Positions that a transcript may use.
            keep_prefixes: Keeps what is computed of instructions and tools (never of what users say) on disk, readable
                by its owner alone, so that the next process need not read them again: in `prefixes` of the cache
                folder, or in the folder that is given. At most 1 GB; the least recently used go first.
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
        from loraloop.adapters.skill.registry import built_skills, fitting_skills, known_skills, library, own_router
        from loraloop.adapters.skill.skill import Skill, SkillFolder
        from loraloop.router import Router
        from loraloop.router.proxy import router_for

        check_number("slots", slots, least=1)
        if not isinstance(skills, Sequence | Path | None):
            raise InputError(f"skills is {skills!r}: give a list of names and folders, or one folder of skills")
        if not (router is None or isinstance(router, str | Path) or hasattr(router, "choose")):
            raise InputError(f"router is {router!r}: give a Router, or its folder")
        if isinstance(skills, str | Path):
            skills, beside = built_skills(Path(skills))
            router = router or beside
        model = base if isinstance(base, Base) else Base.load(base, quantize=quantize, device=device)
        fitting: dict[str, Path | Skill] = {**fitting_skills(model)}
        known: dict[str, Path | Skill] = {**known_skills(model)}
        if "code" not in known and library(model.name):  # such a base needs no update to write programs
            known["code"] = fitting["code"] = blank_skill(model, "code", "code")
        sources = []
        for skill in fitting.values() if skills is None else skills:
            if isinstance(skill, str) and skill in known:
                skill = known[skill]
            elif isinstance(skill, str) and os.sep not in skill and not Path(skill).exists():
                raise unknown("skill", skill, known)
            sources.append(skill if isinstance(skill, Skill) else SkillFolder.open(skill))
        ranks = slots_for((source.card.width for source in sources), slots)
        bank = Bank(model, rank=ranks, host_bytes=HOST_BYTES if host_bytes is None else host_bytes)
        for source in sources:
            bank.add(source)
        if not bank.with_contract("calls") and "tools" not in bank:
            bank.add(blank_skill(model, "tools", "calls"))  # the base itself calls, under the grammar
            model = model.with_own_calls() if own_calls else model
        if router is None:
            names = {name for name in bank.names if name not in library(model.name)}
            router = own_router(model.fingerprints.architecture, names) or router_for(model)
        if isinstance(router, str | Path):
            router = Router.load(router)
        if isinstance(router, Router):
            router.check(model)
        model.warm_up(bank.attached)
        return cls(model, bank, router, context=context, keep_prefixes=keep_prefixes)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        base: str | None = None,
        eyes: str = "smollm2-135m",
        engine: Kind = "openai",
        skills: Mapping[str, str | Path] | None = None,
        context: int | None = None,
        **options: Unpack[ConnectOptions],
    ) -> Runtime:
        """A runtime whose steps an OpenAI-compatible server writes; routing, tools, guard and transcripts stay here.

        What the server cannot do is logged once, and is in every trace (`missing`).

        Args:
            url: The address of its API, which ends with `/v1`.
            base: The model's name there, or a name of our catalog; the first model that the server lists where None.
            eyes: A base with a router that ships for it: it reads the transcript here and chooses the skills. Or the
                address of a server whose `/v1/decisions` does: of this one, or of another, which gets no key.
            engine: `vllm`, `sglang`, or `openai` for any other server (llama-server, Ollama): how grammars are asked
                for.
            skills: Names of the server's adapters by the skills that they are (`tools`, `code`, `retrieval`,
                `safety`); where None, the server's models of these names, or as `skills push` calls them. A `Path` is
                the folder of an exported skill: it is loaded into the server now, and again whenever the server has
                lost it. For other skills, except `safety`, the model itself writes under their grammar.
            context: Positions of a transcript; what the server says, else 4096, where None.
            **options: `key`, which is sent as a bearer token; `concurrency`, requests in flight at most (16);
                `connect` and `read`, seconds until a connection is made (5) and between two pieces (120).

        Raises:
            BaseModelError: The server does not answer, or lists no model.
            InputError: The server refuses the key, or an option has a value that means nothing, such as more positions
                than it has.
            UnknownNameError: There is no such engine, skill or adapter, or several models and none of that name.
        """
        from loraloop.agent.engine.remote.connect import connected

        model, bank, router, made = connected(
            url, base=base, eyes=eyes, engine=engine, skills=skills, context=context, **options
        )
        return cls(model, bank, router, engine=made)

    def __reduce__(self) -> str:
        raise TypeError("a Runtime cannot be pickled or copied: load it in each process, with Runtime.load(…)")

    @property
    def missing(self) -> tuple[str, ...]:
        """What the engine cannot do that a base in this process can; nothing where the base is in this process."""
        return self.engine.missing

    @property
    def skills(self) -> Skills:
        """The skills that can be chosen: a sequence of their names, each also a function. `none` is always one more."""
        from loraloop.agent.skills.skills import Skills

        return Skills(self)

    def contract(self, skill: str) -> str:
        """What a skill writes: `calls`, `code`, `answer`, `verdict` or `text`.

        Raises:
            UnknownNameError: naming the nearest skill.
        """
        self._check_known(skill)
        return "text" if skill == NONE else str(self.bank.card(skill).contract)

    def text_schema(self, skill: str) -> dict[str, Any] | None:
        """JSON Schema of what a text skill writes, as its recipe says; None for any text."""
        return self.bank.card(skill).text_schema if skill in self.bank else None

    def threshold(self, skill: str) -> float | None:
        """The probability from which a skill's verdict is unsafe, or its step calls nothing; None: what is likelier."""
        threshold = self.bank.card(skill).threshold if skill in self.bank else None
        return None if threshold is None else threshold.value

    def read(self, kept: Mapping[int, Tensor], messages: Sequence[Message], request_context: RequestContext) -> Any:
        """The router's features of a transcript's last message; a server is waited for while the run goes on.

        Args:
            kept: Hidden states `[T, H]` of each layer that the router reads.
            messages: The transcript.
            request_context: The run's, under which a server is asked.
        """
        from loraloop.agent.engine.remote.decisions import ServerRouter

        if isinstance(self.router, ServerRouter):
            return self.router.features(kept, messages, request_context)
        return self.router.features(kept, messages)

    def openings(self, skill: str, contract: str, threshold: float | None) -> Openings | None:
        """What a step weighs under its contract: unsafe or safe, no call or a call, no answer or one; None for nothing.

        Args:
            skill: The skill that writes.
            contract: What it writes.
            threshold: Probability from which the first is taken; the one on the skill's card where None.
        """
        ways = openings(contract)
        if ways is None:
            return None
        return Openings(*ways, self.threshold(skill) if threshold is None else threshold)

    def call_form(self, skill: str) -> str:
        """What the base sees of the form of calls, where it writes them without having been trained to; else empty."""
        return self.base.prompting.call_form if self._calls_itself(skill) else ""

    def call_format(self, skill: str) -> CallFormat | None:
        """The base's own format of calls, if this skill is the base itself and writes in it; else None."""
        return self.base.chat.calls if self._calls_itself(skill) else None

    def _calls_itself(self, skill: str) -> bool:
        card = self.bank.card(skill) if skill in self.bank else None
        return card is not None and card.contract == "calls" and is_blank(card)

    def check(self, skill: str) -> None:
        """Raises UnknownNameError, naming the nearest, if there is no such skill; InputError if it writes no step."""
        self._check_known(skill)
        if skill in self.with_contract("agreement"):
            raise InputError(f"the skill {skill!r} checks answers: it cannot be chosen for a step")

    def _check_known(self, skill: str) -> None:
        if skill != NONE and skill not in self.bank:
            raise unknown("skill", skill, (*self.bank.names, NONE))

    def with_contract(self, contract: str) -> tuple[str, ...]:
        """Names of the skills that write this."""
        return self.bank.with_contract(contract)

    @property
    def closer(self) -> str | None:
        """Name of the skill that closes runs in the place of the base (`Card.closes`); None where the base does."""
        return next((name for name in self.with_contract("text") if self.bank.card(name).closes), None)

    @property
    def answer_judge(self) -> str | None:
        """Name of the skill that says whether an answer contradicts the records; None where there is none."""
        return next(iter(self.with_contract("agreement")), None)

    def let_call(self) -> None:
        """Sees to it that some skill writes calls: if none does, the base itself under the grammar, as `tools`."""
        with self._adding:
            if not self.with_contract("calls"):
                self.bank.add(blank_skill(self.base, "calls" if "tools" in self.bank else "tools", "calls"))

    def trunk(self) -> Transcript:
        """An empty transcript."""
        return self.engine.open()

    def grammar(self, term: Any) -> Grammar:
        """Compiles what may be written; what was compiled before is kept."""
        return self.engine.grammar(term)

    def pin(self, messages: Sequence[Message]) -> None:
        """Reads the beginning of transcripts and keeps it for all that begin so; `engine.prefixes.clear()` lets it go.

        Args:
            messages: The beginning: usually one system message, the first of a result's `messages`.

        Raises:
            ContextLengthError: It does not fit the context.
            InputError: It is no list of messages.
        """
        check_messages(messages)
        self.engine.pin(transcript(self.engine, messages, known=0))

    def memory(self) -> Memory:
        """What is kept for later runs, each beside its bound."""
        return self.engine.memory()

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
        from loraloop.agent.outlines_model import OutlinesModel

        return OutlinesModel(self, skill, max_tokens, on_unsupported)


def _prefix_folder(keep: bool | str | Path) -> Path | None:
    """Where prefixes are kept: in the cache folder, in the given folder, or nowhere."""
    from loraloop.adapters.base.loading.folders import cache_folder

    return cache_folder() / "prefixes" if keep is True else Path(keep) if keep else None
