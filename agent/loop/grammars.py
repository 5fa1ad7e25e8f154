"""The grammars of a run's steps: what each contract may write, compiled in the background before it is needed."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from loraloop.adapters.skill.contracts import answer_schema, code_grammar, verdict_schema
from loraloop.agent.tools.tool_choice import CallForm, enforced, forms_of
from loraloop.tool_schemas.errors import InputError, LoraloopError
from loraloop.tool_schemas.grammar.grammar import JsonSchema, Lark, Term

if TYPE_CHECKING:
    from loraloop.agent.engine.timer import Clock
    from loraloop.agent.loop.job import Job
    from loraloop.agent.runtime import Runtime
    from loraloop.tool_schemas.grammar.grammar import Grammar


class Forms:
    """What the steps of one run may write.

    Args:
        runtime: Compiles and keeps grammars.
        job: The run's.

    Attributes:
        calls: What the current step may call; the run begins with its first choice's.
    """

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self._runtime = runtime
        self._job = job
        self.calls, self._later = forms_of(job.tools, job.policy)
        self._unmasked: CallForm | None = None
        self._grammars: dict[tuple[str, bool, bool, tuple[str, ...]], Grammar] = {}

    def choice_made(self) -> None:
        """The run's first choice is over: from now on the tool choice is `auto`."""
        self.calls = self._later

    @property
    def opening(self) -> bool:
        """Whether the run's first choice is still to be made."""
        return (self._unmasked or self.calls) is not self._later

    def mask(self, names: Collection[str]) -> None:
        """Takes tools away from the current step; with none left, it can only call none."""
        self._unmasked = self._unmasked or self.calls
        left = tuple(tool for tool in self.calls.tools if tool.name not in names)
        self.calls = replace(self.calls, tools=left, least=self.calls.least if left else 0)

    def unmask(self) -> None:
        """Gives them back, for the next step."""
        self.calls, self._unmasked = self._unmasked or self.calls, None

    def check(self, contract: str, skill: str) -> None:
        """Checks that a skill has something to work on.

        Raises:
            InputError: It calls tools and there are none, or answers from passages and there are none.
        """
        if contract == "calls" and not self.calls.tools:
            raise InputError(f"skill {skill!r} calls tools, and there are none: give the agent tools, or leave it some")
        if contract == "answer" and not self._job.passages:
            raise InputError(f"skill {skill!r} answers from passages: give passages=[…] with the prompt")

    def begin(self) -> None:
        """Compiles in a thread of its own what this run is likely to need and nothing has compiled yet."""
        job = self._job
        terms: list[Term | None] = []
        calls = job.tools and job.policy.tool_choice != "none" and self._runtime.with_contract("calls")
        if calls:
            terms.append(self.calls.term)
        terms.append(job.output.term)
        if job.passages:
            terms.append(self.term("answer"))
        if calls and self._later is not self.calls:
            terms.append(self._later.term)
        missing = [term for term in terms if term is not None and not self._runtime.compiler.compiled(term)]
        if missing:
            threading.Thread(target=self._compile, args=(missing,), name="loraloop-compile").start()

    def term(self, contract: str, last: bool = False) -> Term | None:
        """The grammar source of a contract; None for free text.

        Args:
            contract: What the step writes.
            last: Whether it is the last repair of a step: tools that are not strict are then decoded as if they were.
        """
        if contract == "calls":
            return (enforced(self.calls) if last else self.calls).term
        if contract == "answer":
            return JsonSchema(answer_schema(passage.id for passage in self._job.passages))
        if contract == "verdict":
            return JsonSchema(verdict_schema())
        if contract == "code":
            return Lark(code_grammar(self._runtime.base.tokenizer.joins_fences), python=True)
        return self._job.output.term

    def differs(self, contract: str) -> bool:
        """Whether the last repair of a step has another grammar than the step."""
        return self.term(contract) != self.term(contract, last=True)

    def grammar(self, contract: str, clock: Clock, last: bool = False) -> Grammar | None:
        """The compiled grammar of a contract; None for free text. `clock` gets what had to be waited for."""
        key = contract, self.calls.required, last, tuple(tool.name for tool in self.calls.tools)
        if key not in self._grammars:
            term = self.term(contract, last)
            if term is None:
                return None
            ready = self._runtime.compiler.compiled(term)
            with nullcontext() if ready else clock.phase("compile"):
                self._grammars[key] = self._runtime.grammar(term)
        return self._grammars[key]

    def _compile(self, terms: list[Term]) -> None:
        for term in terms:
            try:
                self._runtime.grammar(term)
            except LoraloopError:  # the step that needs it meets the same error, and tells it
                continue
