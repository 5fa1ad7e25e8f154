"""A teacher behind an OpenAI-compatible endpoint: its completions, kept on disk, asked for at a bounded rate."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loraloop.adapters.atomic_write import write_text
from loraloop.adapters.base.messages import Message
from loraloop.tool_schemas.errors import InputError, LimitError, file_errors, needing


@dataclass(slots=True)
class Endpoint:
    """Asks `POST {url}/chat/completions` for a completion of each transcript, by OpenAI's client.

    Every completion is on disk before it counts, so a run that is cut goes on where it was, and the same question is
    never paid for twice.

    Attributes:
        url: up to and without `/chat/completions`, such as `https://api.example.com/v1`.
        model: its name there.
        folder: where completions are kept.
        key_variable: environment variable that holds the key; without one, none is sent.
        options: further fields of the request, such as `temperature` or `max_tokens`.
        per_minute: requests at most; None: no limit.
        at_once: requests that wait for an answer at the same time.
        retries: further tries after a failure that may pass, with growing pauses or after what `Retry-After` asks.
        timeout: seconds for an answer.
    """

    url: str
    model: str
    folder: Path
    key_variable: str = "OPENAI_API_KEY"
    options: Mapping[str, Any] = field(default_factory=dict)
    per_minute: float | None = None
    at_once: int = 4
    retries: int = 5
    timeout: float = 120.0
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)
    _next: float = field(init=False, default=0.0, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"an endpoint's url begins with https:// or http://, not as {self.url!r} does")
        if self.at_once < 1 or self.retries < 0 or not self.timeout > 0:
            raise InputError("at_once must be at least 1, retries not negative, timeout positive")
        if self.per_minute is not None and not self.per_minute > 0:
            raise InputError("per_minute must be positive, or left out")
        if clash := {"model", "messages", "stream", "n"} & set(self.options):
            raise InputError(f"options cannot hold {', '.join(sorted(clash))}: the teacher sets them itself")

    def write(self, transcripts: Sequence[Sequence[Message]], done: Callable[[], None] = lambda: None) -> list[str]:
        """A completion of each transcript, in their order; empty where it was cut off or refused.

        Args:
            transcripts: messages up to the step.
            done: called after each completion, in the caller's thread.

        Raises:
            InputError: the folder cannot be made; the endpoint refuses a request, or answers no completion.
            LimitError: it did not answer within all tries. What it answered before is kept.
        """
        with needing("a teacher at an endpoint needs OpenAI's client", "'loraloop[data]'"):
            from openai import OpenAI
        with file_errors(f"cannot write to {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
        key = os.environ.get(self.key_variable) or "none"
        client = OpenAI(base_url=self.url, api_key=key, max_retries=self.retries, timeout=self.timeout)
        with client, ThreadPoolExecutor(self.at_once) as pool:
            jobs = [pool.submit(self._one, client, messages) for messages in transcripts]
            try:
                for job in as_completed(jobs):
                    job.result()
                    done()
                return [job.result() for job in jobs]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, client: Any, messages: Sequence[Message]) -> str:
        """The kept completion of a transcript, or a new one, which is kept."""
        body_messages = [{"role": message.role, "content": message.content} for message in messages]
        body = {"model": self.model, "messages": body_messages, **self.options}
        asked = json.dumps([self.url, body], sort_keys=True, ensure_ascii=False)
        path = self.folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:40]}.json"
        if path.is_file():
            return str(json.loads(path.read_text(encoding="utf-8"))["completion"])
        text = self._completion(client, body)
        write_text(path, json.dumps({"request": body, "completion": text}, ensure_ascii=False))
        return text

    def _completion(self, client: Any, body: Mapping[str, Any]) -> str:
        import openai

        self._wait()
        try:
            choices = client.chat.completions.create(**body).choices or ()
        except (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError) as error:
            raise LimitError(
                f"{self.url} gave no completion in {self.retries + 1} tries ({error}); what came before is kept in "
                f"{self.folder}: run the same command again later"
            ) from None
        except openai.OpenAIError as error:
            raise InputError(
                f"{self.url} refuses the request ({error}): correct the url, model, key or options"
            ) from None
        if choices and (choices[0].finish_reason in ("length", "content_filter") or choices[0].message.refusal):
            return ""
        text = choices[0].message.content if choices else None
        if not text or not text.strip():
            raise InputError(f"{self.url} answered no text: is it OpenAI-compatible?")
        return str(text)

    def _wait(self) -> None:
        """Waits until the rate allows another request."""
        if self.per_minute is None:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + 60 / self.per_minute
        time.sleep(max(0.0, start - now))
