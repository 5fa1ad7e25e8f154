"""The grammar interface: terms say what may be written; a compiled grammar masks and forces tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.schema.dialect import Bounds
from loraloop.tool_schemas.schema.findings import OnUnsupported

if TYPE_CHECKING:
    import torch

    from loraloop.tool_schemas.grammar.effort import Effort


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that fits a schema, in compact form.

    Attributes:
        schema: The JSON Schema.
        bounds: What to add where the schema sets no bound; None decodes exactly the schema.
        on_unsupported: What to do about a keyword that the engine ignores or only approximates: ``"refuse"`` raises
            with its JSON path; ``"check"`` leaves it out of the grammar and has jsonschema check each value that it
            governs as soon as the value closes.
    """

    schema: dict[str, Any] | bool
    bounds: Bounds | None = field(default_factory=Bounds)
    on_unsupported: OnUnsupported = "refuse"


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that matches a regular expression as a whole (Rust's `regex` syntax, no look-around).

    Attributes:
        pattern: The expression.
    """

    pattern: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the given texts.

    Attributes:
        options: The texts.
    """

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lark:
    """Text of a context-free grammar in llguidance's variant of Lark; its start rule is ``start``.

    Attributes:
        grammar: The text.
        python: Whether it describes a fenced block of Python whose code must also parse (`PythonGrammar`).
        openers: Characters with which calls begin, for a grammar of calls. Where the text may be empty, the empty text
            stands for any other text that the model would rather write, unless that begins with one of these.
    """

    grammar: str
    python: bool = False
    openers: str | None = None


Term = JsonSchema | Regex | Choice | Lark


def term_of(form: Any) -> Term:
    """The term for a type.

    Args:
        form: A term (returned as it is), a JSON Schema as a dict, or anything that Outlines understands: a pydantic
            model, a dataclass, ``Literal``, an enum, ``int``, ``list[str]``, ``outlines.regex(…)``,
            ``outlines.json_schema(…)``, ``outlines.cfg(…)`` …

    Raises:
        SchemaError: If it means nothing to Outlines.
    """
    if isinstance(form, JsonSchema | Regex | Choice | Lark):
        return form
    if isinstance(form, dict):
        return JsonSchema(form)
    from outlines.types import dsl

    try:
        term = form if isinstance(form, dsl.Term) else dsl.python_types_to_terms(form)
        if isinstance(term, dsl.JsonSchema):
            schema = term.schema
            return JsonSchema(json.loads(schema) if isinstance(schema, str) else schema)
        if isinstance(term, dsl.CFG):
            return Lark(term.definition)
        if isinstance(term, dsl.Alternatives):
            texts = [each.value for each in term.terms if isinstance(each, dsl.String)]
            if len(texts) == len(term.terms):
                return Choice(tuple(texts))
        return Regex(dsl.to_regex(term))
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].partition(" Please open")[0] or type(error).__name__
        raise SchemaError(
            f"{form!r} cannot be decoded: {reason.rstrip('.')}; "
            "give a pydantic model, a Literal, a JSON Schema, Regex, Choice or Lark"
        ) from error


class State(Protocol):
    """A place in a text that a grammar governs. Not for use by two threads at once; forks are independent."""

    @property
    def done(self) -> bool:
        """Whether the text is complete and nothing can follow."""

    @property
    def can_stop(self) -> bool:
        """Whether the text is complete as it stands."""

    def forced(self) -> list[int]:
        """The tokens about which there is no choice from here; empty if there is one. Does not accept them."""

    def mask_(self, logits: torch.Tensor) -> None:
        """Sets the logits [V] of tokens that cannot follow to minus infinity, in place.

        Where `can_stop` holds, the end-of-sequence token stays allowed.
        """

    def accept(self, tokens: Sequence[int]) -> None:
        """Moves on by tokens, all or none of them.

        Raises:
            InputError: If one of them cannot follow.
            Violation: If they complete a value that fails a check (only where the term says ``"check"``).
            LimitError: If the grammar became too costly to follow.
        """

    def rollback(self, n: int) -> None:
        """Takes back the last `n` accepted tokens."""

    def fork(self) -> State:
        """An independent copy of this place."""

    def closing(self, limit: int, effort: Effort | None = None) -> list[int] | None:
        """A short path of at most `limit` tokens to a place where `can_stop` holds; None if none was found.

        Args:
            limit: The largest number of tokens.
            effort: What the search may take; None for that of one search.
        """


class Grammar(Protocol):
    """A term compiled against a tokenizer; can be shared by any number of threads."""

    def start(self) -> State:
        """The state before the first token."""
