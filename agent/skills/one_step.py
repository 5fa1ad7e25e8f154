"""One step of a skill on messages: not routed, screened or acted on. Its trunk is the base's, and is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from loraloop.adapters.skill.blank import is_blank
from loraloop.adapters.skill.contracts import openings
from loraloop.agent.engine.generate import Budget, Delta, Generated
from loraloop.agent.engine.sampler import EndChoice, Sampler, Sampling, TwoWayChoice
from loraloop.agent.engine.sequence import Claim
from loraloop.agent.limits import check_number, check_probability
from loraloop.agent.skills.threads import exit_waits, until_exit
from loraloop.agent.step import Tokens
from loraloop.tool_schemas.errors import LimitError, SchemaError

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.best_of_n import Tries
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.generate import Form
    from loraloop.agent.engine.ledger import Active, Author
    from loraloop.agent.engine.trunk import Trunk, TrunkStore
    from loraloop.tool_schemas.grammar.grammar import Grammar, State
    from loraloop.tool_schemas.tools.call_format import CallFormat


GREEDY = Sampling()
ASKING = '{"ask"', "["
"""How a step of a tools skill begins that asks for arguments, and one that does not."""


class SkillRuntime(Protocol):
    """What one step of a skill needs of a runtime."""

    base: Base
    bank: Bank
    store: TrunkStore

    def trunk(self) -> Trunk: ...

    def grammar(self, term: Any) -> Grammar: ...

    def contract(self, skill: str) -> str: ...

    def check(self, skill: str) -> None: ...

    def text_schema(self, skill: str) -> dict[str, Any] | None: ...

    def threshold(self, skill: str) -> float | None: ...

    def ask_threshold(self, skill: str) -> float | None: ...

    def activate(self, skill: str) -> AbstractContextManager[Active]: ...

    def generate(
        self,
        branch: Branch,
        invocation: Sequence[int],
        sampler: Sampler,
        budget: Budget,
        tries: Tries | None = None,
        call_format: CallFormat | None = None,
        **form: Unpack[Form],
    ) -> Iterator[Delta | Generated]: ...


@dataclass(frozen=True, slots=True)
class HowWritten:
    """How a step is written.

    Attributes:
        max_tokens: That it may generate.
        sampling: How tokens are drawn; greedy by default.
        stops: Strings that end a text without a form.
        threshold: Of what the contract weighs; the one on the skill's card where None.
        timeout: Seconds for the step; None for no bound.
        cancelled: Asked before every token.
        extra_prompt: Text that only this step sees, in its branch.
    """

    max_tokens: int = 512
    sampling: Sampling = GREEDY
    stops: tuple[str, ...] = ()
    threshold: float | None = None
    timeout: float | None = None
    cancelled: Callable[[], bool] | None = None
    extra_prompt: str = ""

    def __post_init__(self) -> None:
        check_number("max_tokens", self.max_tokens, least=1)
        check_probability("threshold", self.threshold)
        if self.timeout is not None:
            check_number("timeout", self.timeout, above=0, unit=" seconds", why=", or None for no bound")


@dataclass(frozen=True, slots=True)
class Wrote:
    """A step that was written.

    Attributes:
        text: What it says.
        reason: Why it ended: `stop` or `done` by itself, `tokens`, `deadline` or `cancelled` at a limit.
        tokens: Counts.
        ms: Milliseconds, with the prefill.
        weighed: Probability of the first of the two ways that its contract weighs; None where it weighs none.
        threshold: From which it takes that way.
    """

    text: str
    reason: str
    tokens: Tokens
    ms: float
    weighed: float | None
    threshold: float | None

    @property
    def whole(self) -> bool:
        """Whether it ended by itself rather than at a limit."""
        return self.reason in ("stop", "done")


def write_greedily(
    runtime: SkillRuntime, trunk: Trunk, author: Author, grammar: Grammar, tokens: int, two_way: TwoWayChoice | None
) -> Generated:
    """Generates greedily in a branch at the trunk's end, and closes the branch: the trunk is left as it was."""
    out, branch = Generated(), trunk.branch(author)
    try:
        for piece in runtime.generate(
            branch,
            runtime.base.chat.generation_prompt,
            Sampler(GREEDY),
            Budget(tokens),
            stop_ids=runtime.base.end_ids,
            constraint=grammar.start(),
            two_way=two_way,
        ):
            if isinstance(piece, Generated):
                out = piece
    finally:
        branch.close()
    return out


