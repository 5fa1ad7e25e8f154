"""What a skill is worth: the base under the same grammar against the skill, on records that training never saw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from loraloop.adapters import grounding
    from loraloop.adapters.base import Base, Message
    from loraloop.adapters.skill.card import Reranking
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.data.example import Example
    from loraloop.adapters.training.data.record import Record
    from loraloop.agent.engine.drawing import Tries
    from loraloop.agent.engine.ledger import Author
    from loraloop.agent.engine.nbest import Judge
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.engine.two_way_choice import Balance
    from loraloop.tool_schemas.grammar.grammar import Term

LABELS = 64
"""Different completions up to which a text skill is taken for one that chooses among labels."""
SAMPLES = 5


class System(NamedTuple):
    """What writes a step: its name, what it reads, whether the skill computes it, the grammar, and tools offered.

    `skilled` may name one of the bench's variants instead; `tries` are programs that are tried on the examples of the
    request, as `Policy.tries` says.
    """

    name: str
    messages: Sequence[Message]
    skilled: bool | str
    term: Term | None
    tools: Sequence[Mapping[str, Any]] = ()
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores of each system on the same records.

    Attributes:
        contract: What is written.
        n: Records.
        main: The measure that stands for the contract.
        scores: By system (`base`, `base_told`, `skill`, `skill_free`), `x` with `x_n`, `x_low`, `x_high`.
        step_ms: Mean time of a step, by system.
        samples: A few records with what was wanted and what each system wrote.
    """

    contract: str
    n: int
    main: str
    scores: dict[str, dict[str, float]]
    step_ms: dict[str, float]
    samples: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("contract", "n", "main", "scores", "step_ms", "samples")}


