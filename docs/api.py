"""Writes docs/api/*.md, the public names of each room, from their docstrings.

python docs/api.py            rewrite the pages
python docs/api.py --check    exit with 1 if they differ from the code

A name stands on the first page that has it. What is public is what a package's ``__all__`` lists; of rooms that list
nothing, the modules named here, some with the names that matter outside.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parent / "api"
PAGES: dict[str, tuple[str, ...]] = {
    "loraloop": ("loraloop",),
    "loraloop.agent": ("loraloop.agent", "loraloop.agent.events", "loraloop.tool_schemas.errors"),
    "loraloop.router": ("loraloop.router",),
    "loraloop.adapters": (
        *(
            "loraloop.adapters.base:Row,Forward,ModelConfig,random_base",
            "loraloop.adapters.bank.bank",
            "loraloop.adapters.skill.skill",
            "loraloop.adapters.skill.card",
        ),
        *("loraloop.adapters.skill.contracts", "loraloop.adapters.skill.registry"),
    ),
    "loraloop.tool_schemas": ("loraloop.tool_schemas",),
    "loraloop.kernels": ("loraloop.kernels.ops", "loraloop.kernels.rows"),
    "loraloop.testing": ("loraloop.testing",),
}
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):$")
_ENTRY = re.compile(r"^ {4}([*\w][\w ,.*()`…\[\]|]*?): +(.*)$")


@dataclass(frozen=True)
class Name:
    """A public name.

    Attributes:
        name: Its own.
        home: The module that it can be imported from.
        value: What it is.
    """

    name: str
    home: str
    value: Any

    @property
    def kind(self) -> str:
        """How it is shown."""
        return "class" if inspect.isclass(self.value) else "function" if callable(self.value) else "value"


def public(module: ModuleType) -> list[str]:
    """A module's public names: those it lists, or its own classes and functions, in their order."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [name for name in listed if not name.startswith("_")]
    mine = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__)
    return [name for name in mine if not name.startswith("_") and callable(getattr(module, name))]


def pages() -> dict[str, list[Name]]:
    """The names of every page."""
    seen: list[Any] = []
    found: dict[str, list[Name]] = {}
    for page, homes in PAGES.items():
        names = found[page] = []
        for said in homes:
            home, _, chosen = said.partition(":")
            module = importlib.import_module(home)
            for name in chosen.split(",") if chosen else public(module):
                value = getattr(module, name)
                if not any(value is other for other in seen):
                    seen.append(value)
                    names.append(Name(name, home, value))
    return found


def members(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """A class's own public methods and properties, in their order. What it inherits stands with whom it is from."""
    for name, static in vars(cls).items():
        routine = inspect.isroutine(static) or isinstance(static, property | cached_property)
        if routine and not name.startswith("_") and name != "model_config":
            yield name, static


def signature(value: Any, *, long: bool = True) -> str:
    """A signature as it is written, without addresses; where it is long, one parameter a line if that is wanted."""
    try:
        said = inspect.signature(value)
    except (TypeError, ValueError):
        return "(…)"
    parts: list[str] = []
    kinds = [parameter.kind for parameter in said.parameters.values()]
    for at, parameter in enumerate(said.parameters.values()):
        if parameter.name in ("self", "cls") and at == 0:
            continue
        bare = parameter.kind is parameter.KEYWORD_ONLY and parameter.VAR_POSITIONAL not in kinds
        if bare and "*" not in parts:
            parts.append("*")
        parts.append(_parameter(parameter))
    result = "" if said.return_annotation is said.empty else f" -> {inspect.formatannotation(said.return_annotation)}"
    result = result.replace("'", "")
    short = f"({', '.join(parts)}){result}"
    return short if len(short) < 100 or not long else "(\n    " + ",\n    ".join(parts) + f",\n){result}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = parameter.annotation
    if hasattr(annotation, "__metadata__"):  # of its checks, the docstring tells
        annotation = annotation.__origin__
    note = "" if annotation is parameter.empty else inspect.formatannotation(annotation).strip("'")
    note = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", note)
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}: {note}" if note else f"{stars}{parameter.name}"
    default = _shown(parameter.default)
    return f"{parameter.name}: {note} = {default}" if note else f"{parameter.name}={default}"


