"""What the commands that run an agent share: their options, and what these mean."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loraloop.adapters.skill.contracts import Passage
    from loraloop.agent import PassageIndex, Runtime

Prompt = Annotated[str, typer.Argument(help="The request; `-` reads it from standard input.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
ToolFiles = Annotated[
    list[str] | None, typer.Option("--tools", help="File or folder of tools, or module:attribute; repeatable.")
]
PassageFile = Annotated[Path | None, typer.Option("--passages", help='JSON list of {"id", "text", "title"}.')]
Documents = Annotated[
    list[Path] | None,
    typer.Option("--docs", help="Folder or file of text, Markdown or HTML to answer from; repeatable."),
]
Instructions = Annotated[str, typer.Option("--instructions", help="What the agent should keep to; the system message.")]
BaseName = Annotated[
    str, typer.Option("--base", help="A name of `loraloop bases`, model folder, GGUF file, or hub id.")
]
Bare = Annotated[
    bool, typer.Option("--bare", help="The base's own weights: no trained skills, no router; --skill chooses.")
]
Quantize = Annotated[str | None, typer.Option("--quantize", help="int4, int8, bf16, fp32 or nf4.")]
Python = Annotated[bool, typer.Option("--python", help="Run the code that the agent writes, in a sandbox.")]
Skills = Annotated[
    list[str] | None,
    typer.Option("--skill", help="Skill of the first step, or a skill's folder (with a slash); repeatable."),
]
ToolChoice = Annotated[str, typer.Option("--tool-choice", help="auto, required, none, or a tool's name.")]
Beams = Annotated[
    int | None,
    typer.Option("--beams", min=1, max=64, help="Hypotheses of a search for calls and other forms; 1 for none."),
]
MaxSteps = Annotated[int, typer.Option("--max-steps", help="Most steps.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Most tokens that all steps together may generate.")]
Deadline = Annotated[float | None, typer.Option("--deadline", help="Most seconds.")]
Temperature = Annotated[float, typer.Option("--temperature", help="0 is greedy.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the sampling.")]
Screen = Annotated[bool, typer.Option("--screen/--no-screen", help="Screen for unsafe requests.")]


def open_runtime(base: str, quantize: str | None, quiet: bool, bare: bool = False) -> Runtime:
    """The base with its skills, shipped and the user's, and router, or bare; progress bars where it takes long."""
    from loraloop.waiting import loading

    with loading(quiet) as progress:
        from loraloop.adapters.base import Base
        from loraloop.adapters.skill.registry import all_skills
        from loraloop.agent import Runtime
        from loraloop.agent.bare import bare_runtime
        from loraloop.tool_schemas.errors import SkillError

        loaded = Base.load(base, quantize=quantize, progress=progress)
        if bare:
            return bare_runtime(loaded)
        try:
            return Runtime.load(loaded, skills=all_skills(loaded))
        except SkillError as error:
            raise SkillError(f"{error}; or run it without trained skills: loraloop run --bare") from error


def forced_skills(runtime: Runtime, given: list[str]) -> tuple[str, ...]:
    """Names of skills; folders, ours or PEFT's, are added to the bank or take the place of their namesake."""
    names = []
    for value in given:
        if os.sep not in value:
            names.append(value)
            continue
        from loraloop.adapters.skill.skill import Skill

        folder = Path(value)
        peft = (folder / "adapter_config.json").exists()
        skill = Skill.from_peft(folder, runtime.base) if peft else Skill.load(folder)
        if skill.card.name in runtime.bank.names:
            runtime.bank.remove(skill.card.name)
        names.append(runtime.bank.add(skill))
    return tuple(names)


def read_passages(file: Path | None) -> list[Passage]:
    """The passages of a file.

    Raises:
        InputError: The file cannot be read or holds something else; the message names the place.
    """
    from loraloop.adapters.skill.contracts import Passage
    from loraloop.tool_schemas.errors import InputError

    if file is None:
        return []
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the passages file {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"the passages file {file} is no valid JSON: {error}") from error
    wanted = 'give a JSON list of {"id": …, "text": …, "title": …}, the title optional'
    if not isinstance(entries, list):
        raise InputError(f"{file}: {wanted}")
    listed = []
    for index, entry in enumerate(entries):
        try:
            listed.append(Passage(**{key: str(value) for key, value in dict(entry).items()}))
        except (TypeError, ValueError) as error:
            raise InputError(f"{file}, passage {index}: {error}; {wanted}") from error
    return listed


def read_documents(places: list[Path] | None, passages: Path | None) -> PassageIndex | None:
    """The documents of folders and files, indexed in memory; files that cannot be used are told on standard error.

    Raises:
        InputError: There is no such place, no document in them, or passages were given as well.
    """
    if not places:
        return None
    from loraloop.agent.retrieval.index import PassageIndex
    from loraloop.tool_schemas.errors import InputError

    if passages is not None:
        raise InputError("--docs and --passages both say what to answer from: give one of them")
    index = PassageIndex()
    for file, reason in index.add(places).skipped:
        sys.stderr.write(f"warning: skipped {file}: {reason}\n")
    if not len(index):
        raise InputError(f"{', '.join(map(str, places))}: no text to answer from; .txt, .md and .html files are read")
    return index


def text_of(prompt: str) -> str:
    """The request itself.

    Raises:
        InputError: It is empty.
    """
    from loraloop.tool_schemas.errors import InputError

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise InputError("the prompt is empty: say what the agent should do")
    return text
