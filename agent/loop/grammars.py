"""The grammars of a run's steps. They are compiled in the background before a step needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial

from loraloop.adapters.skill.contracts import answer_schema, code_grammar, verdict_schema
from loraloop.agent.engine.remote.grammar import RemoteGrammar
from loraloop.agent.engine.timer import Clock
from loraloop.agent.job import Job
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.tool_choice import CallForm, choice_of, forms_of, strict_form
from loraloop.tool_schemas.errors import InputError, LoraloopError
from loraloop.tool_schemas.grammar.grammar import Grammar, JsonSchema, Lark, Term


class StepGrammars:
    """The grammars of one run's steps.

    Args:
        runtime: Compiles grammars and caches them.
        job: What the run is asked to do.
    """

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self._runtime = runtime
        self._job = job
        policy = job.policy
        self._first, self._later = forms_of(
            job.tools, choice_of(policy.tool_choice), policy.min_calls, policy.max_calls
        )

    def calls(self, first: bool) -> CallForm:
        """The form of a step's calls. The tool choice holds for the run's first choice; later steps are free."""
        return self._first if first else self._later

    def with_asking(self, form: CallForm, skill: str) -> CallForm:
        """The form with `null` allowed for what the user has not given, if the skill was trained to write it.

        Asking is not allowed where a call or a typed answer is required, since a question to the user is neither. Where
        the skill is the base itself, calls have the base's own format.
        """
        form = replace(form, format=self._runtime.call_format(skill))
        able = skill in self._runtime.bank and self._runtime.bank.card(skill).asks
        return replace(form, ask=True) if able and not form.least and self._job.output.term is None else form

    def check(self, contract: str, skill: str, form: CallForm) -> None:
        """Checks that a skill has something to work on.

        Raises:
            InputError: It calls tools and there are none, or answers from passages and there are none.
        """
        if contract == "calls" and not form.tools:
            raise InputError(f"skill {skill!r} calls tools, and there are none: give the agent tools, or leave it some")
        if contract == "answer" and not self._job.passages:
            raise InputError(f"skill {skill!r} answers from passages: give passages=[…] with the prompt")

    def begin(self) -> None:
        """Starts a thread that compiles the grammars that this run is likely to need, and reads its skill."""
        job = self._job
        terms: list[Term | None] = [job.output.term]
        callers = self._runtime.with_contract("calls")
        if job.tools and job.policy.tool_choice != "none" and callers:
            first, later = (self.with_asking(form, callers[0]) for form in (self._first, self._later))
            terms = [first.term if first.required else later.term, job.output.term, later.term]
        if job.passages:
            terms.append(self.term("answer", self._later))
        missing = [each for each in terms if each is not None and not self._runtime.engine.compiled(each)]
        if missing:
            threading.Thread(target=self._compile, args=(missing, callers[:1]), name="loraloop-compile").start()

    def term(self, contract: str, form: CallForm, last: bool = False) -> Term | None:
        """The grammar source of a contract; None for free text.

        Args:
            contract: What the step writes.
            form: What it may call, and in which format.
            last: Whether it is the last repair of a step: tools that are not strict are then decoded as if they were.
        """
        if contract == "calls":
            return (strict_form(form) if last else form).term
        if contract == "answer":
            return JsonSchema(answer_schema(passage.id for passage in self._job.passages))
        if contract == "verdict":
            return JsonSchema(verdict_schema())
        if contract == "code":
            return Lark(code_grammar(self._runtime.base.tokenizer.joins_fences), python=True)
        return self._job.output.term

    def differs(self, contract: str, form: CallForm) -> bool:
        """Whether the last repair of a step has another grammar than the step."""
        return self.term(contract, form) != self.term(contract, form, last=True)

    def grammar(
        self, contract: str, form: CallForm, clock: Clock, *, last: bool, skill: str, remote: bool
    ) -> Grammar | None:
        """The compiled grammar of a contract; None for free text.

        A text skill whose recipe has a schema writes under that schema, unless the run has an output type.

        Args:
            contract: What the step writes.
            form: What it may call, and in which format.
            clock: Gets the time of compiling, as the phase `compile`, where the grammar is not compiled yet.
            last: Whether it is the last repair of a step; see `term`.
            skill: The skill that writes, or in whose place another model does; only that of a text skill matters.
            remote: Whether a server of another model writes, which needs the grammar in its own form.
        """
        schema = self._runtime.text_schema(skill) if contract == "text" and self._job.output.term is None else None
        term = self.term(contract, form, last) if schema is None else JsonSchema(schema, on_unsupported="check")
        if term is None:
            return None
        with nullcontext() if self._runtime.engine.compiled(term) else clock.phase("compile"):
            compiled = self._runtime.grammar(term)
        if remote and not isinstance(compiled, RemoteGrammar):
            return RemoteGrammar(term, compiled, self._runtime.base.tokenizer.encode)
        return compiled

    def _compile(self, terms: Sequence[Term], skills: Sequence[str]) -> None:
        engine = self._runtime.engine
        todo: list[Callable[[], object]] = [partial(engine.prepare, skill) for skill in skills]
        todo += [partial(engine.grammar, term) for term in terms]
        for prepare in todo:
            with suppress(LoraloopError):  # the step that needs it meets the same error, and tells it
                prepare()
