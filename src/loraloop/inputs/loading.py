"""Loading what a command line names: a base with its skills, skills of folders, documents, passages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.contracts import Passage
    from loraloop.adapters.skill.skill import Skill
    from loraloop.agent import PassageIndex, Runtime

BaseName = Annotated[
    str, typer.Option("--base", help="A name of `loraloop bases`, model folder, GGUF file, or hub id.")
]
SkillsFolder = Annotated[Path | None, typer.Option("--skills", help="Folder of `skills build`: skills and a router.")]


def open_base(base: str, quantize: str | None = None, quiet: bool = False) -> Base:
    """Loads a base; shows progress unless `quiet`."""
    from loraloop.render.progress import loading

    with loading(quiet) as progress:
        from loraloop.adapters.base import Base

        return Base.load(base, quantize=quantize, progress=progress)


def read_skill(folder: Path, base: Base) -> Skill:
    """The skill in a folder, which is ours or PEFT's."""
    from loraloop.adapters.skill.peft_format import CONFIG
    from loraloop.adapters.skill.skill import Skill

    return Skill.from_peft(folder, base) if (folder / CONFIG).is_file() else Skill.load(folder)


def open_runtime(
    base: str,
    quantize: str | None = None,
    quiet: bool = False,
    bare: bool = False,
    skills: Path | None = None,
    keep_prefixes: bool = False,
    own_calls: bool = False,
) -> Runtime:
    """Loads a base with its skills and a router; shows progress unless `quiet`.

    Args:
        base: A name of the catalog, a folder, a GGUF file or a hub id.
        quantize: The form that it is served in.
        quiet: Show no progress.
        bare: Whether trained skills and the router are left out.
        skills: Folder of its skills and router; where None, the shipped ones and the user's own.
        keep_prefixes: Keep what is computed of instructions and tools for the next process.
        own_calls: Whether a bare base writes calls as its chat template has it.

    Raises:
        InputError: Both `bare` and `skills` are given, or `own_calls` without `bare`.
    """
    from loraloop.adapters.skill.registry import built_skills

    if own_calls and not bare:
        raise InputError("--own-calls is for a base without trained skills: give --bare too")
    if skills is not None:
        if bare:
            raise InputError("--bare leaves out all trained skills, and --skills names some: give one of them")
        built_skills(skills)  # says what is wrong before the base is loaded
    loaded = open_base(base, quantize, quiet)
    from loraloop.agent import Runtime
    from loraloop.agent.bare import bare_runtime
    from loraloop.tool_schemas.errors import SkillError

    if bare:
        return bare_runtime(loaded, own_calls=own_calls, keep_prefixes=keep_prefixes)
    try:
        return Runtime.load(loaded, skills=skills, keep_prefixes=keep_prefixes)
    except SkillError as error:
        raise SkillError(f"{error}; or run it without trained skills: loraloop run --bare") from error


def forced_skills(runtime: Runtime, listed: list[str]) -> tuple[str, ...]:
    """Names of skills. A folder, ours or PEFT's, is added to the bank, or takes the place of the skill of its name.

    Raises:
        UnknownNameError: A name that is no folder's is no skill's either.
    """
    names = []
    for value in listed:
        if os.sep not in value:
            runtime.check(value)
            names.append(value)
            continue
        names.append(runtime.bank.replace(read_skill(Path(value), runtime.base)))
    return tuple(names)


def read_documents(places: list[Path] | None) -> PassageIndex | None:
    """Indexes the documents of folders and files in memory; files that cannot be used are named on standard error.

    Raises:
        InputError: There is no such place, or no document in them.
    """
    if not places:
        return None
    from loraloop.agent.retrieval.index import PassageIndex

    index = PassageIndex()
    for file, reason in index.add(places).skipped:
        sys.stderr.write(f"warning: skipped {file}: {reason}\n")
    if not len(index):
        raise InputError(
            f"{', '.join(map(str, places))}: no text to answer from; .txt, .md, .rst and .html files are read"
        )
    return index


def read_passages(file: Path | None) -> list[Passage]:
    """The passages of a JSON file; none where there is no file.

    Raises:
        InputError: The file cannot be read or holds something else; the message names the place.
    """
    from loraloop.adapters.skill.contracts import Passage

    if file is None:
        return []
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the passages file {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"the passages file {file} is not valid JSON: {error}") from error
    wanted = 'give a JSON list of {"id": …, "text": …, "title": …}, the title optional'
    if not isinstance(entries, list):
        raise InputError(f"{file}: {wanted}")
    listed = []
    for index, entry in enumerate(entries):
        try:
            given = {key: value for key, value in dict(entry).items() if value is not None}
            numbers = {key: str(value) for key, value in given.items() if isinstance(value, int | float)}
            listed.append(Passage(**given | numbers))
        except (TypeError, ValueError) as error:
            raise InputError(f"{file}, passage {index}: {error}; {wanted}") from error
    return listed
