"""Drafts change nothing but the number of forwards: the same tokens, text and end, whatever bounds it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Runtime
from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.sequence import RequestContext
from loraloop.agent.engine.drafts import Drafts
from loraloop.agent.engine.generate import Delta, Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.agent.engine.trunk import Trunk
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import JsonSchema

WORDS = ("one two three four five. ", "Order 7719 is late. ", '{"size": 12} ', "a b a b a c ")
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string", "maxLength": 40}, "size": {"type": "integer"}},
    "required": ["text", "size"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def bank(native_base: Base, make_skill: Callable[..., Skill]) -> Bank:
    made = Bank(native_base, slots=4)
    made.add(make_skill(native_base, "prose", "text", 1))
    made.add(make_skill(native_base, "whole", "text", 9, activation="full"))
    return made


@pytest.fixture(scope="module")
def compiler(native_base: Base) -> GrammarCompiler:
    return GrammarCompiler(native_base.vocabulary)


class Copyist(Sampler):
    """Takes the tokens of a script where they are allowed, else samples; keeps the logits that it was shown."""

    def __init__(self, sampling: Sampling, script: list[int]) -> None:
        super().__init__(sampling)
        self._script = script
        self.seen: list[torch.Tensor] = []

    def pick(self, logits: torch.Tensor) -> int:
        self.seen.append(logits.clone())
        token = self._script[len(self.seen) - 1] if len(self.seen) <= len(self._script) else None
        return token if token is not None and bool(logits[token].isfinite()) else super().pick(logits)


@dataclass(frozen=True)
class Job:
    """A text to be written, how it begins, and what bounds it."""

    prompt: str
    script: str
    skill: str
    limit: int
    sampling: Sampling
    stops: Sequence[str]
    cancelled_after: int | None
    schema: bool


jobs = st.builds(
    Job,
    prompt=st.lists(st.sampled_from(WORDS), min_size=2, max_size=24).map("".join),
    script=st.lists(st.sampled_from([*WORDS, "What? "]), max_size=3).map("".join),
    skill=st.sampled_from(["", "prose", "whole"]),
    limit=st.integers(1, 70),
    sampling=st.sampled_from(
        [Sampling(), Sampling(temperature=0.3, seed=5), Sampling(temperature=1.0, top_p=0.9, seed=6)]
    ),
    stops=st.lists(st.sampled_from(["a", "th", "e 1", "\n", "x"]), max_size=2),
    cancelled_after=st.one_of(st.none(), st.integers(0, 40)),
    schema=st.booleans(),
)


@dataclass(frozen=True)
class Written:
    """What came of a job; drafted and accepted tokens are no part of the comparison."""

    pieces: list[Delta]
    text: Generated
    left: list[int]
    drafts: Drafts
    logits: list[torch.Tensor]

    def is_same(self, other: Written) -> bool:
        """Whether the texts, their pieces and ends, what is left of them and all logits are the same, bit for bit."""
        return self._facts() == other._facts() and all(map(torch.equal, self.logits, other.logits))

    def _facts(self) -> tuple[Any, ...]:
        out = self.text
        ended = out.ids, out.text, out.reason, out.sampled, out.forced, out.spans
        return [piece.text for piece in self.pieces], *ended, self.left, len(self.logits)


def opened(scheduler: Scheduler, bank: Bank, job: Job) -> tuple[Trunk, Branch]:
    """A transcript that is read, and the branch of the job's skill."""
    base = scheduler.base
    trunk = Trunk(base, scheduler=scheduler)
    trunk.extend(base.chat.message("user", job.prompt))
    who = None
    if job.skill:
        card = bank.card(job.skill)
        who = Author(base.fingerprints.weights, job.skill, bank.slot(job.skill), card.activation, job.skill)
    return trunk, trunk.branch(who)


def write(trunk: Trunk, branch: Branch, compiler: GrammarCompiler, job: Job) -> Written:
    """Writes the text in the branch and closes it."""
    base, ends = trunk.base, job.cancelled_after  # tokens: a grammar that was used before asks a run less often
    limit = max(job.limit, 30) if job.schema else job.limit
    sampler = Copyist(job.sampling, base.tokenizer.encode(job.script))
    request = GenerateRequest(
        invocation=base.chat.generation_prompt,
        sampler=sampler,
        max_tokens=limit,
        bounds=RequestContext(cancelled=None if ends is None else lambda: len(sampler.seen) >= ends),
        stop_ids=base.end_ids,
        stops=job.sampling.stop,
        constraint=compiler.compile(JsonSchema(SCHEMA)).start() if job.schema else None,
    )
    *pieces, out = generate(branch, request)
    assert isinstance(out, Generated)
    branch.close(out.ids)
    return Written(pieces, out, list(trunk.ids), branch.drafts, sampler.seen)  # type: ignore[arg-type]


def without(base: Base, bank: Bank) -> Scheduler:
    scheduler = Scheduler(base, bank.attached)
    scheduler.drafts = False
    return scheduler


def expected(text: list[int], most: int) -> list[int]:
    """By its definition: what followed the longest end of a text at its last occurrence, if the one before agrees."""
    for size in range(min(most, len(text) - 1), 0, -1):
        ends = [at for at in range(size, len(text)) if text[at - size : at] == text[-size:]]
        if ends:
            agreed = len({text[at] for at in ends[-2:]}) == 1
            return text[ends[-1] : ends[-1] + size] if agreed else []
    return []


