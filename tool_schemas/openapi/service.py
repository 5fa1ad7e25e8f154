"""OpenAPI services as tools: every operation becomes an HTTP tool, or is left out by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec
from urllib.parse import urljoin

from loraloop.tool_schemas.errors import InputError, LoraloopError, SchemaError, unknown
from loraloop.tool_schemas.http.auth import Auth
from loraloop.tool_schemas.http.body import is_json
from loraloop.tool_schemas.http.client import HttpClient, Sending
from loraloop.tool_schemas.http.endpoint import HttpEndpoint, check_reachable
from loraloop.tool_schemas.http.policy import NetworkPolicy
from loraloop.tool_schemas.http.request import Template
from loraloop.tool_schemas.jsontext import fold
from loraloop.tool_schemas.openapi.arguments import Arguments, arguments_of
from loraloop.tool_schemas.openapi.document import OpenApiDocument, Parts, load_document
from loraloop.tool_schemas.openapi.security import Given, Security
from loraloop.tool_schemas.openapi.selection import Omitted, OpenApiReport, Operation, operations, select
from loraloop.tool_schemas.schema.places import json_path
from loraloop.tool_schemas.tools.tool import Tool

if TYPE_CHECKING:
    from loraloop.tool_schemas.schema.findings import OnUnsupported

P = ParamSpec("P")

_DESCRIBED = 400  # characters of a description
_SHOWN = 20  # refusals that an error lists


@dataclass(frozen=True, slots=True)
class OpenApiTools:
    """The tools of one service; a context manager.

    Attributes:
        tools: One for each operation that was taken.
        report: What became of all of them.
        client: Shared by the tools; `close` closes it.
    """

    tools: tuple[Tool, ...]
    report: OpenApiReport
    client: HttpClient = field(repr=False)

    def __enter__(self) -> OpenApiTools:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; the tools cannot be called any more."""
        self.client.close()


def load_openapi(
    source: Mapping[str, Any] | str | Path,
    *,
    base_url: str | None = None,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    deprecated: bool = False,
    policy: NetworkPolicy | None = None,
    auth: Given = (),
    server_variables: Mapping[str, str] | None = None,
    on_unsupported: OnUnsupported = "check",
    on_refused: Literal["raise", "skip"] = "raise",
    client: HttpClient | None = None,
    sending: Sending | None = None,
) -> OpenApiTools:
    """Makes tools of an OpenAPI 3.0 or 3.1 document.

    Args:
        source: The document as a dict, a path (JSON or YAML) or a URL.
        base_url: Where the service is, instead of what the document's ``servers`` say.
        include: Patterns of the operations to take; None for all. See `Operation.matches`.
        exclude: Patterns of those to leave out.
        deprecated: Whether to take deprecated ones.
        policy: Where the tools may connect. The servers of a local document are allowed, and `base_url`; of a document
            that was fetched, only its own host.
        auth: For each security scheme its environment variable, or an `Auth` for all operations; see `Security`.
        server_variables: Values for the variables in server URLs; the document's defaults otherwise.
        on_unsupported: See `Tool`.
        on_refused: Raise if an operation cannot be translated, or leave it out and say so in the report.
        client: Sends the requests under its own policy.
        sending: Timeouts, retries, size limit; its `auth` is not used.

    Returns:
        The tools, a report, and the client to close.

    Raises:
        SchemaError: If the document is unusable, or operations cannot be translated: it names each, with its JSON path.
        UnknownNameError: If a pattern, a security scheme or a server variable means nothing in this document.
        InputError: If options contradict each other.
        ToolError: If a document cannot be fetched.
    """
    if client is not None and policy is not None:
        raise InputError("give a client or a policy, not both: a client has its policy")
    if on_refused not in ("raise", "skip"):
        raise InputError(f"on_refused is {on_refused!r}; use 'raise' or 'skip'")
    document = load_document(source, client.policy if client is not None else policy)
    security = Security(document, auth)
    found = operations(document)
    kept, omitted = select(found, include, exclude, deprecated)
    _check_variables(document, found, server_variables or {})
    rules, place = policy or NetworkPolicy(), base_url or document.location
    if client is None and place:
        rules = rules.allowing(place)
    plans: list[_Plan] = []
    for operation in kept:
        try:
            plan = _planned(document, operation, security)
            url = base_url if base_url is not None else _server(document, plan.operation, server_variables or {})
            if client is None and not place:
                rules = rules.allowing(url)
            plans.append(replace(plan, url=url))
        except (LoraloopError, RecursionError) as error:
            omitted.append(_refusal(operation, error))
    if client is None:
        client = HttpClient(rules)
    tools = []
    for plan in plans:
        try:
            tools.append(_tool(plan, client, sending or Sending(), on_unsupported))
        except (LoraloopError, RecursionError) as error:
            omitted.append(_refusal(plan.operation, error))
    refused = [each for each in omitted if each.why == "refused"]
    if refused and on_refused == "raise":
        lines = [str(each) for each in refused[:_SHOWN]]
        more = f"\n… and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        raise SchemaError(
            f"{len(refused)} of {len(kept)} operations cannot be made tools; leave them out with include= or exclude=, "
            "or with on_refused='skip':\n" + "\n".join(lines) + more
        )
    by_name = {operation.name: f"{operation.method} {operation.path}" for operation in kept}
    listed = {tool.name: by_name[tool.name] for tool in tools}
    return OpenApiTools(tuple(tools), OpenApiReport(listed, tuple(omitted)), client)


