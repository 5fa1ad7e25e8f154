"""Where each argument of an HTTP tool goes, and how it is written there (OpenAPI's parameter styles)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

from loraloop.tool_schemas.errors import InputError, ToolError, unknown
from loraloop.tool_schemas.jsontext import dumps

Where = Literal["path", "query", "header", "cookie", "body", "json", "form", "text"]
Pairs = list[tuple[str, str]]

STYLES: dict[str, tuple[str, ...]] = {  # the default first
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
    "form": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
}
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""Names of headers and cookies (RFC 9110, 5.6.2)."""
_VISIBLE = re.compile(r"[\x20-\x7e\t]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OURS = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy-authorization",
        "proxy-connection",
        "proxy-authenticate",
        "authorization",
        "cookie",
        "content-type",
        "content-encoding",
        "accept-encoding",
    ]
)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one argument in a request.

    Attributes:
        where: ``"path"``, ``"query"``, ``"header"`` or ``"cookie"``; ``"body"`` is a field of a JSON object, ``"json"``
            the whole JSON body, ``"form"`` a field of a form (``application/x-www-form-urlencoded``), ``"text"`` the
            whole body as plain text.
        name: Name of the argument in that place; the argument's own where empty.
        style: How lists and objects are written, as OpenAPI names it; the place's default where empty.
        explode: Whether each item stands for itself; None for the style's default.
        json: Write it as JSON text instead (OpenAPI's ``content``); not for bodies.

    Raises:
        InputError: If there is no such place or style, or the name cannot be sent there.
    """

    where: Where
    name: str = ""
    style: str = ""
    explode: bool | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.where not in get_args(Where):
            raise unknown("place for an argument", self.where, get_args(Where))
        styles = STYLES.get(self.where, ("",))
        if self.style and self.style not in styles:
            raise InputError(f"style {self.style!r} is not for the {self.where}; there is {', '.join(styles)}")
        if self.where in ("header", "cookie") and self.name:
            check_header_name(self.name, self.where)

    @property
    def exploded(self) -> bool:
        """`explode`, with OpenAPI's default."""
        return (self.style or "form") in ("form", "deepObject") if self.explode is None else self.explode


def check_header_name(name: str, where: str = "header") -> None:
    """Checks that a header or cookie of this name can be sent, and is not one that the client itself governs.

    Raises:
        InputError: If not.
    """
    if not TOKEN.fullmatch(name):
        raise InputError(f"{name!r} is not a name for a {where}")
    if where == "header" and (name.lower() in _OURS or name.lower().startswith(("proxy-", "sec-"))):
        raise InputError(f"the header {name!r} is set by the client, not by an argument; use 'auth' for credentials")


def header_text(name: str, text: str) -> str:
    """A header's value.

    Raises:
        ToolError: If it holds a line break or another character that no header can carry.
    """
    if not _VISIBLE.fullmatch(text):
        raise ToolError(f"argument {name!r} goes into a header, which carries one line of ASCII; leave the rest out")
    return text.strip(" \t")


def scalar(value: Any, name: str) -> str:
    """A plain value as text.

    Raises:
        ToolError: If it is a list or an object.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    raise ToolError(f"argument {name!r} holds a list or an object where a plain value has to stand")


def encode(text: str) -> str:
    """Percent-encodes everything but letters, digits and ``-._~`` (RFC 3986's unreserved characters)."""
    return quote(text.encode("utf-8", "replace"), safe="")


def leads_out(text: str) -> bool:
    """Whether a server may take a part of a path for the folder itself or the one above it.

    Some drop what follows a semicolon, some drop spaces, some take full-width characters for plain ones, and some
    decode more than once.
    """
    plain = (unicodedata.normalize("NFKC", each) for each in readings(text))
    parts = (part for each in plain for part in re.split(r"[/\\\u2044\u2215]", each))
    return any(part.partition(";")[0].strip() in (".", "..") for part in parts)


def readings(text: str) -> Iterator[str]:
    """The text as it is, and as servers read it that decode it once, twice, up to four times."""
    yield text
    for _ in range(4):
        if (again := unquote(text)) == text:
            return
        yield (text := again)


def in_path(value: Any, place: Place, name: str) -> str:
    """An argument as a part of one path segment.

    Raises:
        ToolError: If a server could take it for more than that: it has a part ``..`` or ``.``, or control characters.
    """

    def text(item: Any) -> str:
        value = scalar(item, name)
        if leads_out(value) or any(map(_CONTROL.search, readings(value))):
            raise ToolError(f"argument {name!r} would lead out of its place in the path; give the plain value")
        return encode(value)

    label = encode(place.name or name)
    exploded = bool(place.explode)
    if value is None:
        raise ToolError(f"argument {name!r} is a part of the path and cannot be null")
    if place.json:
        return encode(dumps(value))
    if place.style in ("", "simple"):
        return ",".join(_flat(value, text, "=" if exploded else ","))
    prefix, joint = (".", ".") if place.style == "label" else (f";{label}=", f";{label}=")
    if isinstance(value, dict) and exploded:
        mark = ";" if place.style == "matrix" else "."
        return mark + mark.join(_flat(value, text, "="))
    return prefix + (joint if exploded else ",").join(_flat(value, text, ","))


def in_query(value: Any, place: Place, name: str) -> Pairs:
    """An argument as query or form fields, percent-encoded.

    Raises:
        ToolError: If it is nested more deeply than the style can say.
    """
    label = place.name or name
    if place.json:
        return [(encode(label), encode(dumps(value)))]

    def text(item: Any) -> str:
        return encode(scalar(item, name))

    style = place.style or "form"
    if style == "deepObject":
        if not isinstance(value, dict):
            raise ToolError(f"argument {name!r} has to be an object")
        return _deep(label, value, text)
    if isinstance(value, dict) and place.exploded and style == "form":
        return [(encode(key), text(item)) for key, item in value.items() if item is not None]
    if isinstance(value, list) and place.exploded:
        return [(encode(label), text(item)) for item in value if item is not None]
    joint = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}[style]
    if isinstance(value, dict | list) and not value:
        return []
    return [(encode(label), joint.join(_flat(value, text, joint)))]


def in_header(value: Any, place: Place, name: str) -> str:
    """An argument as a header's value.

    Raises:
        ToolError: See `header_text` and `scalar`.
    """
    if place.json:
        return header_text(name, dumps(value))
    joint = "=" if place.explode else ","
    return header_text(name, ",".join(_flat(value, lambda item: scalar(item, name), joint)))


def in_cookie(value: Any, place: Place, name: str) -> str:
    """An argument as a cookie's value, percent-encoded so that it cannot end it."""
    if place.json:
        return encode(dumps(value))
    return ",".join(_flat(value, lambda item: encode(scalar(item, name)), ","))


def _flat(value: Any, text: Callable[[Any], str], pair: str) -> list[str]:
    if isinstance(value, list):
        return [text(item) for item in value if item is not None]
    if isinstance(value, dict):
        return [f"{text(key)}{pair}{text(item)}" for key, item in value.items() if item is not None]
    return [text(value)]


def _deep(label: str, value: Any, text: Callable[[Any], str]) -> Pairs:
    pairs: Pairs = []
    for key, item in value.items():
        inner = f"{label}[{key}]"
        if isinstance(item, dict):
            pairs += _deep(inner, item, text)
        elif item is not None:
            pairs.append((encode(inner), text(item)))
    return pairs
