"""What an improvement is asked for; the fields are the options of ``loraloop improve``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from loraloop.inputs.loading import BaseName, SkillsFolder
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.folders import files_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ImproveOrder:
    """What is to be improved, on what, and for how long; each field says what it is in its option's help.

    Raises:
        InputError: Nothing is given to learn from, or both worlds and traces are; or a number is not positive.
    """

    out: Annotated[
        Path, typer.Option(help="Folder for skills, records and report; an interrupted command continues there.")
    ]
    worlds: Annotated[Path | None, typer.Option(help="Folder of worlds with slots; see docs/improve.md.")] = None
    traces: Annotated[Path | None, typer.Option(help="Folder of traces of real runs, rated and corrected.")] = None
    base: BaseName = "smollm2-135m"
    skill: Annotated[str, typer.Option(help="The skill that learns; it writes calls.")] = "tools"
    skills: SkillsFolder = None
    minutes: Annotated[float, typer.Option(help="Maximum minutes of the whole command, without loading the base.")] = (
        60.0
    )
    requests: Annotated[int, typer.Option(min=1, help="Requests that a round runs.")] = 60
    held_out: Annotated[int, typer.Option(min=1, help="Held-out requests that are measured.")] = 60
    others: Annotated[int, typer.Option(min=1, help="Old records of each source that are measured.")] = 40
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling temperature of the runs that are learnt from; 0 is greedy.")
    ] = 0.7
    data: Annotated[Path | None, typer.Option(help="The folder of public sets, for their replay.")] = None
    quantize: Annotated[str | None, typer.Option(help="int4, int8, bf16, fp32 or nf4.")] = None
    documents: Annotated[bool, typer.Option(help="Whether the assistant has the worlds' documents.")] = True
    register: Annotated[bool, typer.Option(help="Register a skill that is kept under its name.")] = True
    seed: Annotated[int, typer.Option(help="Seed of everything that is sampled.")] = 0

    def __post_init__(self) -> None:
        if (self.worlds is None) == (self.traces is None):
            raise InputError("give what is learnt from: --worlds FOLDER, or --traces FOLDER")
        if not self.minutes > 0 or min(self.requests, self.held_out, self.others) < 1:
            raise InputError("minutes, requests and what is measured must be positive")

    def facts(self) -> dict[str, Any]:
        """What a folder's improvement is known by; JSON data."""
        place = self.worlds or self.traces
        assert place is not None
        facts = {name: getattr(self, name) for name in self.__slots__ if name not in ("out", "register")}
        return {
            **{k: str(v) if isinstance(v, Path) else v for k, v in facts.items()},
            "learnt_from": fingerprint(place),
        }


def fingerprint(place: Path) -> str:
    """SHA-256 of the files that are learnt from: their names and contents."""
    digest = hashlib.sha256()
    for path in sorted(files_of(place)):
        if "__pycache__" not in path.parts and path.is_file():
            digest.update(f"{path.relative_to(place)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
