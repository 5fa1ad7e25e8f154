"""Errors as OpenAI's clients read them."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from fastapi.responses import JSONResponse

from loraloop.tool_schemas.errors import (
    ContextLengthError,
    LimitError,
    LoraloopError,
    SchemaError,
    SessionBusyError,
    UnknownNameError,
)

log = logging.getLogger("loraloop.server")


class ApiError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: The HTTP status.
        message: What is wrong and what to do.
        code: One word for programs.
        param: The field of the request that is wrong.
        retry_after: Seconds after which it may be tried again.
    """

    def __init__(self, status: int, message: str, code: str = "", param: str = "", retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.retry_after = status, message, code, param, retry_after

    def response(self) -> JSONResponse:
        """The HTTP response."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
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


def api_error(error: Exception) -> ApiError:
    """Any error as one for the client. What was not expected is logged under an id, which is all that is told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextLengthError):
        return ApiError(400, str(error), "context_length_exceeded", "messages")
    if isinstance(error, UnknownNameError):
        return ApiError(400, str(error), "unknown_name")
    if isinstance(error, SchemaError):
        return ApiError(400, str(error), "invalid_schema")
    if isinstance(error, SessionBusyError):
        return ApiError(409, str(error), "session_busy")
    if isinstance(error, LimitError):
        return ApiError(400, str(error), "limit_exceeded")
    if isinstance(error, LoraloopError):
        return ApiError(400, str(error), "invalid_request")
    number = uuid.uuid4().hex[:12]
    log.exception("request failed, log id %s", number, exc_info=error)
    return ApiError(500, f"something failed unexpectedly; the server's log has it under {number}", "internal_error")
