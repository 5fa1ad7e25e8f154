"""The application: routes, who may ask, how errors look, the page; and how it is started and stopped."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from sse_starlette.sse import SendTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from loraloop.agent.tracing.provenance import versions
from loraloop.integrations.listening import listening
from loraloop.server import agents, chat, decisions, models, responses
from loraloop.server.errors import MEANINGS, ApiError, api_error, documented
from loraloop.server.runs import RunRegistry
from loraloop.server.state import ServerState, brought_key, key_of, state_of
from loraloop.tool_schemas.errors import LoraloopError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from loraloop.server.settings import ServerLimits

log = logging.getLogger("loraloop.server")
API = (chat, responses, decisions, models, agents)
"""The modules that have the routes of the API."""
PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html"} | {
    f"/{path.relative_to(PAGE).as_posix()}": str(path) for path in PAGE.rglob("*") if path.suffix in (".js", ".css")
}
"""What is served of the page, by path."""
HEADER_BYTES = 65536
"""Bytes of a request's headers."""
GRACE = 10
"""Seconds that requests may go on when the server is told to stop. What goes on then is told so, and has two more."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than by clients, who would send into one that is being closed."""
OPEN = ("/health", "/ready", *FILES)
"""Paths that need no key."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class JsonLines(logging.Formatter):
    """Each record of the log on one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        if hasattr(record, "request"):
            line["request"] = record.request
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Application(FastAPI):
    """Describes itself as it is: what does not fit is a 400, and a key is brought as a bearer token."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        for operation in (each for path in document["paths"].values() for each in path.values()):
            operation["responses"].pop("422", None)
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{}, {"key": []}]
        return document


def create_app(state: ServerState) -> FastAPI:
    """The ASGI application of a server."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = state.settings.limits
        pool = ThreadPoolExecutor(limits.concurrency + 8, thread_name_prefix="loraloop")
        asyncio.get_running_loop().set_default_executor(pool)
        yield
        state.ready = False
        state.runs.close()

    app = Application(
        title="loraloop",
        version=versions()["loraloop"],
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=documented({400, 401, 403, 405, 408, 413, 421, 429, 431, 500, 503, 504}),
    )
    app.state.loraloop = state
    app.state.decider = decisions.Decider(state.runtime)
    for module in API:
        app.include_router(module.routes, dependencies=[Depends(known_query)])
    app.get("/health", response_class=PlainTextResponse)(health)
    app.get("/ready", response_class=PlainTextResponse, responses={503: {"description": MEANINGS[503]}})(ready)
    app.get("/metrics", response_class=PlainTextResponse)(metrics)
    for path in FILES:
        app.get(path, include_in_schema=False)(page)
    app.add_exception_handler(ApiError, on_error)
    app.add_exception_handler(LoraloopError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_middleware(BodyLimit, limits=state.settings.limits)
    app.add_middleware(Gatekeeper, state=state)
    return app


async def known_query(request: Request) -> None:
    """Checks that the route knows what the query of a request names.

    Raises:
        ApiError: 400, it does not.
    """
    unknown = set(request.query_params) - {field.alias for field in request.scope["route"].dependant.query_params}
    if unknown:
        raise ApiError(400, f"unknown query parameter {min(unknown)!r}", "unknown_parameter", min(unknown))


async def health() -> PlainTextResponse:
    """The process answers."""
    return PlainTextResponse("ok")


async def ready(request: Request) -> Response:
    """Requests are taken."""
    if state_of(request).ready:
        return PlainTextResponse("ready")
    return PlainTextResponse("shutting down", 503)


async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return Response(state_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def page(request: Request) -> FileResponse:
    """A file of the page."""
    return FileResponse(PAGE / FILES[request.scope["path"]], headers={**HEADERS, "Cache-Control": "no-cache"})


class Gatekeeper:
    """Refuses foreign hosts, pages of other sites and requests without a key; counts and logs every request.

    An error that nobody expected is answered here. Starlette would answer it and raise it again, and then the server
    closes the connection, on which the client may have sent its next request already.
    """

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, number = time.perf_counter(), 0, uuid.uuid4().hex[:12]
        method = scope["method"]
        if method == "HEAD":  # is answered as GET is; the server below sends no body
            scope = {**scope, "method": "GET"}

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", number.encode())]
            await send(message)

        request = Request(scope)
        refused = refusal(self._state, request) or too_many(self._state, request)
        app = self._app if refused is None else refused.response()
        try:
            await app(scope, receive, sent)
        except SendTimeoutError:
            log.info("a client did not take its stream, which was ended")
        except Exception as error:
            if status:  # the answer has begun: that it is not whole shows by the end of the connection
                raise
            await api_error(error).response()(scope, receive, sent)
        finally:
            name = getattr(scope.get("route"), "path", "other")
            self._state.metrics.requests.labels(name, str(status)).inc()
            ms = 1e3 * (time.perf_counter() - start)
            log.info("%s %s %s %.0f ms", method, name, status, ms, extra={"request": number})


def refusal(state: ServerState, request: Request) -> ApiError | None:
    """The error of a request that is refused; None if it is answered."""
    if sum(len(name) + len(value) for name, value in request.headers.raw) > HEADER_BYTES:
        return ApiError(431, f"the headers of a request may have {HEADER_BYTES} bytes", "headers_too_large")
    settings, host = state.settings, request.headers.get("host", "")
    if not settings.knows_host(host):
        return ApiError(421, f"this server is not {host!r}: name it with --allow-host", "unknown_host")
    origin = request.headers.get("origin")
    if origin is not None and not settings.knows_origin(origin, host):
        return ApiError(403, f"pages of {origin!r} may not ask this server: see --allow-origin", "foreign_origin")
    if request.scope["path"] in OPEN or not settings.keys:
        return None
    brought = brought_key(request).encode()
    known = [*settings.keys, *([settings.admin_key] if settings.admin_key else [])]
    if not sum(hmac.compare_digest(brought, key.encode()) for key in known):
        return ApiError(401, "missing or invalid API key: send Authorization: Bearer KEY", "invalid_api_key")
    return None


def too_many(state: ServerState, request: Request) -> ApiError | None:
    """The error of a request that its key's rate limit refuses; None if it does not. Requests that only read are not
    counted."""
    seconds = 0 if request.method == "GET" else state.rate.take(key_of(request))
    if not seconds:
        return None
    message = f"rate limit: {state.settings.limits.per_minute} requests per minute; try again in {seconds} s"
    return ApiError(429, message, "rate_limit_exceeded", retry_after=seconds)


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """Any error as a document."""
    return api_error(error).response()


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """Unknown paths and methods as documents."""
    assert isinstance(error, HTTPException)
    message, path = str(error.detail), request.scope["path"]
    if error.status_code in (404, 405):
        message = f"there is no {request.method} {path[:100]} here; /openapi.json lists what there is"
        message += "" if path.startswith("/v1/") else "; OpenAI's clients take the address with /v1"
    response = ApiError(error.status_code, message, "http").response()
    if error.status_code == 405:
        routes = [route for each in (request.app, *(module.routes for module in API)) for route in each.routes]
        at_path = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
        methods = {method for route in at_path for method in getattr(route, "methods", None) or ()}
        response.headers["Allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    return response


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """A body that does not fit: the first thing that is wrong with it.

    Of several forms, the one that fits furthest. A `type` that is not known comes before what it lacks.
    """
    assert isinstance(error, RequestValidationError)
    around = error.errors()[0]["loc"][:-1]
    beside = [each for each in error.errors() if each["loc"][: len(around)] == around]
    first = max(
        beside, key=lambda each: (len(each["loc"]), each["type"] == "literal_error", not each["type"].endswith("_type"))
    )
    if first["type"] == "json_invalid":
        where = f"{first['ctx']['error']} at {first['loc'][-1]}"
        return ApiError(400, f"the body is not JSON: {where}", "invalid_json").response()
    place = _place(first, error.body)
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown parameter {place!r}", "unknown_parameter", place).response()
    if first["type"] == "too_many_keys":
        place = place or "the body"
    wrong = first["msg"]
    if first["type"].startswith("union_tag_"):  # the `type` is missing, or no form has it
        place = f"{place}.type"
        wrong = (
            f"Input should be {first['ctx']['expected_tags']}" if "expected_tags" in first["ctx"] else "Field required"
        )
    message = f"{place}: {wrong}" if place else "send a JSON object, with Content-Type: application/json"
    return ApiError(400, message, "invalid_value", place).response()


def _place(error: Mapping[str, Any], body: Any) -> str:
    """Where an error is in a request, as its client names it: without the names of the forms that were tried."""
    kind, *parts = error["loc"]
    if kind != "body":
        return ".".join(map(str, parts))
    names, value = list[str](), body
    for part in parts:
        if part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int):
            names.append(str(part))
            value = value[part]
    return ".".join([*names, str(parts[-1])] if error["type"] == "missing" and parts else names)


class BodyLimit:
    """Refuses bodies that are too large, whatever their headers say, or too slow."""

    def __init__(self, app: ASGIApp, limits: ServerLimits) -> None:
        self._app, self._most, self._seconds = app, limits.max_bytes, limits.transfer_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        deadline, read, whole = time.monotonic() + self._seconds, 0, False
        problem: ApiError | None = None
        large = ApiError(413, f"a request may have {self._most} bytes", "too_large")
        if b"transfer-encoding" in dict(scope["headers"]) and b"content-length" in dict(scope["headers"]):
            twice = "a body has a Content-Length or a Transfer-Encoding, not both"
            await ApiError(400, twice, "two_lengths").response()(scope, receive, send)
            return
        if not declared.isdigit() or int(declared) > self._most:
            await large.response()(scope, receive, send)
            return

        async def limited() -> Message:
            nonlocal read, whole, problem
            if whole:  # what follows is that the client goes away
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            except TimeoutError:
                problem = ApiError(408, f"a body has {self._seconds:g} seconds to come", "too_slow")
                return {"type": "http.disconnect"}
            read += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if read > self._most:
                problem = large
            return {"type": "http.disconnect"} if problem else message

        async def sent(message: Message) -> None:
            if problem is None:  # else what the application says of half a body is not told
                await send(message)

        try:
            await self._app(scope, limited, sent)
        finally:
            if problem is not None:
                await problem.response()(scope, receive, send)


class Server(uvicorn.Server):
    """Ends what goes on for too long after it was told to stop."""

    def __init__(self, config: uvicorn.Config, runs: RunRegistry) -> None:
        super().__init__(config)
        self._runs = runs

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes nothing more, and waits for what runs."""
        asyncio.get_running_loop().call_later(GRACE, self._runs.stop)
        await super().shutdown(sockets)


def serve(state: ServerState, ready: Callable[[str], object] = lambda url: None) -> None:
    """Serves until the process is told to stop (SIGINT, SIGTERM); what runs then may go on for a few seconds.

    Args:
        state: What is served, where and for whom.
        ready: Function that receives the URL once it is listened on.

    Raises:
        InputError: The address or the port cannot be had.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    config = uvicorn.Config(  # httptools, which it takes where it is installed, does not bound headers
        create_app(state),
        log_level="warning",
        timeout_graceful_shutdown=GRACE + 2,
        timeout_keep_alive=KEEP_ALIVE,
        http="h11",
        proxy_headers=False,  # else whoever asks from this machine names the address, and so the owner of runs
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    with listening(state.settings.host, state.settings.port) as (listener, url):
        # Connections inherit it. Else the second packet of an answer waits 40 ms for the client to confirm the first:
        # asyncio sets it only where a socket names its protocol, which those of create_server do not.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready(url)
        Server(config, state.runs).run(sockets=[listener])
