"""The versions of the user's skills: each one that was registered is kept with its card and where it came from.

A skill's current version lies where it always lay, in a folder of its name. All its versions, the current one included,
lie in `.history/NAME/0001`, `0002` … beside the skills, and `history.json` there says which one is current.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from loraloop.adapters.atomic_write import write_text
from loraloop.adapters.base.loading.folders import skills_folder
from loraloop.adapters.skill import store
from loraloop.tool_schemas.errors import InputError, SkillError, unknown
from loraloop.tool_schemas.jsontext import adapter, loads_or
from loraloop.tool_schemas.schema.untitled import first_problem

HISTORY = ".history"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a skill.

    Attributes:
        number: From 1.
        when: When it was registered (ISO, UTC).
        origin: Where it came from: `command`, and what whoever registered it knows more, such as scores.
        sha256: Digest of the skill's tensors and card.
        current: Whether it is the one that is used.
    """

    number: int
    when: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    current: bool = False


def versions(name: str) -> list[Version]:
    """All versions of a user's skill, the oldest first; none where there is no such skill, or it has no history."""
    current, listed = _read(name)
    return [replace(version, current=version.number == current) for version in listed]


def version_folder(name: str, number: int) -> Path:
    """The folder of a version."""
    return _home(name) / f"{number:04d}"


def put(name: str, files: Mapping[str, bytes], origin: Mapping[str, Any]) -> Version:
    """Makes some files a skill's current version.

    A version that equals the current one is not added again. A skill that was there before histories were kept
    becomes the first version.

    Args:
        name: Name of the skill.
        files: Tensors and card.
        origin: Where they came from; JSON data.
    """
    with _locked(name):
        current, listed = _read(name)
        if not listed and (old := _files(skills_folder() / name)):
            current, listed = 1, [_written(name, 1, old, {"command": "registered before versions were kept"})]
        sha256 = _sha256(files)
        version = next((each for each in listed if each.number == current and each.sha256 == sha256), None)
        if version is None:
            version = _written(name, max((each.number for each in listed), default=0) + 1, files, origin)
            listed.append(version)
        store.write_folder(skills_folder() / name, files)
        _write(name, version.number, listed)
    return replace(version, current=True)


def rollback(name: str, number: int | None = None) -> Version:
    """Makes an earlier version of a skill the current one again.

    Args:
        name: Name of the skill.
        number: Number of the version; the one before the current one where None.

    Raises:
        InputError: There is no earlier version.
        UnknownNameError: There is no such skill, or no such version.
    """
    _check_known(name)
    with _locked(name):
        _check_known(name)
        current, listed = _read(name)
        if not listed:
            raise InputError(f"{name} was registered before versions were kept: there is no earlier one to use")
        numbers = [version.number for version in listed]
        if number is None:
            number = max((each for each in numbers if each < current), default=None)
            if number is None:
                raise InputError(f"{name} has no version before {current}: loraloop skills history {name} lists them")
        if number not in numbers:
            raise unknown(f"version of {name}", str(number), map(str, numbers))
        files = _files(version_folder(name, number))
        if not files:
            raise SkillError(
                f"{version_folder(name, number)} is gone: choose another version, or register the skill again"
            )
        store.write_folder(skills_folder() / name, files)
        _write(name, number, listed)
    return next(version for version in versions(name) if version.current)


def remove(name: str) -> int:
    """Removes a user's skill with all its versions; returns how many it had.

    Raises:
        UnknownNameError: There is no such skill.
    """
    _check_known(name)
    with _locked(name):
        _check_known(name)
        _, listed = _read(name)
        folder = skills_folder() / name
        # The skill goes first: what a kill leaves behind is a history without a skill, which a next try removes.
        gone = folder.with_name(f".{name}.removed")
        shutil.rmtree(gone, ignore_errors=True)
        if folder.exists():
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        shutil.rmtree(_home(name), ignore_errors=True)
    return max(1, len(listed))


def _check_known(name: str) -> None:
    """Raises UnknownNameError where there is no such skill: asked before its lock is made, and again under it."""
    if not versions(name) and not (skills_folder() / name / store.CARD).is_file():
        _no_skill(name)


def _no_skill(name: str) -> None:
    known = store.skill_folders(skills_folder())
    raise unknown("skill of yours", name, known)


def _home(name: str) -> Path:
    if not re.fullmatch(store.NAME, name):
        _no_skill(name)
    return skills_folder() / HISTORY / name


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One writer at a time, over all processes."""
    folder = _home(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield


def _read(name: str) -> tuple[int, list[Version]]:
    """The current version's number, and all versions."""
    try:
        found = json.loads((_home(name) / "history.json").read_text(encoding="utf-8"))
        return int(found["current"]), adapter(list[Version]).validate_python(found["versions"])
    except FileNotFoundError:
        return 0, []
    except (ValueError, KeyError, TypeError) as error:
        what = ": ".join(first_problem(error)) if isinstance(error, ValidationError) else error
        raise InputError(f"the history of {name} in {_home(name)} is damaged ({what}): remove that folder") from None


def _write(name: str, current: int, listed: list[Version]) -> None:
    rows = [asdict(version) for version in listed]
    for row in rows:
        del row["current"]
    text = json.dumps({"current": current, "versions": rows}, indent=1, ensure_ascii=False) + "\n"
    write_text(_home(name) / "history.json", text)


def _written(name: str, number: int, files: Mapping[str, bytes], origin: Mapping[str, Any]) -> Version:
    """Writes a version's files."""
    store.write_folder(version_folder(name, number), files)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Version(number, when, dict(origin), _sha256(files))


def _files(folder: Path) -> dict[str, bytes]:
    """Tensors and card of a folder; nothing where it has none."""
    if not (folder / store.CARD).is_file():
        return {}
    return store.unchanged(folder, lambda: {part: (folder / part).read_bytes() for part in (store.TENSORS, store.CARD)})


def card_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The card among a skill's files; empty where it cannot be read."""
    found = loads_or(files.get(store.CARD, b""))
    return found if isinstance(found, dict) else {}


def _sha256(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(files[store.TENSORS] + files[store.CARD]).hexdigest()
