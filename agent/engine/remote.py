"""The engine of another process: an OpenAI-compatible server (vLLM, SGLang, llama-server, Ollama) writes the steps.

The transcript stays here, and the server reads it whole at each step, laid out by its own chat template. What a
grammar allows is enforced there as far as the server can, and checked here all the same.
"""

from __future__ import annotations

import asyncio
import json
import queue
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Literal

from loraloop.agent.engine.generate import Delta
from loraloop.agent.engine.ledger import Active, Author
from loraloop.agent.engine.prefix_cache import CacheStats, Memory
from loraloop.agent.engine.scheduler import SchedulerStats
from loraloop.agent.engine.step import OpenStep, StepOutput, StepRequest
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.skills.mixture import contract_of
from loraloop.agent.step import Tokens
from loraloop.tool_schemas.errors import BaseModelError, ContextLengthError, InputError, SchemaError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import Choice, JsonSchema, Lark, Regex, Term, term_of
from loraloop.tool_schemas.http.client import Retries
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.schema.validation import check_value

if TYPE_CHECKING:
    from concurrent.futures import Future

    import httpx

    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message
    from loraloop.tool_schemas.grammar.grammar import Grammar, State

Kind = Literal["openai", "vllm", "sglang"]
KINDS: tuple[Kind, ...] = ("openai", "vllm", "sglang")
MISSING = (
    "a skill acts on the whole context, and the server keeps no trunk that skills share",
    "thresholds of skills (no call, asking, no answer, unsafe) are not applied",
    "mixtures of skills are refused",
    "programs are checked and not enforced while they are written",
    "tokens are counted by the tokenizer of the router's base",
)
"""What no server does."""
UNENFORCED_HERE = {"openai": ("a skill is the server's model under a grammar", "patterns are checked and not enforced")}
TICK = 0.05
"""Seconds between two looks at whether a run was cancelled, while the server is silent."""
_BLOCK = re.compile(r"```(?:python)?\n(.*?)\n?```", re.DOTALL)