def measure(
    base: Base,
    skill: Skill,
    records: Sequence[Record],
    *,
    schema: dict[str, Any] | None = None,
    labels: Sequence[str] = (),
    told: str = "",
    max_tokens: int = 256,
    each: Callable[[], None] | None = None,
) -> Measured:
    """Lets base and skill write the step of each record, greedily, on the same trunk and under the same grammar.

    A text skill that has a grammar is also measured without it (`skill_free`), since that is how an agent runs it.

    Args:
        base: The base.
        skill: What was trained.
        records: Held-out records, at least one.
        schema: JSON Schema of what a text skill writes.
        labels: The completions of the training data: where they are few, a text step is a choice among them.
        told: A sentence that describes the task, for a third system: the base that was told (`base_told`).
        max_tokens: Of one step.
        each: Called after each record.
    """
    from loraloop.adapters.training.scoring.metrics import main_score, scores

    contract = skill.card.contract
    bench = Bench(base, skill, max_tokens)
    choices = tuple(dict.fromkeys(labels)) if contract == "text" and schema is None else ()
    if len(choices) > min(LABELS, len(labels) // 4):
        choices = ()
    outputs: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    for record in records:
        term = term_of(base, record, schema, choices)
        systems: list[System] = [
            System("base", record.messages, False, term),
            System("skill", record.messages, True, term, record.tools),
        ]
        if told:
            systems.insert(1, System("base_told", with_told(record.messages, told), False, term))
        if contract == "text" and term is not None:
            systems.append(System("skill_free", record.messages, True, None))
        for name, text, took in bench.steps(systems):
            outputs.setdefault(name, []).append(text)
            seconds[name] = seconds.get(name, 0.0) + took
        if each is not None:
            each()
    found = {name: scores(contract, records, texts, runs_program) for name, texts in outputs.items()}
    samples = [
        {"place": f"{Path(record.place.file).name}:{record.place.line}", "request": record.request}
        | {"wanted": record.completion, **{name: texts[index] for name, texts in outputs.items()}}
        for index, record in enumerate(records[:SAMPLES])
    ]
    step_ms = {name: round(1e3 * value / len(records), 2) for name, value in seconds.items()}
    return Measured(contract, len(records), main_score(contract, found["skill"]), found, step_ms, samples)


@dataclass(frozen=True, slots=True)
class Said:
    """A step that a system wrote.

    Attributes:
        system: Its name.
        text: The step; empty where the messages, or the step, do not fit.
        seconds: Of the step: invocation and generation; compiling its grammar is no part of it.
        prefill: Seconds in which the base read the messages, once for all systems that read the same.
        fits: Whether they fitted its context.
    """

    system: str
    text: str
    seconds: float
    prefill: float
    fits: bool = True


@dataclass(frozen=True, slots=True)
class Compared:
    """A text that a search found, its log-probability, and the entropy of the choices that led to it."""

    text: str
    log_probability: float
    entropy: float


class Bench:
    """A base, and a skill if one is measured: lets either of them write a step, greedily.

    Args:
        base: The base.
        skill: A skill, or the folder of one; None: only the base is measured.
        max_tokens: Of one step.
        beams: Hypotheses of a search, 1 for none; what is on the skill's card where None.
        variants: Other skills, by the name they get; they write as `skill` does, on the same trunk.
    """

    def __init__(
        self,
        base: Base,
        skill: Skill | str | Path | None,
        max_tokens: int,
        beams: int | None = None,
        variants: Mapping[str, Skill] | None = None,
    ) -> None:
        from loraloop.adapters.bank.bank import Bank
        from loraloop.adapters.skill.skill import Skill
        from loraloop.agent.engine.ledger import Author
        from loraloop.agent.loop.thresholds import balance, threshold
        from loraloop.tool_schemas.grammar.grammar import GrammarCompiler

        self._base, self._max_tokens = base, max_tokens
        self._balance: Callable[[], Balance | None] = lambda: None
        self._reranking: Reranking | None = None
        self._compiler = GrammarCompiler(base.tokenizer.json, base.config.vocab_size, base.chat.closing[0])
        weights = base.fingerprints.weights
        self._authors: dict[bool | str, Author] = {False: Author(weights)}
        self._attached, self._beams = None, 1
        if skill is None:
            return
        skill = skill if isinstance(skill, Skill) else Skill.load(skill)
        card = skill.card
        renamed = {name: _named(each, name) for name, each in (variants or {}).items()}
        bank = Bank(base, slots=1 + len(renamed), rank=max(16, card.rank))
        self._beams = beams or card.beams
        self._reranking = card.reranking if self._beams > 1 else None
        self._balance = lambda: balance(base, card.contract, threshold(card, self._reranking))
        skills: list[tuple[bool | str, Skill]] = [(True, skill), *renamed.items()]
        for key, each in skills:
            name = bank.add(each)
            self._authors[key] = Author(weights, name, bank.pin(name), each.card.activation, bank.identity(name))
        self._attached = bank.attached

    def steps(self, systems: Sequence[System]) -> list[tuple[str, str, float]]:
        """(system, text, seconds) of each; see `said`."""
        return [(said.system, said.text, said.seconds) for said in self.said(systems)]

    def said(self, systems: Sequence[System]) -> list[Said]:
        """What each system writes; one trunk serves those that read the same messages."""
        from loraloop.agent.loop.examples import tries_on

        trunks: dict[int, tuple[Trunk | None, float]] = {}
        found = []
        for name, messages, skilled, term, tools, count in systems:
            if id(messages) not in trunks:
                start = time.perf_counter()
                made = self._trunk(messages)
                trunks[id(messages)] = made, time.perf_counter() - start
            trunk, prefill = trunks[id(messages)]
            if trunk is None:
                found.append(Said(name, "", 0.0, prefill, False))
            else:
                judge = self._judge(messages, tools) if skilled else None
                scale = self._balance() if skilled else None
                tries = tries_on(messages[-1].content, count, runs_program)
                step = self._step(trunk, self._authors[skilled], term, scale, judge, tries)
                found.append(Said(name, *step, prefill))
        return found

    def _judge(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Judge | None:
        from loraloop.adapters import grounding
        from loraloop.agent.reranking import Reranker

        if (how := self._reranking) is None:
            return None
        return Reranker(how.weights, grounding.Said(messages, tools), how.margin)

    def _trunk(self, messages: Sequence[Message]) -> Trunk | None:
        from loraloop.agent.engine.trunk import Trunk
        from loraloop.tool_schemas.errors import ContextLengthError

        trunk = Trunk(self._base, (), self._attached)
        try:
            trunk.extend(self._base.chat.render(messages))
        except ContextLengthError:
            return None
        trunk.flush()  # here, or the first system's step would be charged for it
        return trunk

    def compared(self, system: System, margin: float) -> tuple[float | None, list[Compared]]:
        """What a search under the skill finds for a step that calls tools, before it is reranked.

        Args:
            system: What it reads.
            margin: By how many nats a text may be less likely than the likeliest.

        Returns:
            The probability of calling nothing, None where that is not weighed; and the texts, none where nothing is
            called for sure.
        """
        from loraloop.adapters import grounding

        trunk, scale = self._trunk(system.messages), self._balance()
        judge = _Recording(grounding.Said(system.messages, system.tools), margin)
        if trunk is None:
            return None, []
        if scale is not None:
            scale.threshold = math.inf  # what is searched is wanted, whatever is likelier
        self._step(trunk, self._authors[True], system.term, scale, judge)
        if judge.log_odds is not None:
            return 1 / (1 + math.exp(-judge.log_odds)), judge.texts
        return None if scale is None else scale.probability, judge.texts

    def weighed(self, messages: Sequence[Message], term: Term) -> tuple[float | None, str]:
        """How likely the skill takes the first of its contract's two ways (`openings`), and its text on the second.

        Returns:
            The probability, None where it weighs none; and the text, empty where it does not fit.
        """
        trunk, scale = self._trunk(messages), self._balance()
        if trunk is None or scale is None:
            return None, ""
        scale.threshold = math.inf
        text, _ = self._step(trunk, self._authors[True], term, scale, None)
        return scale.probability, text

    def _step(
        self,
        trunk: Trunk,
        author: Author,
        term: Term | None,
        scale: Balance | None,
        judge: Judge | None,
        tries: Tries | None = None,
    ) -> tuple[str, float]:
        from loraloop.agent.engine.generate import Budget, Generated, generate
        from loraloop.agent.engine.sampler import Sampler, Sampling
        from loraloop.tool_schemas.errors import LimitError

        constraint = None if term is None else self._compiler.compile(term).start()
        start = time.perf_counter()
        budget = Budget(max(1, min(self._max_tokens, trunk.context - len(trunk.ids) - 8)))
        branch = trunk.branch(author)
        text = ""
        try:
            for piece in generate(
                branch,
                self._base.chat.generation_prompt,
                Sampler(Sampling()),
                budget,
                stop_ids=self._base.end_ids,
                constraint=constraint,
                balance=scale,
                beams=self._beams if author is not self._authors[False] else 1,
                judge=judge,
                tries=tries,
            ):
                if isinstance(piece, Generated):
                    text = piece.text
        except LimitError:
            text = ""
        finally:
            branch.close()
        return text, time.perf_counter() - start


def term_of(
    base: Base, step: Record | Example, schema: dict[str, Any] | None = None, choices: Sequence[str] = ()
) -> Term | None:
    """The grammar of a record's or an example's step; of text, by a schema or a choice; None: free text."""
    from loraloop.adapters.skill.contracts import answer_schema, code_grammar, verdict_schema
    from loraloop.tool_schemas import Tool, calls_schema
    from loraloop.tool_schemas.grammar.grammar import Choice, JsonSchema, Lark

    match step.contract:
        case "calls":
            tools = [Tool.from_schema(tool, on_unsupported="check") for tool in step.tools]
            return JsonSchema(calls_schema(tools), on_unsupported="check")
        case "answer":
            return JsonSchema(answer_schema(passage.id for passage in step.passages))
        case "verdict":
            return JsonSchema(verdict_schema())
        case "code":
            return Lark(code_grammar(base.tokenizer.joins_fences), python=True)
    if schema is not None:
        return JsonSchema(schema, on_unsupported="check")
    return Choice(tuple(choices)) if choices else None


def with_told(messages: Sequence[Message], sentence: str) -> tuple[Message, ...]:
    """The messages with a sentence in front of the system message's content."""
    from loraloop.adapters.base import Message

    first, *rest = messages
    if first.role == "system":
        return (replace(first, content=f"{sentence}\n\n{first.content}"), *rest)
    return (Message("system", sentence), *messages)


def runs_program(program: str) -> bool:
    """Whether a program ends without an error in the sandbox."""
    from loraloop.agent.sandbox.sandbox import run_python

    result = run_python(program, timeout=8.0)
    return result.returncode == 0 and not result.timed_out


def _named(skill: Skill, name: str) -> Skill:
    return replace(skill, card=skill.card.model_copy(update={"name": name}))


class _Recording:
    """A judge that keeps what it is shown, and takes the likeliest."""

    def __init__(self, said: grounding.Said, margin: float) -> None:
        from loraloop.agent.reranking import Reranker

        self.margin, self._lists = margin, Reranker({}, said)
        self.short, self.longer, self.missing = self._lists.short, self._lists.longer, self._lists.missing
        self.texts: list[Compared] = []
        self.log_odds: float | None = None

    def score(self, text: str, log_probability: float, entropy: float) -> float:
        self.texts.append(Compared(text, log_probability, entropy))
        return log_probability

    def nothing(self, log_odds: float) -> float:
        self.log_odds = log_odds
        return log_odds
