"""The engine of another process: an OpenAI-compatible server (vLLM, SGLang, llama-server, Ollama) writes the steps.

The transcript stays here, and the server reads it whole at each step, laid out by its own chat template. What a
grammar allows is enforced there as far as the server can, and checked here all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.agent.engine.cache.ledger import Active, Author
from loraloop.agent.engine.cache.prefix_cache import CacheStats, Memory
from loraloop.agent.engine.generate import Delta
from loraloop.agent.engine.remote.adapters import load_adapters
from loraloop.agent.engine.remote.grammar import Kind, RemoteGrammar
from loraloop.agent.engine.remote.server import RefusedError, RemoteServer
from loraloop.agent.engine.scheduler import SchedulerStats, bound_children
from loraloop.agent.engine.step import OpenStep, StepOutput, StepRequest
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.values.step import Tokens
from loraloop.tool_schemas.errors import BaseModelError, InputError, SchemaError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import Term, term_of

if TYPE_CHECKING:
    from pathlib import Path

    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.tool_schemas.grammar.grammar import Grammar

MISSING = (
    "a skill acts on the whole context, and the server keeps no trunk that skills share",
    "thresholds of skills (no call, no answer, unsafe) are not applied",
    "an answer may begin like a call: it is then asked for again, and refused where it does so twice",
    "programs are checked and not enforced while they are written",
    "skills other than tools, code, retrieval and safety are not used: the base itself says what came of calls",
    "tokens are counted by the tokenizer of the router's base",
)
"""What no server does."""
CUT_OFF = ("abort", "error")
"""Reasons of a server to end a text that is not whole then, besides the limit of tokens."""
UNENFORCED_HERE = {"openai": ("a skill is the server's model under a grammar", "patterns are checked and not enforced")}


class RemoteStep:
    """A step that a server writes; see `OpenStep`."""

    def __init__(self, engine: RemoteEngine, trunk: Transcript, request: StepRequest) -> None:
        chat = engine.base.chat
        self.active = Active(Author(engine.base.fingerprints.weights, activation="full"), 0.0)
        self.request, self.output = request, StepOutput()
        self.room = trunk.context - len(trunk.ids) - len(chat.generation_prompt) - len(chat.closing)
        self._engine, self._trunk, self._chat = engine, trunk, chat
        self._extra, self._first, self._tokens = tuple[Message, ...](), 0.0, Tokens()

    def write(self) -> Iterator[Delta]:
        """Writes the text. Text under a grammar is given out when it is whole and has been checked."""
        request, encode, start = self.request, self._engine.base.tokenizer.encode, perf_counter()
        body = self._body()
        text, reason = yield from self._read(body)
        words = [Message("user", request.plain_words)] if request.plain_words else []
        if words and self._calls(text) and not self._gone():  # as the base here is told where it would begin so
            body["messages"] = self._messages(words)
            text, reason = yield from self._read(body)
        reason = self._gone() or ("tokens" if reason == "length" else "stop")
        problem = ""
        if self._calls(text) and reason in ("stop", "tokens"):
            reason, problem = "unenforced", "it begins like a call, and it has to be an answer in words"
        if request.grammar is not None and reason == "stop":
            assert isinstance(request.grammar, RemoteGrammar)
            try:
                text = request.grammar.read(text)
                yield Delta(text, len(encode(text)))
            except SchemaError as error:
                reason, problem = "unenforced", str(error)
        request.clock.add("decode", perf_counter() - start)
        self.output = StepOutput(encode(text), text, reason, problem=problem, first=self._first, tokens=self._tokens)
        self._engine.written += self._tokens.generated

    def _read(self, body: dict[str, Any]) -> Generator[Delta, None, tuple[str, str]]:
        """Gives out free text that does not begin like a call; counts tokens. Returns all text, and why it ended."""
        text, shown, reason, usage = "", 0, "", dict[str, Any]()
        for chunk in self._engine.stream(body, self._gone):
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices") or ():
                piece = (choice.get("delta") or {}).get("content") or ""
                reason = choice.get("finish_reason") or reason
                self._first = self._first or (perf_counter() if piece else 0.0)
                text += piece
                if piece and self.request.grammar is None and text.strip() and not self._calls(text):
                    yield Delta(text[shown:], len(self._engine.base.tokenizer.encode(text[shown:])))
                    shown = len(text)
        if reason == "content_filter" and not self._gone():
            raise RefusedError(self._engine.server.url, 200, f"it broke off and says {reason!r}")
        if reason in CUT_OFF and not self._gone():
            raise BaseModelError(f"the server at {self._engine.server.url} broke off: it says {reason!r}")
        prompt, before = int(usage.get("prompt_tokens") or 0), self._tokens
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        self._tokens = Tokens(
            prefilled=before.prefilled + prompt - cached,
            reused=before.reused + cached,
            generated=before.generated + len(self._engine.base.tokenizer.encode(text)),
        )
        return text, reason

    def _calls(self, text: str) -> bool:
        """Whether free text begins as it must not."""
        return self.request.grammar is None and text.lstrip()[:1] in tuple(self.request.not_first)

    def keep(self, message: Message) -> None:
        """Appends what was written to the transcript."""
        self._trunk.append(message, [*self._chat.generation_prompt, *self.output.ids, *self._chat.closing])

    def _gone(self) -> str:
        return self._trunk.request_context.gone() or ""

    def _body(self) -> dict[str, Any]:
        request, engine = self.request, self._engine
        for messages in request.extra_prompt:
            size = sum(len(self._chat.message(each.role, each.content)) for each in messages)
            if size <= max(self.room - request.max_tokens, self.room // 2):
                self._extra, self.room = tuple(messages), self.room - size
                break
        self._trunk.room(self._trunk.context - len(self._trunk.ids) - self.room + 1)
        how = request.sampler.sampling
        body = {
            "model": engine.model,
            "messages": self._messages(),
            "max_tokens": min(request.max_tokens, self.room),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": how.temperature,
            **({"top_p": how.top_p} if how.top_p < 1 else {}),
            **({"min_p": how.min_p} if how.min_p else {}),
            **({"seed": how.seed} if how.seed is not None else {}),
            **({"stop": list(how.stop)} if how.stop and request.grammar is None else {}),
        }
        if adapter := engine.adapters.get(request.choice):
            body["lora_path" if engine.kind == "sglang" else "model"] = adapter
        if isinstance(request.grammar, RemoteGrammar):
            body |= request.grammar.fields(engine.kind)
        return body

    def _messages(self, more: Sequence[Message] = ()) -> list[dict[str, str]]:
        return self._engine.laid_out([*(span.message for span in self._trunk.messages), *self._extra, *more])


class RemoteEngine:
    """Transcripts here, and steps on a server; see `Engine`. Thread-safe.

    Args:
        base: Counts tokens; nothing is computed on it.
        bank: The cards of the skills.
        server: Writes the steps.
        kind: What the server is: `vllm`, `sglang`, or `openai` for any other.
        model: The model's name there.
        adapters: Names of the server's adapters, by skill; a skill without one is the model itself, under a grammar.
        folders: Where adapters lie that are loaded again if the server has lost them, by their names there.
    """

    def __init__(
        self,
        base: Base,
        bank: Bank,
        server: RemoteServer,
        kind: Kind,
        model: str,
        adapters: dict[str, str],
        folders: Mapping[str, Path],
    ) -> None:
        self.base, self.bank, self.server, self.kind = base, bank, server, kind
        self.model, self.adapters, self.folders = model, adapters, folders
        self.missing = (*MISSING, *UNENFORCED_HERE.get(kind, ()))
        self.written = 0
        self._compiler = GrammarCompiler(base.vocabulary)
        bound_children()  # the base that routes computes here

    def open(self, messages: Sequence[Message] = ()) -> Transcript:
        """An empty transcript: what the server has cached of it is its own business."""
        return Transcript(self.base)

    def close(self, trunk: Transcript) -> None:
        """Nothing is kept."""

    def grammar(self, term: Any) -> Grammar:
        """The grammar of a text that a server writes, compiled here too."""
        return RemoteGrammar(term_of(term), self._compiler.compile(term), self.base.tokenizer.encode)

    def compiled(self, term: Term) -> bool:
        """Whether `grammar` would return at once."""
        return self._compiler.compiled(term)

    def prepare(self, skill: str) -> None:
        """The server has its skills."""

    @contextmanager
    def step(self, trunk: Transcript, request: StepRequest) -> Iterator[OpenStep]:
        """Opens a step."""
        yield RemoteStep(self, trunk, request)

    def stream(self, body: dict[str, Any], gone: Callable[[], object]) -> Iterator[dict[str, Any]]:
        """The chunks of a chat completion; see `RemoteServer.stream`. A server that lost adapters gets them again."""
        try:
            yield from self.server.stream(body, gone)
        except RefusedError:  # before the first chunk
            if not self.folders or not load_adapters(self.server, self.kind, self.folders):
                raise
            yield from self.server.stream(body, gone)

    def laid_out(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """Messages for the server's chat template.

        A server with our skills gets them as they are: the template of a base that skills are trained for takes them,
        and the skills learnt to read what it makes of them. For another server see `laid_out`.
        """
        if self.adapters:
            return [{"role": each.role, "content": each.content} for each in messages]
        return laid_out(messages)

    def pin(self, trunk: Transcript) -> None:
        """Raises InputError: a server keeps what it likes."""
        raise InputError("a server decides itself what it keeps: leave pin() out")

    @property
    def stats(self) -> SchedulerStats:
        """Requests and tokens so far."""
        return SchedulerStats(self.server.requests, self.server.requests, self.written)

    def memory(self) -> Memory:
        """Grammars; nothing else is kept here."""
        empty = CacheStats(0, 0, 0, 0, 0)
        return Memory(empty, empty, empty, self.bank.bytes, *self._compiler.kept)


def laid_out(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages in the three roles and the order that every chat template takes.

    A tool's result and a later system message become the user's words; neighbours of one role become one message.
    """
    found: list[dict[str, str]] = []
    for place, message in enumerate(messages):
        role, content = message.role, message.content
        if role == "tool":
            role, content = "user", f"Result of the tool: {content}"
        elif role == "system" and place:
            role = "user"
        if found and found[-1]["role"] == role:
            found[-1]["content"] += f"\n\n{content}"
        else:
            found.append({"role": role, "content": content})
    return found
