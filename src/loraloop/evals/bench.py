"""A bench: the bare base and one skill write the same step, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.router.decision import NONE

if TYPE_CHECKING:
    from loraloop.adapters.base import Base, Message
    from loraloop.adapters.skill.skill import Skill
    from loraloop.adapters.training.data.record import Record
    from loraloop.agent.engine.sampler import Sampling
    from loraloop.agent.engine.step import StepOutput, StepRequest
    from loraloop.tool_schemas.grammar.grammar import Term

LABELS = 64
"""Different completions up to which a text skill is taken for one that chooses among labels."""
SAMPLES = 5
NEVER = 1.0
"""A threshold that a probability reaches only where it is certain: else the step takes the second of two openings."""

LAST_LINE = 77
"""Exit status of a program that ran to its last line."""


@dataclass(frozen=True, slots=True)
class BenchStep:
    """A step that was written.

    Attributes:
        text: What was written; empty where it does not fit the context, or no text of its form fits the tokens or is
            valid.
        ms: Milliseconds, without the reading of the messages.
        fits: Whether messages and step fit.
        weighed: The probability of the first of the contract's two openings; None where nothing is weighed.
        whole: Whether the text came to its end, within the tokens and without repeating itself.
    """

    text: str
    ms: float
    fits: bool = True
    weighed: float | None = None
    whole: bool = False


class Bench:
    """Lets the bare base or a skill write a step, from any thread. Steps after the same messages share one prefill.

    Args:
        base: The base.
        skill: A skill, or the folder of one; None where only the base is measured.
        max_tokens: Most tokens of one step.
    """

    def __init__(self, base: Base, skill: Skill | str | Path | None, max_tokens: int) -> None:
        from loraloop.adapters.bank.bank import Bank
        from loraloop.adapters.skill.skill import Skill
        from loraloop.agent.bare import Unrouted
        from loraloop.agent.runtime import Runtime

        self.name, rank, loaded = NONE, 16, None
        if skill is not None:
            loaded = skill if isinstance(skill, Skill) else Skill.load(skill)
            rank = max(rank, loaded.card.width)
        bank = Bank(base, slots=1, rank=rank)
        if loaded is not None:
            self.name = bank.add(loaded)
        self.runtime = Runtime(base, bank, Unrouted())
        self._max_tokens = max_tokens

    @property
    def asks(self) -> bool:
        """Whether the skill writes calls with null for what nobody said."""
        return self.name != NONE and self.runtime.bank.card(self.name).asks

    def read(self, messages: Sequence[Message]) -> float | None:
        """Reads messages, so that the steps after them need no prefill.

        Returns:
            Milliseconds; None where the messages do not fit the context.
        """
        from loraloop.agent.engine.step import StepRequest
        from loraloop.tool_schemas.errors import ContextLengthError

        try:
            return self._step(messages, StepRequest(max_tokens=1)).ms
        except ContextLengthError:
            return None

    def write(
        self,
        messages: Sequence[Message],
        term: Term | None,
        skilled: bool = True,
        threshold: float | None = None,
        extra_prompt: str = "",
        sampling: Sampling | None = None,
    ) -> BenchStep:
        """Writes the step that follows some messages.

        Args:
            messages: The transcript.
            term: What may be written; None for any text.
            skilled: Whether the skill writes, or else the bare base.
            threshold: Minimum probability at which the contract's first opening is taken; None for the one on the
                skill's card.
            extra_prompt: Text that only this step sees, in its branch.
            sampling: Sampling of tokens; greedy where None.
        """
        from loraloop.adapters.base.messages import Message
        from loraloop.agent.engine.sampler import Sampler, Sampling
        from loraloop.agent.engine.step import StepRequest
        from loraloop.tool_schemas.errors import ContextLengthError, LimitError, SchemaError

        name, runtime = self.name if skilled else NONE, self.runtime
        weighs = skilled and term is not None
        extra = extra_prompt or (runtime.call_form(name) if weighs else "")
        openings = runtime.openings(name, runtime.contract(name), threshold) if weighs else None
        try:
            request = StepRequest(
                choice=name,
                grammar=None if term is None else runtime.grammar(term),
                extra_prompt=[[Message("user", extra)]] if extra else (),
                max_tokens=self._max_tokens,
                sampler=Sampler(sampling or Sampling()),
                openings=openings,
            )
            last = self._step(messages, request)
        except ContextLengthError:
            return BenchStep("", 0.0, False)
        except (LimitError, SchemaError):  # nothing valid was written
            return BenchStep("", 0.0)
        return BenchStep(last.text, last.ms, True, last.weighed, whole=last.reason in ("stop", "done"))

    def _step(self, messages: Sequence[Message], request: StepRequest) -> StepOutput:
        from loraloop.agent.engine.step import StepOutput, write_after

        *_, last = write_after(self.runtime.engine, self.runtime.base.chat.complete(messages), request)
        assert isinstance(last, StepOutput)
        return last


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores of base and skill on the same records.

    Attributes:
        contract: What is written.
        n: Records.
        main: The measure that stands for the contract.
        scores: Scores by system (`base`, `base_told`, `skill`, `skill_free`), `x` with `x_n`, `x_low`, `x_high`.
        step_ms: Mean time of a step, by system.
        samples: A few records with what was wanted and what each system wrote.
    """

    contract: str
    n: int
    main: str
    scores: dict[str, dict[str, float]]
    step_ms: dict[str, float]
    samples: list[dict[str, str]]


