"""A teacher behind an OpenAI-compatible endpoint: its completions, kept on disk, asked for at a bounded rate."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.trainer.whole import write_text
from loraloop.tool_schemas.errors import InputError, LimitError

if TYPE_CHECKING:
    import httpx

_AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504))


@dataclass(slots=True)
class Endpoint:
    """Asks `POST {url}/chat/completions` for a completion of each transcript.

    Every completion is on disk before the next is asked for, so a run that is cut goes on where it was, and the same
    question is never paid for twice.

    Attributes:
        url: up to and without `/chat/completions`, such as `https://api.example.com/v1`.
        model: its name there.
        folder: where completions are kept.
        key_variable: environment variable that holds the key; without one, none is sent.
        options: further fields of the request, such as `temperature` or `max_tokens`.
        per_minute: requests at most; None: no limit.
        at_once: requests that wait for an answer at the same time.
        retries: further tries after a failure that may pass: no connection, a timeout, 408, 409, 425, 429 or 5xx.
        timeout: seconds for an answer.
        wait: seconds before the second try; doubled, with jitter, before each further one. `Retry-After` goes first.
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
    wait: float = 1.0
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)
    _next: float = field(init=False, default=0.0, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"an endpoint's url begins with https:// or http://, not as {self.url!r} does")
        if self.at_once < 1 or self.retries < 0 or not self.timeout > 0 or self.wait < 0:
            raise InputError("at_once must be at least 1, retries and wait not negative, timeout positive")
        if self.per_minute is not None and not self.per_minute > 0:
            raise InputError("per_minute must be positive, or left out")
        if clash := {"model", "messages", "stream", "n"} & set(self.options):
            raise InputError(f"options cannot hold {', '.join(sorted(clash))}: the teacher sets them itself")

    def write(self, transcripts: Sequence[Sequence[Message]], done: Callable[[int], None] | None = None) -> list[str]:
        """A completion of each transcript, in their order.

        Args:
            transcripts: messages up to the step.
            done: called with the number of completions there are so far, one after another, in the caller's thread.

        Raises:
            InputError: the endpoint refuses a request, or answers something else than a completion.
            LimitError: it did not answer within all tries. What it answered before is kept.
        """
        import httpx

        self.folder.mkdir(parents=True, exist_ok=True)

        def one(messages: Sequence[Message]) -> str:
            body = self._body(messages)
            text = self._kept(body)
            if text is None:
                text = self._asked(client, body)
                self._keep(body, text)
            return text

        key = os.environ.get(self.key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(timeout=self.timeout, headers=headers, follow_redirects=False) as client,
            ThreadPoolExecutor(self.at_once) as pool,
        ):
            jobs = [pool.submit(one, messages) for messages in transcripts]
            try:
                for finished, job in enumerate(as_completed(jobs), 1):
                    job.result()
                    if done:
                        done(finished)
                return [job.result() for job in jobs]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _body(self, messages: Sequence[Message]) -> dict[str, Any]:
        said = [{"role": message.role, "content": message.content} for message in messages]
        return {"model": self.model, "messages": said, **self.options}

    def _path(self, body: Mapping[str, Any]) -> Path:
        asked = json.dumps([self.url, body], sort_keys=True, ensure_ascii=False)
        return self.folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:40]}.json"

    def _kept(self, body: Mapping[str, Any]) -> str | None:
        try:
            text = json.loads(self._path(body).read_text(encoding="utf-8"))["completion"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return text if isinstance(text, str) else None

    def _keep(self, body: Mapping[str, Any], text: str) -> None:
        write_text(self._path(body), json.dumps({"request": body, "completion": text}, ensure_ascii=False))

    def _asked(self, client: httpx.Client, body: Mapping[str, Any]) -> str:
        import httpx

        reason = ""
        for tries in range(self.retries + 1):
            self._turn()
            pause = self.wait * 2**tries * (1 + random.random() / 4)
            try:
                answer = client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code == 200:
                    return _completion(answer)
                reason = f"HTTP {answer.status_code}: {answer.text[:300]}"
                if answer.status_code not in _AGAIN:
                    raise InputError(
                        f"{self.url} refuses the request ({reason}): correct the url, model, key or options"
                    )
                pause = max(pause, _asked_to_wait(answer)) if answer.status_code in (429, 503) else pause
            if tries < self.retries:
                time.sleep(pause)
        raise LimitError(
            f"{self.url} gave no completion in {self.retries + 1} tries ({reason}); what came before is kept in "
            f"{self.folder}: run the same command again later"
        )

    def _turn(self) -> None:
        """Waits until the rate allows another request."""
        if self.per_minute is None:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + 60 / self.per_minute
        time.sleep(max(0.0, start - now))


def _completion(answer: httpx.Response) -> str:
    try:
        text = answer.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"the endpoint answered no text, but {answer.text[:300]!r}: is it OpenAI-compatible?")
    return text


def _asked_to_wait(answer: httpx.Response) -> float:
    """Seconds that `Retry-After` asks for, a minute at most."""
    given = answer.headers.get("retry-after", "")
    try:
        return min(60.0, max(0.0, float(given)))
    except ValueError:
        pass
    try:
        return min(60.0, max(0.0, parsedate_to_datetime(given).timestamp() - time.time()))
    except (ValueError, TypeError):
        return 0.0
