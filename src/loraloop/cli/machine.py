"""``loraloop doctor`` and ``loraloop bases``: what is installed and works on this machine, and which bases are here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

PACKAGES = ("loraloop", "torch", "transformers", "llguidance", "outlines", "safetensors", "pydantic", "httpx")
TEST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing that was looked at.

    Attributes:
        what: The thing.
        ok: Whether it works.
        found: What there is.
        todo: What to do about it; empty where nothing has to be done.
        needed: Whether loraloop cannot run without it, so that the exit code is 1.
    """

    what: str
    ok: bool
    found: str
    todo: str = ""
    needed: bool = True


def doctor(
    base: Annotated[str, typer.Option(help="The base to test.")] = "smollm2-135m",
    quantize: Annotated[str | None, typer.Option(help="int4, int8, bf16, fp32 or nf4.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look at what is installed and works, test it for five seconds, and say what to do. Exit code 1: a problem."""
    findings = list(examine(base, quantize))
    bad = any(finding.needed and not finding.ok for finding in findings)
    if as_json:
        sys.stdout.write(json.dumps({"ok": not bad, "findings": [asdict(each) for each in findings]}) + "\n")
    else:
        for finding in findings:
            mark = "ok  " if finding.ok else "BAD " if finding.needed else "--  "
            sys.stdout.write(f"{mark}{finding.what}: {finding.found}\n")
            if finding.todo:
                sys.stdout.write(f"      {finding.todo}\n")
    if bad:
        raise typer.Exit(1)


def examine(base: str, quantize: str | None = None) -> Iterator[DoctorFinding]:
    """Each finding in turn; a check that raises is a finding too."""
    yield from map(_package, PACKAGES)
    for check in (_device, _compiler, _bases, _sandbox):
        yield _guarded(check.__name__.strip("_"), check)
    loaded: list[Base] = []

    def load() -> DoctorFinding:
        from loraloop.adapters.base import Base

        loaded.append(Base.load(base, quantize=quantize))
        how = "the C decoder" if loaded[0].native else "torch"
        return DoctorFinding("base", True, f"{loaded[0].name} on {loaded[0].device}, decoded by {how}")

    yield _guarded("base", load)
    if loaded:
        if loaded[0].native:
            yield _guarded("processor", _processor)
        yield from _skills(loaded[0])
        yield _guarded("router", lambda: _router(loaded[0]))
        yield _guarded("self-test", lambda: _self_test(loaded[0]))


def _guarded(what: str, check: Callable[[], DoctorFinding]) -> DoctorFinding:
    try:
        return check()
    except Exception as error:
        return DoctorFinding(what, False, type(error).__name__, str(error))


def _package(name: str) -> DoctorFinding:
    try:
        return DoctorFinding(name, True, version(name))
    except PackageNotFoundError:
        return DoctorFinding(name, False, "not installed", f"pip install {name}")


def _device() -> DoctorFinding:
    import torch

    if torch.cuda.is_available():
        return DoctorFinding("device", True, torch.cuda.get_device_name())
    return DoctorFinding("device", True, f"CPU, {torch.get_num_threads()} threads")


def _compiler() -> DoctorFinding:
    from loraloop.kernels.cpu.native import has_compiler

    if has_compiler():
        return DoctorFinding("C compiler", True, "found")
    todo = "install a C compiler with headers (apt install gcc libc6-dev), or decode with torch, which is slower"
    return DoctorFinding("C compiler", False, "none", todo, needed=False)


def _processor() -> DoctorFinding:
    """The class of the processor, and what of its instructions the kernels use."""
    from loraloop.adapters.base.loading.folders import cache_folder
    from loraloop.kernels.cpu import native

    library = native.load(cache_folder() / "native")
    assert library is not None
    fast = "VNNI" in library.processor or "dot products" in library.processor
    means = "four 8-bit products a lane in one instruction" if fast else "8-bit products in two or three instructions"
    return DoctorFinding("processor", True, f"{library.processor}: {means}")


def _bases() -> DoctorFinding:

    here = [row["name"] for row in base_rows() if row["fetched"] or row["converted"]]
    todo = "" if here else "loraloop bases --get smollm2-135m"
    return DoctorFinding("bases on this machine", bool(here), ", ".join(here) or "none", todo, needed=False)


def _sandbox() -> DoctorFinding:
    from loraloop.agent.sandbox.sandbox import mechanisms

    working = mechanisms()
    todo = "" if working else "programs cannot be run (--python): pip install sandlock, or apt install bubblewrap"
    return DoctorFinding("sandbox", bool(working), ", ".join(working) or "no mechanism works", todo, needed=False)


def _skills(base: Base) -> Iterator[DoctorFinding]:
    from loraloop.adapters.skill.registry import known_skills
    from loraloop.adapters.skill.skill import Skill

    for name, folder in known_skills(base).items():

        def check(name: str = name, folder: object = folder) -> DoctorFinding:
            skill = Skill.load(str(folder))
            fits = skill.card.fingerprints.architecture == base.fingerprints.architecture
            todo = "" if fits else f"it is for the base {skill.card.base}: name that with --base, or train it for this"
            return DoctorFinding(f"skill {name}", fits, "fits" if fits else f"not for {base.name}", todo, needed=False)

        yield _guarded(f"skill {name}", check)


def _router(base: Base) -> DoctorFinding:
    from loraloop.router.proxy import ProxyRouter, router_for

    return DoctorFinding(
        "router", True, "that of the embedded base" if isinstance(router_for(base), ProxyRouter) else "fits"
    )


def _self_test(base: Base) -> DoctorFinding:
    """A short run of the bare base, within a few seconds."""
    from loraloop.agent import Agent, Limits
    from loraloop.agent.bare import bare_runtime

    limits = Limits(step_tokens=32, max_steps=1, deadline=TEST_SECONDS)
    result = Agent(bare_runtime(base), limits=limits).run_sync("Say hello.")
    tokens = result.steps[0].tokens.generated if result.steps else 0
    todo = "" if tokens else f"not one token in {TEST_SECONDS:g} s: free the processor, or take a smaller base"
    return DoctorFinding("self-test", tokens > 0, f"{tokens} tokens in {result.ms / 1e3:.1f} s", todo)


def base_rows() -> list[dict[str, Any]]:
    """Each base of the catalog as a dictionary: what it is, whether its file is here, and the converted forms."""
    from loraloop.adapters.base.loading.catalog import CATALOG
    from loraloop.adapters.base.loading.fetch import location
    from loraloop.adapters.base.loading.folders import cache_folder

    root = cache_folder()
    rows = []
    for entry in CATALOG.values():
        stem = f"{entry.name}-{entry.sha256[:12]}-"
        made = [path.parent.name for path in root.glob(f"bases/{stem}*/base.json")]
        rows.append(
            {
                "name": entry.name,
                "description": entry.description,
                "licence": entry.licence,
                "bytes": entry.size,
                "sha256": entry.sha256,
                "hub": "/".join(entry.hub) if entry.hub else None,
                "packages": [f"{member.package}=={member.version}" for member in entry.members],
                "note": entry.note,
                "fetched": location(entry, root).exists(),
                "converted": sorted({name.removeprefix(stem).split("-")[0] for name in made}),
            }
        )
    return rows


def bases_table(rows: list[dict[str, Any]]) -> Table:
    """The bases as a table for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("base", "what it is", "licence", "GB", "here"):
        wide = heading == "what it is"
        table.add_column(heading, justify="right" if heading == "GB" else "left", min_width=30 if wide else None)
    for row in rows:
        here = ", ".join(row["converted"]) or ("fetched" if row["fetched"] else "no")
        table.add_row(row["name"], row["description"], row["licence"], f"{row['bytes'] / 1e9:.1f}", here)
    return table