def measure(
    base: Base,
    skill: Skill,
    records: Sequence[Record],
    *,
    schema: dict[str, Any] | None = None,
    labels: Sequence[str] = (),
    instruction: str = "",
    max_tokens: int = 256,
    each: Callable[[], None] = lambda: None,
) -> Measured:
    """Lets base and skill write the step of each record under the same grammar, and scores what they wrote.

    A text skill that has a grammar is also measured without it (`skill_free`).

    Args:
        base: The base.
        skill: What was trained.
        records: Held-out records, at least one.
        schema: JSON Schema of what a text skill writes.
        labels: The completions of the training data: where they are few, a text step is a choice among them.
        instruction: A sentence that describes the task, for a third system: the base that was told (`base_told`).
        max_tokens: Most tokens of one step.
        each: Called after each record.
    """
    from loraloop.adapters.training.scoring.score import main_score, score

    contract = skill.card.contract
    bench = Bench(base, skill, max_tokens)
    choices = tuple(dict.fromkeys(labels)) if contract == "text" and schema is None else ()
    if len(choices) > min(LABELS, len(labels) // 4):
        choices = ()
    outputs: dict[str, list[str]] = {}
    spent: dict[str, float] = {}
    for record in records:
        term = term_of(base, record, schema, choices, bench.asks)
        bench.read(record.messages)
        asked = {"base": (record.messages, term, False)}
        if instruction:
            asked["base_told"] = (with_instruction(record.messages, instruction), term, False)
        asked["skill"] = (record.messages, term, True)
        if contract == "text" and term is not None:
            asked["skill_free"] = (record.messages, None, True)
        for name, (messages, form, skilled) in asked.items():
            step = bench.write(messages, form, skilled, extra_prompt=record.extra_prompt)
            outputs.setdefault(name, []).append(step.text)
            spent[name] = spent.get(name, 0.0) + step.ms
        each()
    scores = {name: score(contract, records, texts, runs_program) for name, texts in outputs.items()}
    found = {  # records of a user's have no names and kinds of their own
        name: {measure: value for measure, value in measures.items() if not measure.startswith("record")}
        for name, measures in scores.items()
    }
    samples = [
        {"place": f"{Path(record.place.file).name}:{record.place.line}", "request": record.request}
        | {"wanted": record.completion, **{name: texts[index] for name, texts in outputs.items()}}
        for index, record in enumerate(records[:SAMPLES])
    ]
    step_ms = {name: round(ms / len(records), 2) for name, ms in spent.items()}
    main = main_score(contract, found["skill"])
    return Measured(contract, len(records), main, scores=found, step_ms=step_ms, samples=samples)


def term_of(
    base: Base,
    step: Record,
    schema: dict[str, Any] | None = None,
    choices: Sequence[str] = (),
    asks: bool = False,
) -> Term | None:
    """The grammar of a record's step; of text, by a schema or a choice; None: free text.

    Args:
        base: The base.
        step: The record.
        schema: JSON Schema of a text step.
        choices: Completions of a text step that is one of a few.
        asks: Whether null may stand in calls for what nobody said.
    """
    from loraloop.adapters.skill.contracts import agreement_schema, answer_schema, code_grammar, verdict_schema
    from loraloop.tool_schemas import Tool, calls_schema
    from loraloop.tool_schemas.grammar.grammar import Choice, JsonSchema, Lark

    match step.contract:
        case "calls":
            tools = [Tool.from_schema(tool, on_unsupported="check") for tool in step.tools]
            return JsonSchema(calls_schema(tools, ask=asks), on_unsupported="check")
        case "answer":
            return JsonSchema(answer_schema(passage.id for passage in step.passages))
        case "verdict":
            return JsonSchema(verdict_schema())
        case "agreement":
            return JsonSchema(agreement_schema())
        case "code":
            return Lark(code_grammar(base.tokenizer.joins_fences), python=True)
    if schema is not None:
        return JsonSchema(schema, on_unsupported="check")
    return Choice(tuple(choices)) if choices else None


def with_instruction(messages: Sequence[Message], sentence: str) -> tuple[Message, ...]:
    """The messages with a sentence in front of the system message's content."""
    from loraloop.adapters.base import Message

    first, *rest = messages
    if first.role == "system":
        return (replace(first, content=f"{sentence}\n\n{first.content}"), *rest)
    return (Message("system", sentence), *messages)


def runs_program(program: str) -> bool:
    """Whether a program runs to its last line without an error in the sandbox; leaving early does not count."""
    from loraloop.agent.sandbox.sandbox import run_python

    result = run_python(f"{program}\n\nraise SystemExit({LAST_LINE})\n", timeout=8.0)
    return result.returncode == LAST_LINE and not result.timed_out