@dataclass(frozen=True, slots=True)
class _Plan:
    """An operation that can be translated.

    Attributes:
        operation: With its reference followed.
        ways: How to authenticate.
        taken: Arguments of the operation.
        url: Where the service is.
    """

    operation: Operation
    ways: tuple[Auth, ...]
    taken: Arguments
    url: str = ""


def _planned(document: OpenApiDocument, operation: Operation, security: Security) -> _Plan:
    if operation.problem is not None:
        raise operation.problem
    if "$ref" in operation.node:
        operation = replace(operation, node=document.followed(operation.node, operation.parts)[0])
    ways = security.of(operation.node, operation.parts)
    taken = arguments_of(document, operation, security.taken(ways))
    return _Plan(operation, ways, taken)


def _alone(load: Callable[P, OpenApiTools]) -> Callable[P, tuple[Tool, ...]]:
    def tools(*args: P.args, **kwargs: P.kwargs) -> tuple[Tool, ...]:
        return load(*args, **kwargs).tools

    return tools


tools_from_openapi = _alone(load_openapi)
"""The tools of an OpenAPI document; takes what `load_openapi` takes.

Their connections are closed when none of the tools is held any more.
"""


def _refusal(operation: Operation, error: Exception) -> Omitted:
    path = json_path(operation.parts)
    reason = str(error)
    if isinstance(error, SchemaError):
        inside = error.path.startswith(("$.paths", "$.components", "$.servers", "$.security"))
        path, reason = (error.path, error.reason) if inside else (path, str(error))
    elif isinstance(error, RecursionError):
        reason = "is nested too deeply; flatten it"
    return Omitted(f"{operation.method} {operation.path}", operation.name, "refused", path, reason)


def _tool(plan: _Plan, client: HttpClient, sending: Sending, on_unsupported: OnUnsupported) -> Tool:
    check_reachable(client.policy, plan.url)
    operation, taken = plan.operation, plan.taken
    base, mark, query = plan.url.partition("?")
    template = Template(
        operation.method,
        base.rstrip("/") + operation.path + mark + query,
        taken.places,
        (("Accept", _accepts(operation)),),
        body=taken.body,
        always_body=taken.always_body,
    )
    endpoint = HttpEndpoint(template, client, replace(sending, auth=plan.ways))
    return Tool.from_endpoint(
        operation.name, _description(operation), taken.schema, endpoint, on_unsupported=on_unsupported
    )


