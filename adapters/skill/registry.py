"""The user's own skills: a folder in which the command line and `Runtime.load` find them by name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.loading.catalog import DEFAULT
from loraloop.adapters.base.loading.folders import skills_folder
from loraloop.adapters.skill import history, store
from loraloop.tool_schemas.errors import SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base


def library(base: str = DEFAULT) -> dict[str, Path]:
    """Folders of the skills that ship with the package for a base, by name; none for a base that has none.

    Args:
        base: The base's name in the catalog.
    """
    shipped = Path(str(resources.files("loraloop.adapters").joinpath("library")))
    return store.skill_folders(shipped / base) if base in {folder.name for folder in shipped.iterdir()} else {}


def shipping(name: str) -> list[str]:
    """Names of the bases for which a skill of this name ships."""
    shipped = Path(str(resources.files("loraloop.adapters").joinpath("library")))
    return sorted(folder.name for folder in shipped.iterdir() if name in store.skill_folders(folder))


def registered() -> dict[str, Path]:
    """Folders of the user's skills, by name."""
    return store.skill_folders(skills_folder())


def known_skills(base: Base | str) -> dict[str, Path]:
    """Folders of the skills that a name can mean, by name: those that fit a base, then the user's for other bases.

    Args:
        base: The base, or its name in the catalog.
    """
    return {**registered(), **fitting_skills(base)}


def fitting_skills(base: Base | str) -> dict[str, Path]:
    """Folders of the shipped skills of a base and of the user's that were made for it, by name.

    A user's skill takes the place of a shipped one of its name. One whose card is damaged counts as made for the base,
    so that whoever opens it is told.

    Args:
        base: The base, or its name in the catalog; no skill of the user's fits a name for which none ships.
    """
    if isinstance(base, str):
        shipped = library(base)
        architecture = next(map(_architecture, shipped.values()), None)
    else:
        shipped, architecture = library(base.name), base.fingerprints.architecture
    own = registered()
    return {**shipped, **{name: own[name] for name in own if _architecture(own[name]) in (architecture, "")}}


def _architecture(folder: Path) -> str:
    """The fingerprint of the bases that a skill fits; empty where its card is damaged."""
    from loraloop.adapters.skill.card import Card

    try:
        return Card.read(folder / store.CARD).fingerprints.architecture
    except SkillError:
        return ""


def built_skills(folder: Path) -> tuple[list[Path], Path | None]:
    """The skills in a folder such as `loraloop skills build` writes, and the router in it; None where it has none.

    Raises:
        SkillError: It holds no skill.
    """
    found = [folder] if (folder / store.CARD).is_file() else list(store.skill_folders(folder).values())
    if not found:
        raise SkillError(f"no skills in {folder}: give the folder that `loraloop skills build` wrote (--out)")
    router = folder / "router"
    return found, router if (router / "router.json").is_file() else None


def register(folder: Path, name: str, origin: Mapping[str, Any] | None = None) -> Path:
    """Copies a skill's folder to the user's skills; one of that name is replaced, and kept as an earlier version.

    Args:
        folder: With `card.json` and `skill.safetensors`.
        name: The skill's.
        origin: Where it came from, for its history; the command on its card where None.

    Returns:
        Where it is now.

    Raises:
        SkillError: No skill can have that name, or the folder is not there or lacks a file.
    """
    if not re.fullmatch(store.NAME, name) or name == store.ROUTERS:
        raise SkillError(f"{name!r} is not a name of a skill: use lower-case letters, digits, '-' and '_', 64 at most")

    def read() -> dict[str, bytes]:
        try:
            return {part: (folder / part).read_bytes() for part in (store.TENSORS, store.CARD)}
        except OSError as error:
            raise SkillError(f"{folder} cannot be registered ({error}): give a skill's folder") from None

    files = store.unchanged(folder, read)
    if origin is None:
        training = history.card_of(files).get("training") or {}
        origin = {"command": training.get("command") or "register"}
    history.put(name, files, origin)
    return skills_folder() / name


def router_folder(architecture: str) -> Path:
    """Where the router of the user's skills for bases of an architecture lies, or would lie.

    Args:
        architecture: The base's fingerprint.
    """
    return skills_folder() / store.ROUTERS / (re.sub(r"\W", "-", architecture)[:16] or "base")


def register_router(folder: Path, architecture: str) -> Path:
    """Copies a router to where the runtime finds it.

    Args:
        folder: The router's.
        architecture: Fingerprint of the bases that it is for.
    """
    target = router_folder(architecture)
    store.write_folder(target, {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})
    return target


def own_router(architecture: str, skills: Collection[str]) -> Path | None:
    """The folder of the user's router, if it knows one of some skills.

    Args:
        architecture: Fingerprint of the base.
        skills: Names of skills, one of which it has to know.
    """
    folder = router_folder(architecture)
    try:
        known = json.loads((folder / "router.json").read_text(encoding="utf-8"))["names"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return folder if set(known).intersection(skills) else None
