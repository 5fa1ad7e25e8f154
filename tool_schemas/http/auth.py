"""Credentials of HTTP tools: named by environment variables, read when a call is made, redacted wherever echoed."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html.entities import html5
from typing import Any, Literal, Protocol, runtime_checkable

from loraloop.tool_schemas.errors import InputError, ToolError
from loraloop.tool_schemas.http.places import TOKEN

REDACTED = "[redacted]"
_LEAST_BASE64 = 6  # characters of a part of base64 that is looked for
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one request carries to prove who asks; its repr shows nothing of it.

    Attributes:
        headers: Header fields.
        query: Query parameters.
        cookies: Cookies.
        secrets: Texts that must not be seen.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cookies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __add__(self, other: Credentials) -> Credentials:
        return Credentials(
            self.headers + other.headers,
            self.query + other.query,
            self.cookies + other.cookies,
            self.secrets + other.secrets,
        )


@runtime_checkable
class Auth(Protocol):
    """A way to authenticate."""

    def credentials(self) -> Credentials:
        """Reads the environment.

        Raises:
            ToolError: If a variable is missing or holds what cannot be sent; it names the variable, never its value.
        """


@dataclass(frozen=True, slots=True)
class Bearer:
    """``Authorization: Bearer …`` with the token in the environment variable `env`; OAuth 2 tokens as well."""

    env: str

    def __post_init__(self) -> None:
        _check_variable(self.env)

    def credentials(self) -> Credentials:
        """The credentials of one request."""
        token = _read(self.env)
        return Credentials(headers=(("Authorization", f"Bearer {token}"),), secrets=(token,))


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP basic authentication (RFC 7617).

    Attributes:
        user_env: The variable that holds the user's name.
        password_env: The variable that holds the password; None for an empty one (a key sent as the name).
    """

    user_env: str
    password_env: str | None = None

    def __post_init__(self) -> None:
        _check_variable(self.user_env)
        if self.password_env is not None:
            _check_variable(self.password_env)

    def credentials(self) -> Credentials:
        """The credentials of one request."""
        user = _read(self.user_env)
        if ":" in user:
            raise ToolError(f"the environment variable {self.user_env} holds a ':', which a user name cannot")
        password = _read(self.password_env) if self.password_env is not None else ""
        both = base64.b64encode(f"{user}:{password}".encode()).decode()
        secrets = (both, password) if password else (both, user)
        return Credentials(headers=(("Authorization", f"Basic {both}"),), secrets=secrets)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in a header, a query parameter or a cookie.

    Attributes:
        env: The variable that holds the key.
        name: The header's, parameter's or cookie's name.
        place: Where it goes.
    """

    env: str
    name: str = "X-API-Key"
    place: Literal["header", "query", "cookie"] = "header"

    def __post_init__(self) -> None:
        _check_variable(self.env)
        if self.place not in ("header", "query", "cookie"):
            raise InputError(f"an API key goes into 'header', 'query' or 'cookie', not {self.place!r}")
        if not self.name or (self.place != "query" and not TOKEN.fullmatch(self.name)):
            raise InputError(f"{self.name!r} is not a name for a {self.place} parameter")

    def credentials(self) -> Credentials:
        """The credentials of one request."""
        key = _read(self.env)
        pair = ((self.name, key),)
        if self.place == "header":
            return Credentials(headers=pair, secrets=(key,))
        return Credentials(query=pair, secrets=(key,)) if self.place == "query" else Credentials((), (), pair, (key,))


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for a credential that a service wants and nobody named; each call says so.

    Attributes:
        reason: The whole message.
    """

    reason: str

    def credentials(self) -> Credentials:
        raise ToolError(self.reason)


def ways_of(auth: Auth | Iterable[Auth]) -> tuple[Auth, ...]:
    """One way to authenticate or several as a tuple.

    Raises:
        InputError: If there is something else among them.
    """
    ways = (auth,) if isinstance(auth, Auth) else tuple(auth)
    if not all(isinstance(way, Auth) for way in ways):
        raise InputError("auth takes Bearer, Basic or ApiKey, each with the name of an environment variable")
    return ways


def gather(auth: Iterable[Auth]) -> Credentials:
    """The credentials of several ways at once.

    Raises:
        ToolError: See `Auth.credentials`.
    """
    return sum((each.credentials() for each in auth), Credentials())


def _check_variable(name: str) -> None:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise InputError(
            "auth takes the name of an environment variable, such as 'SERVICE_TOKEN', not the secret itself"
        )


def _read(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ToolError(f"the environment variable {name} is not set; set it to the credential that this tool sends")
    if not value.isascii() or not value.isprintable():
        raise ToolError(f"the environment variable {name} holds characters that no header can carry")
    return value


class Redactor:
    """Replaces secrets, in the spellings in which a server may echo them.

    Each character as it is, percent-encoded, or escaped for JSON or HTML, and the whole in base64, also as a part of a
    longer text; in either case. A server that transforms a secret in another way (reversed, hashed) is not followed.

    Args:
        secrets: Texts that must not be seen.
    """

    __slots__ = ("_pattern",)

    def __init__(self, secrets: Iterable[str]) -> None:
        found = sorted(filter(None, secrets), key=len, reverse=True)
        ways = ["".join(map(_spelled, secret)) for secret in found]
        parts = {part for secret in found for part in _base64_parts(secret.encode())}
        ways += map(re.escape, sorted(parts, key=len, reverse=True))
        self._pattern = re.compile("|".join(ways), re.IGNORECASE) if ways else None

    def __repr__(self) -> str:
        return "Redactor()"

    def text(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def finds(self, text: str) -> bool:
        """Whether a secret is in the text."""
        return bool(self._pattern and self._pattern.search(text))

    def value(self, value: Any) -> Any:
        """JSON data without secrets, in keys, texts and numbers."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and self.finds(repr(value)):
            return REDACTED
        return value


def _spelled(character: str) -> str:
    """A regular expression for the ways to write a character, the longest first."""
    code = ord(character)
    ways = ["".join(f"%(?:25)*{byte:02x}" for byte in character.encode())]
    escapes = [f"u{code:04x}", f"x{code:02x}", *([re.escape(character)] if character in '"\\/' else [])]
    ways += [rf"\\{{1,32}}(?:{'|'.join(escapes)})"]  # five times escaped; from a longer run each start would look on
    ways += [f"&(?:amp;)*#0*{code};", f"&(?:amp;)*#x0*{code:x};"]
    if character == " ":
        ways.append(r"\+")
    ways += [f"&(?:amp;)*{name}" for name, meant in html5.items() if meant == character and name.endswith(";")]
    ways.append(re.escape(character))  # last, since a longer spelling may begin with the character
    return f"(?:{'|'.join(ways)})"


def _base64_parts(secret: bytes) -> set[str]:
    """What base64 makes of a secret wherever it begins in a longer text, without what its neighbours change."""
    parts = set()
    for coded in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = coded(bytes(before) + secret).decode().rstrip("=")
            inner = text[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6]
            parts |= {inner} if len(inner) >= _LEAST_BASE64 else set()
        parts.add(coded(secret).decode().rstrip("="))
    return parts
