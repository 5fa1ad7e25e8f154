"""The grammar interface: terms say what may be written, a compiled grammar masks and forces tokens."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.dialect import Bounds
from loraloop.tool_schemas.single_flight import SingleFlight

if TYPE_CHECKING:
    import torch

    from loraloop.tool_schemas.grammar.llguidance_engine import LlguidanceEngine

OnUnsupported = Literal["refuse", "check"]


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
    """

    grammar: str
    python: bool = False


Term = JsonSchema | Regex | Choice | Lark


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

    def closing(self, limit: int) -> list[int] | None:
        """A short path of at most `limit` tokens to a place where `can_stop` holds; None if none was found."""


class Grammar(Protocol):
    """A term compiled against a tokenizer; can be shared by any number of threads."""

    def start(self) -> State:
        """The state before the first token."""


class GrammarCompiler:
    """Compiles terms for one tokenizer and keeps the results.

    Args:
        tokenizer_json: The tokenizer as the `tokenizers` library writes it.
        vocab_size: Number of logits.
        eos_id: The token, or tokens, that end a text.
    """

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_id: int | Sequence[int]) -> None:
        self._tokenizer = (tokenizer_json, vocab_size, eos_id)
        self._engine: LlguidanceEngine | None = None
        self._compiled: SingleFlight[Grammar] = SingleFlight(256)
        self._lock = threading.Lock()

    def engine(self) -> LlguidanceEngine:
        """The engine; the first call reads the tokenizer (a quarter of a second for 49 152 tokens)."""
        with self._lock:
            if self._engine is None:
                from loraloop.tool_schemas.grammar.llguidance_engine import LlguidanceEngine

                self._engine = LlguidanceEngine(*self._tokenizer)
            return self._engine

    def compile(self, term: Any) -> Grammar:
        """Compiles a term, or returns what an earlier call made of the same one.

        Threads that ask for one term at the same time compile it once.

        Args:
            term: A `Term`, a JSON Schema as a dict, or what `term_of` takes.

        Raises:
            SchemaError: With the JSON path, if the term cannot be enforced exactly.
        """
        from loraloop.tool_schemas.grammar.terms import term_of

        said = term_of(term)
        return self._compiled.get(_key(said), lambda: self.engine().compile(said))

    @property
    def kept(self) -> tuple[int, int]:
        """Grammars that are kept, and how many may be."""
        return len(self._compiled), self._compiled.limit

    def compiled(self, term: Any) -> bool:
        """Whether `compile` would return at once."""
        from loraloop.tool_schemas.grammar.terms import term_of

        return self._compiled.ready(_key(term_of(term)))


def _key(term: Term) -> str:
    """Equal for terms that compile to the same grammar."""
    if isinstance(term, JsonSchema):
        return f"{term.on_unsupported}{term.bounds!r}{dumps(term.schema)}"
    return repr(term)