def _shown(value: Any) -> str:
    """A value as it is written; … where that would name an address or a place on this machine."""
    if isinstance(value, Path) and value.is_absolute():
        return "…"
    text = repr(value)
    return "…" if re.search(r"<|0x[0-9a-f]{6}", text) else text


def markdown(doc: str) -> str:
    """A docstring in Google style as Markdown: its sections become lists."""
    out: list[str] = []
    section = ""
    for line in inspect.cleandoc(doc).splitlines():
        found = _SECTION.match(line)
        if found:
            section = found[1]
            out += [f"**{section}**", ""]
        elif section and line.startswith(" "):
            entry = _ENTRY.match(line)
            if entry and section != "Returns":
                out.append(f"- `{entry[1]}`: {entry[2]}")
            else:
                text = line.strip()
                out.append(f"  {text}" if out[-1] and not out[-1].startswith("**") else f"- {text}")
        else:
            section = section if not line.strip() and not section else ""
            out.append(line)
    return re.sub(r"``([^`]+)``", r"`\1`", "\n".join(out)).strip()


def entry(name: Name) -> str:
    """A name's part of a page."""
    value, doc = name.value, inspect.getdoc(name.value) or ""
    if name.kind == "value":
        shown = _shown(value)
        return f"### {name.name}\n\n`{shown if len(shown) < 200 else type(value).__name__}`\n"
    keyword = "class " if name.kind == "class" else "def "
    head = f"### {name.name}\n\n```python\n{keyword}{name.name}{signature(value)}\n```\n\n{markdown(doc)}\n"
    parts = [head]
    if inspect.isclass(value):
        for member, static in members(value):
            said = inspect.getdoc(static) or ""
            shown = (
                ""
                if isinstance(static, property | cached_property)
                else signature(getattr(value, member)).replace("\n", " ")
            )
            shown = re.sub(r"\( +", "(", re.sub(r",? +\)", ")", re.sub(r" +", " ", shown)))
            parts.append(f"- **`{member}{shown}`**  \n{_indented(markdown(said))}\n")
    return "\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def page(module: str, names: list[Name]) -> str:
    """A whole page."""
    said = inspect.getdoc(importlib.import_module(module)) or ""
    text = [f"# {module}\n\n{said}\n\n<!-- Written by docs/api.py: change the docstrings. -->\n"]
    home = ""
    for name in names:
        if name.home != home and (name.home != module or home):
            text.append(f"## {name.home}\n\n{inspect.getdoc(importlib.import_module(name.home)) or ''}\n")
        home = name.home
        text.append(entry(name))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).rstrip() + "\n"


def index(found: dict[str, list[Name]]) -> str:
    """The page that lists the others."""
    lines = ["# The public API", "", "Written from docstrings by `python docs/api.py`.", ""]
    for module, names in found.items():
        used: Counter[str] = Counter()
        links = []
        for name in names:  # as GitHub counts headings that differ in case alone
            anchor = name.name.lower()
            links.append(f"[{name.name}]({module}.md#{anchor}{f'-{used[anchor]}' if used[anchor] else ''})")
            used[anchor] += 1
        lines += [f"**[{module}]({module}.md)**: {', '.join(links)}", ""]
    return "\n".join(lines).rstrip() + "\n"


def written() -> dict[Path, str]:
    """Every page and its text."""
    found = pages()
    texts = {FOLDER / f"{module}.md": page(module, names) for module, names in found.items()}
    return {FOLDER / "README.md": index(found), **texts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether the pages are current")
    check = parser.parse_args().check
    stale = {path: text for path, text in written().items() if not path.exists() or path.read_text("utf-8") != text}
    gone = set(FOLDER.glob("*.md")) - set(written())
    for path in sorted({*stale, *gone}):
        print(f"{'differs' if check else 'written'}: {path.name}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(stale[path], "utf-8") if path in stale else path.unlink()
    return int(check and bool(stale or gone))


if __name__ == "__main__":
    sys.exit(main())
