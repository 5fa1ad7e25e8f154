"""Security schemes of an OpenAPI document, filled from environment variables that the user names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from loraloop.tool_schemas.errors import InputError, LoraloopError, SchemaError, unknown
from loraloop.tool_schemas.http.auth import ApiKey, Auth, Basic, Bearer, Missing, ways_of
from loraloop.tool_schemas.openapi.document import OpenApiDocument, Parts
from loraloop.tool_schemas.schema.places import json_path

Given = Mapping[str, str | tuple[str, str] | Auth] | Auth | Iterable[Auth]
_Scheme = dict[str, Any]


class Security:
    """Chooses how each operation authenticates.

    Args:
        document: Holds the schemes.
        given: For each scheme's name the environment variable with its credential (for basic authentication a pair:
            user, password), or an `Auth`. Or one or several `Auth` for every operation, whatever the document says.

    Raises:
        UnknownNameError: If a name is no scheme of the document.
        InputError: If a scheme is given something of the wrong kind.
    """

    def __init__(self, document: OpenApiDocument, credentials: Given) -> None:
        self._document = document
        self._schemes: dict[str, tuple[_Scheme, Parts]] = {}
        self._unreadable: dict[str, SchemaError] = {}
        for name, node in document.part("components", "securitySchemes").items():
            parts: Parts = ("components", "securitySchemes", name)
            try:
                self._schemes[name] = document.followed(node, parts)
            except SchemaError as error:
                self._schemes[name] = {"type": "unreadable"}, parts
                self._unreadable[name] = error
        self._everywhere = () if isinstance(credentials, Mapping) else ways_of(credentials)
        self._given: dict[str, Auth] = {}
        for name, value in credentials.items() if isinstance(credentials, Mapping) else ():
            if name not in self._schemes:
                raise unknown("security scheme", name, self._schemes)
            self._given[name] = value if isinstance(value, Auth) else self._made(name, value)

    def of(self, operation: dict[str, Any], parts: Parts) -> tuple[Auth, ...]:
        """How one operation authenticates.

        Where the document lists several ways, the first one for which every credential was given; if there is none,
        calls say which credential is missing, unless the document says that it is optional.

        Raises:
            SchemaError: If every way needs something that is not supported, such as client certificates.
        """
        if self._everywhere:
            return self._everywhere
        where = (*parts, "security") if "security" in operation else ("security",)
        ways = operation.get("security", self._document.root.get("security", []))
        if not isinstance(ways, list) or not all(isinstance(way, dict) for way in ways):
            raise SchemaError("must be a list of objects", json_path(where))
        for way in ways:
            for name in way:
                if name not in self._schemes:
                    raise SchemaError(str(unknown("security scheme", name, self._schemes)), json_path(where))
            if way and all(name in self._given for name in way):
                return tuple(self._given[name] for name in way)
        if not ways or {} in ways:
            return ()
        problem: SchemaError | None = None
        for way in ways:
            try:
                for name in way:
                    if name not in self._given:
                        self._check(name)
            except SchemaError as error:
                problem = problem or error
                continue
            absent = [name for name in way if name not in self._given]
            hints = ", ".join(f"{name!r}: {self._example(name)}" for name in absent)
            return (Missing(f"this tool needs a credential that was not given; load it with auth={{{hints}}}"),)
        raise problem or SchemaError("no way to authenticate", json_path(where))

    def taken(self, ways: Collection[Auth]) -> set[tuple[str, str]]:
        """Parameters, as (place, name), that these ways fill in."""
        found: list[tuple[str, str]] = [(way.place, way.name) for way in ways if isinstance(way, ApiKey)]
        if any(isinstance(way, Missing) for way in ways):
            schemes = (scheme for scheme, _ in self._schemes.values() if scheme.get("type") == "apiKey")
            found += [(str(scheme.get("in")), str(scheme.get("name"))) for scheme in schemes]
        return {(place, name.lower() if place == "header" else name) for place, name in found}

    def _kind(self, name: str) -> str:
        scheme, _ = self._schemes[name]
        kind = str(scheme.get("type"))
        return f"http {str(scheme.get('scheme')).lower()}" if kind == "http" else kind

    def _check(self, name: str) -> None:
        if name in self._unreadable:
            raise self._unreadable[name]
        if self._kind(name) not in ("apiKey", "http bearer", "http basic", "oauth2", "openIdConnect"):
            where = json_path(self._schemes[name][1])
            raise SchemaError(
                f"authentication by {self._kind(name)!r} is not supported; give an Auth of your own", where
            )

    def _example(self, name: str) -> str:
        return "('USER_VARIABLE', 'PASSWORD_VARIABLE')" if self._kind(name) == "http basic" else "'VARIABLE'"

    def _made(self, name: str, value: Any) -> Auth:
        scheme, parts = self._schemes[name]
        kind = self._kind(name)
        self._check(name)
        try:
            if kind == "http basic":
                if isinstance(value, tuple | list) and len(value) == 2:
                    return Basic(*value)
                raise InputError("give two variables: ('USER_VARIABLE', 'PASSWORD_VARIABLE')")
            if not isinstance(value, str):
                raise InputError("give the name of one environment variable")
            if kind == "apiKey":
                return ApiKey(value, str(scheme.get("name", "")), scheme.get("in", "header"))
            return Bearer(value)
        except LoraloopError as error:
            raise InputError(f"security scheme {name!r} ({json_path(parts)}): {error}") from None