@settings(max_examples=300, deadline=None)
@given(
    context=st.lists(st.sampled_from([5, 6, 0xD800, 151_644]), max_size=14),
    text=st.lists(st.sampled_from([5, 6, 0xD800]), min_size=1, max_size=8),
    most=st.integers(-1, 8),
)
def test_a_draft_is_what_followed_the_end_of_the_text_before(context: list[int], text: list[int], most: int) -> None:
    drafts = Drafts(context, {151_644})
    found = expected([*context, *text], most)
    if 151_644 in found:
        found = found[: found.index(151_644)]
    assert drafts.after(text, most) == found
    assert drafts.drafted == len(found)


def test_a_text_whose_drafts_were_wrong_gets_them_for_longer_matches_only() -> None:
    context = [5, 6, 7, 8, 9]
    drafts = Drafts(context, ())
    while drafts.after([5], 7):
        assert drafts.drafted < 20
    assert drafts.drafted == 17 and not drafts.after([5, 6], 7) and drafts.after([5, 6, 7], 7) == [8, 9, 5]
    drafts.accepted = 3
    assert drafts.after([5], 7) == [6]


def test_a_trunk_keeps_no_token_that_only_a_draft_computed(native_base: Base) -> None:
    """Without drafts it is computed with what follows, in a forward of another shape."""
    trunk, encode = Trunk(native_base), native_base.tokenizer.encode
    trunk.extend(native_base.chat.message("user", "one two three. " * 3))
    branch, ids = trunk.branch(), [*native_base.chat.generation_prompt, *encode("one two")]
    branch.logits_after(ids[:-1])
    branch.logits_after(ids, draft=7)
    assert branch.ids == [*ids, *encode(" three.")], "a draft must have been computed"
    branch.close([*ids, *encode(" three")])
    assert trunk.pending == len(encode(" three"))


def test_a_text_is_the_same_with_drafts(native_base: Base, bank: Bank, compiler: GrammarCompiler) -> None:
    accepted = drafted = 0

    def write_on(scheduler: Scheduler, job: Job) -> Written:
        trunk, branch = opened(scheduler, bank, job)
        written = write(trunk, branch, compiler, job)
        trunk.extend(native_base.chat.message("user", "What then?"))
        written.logits.append(trunk.branch().feed(native_base.chat.generation_prompt))  # of what follows the text
        return written

    @settings(max_examples=40, deadline=None)
    @given(job=jobs)
    def check(job: Job) -> None:
        nonlocal accepted, drafted
        without_any, found = (
            write_on(scheduler, job)
            for scheduler in (without(native_base, bank), Scheduler(native_base, bank.attached))
        )
        assert found.is_same(without_any)
        assert without_any.drafts.drafted == 0
        accepted, drafted = accepted + found.drafts.accepted, drafted + found.drafts.drafted

    check()
    assert drafted > accepted > 20, "drafts must have been accepted and refused for this test to mean anything"


@settings(max_examples=8, deadline=None)
@given(batch=st.lists(jobs, min_size=2, max_size=4))
def test_texts_that_are_written_at_once_are_the_same(
    native_base: Base, bank: Bank, compiler: GrammarCompiler, batch: list[Job]
) -> None:
    """Once their transcripts are read: prompts beside runs that generate are cut into chunks as time allows."""
    shared, found = Scheduler(native_base, bank.attached), dict[int, Written]()
    begun = [opened(shared, bank, job) for job in batch]

    def run(at: int) -> None:
        found[at] = write(*begun[at], compiler, batch[at])

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(batch))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for at, job in enumerate(batch):
        alone = write(*opened(without(native_base, bank), bank, job), compiler, job)
        assert found[at].is_same(alone)


TEXT = "The depot at Linden Street 14 opens at 7:30. Bring the order number PX-20418 and an identity card. "
PROGRAM = "def late(loans, today):\n    return [loan for loan in loans if loan.due < today and not loan.returned]\n"


@pytest.mark.parametrize(
    ("skill", "prompt"),
    [
        ("none", f"{TEXT}\n\nRepeat this text word for word."),
        ("code", f"{PROGRAM}\nRename `late` to `overdue` in this function."),
    ],
)
def test_the_embedded_base_repeats_its_context_in_fewer_forwards(
    base: Base, one_base: None, skill: str, prompt: str
) -> None:
    """Greedy text of the real base is token for token the same, and a repetition takes fewer forwards than tokens."""
    runtime = Runtime.load(base.name)
    engine = runtime.engine

    def run(drafts: bool) -> Written:
        scheduler = Scheduler(runtime.base, runtime.bank.attached)
        scheduler.drafts = drafts
        trunk = Trunk(runtime.base, scheduler=scheduler)
        trunk.extend(base.chat.message("user", prompt))
        with engine.activate(skill) as active:
            branch, sampler = trunk.branch(active.author), Copyist(Sampling(), [])
            request = GenerateRequest(
                invocation=base.chat.generation_prompt,
                sampler=sampler,
                max_tokens=48,
                stop_ids=base.end_ids,
            )
            *pieces, out = generate(branch, request)
        assert isinstance(out, Generated)
        return Written(pieces, out, trunk.ids, branch.drafts, sampler.seen)  # type: ignore[arg-type]

    plain, drafted = run(False), run(True)
    assert drafted.is_same(plain)
    assert drafted.drafts.accepted >= len(plain.text.ids) // 4
