"""``loraloop skills``: `list`, `show`, `build`, `history`, `rollback`, `remove`, `merge`, `export`, `push`, `lint`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from loraloop.cli.options import AsJson, Quantize, secret
from loraloop.inputs.loading import BaseName, open_base, read_skill
from loraloop.render.console import console, print_json

skills_app = typer.Typer(no_args_is_help=True, help="Skills: list, build for a base, write files for other programs.")


WHOLE = (
    "the merged model acts as the skill on every token, where the skill was trained to act from the invocation on: "
    "measure it, its scores on the card are not those of this file"
)
Target = Literal["peft", "vllm", "sglang", "llama.cpp"]
Name = Annotated[str, typer.Argument(help="A skill's name, or the folder of a skill or a PEFT adapter.")]
Names = Annotated[list[str], typer.Argument(help="Names of skills, or their folders.")]
Out = Annotated[Path, typer.Option("--out", help="A new folder.")]
Dtype = Annotated[Literal["bf16", "fp16", "fp32"], typer.Option("--dtype", help="Number format of merged weights.")]


@skills_app.command("list")
def list_skills(base: BaseName = "smollm2-135m", as_json: AsJson = False) -> None:
    """List the shipped skills of a base and your own."""
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.registry import known_skills
    from loraloop.adapters.skill.store import read_header

    folders = known_skills(base)
    cards = {name: Card.read(folder / "card.json") for name, folder in folders.items()}
    _check_base(base)
    sizes = {name: read_header(folder / "skill.safetensors").size for name, folder in folders.items()}
    if as_json:
        print_json([{**card.model_dump(mode="json"), "bytes": sizes[name]} for name, card in cards.items()])
        return
    from loraloop.render.result import skills_table

    console().print(skills_table(cards, sizes))


@skills_app.command("show")
def show(name: Name, base: BaseName = "smollm2-135m", as_json: AsJson = False) -> None:
    """Show a skill's card: what it writes, what it was trained on, how it scores. `router` shows the router's."""
    from loraloop.adapters.skill.registry import known_skills
    from loraloop.adapters.skill.skill import SkillFolder
    from loraloop.router.card import WEIGHTS, card_of, shipped_routers

    if name == "router" and name not in known_skills(base) and not (Path(name) / "card.json").is_file():
        _check_base(base)
        card = card_of(shipped_routers().get(base, WEIGHTS))
    else:
        card = json.loads(SkillFolder.open(_folder_of(name, base)).card.to_json())
    if as_json:
        print_json(card)
        return
    from loraloop.render.result import show_card

    show_card(console(), card)


Own = Annotated[str, typer.Argument(help="Name of one of your own skills.")]


@skills_app.command("history")
def list_versions(name: Own, as_json: AsJson = False) -> None:
    """List the versions of a skill of yours: when each was registered, where it came from, which one is used."""
    from loraloop.adapters.skill import history
    from loraloop.adapters.skill.registry import registered
    from loraloop.tool_schemas.errors import unknown

    found = history.versions(name)
    if not found and name not in registered():
        raise unknown("skill of yours", name, registered())
    if as_json:
        rows = [{**asdict(each), "folder": str(history.version_folder(name, each.number))} for each in found]
        print_json(rows)
        return
    if not found:
        console().print(f"{name} was registered before versions were kept; the next one that is registered keeps it")
        return
    from loraloop.render.result import versions_table

    console().print(versions_table(name, found))


@skills_app.command()
def rollback(
    name: Own,
    to: Annotated[
        int | None, typer.Option(help="Number of the version; the one before the current one if not given.")
    ] = None,
) -> None:
    """Use an earlier version of a skill of yours again. A running `loraloop serve` takes it within seconds."""
    from loraloop.adapters.skill import history

    version = history.rollback(name, to)
    origin = version.origin.get("command", "")
    console().print(f"{name} is version {version.number} of {version.when} again ({origin})")


@skills_app.command()
def remove(name: Own) -> None:
    """Remove a skill of yours with all its versions. A shipped skill of that name is used again."""
    from loraloop.adapters.skill import history
    from loraloop.adapters.skill.registry import shipping

    count = history.remove(name)
    bases = shipping(name)
    again = f"; the one that ships for {' and '.join(bases)} is used again" if bases else ""
    console().print(f"removed {name} ({count} version{'s' if count > 1 else ''}){again}")


@skills_app.command()
def merge(
    name: Name,
    out: Out,
    base: BaseName = "smollm2-135m",
    quantize: Quantize = None,
    dtype: Dtype = "bf16",
    as_json: AsJson = False,
) -> None:
    """Write a base with a skill in it: safetensors that transformers and --base read.

    The skill is added to the values that the base serves in its form.
    """
    from loraloop.adapters.peft.merge import merge as write
    from loraloop.tool_schemas.errors import InputError

    if out.exists():
        raise InputError(f"{out} exists: name a new folder, or remove it")
    folder, loaded = _folder_of(name, base), open_base(base, quantize, as_json)
    skill = read_skill(folder, loaded)
    write(loaded, skill, out, dtype)
    notes = [] if skill.card.activation == "full" else [WHOLE]
    if as_json:
        print_json({"folder": str(out), "base": loaded.name, "form": loaded.form, "notes": notes})
        return
    sys.stdout.write(
        "\n".join([f"wrote {out}: {loaded.name} ({loaded.form}) with {skill.card.name}, {dtype}", *notes]) + "\n"
    )


@skills_app.command()
def export(
    names: Names,
    target: Annotated[
        Target, typer.Option("--for", help="Who reads it: peft, vllm, sglang (plain LoRA) or llama.cpp (aLoRA, GGUF).")
    ] = "peft",
    out: Annotated[Path, typer.Option(help="Folder to write into, as NAME-HASH.")] = Path(),
    base: BaseName = "smollm2-135m",
    quantize: Quantize = None,
    as_json: AsJson = False,
) -> None:
    """Write skills for another program, named by a hash of their content, and say what it will do differently."""
    from loraloop.adapters.peft.targets import export as write
    from loraloop.adapters.skill.store import for_whole_contexts

    folders = [_folder_of(name, base) for name in names]
    if target in ("vllm", "sglang"):
        folders = [for_whole_contexts(folder) for folder in folders]
    loaded = open_base(base, quantize, as_json)
    made = [write(read_skill(each, loaded), target, out, loaded.config, _hub_id(base)) for each in folders]
    if as_json:
        print_json([{"path": str(each.path), "for": target, "notes": each.notes} for each in made])
        return
    sys.stdout.write("".join("\n".join([f"wrote {each.path} (for {target})", *each.notes, ""]) for each in made))


@skills_app.command()
def push(
    url: Annotated[str, typer.Argument(help="The server's API, which ends with /v1.")],
    names: Names,
    engine: Annotated[Literal["vllm", "sglang"], typer.Option(help="What the server is.")] = "vllm",
    out: Annotated[
        Path, typer.Option(help="Folder for the exported skills; the server has to see it at the same path.")
    ] = Path(),
    base: BaseName = "smollm2-135m",
    key_env: Annotated[str, typer.Option(help="Environment variable with the server's key.")] = "",
    as_json: AsJson = False,
) -> None:
    """Load skills, or folders of `skills export`, into a running vLLM or SGLang, and check that it lists them."""
    from loraloop.adapters.peft.plain_lora import NAMES, lint_peft
    from loraloop.adapters.peft.targets import export as write
    from loraloop.adapters.skill.peft_format import CONFIG
    from loraloop.adapters.skill.store import for_whole_contexts
    from loraloop.agent.engine.remote.adapters import load_adapters
    from loraloop.agent.engine.remote.server import RemoteServer
    from loraloop.tool_schemas.errors import SkillError

    folders = [for_whole_contexts(_folder_of(name, base)) for name in names]
    if any(not (each / CONFIG).is_file() for each in folders):
        loaded = open_base(base, quiet=as_json)
    for place, folder in enumerate(folders):
        if not (folder / CONFIG).is_file():
            folders[place] = write(read_skill(folder, loaded), engine, out, loaded.config, _hub_id(base)).path
        elif refused := lint_peft(folder, engine)[0]:
            raise SkillError(f"{folder} cannot be served by {NAMES[engine]}: {'; '.join(refused)}")
    server = RemoteServer(url, secret(key_env))
    fresh = load_adapters(server, engine, {folder.name: folder for folder in folders})
    if as_json:
        print_json([{"name": each.name, "path": str(each), "loaded": each.name in fresh} for each in folders])
        return
    words = {True: "loaded", False: "there already:"}
    sys.stdout.write("".join(f"{words[each.name in fresh]} {each.name}\n" for each in folders))


@skills_app.command()
def lint(name: Name, base: BaseName = "smollm2-135m", as_json: AsJson = False) -> None:
    """Say what vLLM will refuse of a skill, or of a PEFT adapter's folder, and what it will do differently.

    Exit codes: 0 it can be served, 1 it is refused.
    """
    from loraloop.adapters.peft.plain_lora import lint as lint_skill
    from loraloop.adapters.peft.plain_lora import lint_peft
    from loraloop.adapters.skill.peft_format import CONFIG
    from loraloop.adapters.skill.skill import Skill

    folder = _folder_of(name, base)
    refused, notes = lint_peft(folder) if (folder / CONFIG).is_file() else lint_skill(Skill.load(folder))
    if as_json:
        print_json({"refused": refused, "notes": notes})
    else:
        lines = [f"refused: {reason}" for reason in refused] + [f"note: {note}" for note in notes]
        sys.stdout.write("\n".join(lines or ["OK: vLLM can serve this adapter"]) + "\n")
    raise typer.Exit(1 if refused else 0)


@skills_app.command()
def build(
    base: Annotated[str, typer.Option(help="A name of `loraloop bases`, folder, GGUF file, or hub id.")],
    out: Annotated[
        Path, typer.Option(help="Folder for skills, router and report; an interrupted build continues there.")
    ],
    skills: Annotated[
        str | None, typer.Option(help="Names of the skills, separated by commas; by default all with a recipe.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of public sets; see recipes/data.")] = None,
    quantize: Quantize = None,
    minutes: Annotated[float | None, typer.Option(help="Maximum minutes of training for a skill.")] = None,
    records: Annotated[int | None, typer.Option(min=8, help="Maximum number of training records of a skill.")] = None,
    measured: Annotated[int, typer.Option(min=1, help="Held-out records a skill is measured on.")] = 100,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Print the time, memory and disk space that are needed; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the shipped skills and a router for another base, and measure them beside the bare base.

    A build that was killed goes on where it stopped when the same command is given again.
    """
    if not as_json:
        sys.stderr.write(f"loading {base}\n")
        sys.stderr.flush()
    from loraloop.render.training import Watch, clock
    from loraloop.training.build import BuildOrder, left_out
    from loraloop.training.build import build as built
    from loraloop.training.build_plan import plan

    names = None if skills is None else tuple(name.strip() for name in skills.split(",") if name.strip())
    order = BuildOrder(base, out, names, data, quantize, minutes=minutes, records=records, measured=measured)
    watch = Watch(quiet=as_json)
    if not only_plan:
        report = built(order, observer=watch)
        if as_json:
            print_json(report.to_dict())
        else:
            console().print(report.markdown(), soft_wrap=True)
        return
    parts = plan(order, loaded := open_base(base, quantize, watch.quiet), watch.say)
    if as_json:
        print_json([part.to_dict() for part in parts])
        return
    from rich.table import Table

    table = Table("part", "steps or states", "time", "memory", "disk", title=f"{base}, this machine")
    for part in parts:
        sizes = f"{part.memory_mb:,.0f} MB", f"{part.disk_mb:,.0f} MB"
        table.add_row(part.name, f"{part.steps:,}", clock(part.seconds), *sizes)
    console().print(table)
    console().print(f"{clock(sum(part.seconds for part in parts))} in all, without the evaluation")
    console().print("\n".join(left_out(order, loaded)))


def _folder_of(name: str, base: str) -> Path:
    """The folder of a skill that is named, or is one.

    Raises:
        UnknownNameError: it is neither.
    """
    from loraloop.adapters.skill.registry import known_skills
    from loraloop.tool_schemas.errors import unknown

    known = known_skills(base)
    if name in known:
        return known[name]
    if Path(name).is_dir():
        return Path(name)
    raise unknown("skill", name, known)


def _check_base(base: str) -> None:
    """Raises UnknownNameError where a base is not named by the catalog or a skill, no hub id, and not on the disk."""
    from loraloop.adapters.base.loading.catalog import CATALOG
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.registry import known_skills
    from loraloop.tool_schemas.errors import unknown

    cards = [Card.read(folder / "card.json") for folder in known_skills(base).values()]
    named = {*CATALOG, *(card.base.split(" (")[0] for card in cards)}
    on_hub = base.count("/") == 1 and not base.startswith((".", "/", "~"))
    if base not in named and not on_hub and not Path(base).expanduser().exists():
        raise unknown("base", base, named)


def _hub_id(base: str) -> str:
    """A base that was named by its hub id, else nothing."""
    return base if base.count("/") == 1 and not Path(base).exists() else ""
