"""Errors as OpenAI's clients read them."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable
from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from loraloop.agent.engine.cache.sequence import QueueFullError
from loraloop.tool_schemas.errors import (
    ContextLengthError,
    LimitError,
    LoraloopError,
    SchemaError,
    SessionBusyError,
    TimeLimitError,
    UnknownNameError,
)

KEPT = re.compile(r"\b[0-9a-f]{32}-(\d{1,4})-")
"""What stands before the agent in the name under which a session is kept: its owner, and the length of the agent's."""
log = logging.getLogger("loraloop.server")
MEANINGS = {
    400: "The request cannot be answered: the message names the field and what to do.",
    401: "The key is missing or wrong.",
    403: "The page's origin, or the key, may not do this.",
    404: "There is no such model, agent, run or response.",
    405: "The path knows other methods.",
    408: "The body came too slowly.",
    409: "The run does not wait for approval, or the session is in use.",
    413: "The body is too large.",
    421: "The server is not known under this name.",
    429: "Too many requests: `Retry-After` says when to come back.",
    431: "The headers are too large.",
    500: "Something failed; the message has the id under which the log has it.",
    503: "The server is shutting down.",
    504: "The request took longer than it may.",
}
KINDS: tuple[tuple[Any, ...], ...] = (
    (ContextLengthError, 400, "context_length_exceeded", "messages"),
    (UnknownNameError, 400, "unknown_name"),
    (SchemaError, 400, "invalid_schema"),
    (SessionBusyError, 409, "session_busy"),
    (TimeLimitError, 504, "timeout"),
    (QueueFullError, 429, "overloaded", "", 1),
    (LimitError, 400, "limit_exceeded"),
    (LoraloopError, 400, "invalid_request"),
)
"""Status, code, field and `Retry-After` of the library's own errors; the first kind that fits counts."""


class ErrorDetails(BaseModel):
    """What is wrong, for people and programs."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str | None


class ErrorDocument(BaseModel):
    """The body of every error."""

    error: ErrorDetails


STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
"""An answer that may be a stream of events, for the OpenAPI document."""


def documented(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """Error statuses for the OpenAPI document."""
    return {status: {"model": ErrorDocument, "description": MEANINGS[status]} for status in sorted(statuses)}


class ApiError(HTTPException):
    """A request that cannot be answered.

    Attributes:
        status: The HTTP status.
        message: What is wrong and what to do.
        code: One word for programs.
        param: The field of the request that is wrong.
        retry_after: Seconds after which it may be tried again.
        once: Whether OpenAI's clients, which ask again after 409, 429 and 5xx, are told not to.
    """

    def __init__(self, status: int, message: str, code: str = "", param: str = "", retry_after: int = 0) -> None:
        super().__init__(status, message)
        self.status, self.code, self.retry_after, self.once = status, code, retry_after, False
        # Half of a surrogate pair, which a body can spell, cannot be sent.
        self.message, self.param = (text.encode("utf-8", "replace").decode() for text in (message, param))

    def response(self) -> JSONResponse:
        """The HTTP response."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.once:
            headers["x-should-retry"] = "false"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.document(), self.status, headers)

    def document(self) -> dict[str, Any]:
        """The body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        named = {"message": self.message, "type": kind, "param": self.param or None, "code": self.code or None}
        return {"error": named}


def _with_own_names(text: str) -> str:
    """A text in which sessions have the names that clients gave them; see `state.session_name`."""
    while found := KEPT.search(text):
        text = text[: found.start()] + text[found.end() + int(found[1]) + 1 :]
    return text


def api_error(error: Exception) -> ApiError:
    """Any error as one for the client. What was not expected is logged under an id, which is all that is told."""
    if isinstance(error, ApiError):
        return error
    for kind, status, *more in KINDS:
        if isinstance(error, kind):
            return ApiError(status, _with_own_names(str(error)), *more)
    number = uuid.uuid4().hex[:12]
    log.exception("request failed, log id %s", number, exc_info=error)
    return ApiError(500, f"something failed unexpectedly; the server's log has it under {number}", "internal_error")
