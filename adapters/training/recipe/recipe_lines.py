"""YAML with line numbers: where each value of a document stands, and validation errors that say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from loraloop.tool_schemas.errors import InputError, LoraloopError, file_errors, nearest_name, needing
from loraloop.tool_schemas.yamltext import expanded
from loraloop.tool_schemas.yamltext import read_yaml as plain_yaml

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """The line of each key and entry of a document, by its path."""

    where: str
    lines: Mapping[Place, int]

    def at(self, path: Sequence[str | int]) -> str:
        """The place of a path, or of the nearest thing around it that stands in the document."""
        key = tuple(path)
        while key and key not in self.lines:
            key = key[:-1]
        line = self.lines.get(key)
        return self.where if line is None else f"{self.where}:{line}"


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """The mapping that a YAML file holds, and its lines.

    Raises:
        InputError: the file is missing, no YAML, or no mapping; a key occurs twice; PyYAML is not installed.
    """
    with needing("recipes are YAML files", "'loraloop[train]', or pass a dictionary"):
        import yaml
    with file_errors(f"cannot read the recipe {path}"):
        text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{at}: no valid YAML: {getattr(error, 'problem', None) or error}") from None
    if why := expanded(document):
        raise InputError(f"{path}: {why}: write it out")
    if not isinstance(document, dict):
        raise InputError(f"{path}: a recipe is a mapping with the keys skill and data")
    return document, _lines(node, str(path))


def read_lines(path: Path, where: str = "") -> tuple[Any, Lines]:
    """What a YAML file holds, with `no` and dates as texts, and its lines.

    Args:
        path: The file.
        where: The file's name in messages about a line; the path where empty.

    Raises:
        InputError, SchemaError: the file cannot be read or is no YAML; aliases make it huge; a key occurs twice.
    """
    with file_errors(f"cannot read {path}"):
        text = path.read_text(encoding="utf-8")
    document = plain_yaml(text, str(path))
    if why := expanded(document):
        raise InputError(f"{path}: {why}: write it out")
    import yaml

    node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return document, _lines(node, where or str(path))


def _lines(node: Any, where: str) -> Lines:
    found: dict[Place, int] = {}
    for place, line in _walk(node, ()):
        if place in found:
            raise InputError(f"{where}:{line}: {_dotted(place)} is given twice; line {found[place]} has it too")
        found[place] = line
    return Lines(where, found)


def _walk(node: Any, path: Place) -> Iterator[tuple[Place, int]]:
    kind = type(node).__name__
    if kind == "MappingNode":
        for key, value in node.value:
            place = (*path, key.value)
            yield place, key.start_mark.line + 1
            yield from _walk(value, place)
    elif kind == "SequenceNode":
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _walk(value, (*path, index))


def explain(error: ValidationError, model: Any, lines: Lines, path: Place = ()) -> str:
    """Every problem of a validation with its line; an unknown key with the nearest known one.

    Args:
        error: what pydantic found.
        model: the model or dataclass that was validated.
        lines: where things stand.
        path: where the validated value stands in the document.
    """
    problems = []
    for problem in error.errors(include_url=False):
        loc = (*path, *problem["loc"])
        at, key = lines.at(loc), _dotted(loc)
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            problems.append(f"{at}: {unknown_key(key, str(loc[-1]), known_fields(model, problem['loc'][:-1]))}")
        elif problem["type"].startswith("missing"):
            problems.append(f"{at}: {key} is missing: add it")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{at}: {key + ': ' if key else ''}{message[:1].lower()}{message[1:]}")
    return "; ".join(problems)


def unknown_key(key: str, name: str, known: Sequence[str]) -> str:
    """The sentence about a key that does not exist."""
    near, listed = nearest_name(name, known), ", ".join(sorted(known))
    if near is not None:
        return f"unknown key {key}; did you mean {near!r}? Known: {listed}"
    return f"unknown key {key}" + (f"; known: {listed}" if known else "")


def refuse_unknown(names: Iterable[str], known: Sequence[str], lines: Lines, path: Place) -> None:
    """Raises InputError, with the line and the nearest known name, at the first of the names that is not known.

    Args:
        names: The keys of a mapping in the recipe.
        known: The keys that it may have.
        lines: The lines of the recipe.
        path: Where the mapping stands in it.
    """
    for name in names:
        if name not in known:
            raise InputError(f"{lines.at((*path, name))}: {unknown_key(_dotted((*path, name)), name, known)}")


def known_fields(model: Any, path: Sequence[str | int]) -> list[str]:
    """Names of the fields of the model or dataclass that stands at a path within another."""
    for step in path:
        if isinstance(step, int) or not issubclass(model, BaseModel):
            continue
        field = next((f for n, f in model.model_fields.items() if step in (n, f.alias)), None)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    if is_dataclass(model):
        return [field.name for field in fields(model) if field.init]
    return [field.alias or name for name, field in model.model_fields.items()]


def checked(kind: Any, options: Mapping[str, Any], lines: Lines, path: Place) -> Any:
    """An instance of a dataclass from a recipe's values.

    Args:
        kind: The dataclass.
        options: Values of its fields by name; fields that are left out keep their defaults.
        lines: The lines of the recipe, for messages.
        path: Where the options stand in the recipe.

    Raises:
        InputError: a key is unknown (with the nearest one) or a value is wrong; with its line.
    """
    refuse_unknown(options, known_fields(kind, ()), lines, path)
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise InputError(explain(error, kind, lines, path)) from None
    except LoraloopError as error:
        raise InputError(f"{lines.at(path)}: {error}") from None


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
