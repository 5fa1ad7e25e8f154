"""From arguments to a request: the URL with its segments intact, header fields, the body."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loraloop.tool_schemas.errors import InputError, ToolError, unknown
from loraloop.tool_schemas.http.places import (
    Pairs,
    Place,
    check_header_name,
    header_text,
    in_cookie,
    in_header,
    in_path,
    in_query,
    leads_out,
    scalar,
)
from loraloop.tool_schemas.jsontext import dumps

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request ready to be sent, without credentials.

    Attributes:
        method: Upper case.
        url: Absolute, percent-encoded.
        headers: Header fields.
        cookies: Names and encoded values.
        content: The body; None where there is none.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    cookies: tuple[tuple[str, str], ...] = ()
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Template:
    """What is the same in every call of one tool.

    Attributes:
        method: One of `METHODS`.
        url: An absolute URL whose path may hold ``{variables}``.
        places: Where each argument goes.
        headers: Fields that every request carries.
        body: The media type of the body; empty if arguments never make one.
        always_body: Whether a JSON object or form is sent even if it is empty.

    Raises:
        InputError: If the method, the URL, a header or a place is unusable, or variables and places disagree.
    """

    method: str
    url: str
    places: Mapping[str, Place] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    always_body: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r}: use {', '.join(METHODS)}")
        scheme, mark, rest = self.url.partition("://")
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        if not mark or scheme not in ("http", "https") or not host:
            raise InputError(f"{self.url!r}: a tool's URL starts with http:// or https:// and a host")
        if "{" in host or "@" in host or re.search(r"[\s\\\x00-\x1f\x7f]", self.url):
            raise InputError(f"{self.url!r}: no variables, credentials or blanks in a tool's host")
        path, _, query = rest[len(host) :].partition("?")
        if "{" in query or "#" in rest:
            raise InputError(f"{self.url!r}: variables stand in the path only; give query parameters as places")
        names = _VARIABLE.findall(path)
        bound = [place.name or name for name, place in self.places.items() if place.where == "path"]
        if sorted(names) != sorted(bound):
            raise InputError(f"{self.url!r} names {sorted(names)} in its path, the places are {sorted(bound)}")
        for name, place in self.places.items():
            if place.where in ("header", "cookie"):
                check_header_name(place.name or name, place.where)
        headers = {(place.name or name).lower(): name for name, place in self.places.items() if place.where == "header"}
        for name, value in self.headers:
            check_header_name(name)
            if name.lower() in headers:
                raise InputError(
                    f"the header {name!r} is fixed, and argument {headers[name.lower()]!r} would set it too"
                )
            try:
                header_text(name, value)
            except ToolError as error:
                raise InputError(str(error)) from None
        kinds = {place.where for place in self.places.values()} & {"body", "json", "form", "text"}
        if len(kinds) > 1:
            raise InputError(f"arguments make up two bodies at once ({', '.join(sorted(kinds))}); use one kind")
        whole = [name for name, place in self.places.items() if place.where in ("json", "text")]
        if len(whole) > 1:
            raise InputError(f"{' and '.join(map(repr, whole))} would both be the whole body")

    def fill(self, arguments: Mapping[str, Any]) -> HttpRequest:
        """Puts arguments where they go.

        Args:
            arguments: Valid under the tool's schema.

        Raises:
            ToolError: If one of them cannot be written where it goes; it names the argument.
        """
        for name in arguments:
            if name not in self.places:
                raise ToolError(str(unknown("argument", name, self.places)))
        path: dict[str, str] = {}
        query: Pairs = []
        headers, cookies, fields = dict(self.headers), [], dict[str, Any]()
        form: Pairs = []
        whole: tuple[str, Any] | None = None
        for name, place in self.places.items():
            if name not in arguments:
                continue
            value, label = arguments[name], place.name or name
            if value is None and place.where in ("query", "header", "cookie", "form"):
                continue
            match place.where:
                case "path":
                    path[label] = in_path(value, place, name)
                case "query":
                    query += in_query(value, place, name)
                case "header":
                    headers[label] = in_header(value, place, name)
                case "cookie":
                    cookies.append((label, in_cookie(value, place, name)))
                case "body":
                    fields[label] = value
                case "form":
                    form += in_query(value, place, name)
                case _:
                    whole = (place.where, value)
        content = self._content(fields, form, whole)
        if content is not None:
            headers["Content-Type"] = self.body or "application/json"
        url = self._url(path, query)
        return HttpRequest(self.method, url, tuple(headers.items()), tuple(cookies), content)

    def _content(self, fields: dict[str, Any], form: Pairs, whole: tuple[str, Any] | None) -> bytes | None:
        if whole is not None:
            where, value = whole
            return (scalar(value, "body") if where == "text" else dumps(value)).encode("utf-8", "replace")
        if form or (self.always_body and any(place.where == "form" for place in self.places.values())):
            return "&".join(f"{name}={value}" for name, value in form).encode()
        if fields or self.always_body:
            return dumps(fields).encode()
        return None

    def _url(self, path: dict[str, str], query: Pairs) -> str:
        base, mark, fixed = self.url.partition("?")
        head, slashes, rest = base.partition("://")
        filled = "/".join(self._segments(rest.split("/"), path))
        pairs = [*([fixed] if fixed else []), *(f"{name}={value}" for name, value in query)]
        return f"{head}{slashes}{filled}" + ("?" + "&".join(pairs) if pairs or mark else "")

    def _segments(self, segments: list[str], path: dict[str, str]) -> Iterator[str]:
        for segment in segments:
            names = _VARIABLE.findall(segment)
            missing = [name for name in names if name not in path]
            if missing:
                raise ToolError(f"argument {missing[0]!r} is a part of the path and has to be given")
            text = _VARIABLE.sub(lambda found: path[found[1]], segment)
            if names and (not text or leads_out(text)):
                raise ToolError(f"argument {names[0]!r} is {text!r}, which would be another path; give a value")
            yield text