@exit_waits
def write_step(
    runtime: SkillRuntime,
    messages: Sequence[Message],
    skill: str,
    term: Any = None,
    how: HowWritten | None = None,
    *,
    weigh: bool = False,
    sampler: Sampler | None = None,
) -> Iterator[Delta | Wrote]:
    """Lets a skill write its step after `messages`; yields pieces of text, then one `Wrote`, last.

    The skill is active from the generation prompt on. What it writes does not stay in the trunk.

    Args:
        runtime: Where it runs.
        messages: The transcript.
        skill: The skill's name; `none` is the bare base.
        term: What may be written; None for any text.
        how: Bounds and sampling.
        weigh: Whether the two ways of the skill's contract are weighed, as `term` is that contract's.
        sampler: Draws instead of a fresh one of `how.sampling`.

    Raises:
        UnknownNameError: There is no such skill.
        ContextLengthError: The messages leave no room in the context.
        SchemaError: The term cannot be enforced, or no value was found that passes its checks.
        LimitError: No text of the term fits into the tokens, or every slot is in use.
    """
    how, start, chat = how or HowWritten(), perf_counter(), runtime.base.chat
    deadline = None if how.timeout is None else monotonic() + how.timeout
    cancelled = until_exit(how.cancelled)
    grammar = None if term is None else runtime.grammar(term)
    complete = chat.complete(messages)
    trunk = runtime.store.take(complete) or runtime.trunk()
    trunk.claim = Claim(0, deadline, cancelled)
    try:
        for message in complete[len(trunk.messages) :]:
            trunk.append(message, chat.message(message.role, message.content, not trunk.messages))
        with runtime.activate(skill) as active:
            branch = trunk.branch(active.author)
            try:
                budget = Budget(min(how.max_tokens, _room(trunk, branch.left, runtime)), deadline, cancelled)
                state, out = None if grammar is None else grammar.start(), Generated()
                two_way = openings_of(runtime, skill, active.contract, how.threshold) if weigh else None
                form = how.extra_prompt or (call_form_of(runtime, skill) if weigh else "")
                told = chat.message("user", form) if form else []
                for piece in runtime.generate(
                    branch,
                    [*told, *chat.generation_prompt],
                    sampler or Sampler(how.sampling),
                    budget,
                    stop_ids=runtime.base.end_ids,
                    constraint=state,
                    stops=how.stops,
                    two_way=two_way,
                    call_format=call_format_of(runtime, skill) if weigh else None,
                ):
                    if isinstance(piece, Delta):
                        yield piece
                    else:
                        out = piece
                _check_whole(out, state)
                new = branch.recomputed if active.author.activation == "full" else branch.prefilled
                tokens = Tokens(
                    prefilled=branch.prefilled,
                    reused=branch.start - new,
                    generated=len(out.ids),
                    forced=out.forced,
                    spans=out.spans,
                    recomputed=branch.recomputed,
                    retried=out.retried,
                )
            finally:
                branch.close()
    finally:
        runtime.store.put(trunk)
    ms = round((perf_counter() - start) * 1e3, 3)
    yield Wrote(out.text, out.reason, tokens, ms, weighed=out.weighed, threshold=out.threshold)


def openings_of(
    runtime: SkillRuntime, skill: str, contract: str, threshold: float | None = None, ask: float | None = None
) -> TwoWayChoice | None:
    """What weighs unsafe against safe, no call against a call, or no answer against one.

    Args:
        runtime: Of the skill.
        skill: Which one writes.
        contract: What it writes.
        threshold: The probability from which the first is taken; the one on the skill's card where None.
        ask: The probability from which a step for calls asks for arguments; the one on the skill's card where None.

    Returns:
        None for a contract that weighs nothing.
    """
    threshold = runtime.threshold(skill) if threshold is None else threshold
    if contract == "calls" and call_format_of(runtime, skill) is not None:
        return EndChoice(runtime.base.chat.closing[0], threshold)
    chosen = two_way_choice(runtime.base, contract, threshold)
    least = runtime.ask_threshold(skill) if ask is None else ask
    if chosen is not None and contract == "calls" and least is not None:
        asked = [runtime.base.tokenizer.encode(way) for way in ASKING]
        chosen.before = TwoWayChoice(*ASKING, runtime.base.tokenizer.token_bytes, least, (asked[0], asked[1]))
    return chosen


def two_way_choice(base: Base, contract: str, threshold: float | None) -> TwoWayChoice | None:
    """The same, of a base and a threshold; None: what is likelier, token by token, is written."""
    ways = openings(contract)
    if ways is None:
        return None
    first, second = map(base.tokenizer.encode, ways)
    return TwoWayChoice(*ways, base.tokenizer.token_bytes, threshold, (first, second))


def call_form_of(runtime: SkillRuntime, skill: str) -> str:
    """What the base is told of the form of calls, where it writes them without having been trained to; else empty."""
    card = runtime.bank.card(skill) if skill in runtime.bank else None
    return runtime.base.prompting.call_form if card and card.contract == "calls" and is_blank(card) else ""


def call_format_of(runtime: SkillRuntime, skill: str) -> CallFormat | None:
    """The base's own format of calls, if this skill is the base itself and writes in it; else None."""
    card = runtime.bank.card(skill) if skill in runtime.bank else None
    return runtime.base.chat.calls if card is not None and card.contract == "calls" and is_blank(card) else None


def _room(trunk: Trunk, left: int, runtime: SkillRuntime) -> int:
    """Tokens that a branch with so many positions left may generate: at least one."""
    prompt = len(runtime.base.chat.generation_prompt)
    trunk.room(trunk.context - left - len(trunk.ids) + prompt + 1)  # virtual tokens take positions too
    return left - prompt


def _check_whole(out: Generated, state: State | None) -> None:
    """Raises if a text that had to pass checks ended before it did."""
    if state is None:
        return
    if out.reason == "unenforced":
        raise SchemaError(f"no value was found that passes its check ({out.problem}); loosen the schema")
    if not state.can_stop:
        raise LimitError(f"no text that passes its checks was found in {len(out.ids)} tokens: raise max_tokens")
