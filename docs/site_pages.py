"""A hook of `mkdocs.yml`: the README as the first page, the API reference, and pages of linked files."""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "build" / "api"  # a copy of the package in one tree, for mkdocstrings
GROUPS = {  # by the beginning of the module that a name comes from
    "Agents": (".agent",),
    "Tools": (".tool_schemas",),
    "Bases, skills and training": (".adapters", ".router", ".training"),
    "Errors": (".tool_schemas.errors",),
}
STUBS = {
    "More of tools": ("loraloop.tool_schemas", "tool_schemas"),
    "Tests": ("loraloop.testing", "src/loraloop/testing"),
}
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[#)])")


def on_startup(**_: Any) -> None:
    """Puts the rooms together as one package, which mkdocstrings reads without importing anything."""
    rooms = [ROOT / room for room in ("adapters", "agent", "kernels", "recipes", "router", "tool_schemas")]
    shutil.rmtree(SOURCES, ignore_errors=True)
    for folder in (ROOT / "src" / "loraloop", *rooms):
        for file in [*folder.rglob("*.py"), *folder.rglob("*.pyi")]:
            copy = SOURCES / "loraloop" / file.relative_to(folder if folder not in rooms else ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def on_files(files: Files, config: Any) -> Files:
    """Adds the generated pages."""
    made: dict[str, str] = {"api.md": _api()}
    waiting = {page.src_uri: f"docs/{page.src_uri}" for page in files.documentation_pages()} | {"index.md": "README.md"}
    while waiting:
        uri, path = waiting.popitem()
        text = (ROOT / path).read_text(encoding="utf-8")
        made[uri] = LINK.sub(lambda found, uri=uri, path=path: _relative(found[1], uri, path), text)
        targets = {posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for link in LINK.findall(text)}
        for target in targets:
            page = _page(target)
            if not page.startswith("source/") or not (ROOT / target).exists() or page in made or page in waiting:
                continue
            if target.endswith(".md"):
                waiting[page] = target
            else:
                made[page] = _shown(target)
    for uri, text in made.items():
        if (known := files.get_file_from_path(uri)) is not None:
            files.remove(known)
        files.append(File.generated(config, uri, content=text))
    return files


def _api() -> str:
    """The public names: those of `loraloop` by what they are for, the events, and the packages of `STUBS`."""
    text = "# API reference\n\nThe public names. Where a section names a module, import them from there.\n"
    listed = {name: module for module, name in _names("src/loraloop")}
    for title, rooms in GROUPS.items():
        text += f"\n## {title}\n"
        for name, module in listed.items():
            known = (room for each in GROUPS.values() for room in each if module.startswith(room))
            text += f"\n::: loraloop.{name}\n" if max(known, key=len) in rooms else ""
    text += "\n## Events: `loraloop.agent.events`\n\n::: loraloop.agent.events\n"
    text += "    options: {show_root_heading: false, show_root_toc_entry: false}\n"
    for title, (package, folder) in STUBS.items():
        names = [name for _, name in _names(folder) if name not in listed]
        text += f"\n## {title}: `{package}`\n" + "".join(f"\n::: {package}.{name}\n" for name in names)
    return text


def _names(folder: str) -> list[tuple[str, str]]:
    """The names that a package's stub makes public, each with the module that it comes from."""
    stub = (ROOT / folder / "__init__.pyi").read_text(encoding="utf-8")
    return re.findall(r"^from (\S+) import (\w+) as ", stub, re.MULTILINE)


def _page(path: str) -> str:
    """The page that shows a file or folder of the repository; for what is in docs/, itself."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path.removesuffix('.md')}.md"


def _relative(link: str, uri: str, path: str) -> str:
    """A link of a file of the repository, as its page has to say it."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return posixpath.relpath(_page(target), posixpath.dirname(uri) or ".")


def _shown(path: str) -> str:
    """A file as a block of code, or the names in a folder."""
    place = ROOT / path
    if place.is_dir():
        names = sorted(each.relative_to(place).as_posix() for each in place.rglob("*") if each.is_file())
        return f"# {path}\n\n" + "\n".join(f"- `{name}`" for name in names if "__pycache__" not in name) + "\n"
    text = place.read_text(encoding="utf-8")
    return f"# {path}\n\n````{place.suffix.removeprefix('.')}\n{text.rstrip()}\n````\n"
