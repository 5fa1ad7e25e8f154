"""HTTP endpoints as tools: a method, a URL template, and where each argument goes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypedDict

from loraloop.tool_schemas.errors import InputError, SchemaError, ToolError, unknown
from loraloop.tool_schemas.http.auth import ApiKey, Auth, Basic, Bearer, ways_of
from loraloop.tool_schemas.http.body import Kind, decode, excerpt
from loraloop.tool_schemas.http.client import HttpAnswer, HttpClient, Retries, Sending
from loraloop.tool_schemas.http.places import Place, Where
from loraloop.tool_schemas.http.policy import NetworkPolicy
from loraloop.tool_schemas.http.request import Template
from loraloop.tool_schemas.schema.findings import OnUnsupported

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that ask a service to change nothing."""

_SENDING = {  # field of `Sending`: the option
    "timeout": "timeout", "connect": "connect_timeout", "read": "read_timeout", "max_bytes": "max_bytes"
}  # fmt: skip
_FORM = "application/x-www-form-urlencoded"
_MEDIA = {"body": "application/json", "json": "application/json", "form": _FORM, "text": "text/plain; charset=utf-8"}


class HttpError(ToolError):
    """A service answered with an error.

    Attributes:
        status: HTTP status of the answer.

    Args:
        message: What to say of it.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """The function of an HTTP tool; neither its repr nor its errors hold a credential.

    Attributes:
        template: What is the same in every call.
        client: Sends the requests.
        sending: How.
        result: What the body is taken for.
    """

    template: Template
    client: HttpClient = field(repr=False, compare=False)
    sending: Sending
    result: Kind = "auto"

    @property
    def safe(self) -> bool:
        """Whether its method asks the service to change nothing."""
        return self.template.method in SAFE_METHODS

    @property
    def repeatable(self) -> bool:
        """Whether sending a request twice does no more than sending it once."""
        return self.template.method in self.sending.retries.methods

    def __call__(self, /, **arguments: Any) -> Any:
        """Sends the request that the arguments make.

        Returns:
            The answer's JSON or text, None for an empty one; of HEAD, ``{"status": …}``.

        Raises:
            HttpError: If the status is not 2xx.
            ToolError: If the arguments cannot be written where they go, or there is no usable answer.
        """
        answer = self.client.send(self.template.fill(arguments), self.sending)
        if not 200 <= answer.status < 300:
            raise self._error(answer)
        if self.template.method == "HEAD":
            return {"status": answer.status}
        return decode(answer.content, answer.headers.get("content-type", ""), self.result, answer.hide)

    def _error(self, answer: HttpAnswer) -> HttpError:
        try:
            phrase = f" {HTTPStatus(answer.status).phrase}"
        except ValueError:
            phrase = ""
        message = f"HTTP {answer.status}{phrase}"
        if 300 <= answer.status < 400:
            message += " (a redirect that says no address, or one that is not followed)"
        wait = answer.headers.get("retry-after", "")
        if wait.isdecimal() and len(wait) < 9:
            message += f" (try again in {int(wait)} s)"
        content_type = answer.headers.get("content-type", "")
        shown = excerpt(_readable(answer), content_type, answer.hide) if answer.content.strip() else ""
        return HttpError(f"{message}: {shown}" if shown else message, answer.status)


def _readable(answer: HttpAnswer) -> bytes:
    """The body; JSON with its escapes undone, so that no secret hides behind them."""
    try:
        return json.dumps(answer.hide.value(json.loads(answer.content)), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return answer.content


class HttpOptions(TypedDict, total=False):
    """The options of `Tool.from_http`.

    Attributes:
        places: Where arguments go, as a word or a `Place`. What is not listed goes into the path if the URL names it,
            else into the query of GET, HEAD, OPTIONS and DELETE and into a JSON object of the others.
        auth: `Bearer`, `Basic`, `ApiKey`, or several of them. They name environment variables, which are read at each
            call.
        headers: Fields that every request carries; no credentials (they are not redacted).
        policy: Where it may connect; the URL's own host is allowed.
        client: Shares its connections and its policy instead. Close it when its tools are not needed any more.
        retries: A number, or a `Retries`.
        timeout: Seconds for a whole call, retries included; 30 by default.
        connect_timeout: Seconds until a connection is made; 5 by default.
        read_timeout: Seconds between two pieces of an answer; 20 by default.
        max_bytes: The most bytes of an answer; 1 MiB by default.
        result: Take the answer for ``"json"`` or ``"text"``; ``"auto"``, the default: for what its content type says.
        returns: JSON Schema of the answer, checked where given.
        on_unsupported: See `Tool`.
    """

    places: Mapping[str, Place | Where] | None
    auth: Auth | Iterable[Auth]
    headers: Mapping[str, str] | None
    policy: NetworkPolicy | None
    client: HttpClient | None
    retries: Retries | int
    timeout: float
    connect_timeout: float
    read_timeout: float
    max_bytes: int
    result: Kind
    returns: dict[str, Any] | None
    on_unsupported: OnUnsupported


def endpoint_of(parameters: dict[str, Any], method: str, url: str, options: HttpOptions) -> HttpEndpoint:
    """The endpoint that takes arguments of a schema; see `Tool.from_http`.

    Args:
        parameters: JSON Schema of the arguments; each of its properties gets a place.
        method: Method of the request, in capitals.
        url: An absolute URL; ``{name}`` in its path stands for an argument.
        options: What is given besides; options that are left out have the defaults of `HttpOptions`.

    Raises:
        SchemaError: If an argument has no place.
        UnknownNameError: If there is no such option.
        InputError: If the URL, a place or another option is unusable, or the policy refuses the host.
    """
    for name in options:
        if name not in HttpOptions.__annotations__:
            raise unknown("option of an HTTP tool", name, HttpOptions.__annotations__)
    client, policy, result = options.get("client"), options.get("policy"), options.get("result", "auto")
    if client is not None and policy is not None:
        raise InputError("give a client or a policy, not both: a client has its policy")
    ways = ways_of(options.get("auth", ()))
    put = _placed(parameters, method, url, options.get("places") or {})
    for way in ways:
        _check_clash(way, put)
    fields = dict(options.get("headers") or {})
    if not any(each.lower() == "accept" for each in fields):
        fields["Accept"] = "application/json, */*;q=0.5" if result != "text" else "*/*"
    bodies = {place.where for place in put.values()} & set(_MEDIA)
    template = Template(
        method,
        url,
        put,
        tuple(fields.items()),
        body=_MEDIA[min(bodies)] if bodies else "",
        always_body=bool(bodies & {"body", "form"}),
    )
    if client is None:
        client = HttpClient((policy or NetworkPolicy()).allowing(_base(url)))
    check_reachable(client.policy, _base(url))
    retries = options.get("retries", 2)
    values: dict[str, Any] = {field: options[name] for field, name in _SENDING.items() if name in options}  # type: ignore[literal-required]
    sending = Sending(retries=retries if isinstance(retries, Retries) else Retries(count=retries), auth=ways, **values)
    return HttpEndpoint(template, client, sending, result)


def check_reachable(policy: NetworkPolicy, url: str) -> None:
    """Checks, without resolving it, that a policy allows a base URL.

    Raises:
        InputError: Saying how to allow it.
    """
    import httpx

    try:
        policy.check_url(httpx.URL(url))
    except httpx.InvalidURL as error:
        raise InputError(f"{url!r} is no URL ({error})") from None
    except ToolError as error:
        raise InputError(str(error)) from None


def _base(url: str) -> str:
    """Scheme and host of a URL template."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}/"


