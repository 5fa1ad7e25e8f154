"""YAML files as JSON data."""

from __future__ import annotations

import re
from typing import Any

from loraloop.tool_schemas.errors import SchemaError


def read_yaml(text: str, name: str) -> Any:
    """Reads YAML as JSON data: ``no`` and ``2024-01-01`` are text, as in YAML 1.2.

    Keys may still be numbers, and aliases may make it huge or contain itself: what is done with it has to be bounded.

    Raises:
        SchemaError: If it is no YAML, or PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise SchemaError(f"{name} is YAML, which needs PyYAML: pip install 'loraloop[openapi]'") from None
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        pass

    dropped = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in listed if tag not in dropped]
        for first, listed in base.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"
    )
    try:
        return yaml.load(text, Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise SchemaError(f"{name} is no valid YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError) as error:
        raise SchemaError(f"{name} is no usable YAML: {error}") from None