def _description(operation: Operation) -> str:
    """The summary and the first paragraph of the description, on one line."""
    texts: list[str] = []
    for text in (operation.node.get("summary") or operation.item.get("summary"), operation.node.get("description")):
        if isinstance(text, str) and text.strip():
            first = fold(re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0])
            if not any(first.rstrip(".") == each.rstrip(".") for each in texts):
                texts.append(first)
    joined = " ".join(
        text if text.endswith((".", "!", "?", ":")) or text == texts[-1] else f"{text}." for text in texts
    )
    joined = joined or f"{operation.method} {operation.path}"
    return joined if len(joined) <= _DESCRIBED else joined[: _DESCRIBED - 1].rsplit(" ", 1)[0] + "…"


def _check_variables(document: OpenApiDocument, found: list[Operation], values: Mapping[str, str]) -> None:
    """Raises UnknownNameError if a variable is none of any server's."""
    known = set[str]()
    for holder in (document.root, *(each.item for each in found), *(each.node for each in found)):
        servers = holder.get("servers")
        for server in servers if isinstance(servers, list) else ():
            variables = server.get("variables") if isinstance(server, dict) else None
            known.update(variables if isinstance(variables, dict) else ())
    for name in values:
        if name not in known:
            raise unknown("server variable", name, known)


def _server(document: OpenApiDocument, operation: Operation, variables: Mapping[str, str]) -> str:
    """The absolute URL that the operation's path is appended to, by the document."""
    holders: tuple[tuple[Any, Parts], ...] = (
        (operation.node, (*operation.parts, "servers")),
        (operation.item, (*operation.parts[:-1], "servers")),
        (document.root, ("servers",)),
    )
    servers, parts = next(((holder["servers"], at) for holder, at in holders if holder.get("servers")), (None, ()))
    server = servers[0] if isinstance(servers, list) else {"url": "/"}
    if not isinstance(server, dict) or not isinstance(server.get("url"), str):
        raise SchemaError("a server needs a 'url'", json_path((*parts, 0)))
    listed = server.get("variables", {})

    def value(found: re.Match[str]) -> str:
        name = found[1]
        variable = listed.get(name) if isinstance(listed, dict) else None
        if not isinstance(variable, dict) or "default" not in variable:
            raise SchemaError(
                f"server variable {name!r} has no default; correct it", json_path((*parts, 0, "variables"))
            )
        chosen = str(variables.get(name, variable["default"]))
        allowed = variable.get("enum")
        if isinstance(allowed, list) and name in variables and chosen not in map(str, allowed):
            raise SchemaError(
                f"server variable {name!r} cannot be {chosen!r}; one of {allowed}", json_path((*parts, 0))
            )
        return chosen

    url = re.sub(r"\{([^{}]*)\}", value, server["url"])
    if not re.match(r"https?://", url):
        if not document.location:
            raise SchemaError(
                f"the server's address {url!r} is relative; give the service's address: load_openapi(…, base_url=…)",
                json_path((*parts, 0, "url")) if servers else "$.servers",
            )
        url = urljoin(document.location, url)
    return url


def _accepts(operation: Operation) -> str:
    """The media types of the successful answers, JSON first."""
    found: dict[str, None] = {}
    responses = operation.node.get("responses", {})
    for status, response in responses.items() if isinstance(responses, dict) else ():
        content = response.get("content") if isinstance(response, dict) and str(status).startswith("2") else None
        for media in content if isinstance(content, dict) else ():
            if re.fullmatch(r"[\w.+*-]+/[\w.+*-]+", media):
                found[media] = None
    kinds = sorted(found, key=lambda media: not is_json(media))
    return ", ".join([*kinds[:4], "*/*;q=0.1"]) if kinds else "application/json, */*;q=0.5"