def _placed(parameters: dict[str, Any], method: str, url: str, places: Mapping[str, Place | Where]) -> dict[str, Place]:
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    names = list(properties) if isinstance(properties, dict) else []
    for name in places:
        if name not in names:
            raise unknown("argument", name, names)
    if isinstance(parameters, dict) and (
        parameters.get("patternProperties") or parameters.get("additionalProperties") not in (None, False)
    ):
        raise SchemaError("arguments without a name have no place in a request; list them under 'properties'", "$")
    path = url.partition("://")[2].partition("?")[0]
    listed = {place if isinstance(place, str) else place.where for place in places.values()}
    other: Where = "query" if method in (*SAFE_METHODS, "DELETE") else "body"
    if other == "body" and "form" in listed:
        other = "form"
    put = {}
    for name in names:
        place = places.get(name) or ("path" if f"{{{name}}}" in path else other)
        put[name] = Place(place) if isinstance(place, str) else place
    return put


def _check_clash(way: Auth, put: Mapping[str, Place]) -> None:
    """Refuses an argument that would stand where a credential stands."""
    taken = (way.place, way.name) if isinstance(way, ApiKey) else None
    if isinstance(way, Bearer | Basic):
        taken = ("header", "Authorization")
    for name, place in put.items():
        if taken and place.where == taken[0] and (place.name or name).lower() == taken[1].lower():
            raise InputError(f"argument {name!r} would stand where the credential goes ({taken[0]} {taken[1]!r})")
