"""The base and its skills as a model of the `outlines` package, so that its generators write what they are asked for.

`outlines.Generator` takes only instances of the model classes that it knows. Of these, offline vLLM is the closest: a
model in this process that enforces types itself. So that class is subclassed, and nothing of vLLM is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from outlines.inputs import Chat
from outlines.models.vllm_offline import VLLMOffline

from loraloop.adapters.base.messages import ROLES, Message
from loraloop.agent.engine.generate import Delta
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.step import StepRequest, write_after
from loraloop.agent.threads import run_all
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown
from loraloop.tool_schemas.grammar.grammar import JsonSchema, term_of
from loraloop.tool_schemas.schema.findings import OnUnsupported

if TYPE_CHECKING:
    from loraloop.agent.skills.function import SkillRuntime
    from loraloop.tool_schemas.grammar.grammar import Term

BATCH = 16
"""Answers of a batch that are written at a time."""
_SAMPLING = ("temperature", "top_p", "min_p", "seed")
_OPTIONS = ("max_tokens", "max_new_tokens", "stop", "n", *_SAMPLING)


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of one call."""

    tokens: int
    n: int
    sampling: Sampling


class OutlinesModel(VLLMOffline):
    """A runtime's base, or one of its skills, for `outlines`; see `Runtime.as_outlines`.

    Args:
        runtime: Where it runs.
        skill: The skill that writes; None for the bare base.
        max_tokens: Tokens of one answer, where a call does not say.
        on_unsupported: What becomes of keywords of a JSON Schema that no grammar enforces; see `JsonSchema`.

    Raises:
        UnknownNameError: There is no such skill.
    """

    def __init__(
        self,
        runtime: SkillRuntime,
        skill: str | None = None,
        max_tokens: int = 512,
        on_unsupported: OnUnsupported = "refuse",
    ) -> None:
        runtime.check(skill or NONE)
        self.runtime = runtime
        self.skill = skill or NONE
        self.max_tokens = max_tokens
        self.on_unsupported = on_unsupported
        self.tokenizer = runtime.base.tokenizer

    def generate(self, model_input: Any, output_type: Any = None, **inference_kwargs: Any) -> str | list[str]:
        """Writes one answer, or `n` of them.

        Args:
            model_input: A text, which becomes the user's message, or an `outlines.inputs.Chat`.
            output_type: Anything that `term_of` takes; None for free text.
            inference_kwargs: `max_tokens` (or `max_new_tokens`), `temperature`, `top_p`, `min_p`, `seed`, `stop`, `n`.

        Raises:
            SchemaError: The type cannot be enforced, with the JSON path, or no value was found that passes its checks.
            LimitError: No text of the type fits into `max_tokens`.
            ContextLengthError: The prompt leaves no room in the context.
            InputError: An option is out of range, or the chat is not one of texts.
            UnknownNameError: An option is none of ours.
        """
        options = self._options(inference_kwargs)
        messages, term = _messages(model_input), self._term(output_type)
        sampler = Sampler(options.sampling)
        texts = ["".join(self._written(messages, term, options, sampler)) for _ in range(options.n)]
        return texts[0] if options.n == 1 else texts

    def generate_batch(self, model_input: Sequence[Any], output_type: Any = None, **inference_kwargs: Any) -> Any:
        """Writes an answer to each of several inputs, side by side; what their prompts share is read once."""
        self._options(inference_kwargs)
        term = self._term(output_type)
        jobs = [partial(self.generate, each, term, **inference_kwargs) for each in model_input]
        return run_all(jobs, BATCH)

    def generate_stream(self, model_input: Any, output_type: Any = None, **inference_kwargs: Any) -> Iterator[str]:
        """Writes one answer piece by piece. A piece is given out once the text can be completed from there."""
        options = self._options(inference_kwargs)
        if options.n != 1:
            raise InputError(f"n is {options.n}: a stream is of one answer")
        messages, term = _messages(model_input), self._term(output_type)
        return self._written(messages, term, options, Sampler(options.sampling))

    def _term(self, output_type: Any) -> Term | None:
        """The grammar of the answer; compiled here, so that a type that cannot be enforced is refused at once."""
        if output_type is None:
            return None
        term = term_of(output_type)
        if isinstance(term, JsonSchema) and term is not output_type:
            term = replace(term, on_unsupported=self.on_unsupported)
        self.runtime.grammar(term)
        return term

    def _options(self, options: dict[str, Any]) -> _Options:
        for name in options:
            if name not in _OPTIONS:
                raise unknown("option", name, _OPTIONS)
        if "max_tokens" in options and "max_new_tokens" in options:
            raise InputError("max_tokens and max_new_tokens say the same: give one of them")
        tokens = options.get("max_tokens", options.get("max_new_tokens", self.max_tokens))
        stop = options.get("stop") or ()
        stop = (stop,) if isinstance(stop, str) else stop
        n = options.get("n", 1)
        if tokens < 1 or n < 1:
            raise InputError(f"max_tokens is {tokens} and n is {n}: both must be at least 1")
        drawn = {name: options[name] for name in _SAMPLING if options.get(name) is not None}
        return _Options(tokens, n, Sampling(**drawn, stop=stop))

    def _written(
        self, messages: Sequence[Message], term: Term | None, options: _Options, sampler: Sampler
    ) -> Iterator[str]:
        request = StepRequest(
            choice=self.skill,
            grammar=None if term is None else self.runtime.grammar(term),
            max_tokens=options.tokens,
            sampler=sampler,
        )
        for piece in write_after(self.runtime.engine, self.runtime.base.chat.complete(messages), request):
            if isinstance(piece, Delta) and piece.text:
                yield piece.text


def _messages(prompt: Any) -> list[Message]:
    """The messages of a prompt."""
    if isinstance(prompt, str):
        if not prompt:
            raise InputError("the prompt is empty: say what should be written")
        return [Message("user", prompt)]
    if not isinstance(prompt, Chat):
        raise InputError(f"{type(prompt).__name__} is not a prompt: give a str or an outlines.inputs.Chat of texts")
    messages = []
    for each in prompt.messages:
        role, content = each.get("role"), each.get("content")
        if isinstance(content, list):
            content = _text(content)
        if not isinstance(content, str):
            raise InputError("a message of the chat is not text: this model reads nothing else")
        if role not in ROLES:
            raise unknown("role", str(role), ROLES)
        messages.append(Message(role, content))
    if not messages:
        raise InputError("the chat is empty: add a message")
    return messages


def _text(parts: Sequence[Any]) -> str | None:
    """The text of a message in parts; None if one of them is something else."""
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    found = [text for text in texts if isinstance(text, str)]
    return "\n".join(found) if len(found) == len(texts) else None