class RemoteServer:
    """Requests to one OpenAI-compatible server. Thread-safe.

    Args:
        url: Where its `/v1` is.
        key: Sent as a bearer token, if it is not empty.
        concurrency: Requests in flight at most; further ones wait for their turn.
        connect: Seconds until a connection is made.
        read: Seconds between two pieces of an answer.
        retries: When a request is sent again of which no answer came. Writing a text has no effect, so it is safe.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        concurrency: int = 16,
        connect: float = 5.0,
        read: float = 120.0,
        retries: Retries | None = None,
    ) -> None:
        import httpx

        self.url = url.rstrip("/")
        self.requests = 0
        self._retries = retries or Retries()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(read, connect=connect)
        self._options: dict[str, Any] = {"headers": headers, "timeout": timeout, "trust_env": False}
        self._concurrency = concurrency
        self._client: httpx.AsyncClient | None = None
        self._starting = threading.Lock()

    def get(self, path: str) -> Any:
        """The JSON at a path; a path that begins with `/` is not under `/v1`.

        Raises:
            BaseModelError: There is no answer, or none of use.
            InputError: The server refuses the key.
        """
        import httpx

        url = f"{self.url.removesuffix('/v1')}{path}" if path.startswith("/") else f"{self.url}/{path}"
        try:
            answer = httpx.get(url, **self._options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if answer.status_code != 200:
            raise self._refused(answer.status_code, answer.text)
        try:
            return answer.json()
        except ValueError as error:
            raise BaseModelError(f"{url} is no JSON: give the address of an OpenAI-compatible server") from error

    def stream(self, body: dict[str, Any], gone: Callable[[], object]) -> Iterator[dict[str, Any]]:
        """The chunks of a chat completion. The request is closed where `gone` says so, or the iterator is closed.

        Raises:
            BaseModelError: The server does not answer, or breaks off.
            ContextLengthError: The messages are too long for the server.
            InputError: The server refuses the key.
        """
        pieces: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()
        task = self._submit(body, pieces)
        try:
            while not gone():
                try:
                    piece = pieces.get(timeout=TICK)
                except queue.Empty:
                    continue
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            task.cancel()

    def _submit(self, body: dict[str, Any], pieces: queue.SimpleQueue[Any]) -> Future[None]:
        """Begins a request in the thread that holds the connections."""
        import httpx

        with self._starting:
            if self._client is None:
                self._loop = asyncio.new_event_loop()
                limits = httpx.Limits(max_connections=self._concurrency)
                self._client = httpx.AsyncClient(limits=limits, **self._options)
                self._turns = asyncio.Semaphore(self._concurrency)
                threading.Thread(target=self._loop.run_forever, name="loraloop-remote", daemon=True).start()
            self.requests += 1

        async def read() -> None:
            try:
                async with self._turns:
                    async for chunk in self._chunks(body):
                        pieces.put(chunk)
                pieces.put(None)
            except Exception as error:
                pieces.put(self._unreachable(error) if isinstance(error, httpx.HTTPError) else error)

        return asyncio.run_coroutine_threadsafe(read(), self._loop)

    async def _chunks(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks; the request is sent again while nothing came of it and its failure may pass."""
        import httpx

        assert self._client is not None
        begun, tried = False, 0
        while True:
            wait: float | None = None
            try:
                async with self._client.stream("POST", f"{self.url}/chat/completions", json=body) as answer:
                    if answer.status_code == 200:
                        async for chunk in _events(answer):
                            begun = True
                            yield chunk
                        return
                    text = (await answer.aread()).decode(errors="replace")
                    if answer.status_code not in self._retries.statuses or tried >= self._retries.count:
                        raise self._refused(answer.status_code, text)
                    wait = _retry_after(answer.headers.get("retry-after", ""))
                    if wait is not None and wait > self._retries.longest:
                        raise self._refused(answer.status_code, f"it asks to wait {wait:g} s; {text}")
            except httpx.TransportError:
                if begun or tried >= self._retries.count:
                    raise
            await asyncio.sleep(self._retries.wait(tried, wait))
            tried += 1

    def _unreachable(self, error: Exception) -> BaseModelError:
        return BaseModelError(f"the server at {self.url} does not answer ({type(error).__name__}): see that it runs")

    def _refused(self, status: int, text: str) -> Exception:
        """The error of an answer that is none."""
        if status in (401, 403):
            return InputError(f"the server at {self.url} refuses the key ({status}): give api_key=…")
        try:
            found = json.loads(text)
            text = str((found.get("error") or found)["message"])
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        if status in (400, 413) and re.search(r"context|too long|maximum.*length", text, re.IGNORECASE):
            return ContextLengthError(f"the server at {self.url} finds the messages too long: {text[:500]}")
        return BaseModelError(f"the server at {self.url} answered {status}: {text[:500]}")


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The data of server-sent events.

    Raises:
        RemoteProtocolError: They ended before their end was said.
    """
    import httpx

    async for line in answer.aiter_lines():
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data == "[DONE]":
            return
        if data:
            chunk = json.loads(data)
            if "error" in chunk:
                raise BaseModelError(f"the server broke off: {str(chunk['error'])[:500]}")
            yield chunk
    raise httpx.RemoteProtocolError("the stream ended before its end")


def _retry_after(text: str) -> float | None:
    return float(text) if text.strip().isdigit() else None


@dataclass(frozen=True, slots=True)
class RemoteGrammar:
    """What a server may write, and the same compiled here, to check what it wrote.

    Attributes:
        term: What may be written.
        compiled: Compiled for the tokenizer of the router's base.
        encode: That tokenizer.
    """

    term: Term
    compiled: Grammar
    encode: Callable[[str], list[int]]

    def start(self) -> State:
        """The state before the first token."""
        return self.compiled.start()

    def fields(self, kind: Kind) -> dict[str, Any]:
        """The fields of a request that make a server of this kind enforce it; none where it cannot."""
        term = self.term
        if kind == "vllm":
            if isinstance(term, JsonSchema):
                return {"structured_outputs": {"json": term.schema}}
            if isinstance(term, Regex):
                return {"structured_outputs": {"regex": term.pattern}}
            return {"structured_outputs": {"choice": list(term.options)}} if isinstance(term, Choice) else {}
        if kind == "sglang" and isinstance(term, Regex | Choice):
            options = term.options if isinstance(term, Choice) else ()
            return {"regex": term.pattern if isinstance(term, Regex) else "|".join(map(re.escape, options))}
        if isinstance(term, JsonSchema | Choice):
            schema = term.schema if isinstance(term, JsonSchema) else {"type": "string", "enum": list(term.options)}
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}}
        return {}

    def read(self, text: str) -> str:
        """The text in our form.

        Raises:
            SchemaError: It is not what may be written.
        """
        term = self.term
        if isinstance(term, JsonSchema):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise SchemaError(f"is no JSON: {error}", "$") from None
            if isinstance(term.schema, dict):
                check_value(value, term.schema)
            return dumps(value)
        if isinstance(term, Choice) and text.startswith('"') and text[1:-1] in term.options:
            text = text[1:-1]
        if isinstance(term, Lark) and term.python:  # a model that nothing holds to a block talks around it, or has none
            block = _BLOCK.search(text)
            text = f"```python\n{block[1] if block else text.strip()}\n```"
        state = self.start()
        try:
            state.accept(self.encode(text))
        except InputError:
            raise SchemaError(f"{text[:60]!r} is not what may be written here") from None
        if not state.can_stop:
            raise SchemaError(f"{text[-60:]!r} ends too early")
        return text


class RemoteStep:
    """A step that a server writes; see `OpenStep`."""

    def __init__(self, engine: RemoteEngine, trunk: Transcript, request: StepRequest) -> None:
        chat = engine.base.chat
        contract = contract_of(request.choice, engine.bank)
        self.active = Active(Author(engine.base.fingerprints.weights, activation="full"), contract, 0.0)
        self.request, self.output = request, StepOutput()
        self.room = trunk.context - len(trunk.ids) - len(chat.generation_prompt) - len(chat.closing)
        self._engine, self._trunk, self._chat = engine, trunk, chat

    def write(self) -> Iterator[Delta]:
        """Writes the text. Text under a grammar is given out when it is whole and has been checked."""
        request, encode, start = self.request, self._engine.base.tokenizer.encode, perf_counter()
        text, first, reason, usage = "", 0.0, "", dict[str, Any]()
        for chunk in self._engine.server.stream(self._body(), self._gone):
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices") or ():
                piece = (choice.get("delta") or {}).get("content") or ""
                reason = choice.get("finish_reason") or reason
                first = first or (perf_counter() if piece else 0.0)
                text += piece
                if piece and request.grammar is None:
                    yield Delta(piece, len(encode(piece)))
        reason = self._gone() or ("tokens" if reason == "length" else "stop")
        problem = ""
        if request.grammar is not None and reason == "stop":
            assert isinstance(request.grammar, RemoteGrammar)
            try:
                text = request.grammar.read(text)
                yield Delta(text, len(encode(text)))
            except SchemaError as error:
                reason, problem = "unenforced", str(error)
        request.clock.add("decode", perf_counter() - start)
        ids, prompt = encode(text), int(usage.get("prompt_tokens") or 0)
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        tokens = Tokens(prefilled=prompt - cached, reused=cached, generated=len(ids))
        self.output = StepOutput(ids, text, reason, problem=problem, first=first, tokens=tokens)
        self._engine.written += len(ids)

    def keep(self, message: Message) -> None:
        """Appends what was written to the transcript."""
        self._trunk.append(message, [*self._chat.generation_prompt, *self.output.ids, *self._chat.closing])

    def _gone(self) -> str:
        request = self.request
        if request.deadline is not None and monotonic() >= request.deadline:
            return "deadline"
        return "cancelled" if request.cancelled is not None and request.cancelled() else ""

    def _body(self) -> dict[str, Any]:
        request, engine, extra = self.request, self._engine, list[Any]()
        for messages in request.extra_prompt:
            size = sum(len(self._chat.message(each.role, each.content)) for each in messages)
            if size <= max(self.room - request.max_tokens, self.room // 2):
                extra, self.room = list(messages), self.room - size
                break
        self._trunk.room(self._trunk.context - len(self._trunk.ids) - self.room + 1)
        how = request.sampler.sampling
        body = {
            "model": engine.model,
            "messages": laid_out([*(span.message for span in self._trunk.messages), *extra]),
            "max_tokens": min(request.max_tokens, self.room),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": how.temperature,
            **({"top_p": how.top_p} if how.top_p < 1 else {}),
            **({"min_p": how.min_p} if how.min_p else {}),
            **({"seed": how.seed} if how.seed is not None else {}),
            **({"stop": list(request.stops)} if request.stops and request.grammar is None else {}),
        }
        if isinstance(request.choice, str) and (adapter := engine.adapters.get(request.choice)):
            body["lora_path" if engine.kind == "sglang" else "model"] = adapter
        if isinstance(request.grammar, RemoteGrammar):
            body |= request.grammar.fields(engine.kind)
        return body


class RemoteEngine:
    """Transcripts here, and steps on a server; see `Engine`. Thread-safe.

    Args:
        base: Counts tokens; nothing is computed on it.
        bank: The cards of the skills.
        server: Writes the steps.
        kind: What the server is: `vllm`, `sglang`, or `openai` for any other.
        model: The model's name there.
        adapters: Names of the server's adapters, by skill; a skill without one is the model itself, under a grammar.
    """

    def __init__(
        self, base: Base, bank: Bank, server: RemoteServer, kind: Kind, model: str, adapters: dict[str, str]
    ) -> None:
        self.base, self.bank, self.server, self.kind = base, bank, server, kind
        self.model, self.adapters = model, adapters
        self.missing = (*MISSING, *UNENFORCED_HERE.get(kind, ()))
        self.written = 0
        self._compiler = GrammarCompiler(base.tokenizer.json, base.config.vocab_size, base.chat.closing[0])

    def open(self, messages: Sequence[Message] = ()) -> Transcript:
        """An empty transcript: what the server has cached of it is its own business."""
        return Transcript(self.base)

    def close(self, trunk: Transcript) -> None:
        """Nothing is kept."""

    def grammar(self, term: Any) -> Grammar:
        """What a server may write, compiled here too."""
        return RemoteGrammar(term_of(term), self._compiler.compile(term), self.base.tokenizer.encode)

    def compiled(self, term: Term) -> bool:
        """Whether `grammar` would return at once."""
        return self._compiler.compiled(term)

    @contextmanager
    def step(self, trunk: Transcript, request: StepRequest) -> Iterator[OpenStep]:
        """Opens a step.

        Raises:
            InputError: A mixture of skills is asked for.
        """
        if not isinstance(request.choice, str):
            raise InputError(f"the mixture {request.choice} cannot be written by a server: choose one skill")
        yield RemoteStep(self, trunk, request)

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
