"""Whether two schemas exclude each other, and what tells the branches of a union apart."""

from __future__ import annotations

from typing import Any

from loraloop.tool_schemas.schema.references import resolve

_TYPES = {"string", "number", "integer", "boolean", "null", "array", "object"}


def tag(place: dict[str, Any]) -> str | None:
    """The property that tells the branches of a discriminated union apart (OpenAPI), if there is one."""
    discriminator = place.get("discriminator")
    name = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    return name if isinstance(name, str) else None


def tagged(root: dict[str, Any], branch: Any, name: str | None) -> Any:
    """A branch of a union with the property that tells it apart required; as it is if there is none."""
    target = followed(root, branch)
    if name is None or not isinstance(target, dict) or name not in target.get("properties", {}):
        return branch
    return {**target, "required": list(dict.fromkeys((*target.get("required", ()), name)))}


def followed(root: dict[str, Any], schema: Any) -> Any:
    """The schema itself, or what its reference leads to."""
    for _ in range(32):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            break
        target = resolve(root, schema["$ref"])
        schema = target[0] if target else {}
    return schema


def literals(schema: Any) -> list[Any] | None:
    """The only values that can fit a schema, where it lists them."""
    if isinstance(schema, dict) and "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema, dict) and isinstance(schema.get("enum"), list) else None


def disjoint(root: dict[str, Any], first: Any, second: Any) -> bool:
    """Whether it is certain that no value fits both schemas."""
    first, second = followed(root, first), followed(root, second)
    if first is False or second is False:
        return True
    if not isinstance(first, dict) or not isinstance(second, dict):
        return False
    if not _kinds(first) & _kinds(second):
        return True
    left, right = literals(first), literals(second)
    if left is not None and right is not None:
        return not any(one == other for one in left for other in right)
    if _kinds(first) & _kinds(second) != {"object"}:
        return False
    required = set(first.get("required", ())) | set(second.get("required", ()))
    shared = first.get("properties", {}).keys() & second.get("properties", {}).keys() & required
    return any(
        (one := literals(followed(root, first["properties"][name]))) is not None
        and (two := literals(followed(root, second["properties"][name]))) is not None
        and not any(a == b for a in one for b in two)
        for name in shared
    )


def _kinds(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type", _TYPES)
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return found | {"integer"} if "number" in found else found
