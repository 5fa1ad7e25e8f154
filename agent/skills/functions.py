"""The functions of the contracts: an answer, calls, code, a verdict, text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, Unpack, overload

from loraloop.adapters.skill.contracts import (
    Passage,
    answer_of,
    answer_schema,
    code_grammar,
    code_of,
    verdict_of,
    verdict_schema,
)
from loraloop.agent.engine.step import StepOutput
from loraloop.agent.messages import as_passages, as_tools
from loraloop.agent.skills.function import SkillFunction, StepOptions
from loraloop.agent.skills.results import AnswerResult, CallsResult, CodeResult, TextResult, VerdictResult
from loraloop.agent.values.output_type import OutputType
from loraloop.agent.values.tool_choice import check_names_free, choice_of, forms_of, strict_form
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown
from loraloop.tool_schemas.grammar.grammar import JsonSchema, Lark
from loraloop.tool_schemas.tools.calls import parse_calls
from loraloop.tool_schemas.tools.tool import Tool

V = TypeVar("V")

AnyTool = Tool | Callable[..., Any] | Mapping[str, Any]
AnyPassage = Passage | Mapping[str, Any] | str


class AnswerFunction(SkillFunction[AnswerResult]):
    """Answers a question from passages, or says that they do not hold the answer."""

    contract = "answer"

    def __call__(self, question: str, passages: Sequence[AnyPassage], **how: Unpack[StepOptions]) -> AnswerResult:
        """Answers `question` from `passages`: `Passage`s, mappings with their fields, or texts (numbered from 1).

        Raises:
            InputError: An empty question, no passage, or one that is unusable.
            ContextLengthError: They do not fit.
            LimitError: The answer does not fit into `max_tokens`, or took longer than `timeout`.
        """
        if isinstance(passages, str | Mapping | Passage):
            raise InputError("passages is one passage: give a list of them")
        documents = as_passages(passages)
        if not documents:
            raise InputError(f"skill {self.name!r} answers from passages, and there are none: give passages=[…]")
        known = {passage.id: passage for passage in documents}

        def read(wrote: StepOutput) -> AnswerResult:
            reply = answer_of(wrote.text)
            return AnswerResult(
                **self._common(wrote),
                answerable=reply.answerable,
                answer=reply.answer,
                citations=reply.citations,
                cited=tuple(known[each] for each in reply.citations),
                no_answer=wrote.weighed,
                no_answer_from=wrote.threshold,
            )

        return self._run(how, question, JsonSchema(answer_schema(known)), read, passages=documents)


class CallsFunction(SkillFunction[CallsResult]):
    """Writes the calls of tools that a request needs. It does not run them."""

    contract = "calls"

    def __call__(
        self,
        request: str,
        tools: Sequence[AnyTool],
        tool_choice: str | Mapping[str, Any] = "auto",
        max_calls: int = 8,
        **how: Unpack[StepOptions],
    ) -> CallsResult:
        """The calls for `request`, each valid under its tool's schema.

        Args:
            request: What the user wants.
            tools: Tools, typed functions, or JSON forms of tools.
            tool_choice: `auto` (also none), `required`, or a tool's name.
            max_calls: Most calls.
            **how: See `StepOptions`.

        Raises:
            InputError: An empty request, no tool, or a choice that cannot be kept.
            UnknownNameError: There is no such tool.
            SchemaError: A tool is unusable, or no valid call was found.
            ContextLengthError: They do not fit.
            LimitError: The calls do not fit into `max_tokens`, or took longer than `timeout`.
        """
        offered, choice = as_tools(tools), choice_of(tool_choice)
        if not offered:
            raise InputError(f"skill {self.name!r} calls tools, and there are none: give tools=[…]")
        check_names_free(offered)
        if choice == "none":
            raise InputError(
                f"tool_choice is 'none', but skill {self.name!r} only writes calls: use another tool_choice"
            )
        if choice not in ("auto", "required", *(tool.name for tool in offered)):
            raise unknown("tool or tool choice", choice, (*(tool.name for tool in offered), "auto", "required"))
        own = self._runtime.call_format(self.name)
        form = replace(strict_form(forms_of(offered, choice, most=max_calls)[0]), format=own)

        def read(wrote: StepOutput) -> CallsResult:
            calls = parse_calls(wrote.text, form.tools)
            common = self._common(wrote)
            return CallsResult(**common, calls=calls, no_call=wrote.weighed, no_call_from=wrote.threshold)

        return self._run(how, request, form.term, read, tools=offered)


class CodeFunction(SkillFunction[CodeResult]):
    """Writes a Python program. It does not run it."""

    contract = "code"

    def __call__(self, request: str, **how: Unpack[StepOptions]) -> CodeResult:
        """A program that does what is asked; it parses.

        Raises:
            InputError: An empty request.
            SchemaError: No program that parses was found.
            LimitError: It does not fit into `max_tokens`, or took longer than `timeout`.
        """
        term = Lark(code_grammar(self._runtime.base.tokenizer.joins_fences), python=True)

        def read(wrote: StepOutput) -> CodeResult:
            return CodeResult(**self._common(wrote), code=code_of(wrote.text))

        return self._run(how, request, term, read)


class VerdictFunction(SkillFunction[VerdictResult]):
    """Judges whether a text is unsafe."""

    contract = "verdict"

    def __call__(self, text: str, **how: Unpack[StepOptions]) -> VerdictResult:
        """The verdict on `text` as a user's message, whatever the router's screen would say.

        Raises:
            InputError: An empty text.
            ContextLengthError: It does not fit.
        """

        def read(wrote: StepOutput) -> VerdictResult:
            verdict = verdict_of(wrote.text)
            chance = float(verdict.unsafe) if wrote.weighed is None else wrote.weighed
            return VerdictResult(
                **self._common(wrote),
                unsafe=verdict.unsafe,
                category=verdict.category,
                probability=chance,
                threshold=wrote.threshold,
            )

        return self._run(how, text, JsonSchema(verdict_schema()), read)


class TextFunction(SkillFunction[TextResult[Any]]):
    """Writes text, or a value of a type: a skill of the contract `text`, or the bare base (`none`)."""

    contract = "text"

    @overload
    def __call__(
        self, prompt: str, output_type: type[V] | OutputType[V], **how: Unpack[StepOptions]
    ) -> TextResult[V]: ...
    @overload
    def __call__(self, prompt: str, output_type: None = None, **how: Unpack[StepOptions]) -> TextResult[None]: ...
    @overload
    def __call__(self, prompt: str, output_type: Any, **how: Unpack[StepOptions]) -> TextResult[Any]: ...
    def __call__(self, prompt: str, output_type: Any = None, **how: Unpack[StepOptions]) -> TextResult[Any]:
        """Writes what `prompt` asks for.

        Args:
            prompt: The user's message.
            output_type: What the text has to be; see `OutputType.of`. None for what the skill's recipe says: its
                schema, or any text.
            **how: See `StepOptions`.

        Raises:
            InputError: An empty prompt.
            SchemaError: The type cannot be enforced, or no value of it was found.
            LimitError: A value does not fit into `max_tokens`. Text that does not is returned as it is, not `complete`.
        """
        if output_type is None and self.name != NONE:
            output_type = self._runtime.text_schema(self.name)
        output = OutputType.of(output_type)

        def read(wrote: StepOutput) -> TextResult[Any]:
            return TextResult(**self._common(wrote), value=output.read(wrote.text), complete=wrote.whole)

        return self._run(how, prompt, output.term, read)


FUNCTIONS: dict[str, type[SkillFunction[Any]]] = {
    each.contract: each for each in (AnswerFunction, CallsFunction, CodeFunction, VerdictFunction, TextFunction)
}
"""The class of a skill's function, by contract."""
