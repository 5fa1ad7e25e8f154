"""``loraloop tools``: `check` says what becomes of tools, `render` what the model sees of them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloop.cli.options import AllowLocal, AsJson, policy_of
from loraloop.render.console import console, print_json, print_line

if TYPE_CHECKING:
    from rich.text import Text

    from loraloop.tool_schemas.tools.checking import ToolReport
    from loraloop.tool_schemas.tools.survey import Note

tools_app = typer.Typer(no_args_is_help=True, help="Tools: what is enforced of them, and what the model sees.")


Sources = Annotated[
    list[str] | None,
    typer.Argument(help="JSON or YAML files, folders, OpenAPI documents, or module:attribute."),
]
Servers = Annotated[
    list[str] | None, typer.Option("--mcp", help='An MCP server: its command line ("python server.py") or URL.')
]


@tools_app.command()
def check(
    sources: Sources = None,
    mcp: Servers = None,
    on_unsupported: Annotated[
        Literal["check", "refuse"] | None,
        typer.Option(help="What to do with keywords that decoding cannot enforce; for MCP and OpenAPI check."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random calls.")] = 0,
    allow_local: AllowLocal = None,
    as_json: AsJson = False,
) -> None:
    """Say for each tool what is enforced, checked or refused, with example calls and the time to compile.

    The examples are decoded through the tool's own grammar without a model: a short one, and one from random logits.

    Exit codes: 0 all tools can be used, 1 some are refused, 2 some input cannot be read.
    """
    from loraloop.inputs.tool_sources import all_reports, check_compiler
    from loraloop.tool_schemas.tools.checking import ToolChecker

    _need(sources, mcp)
    compiler, tokenizer = check_compiler()
    checker = ToolChecker(compiler, seed, on_unsupported)
    found, unreadable = all_reports(sources or (), mcp or (), checker, policy_of(allow_local))
    if as_json:
        document = {
            "tokenizer": tokenizer,
            "tools": [report.to_dict() for report in found],
            "unreadable": [{"source": source, "error": error} for source, error in unreadable],
        }
        print_json(document)
    else:
        _print(found, tokenizer)
        for _, error in unreadable:
            sys.stderr.write(f"error: {' '.join(error.split())}\n")
    raise typer.Exit(2 if unreadable else 1 if any(report.survey.refused for report in found) else 0)


@tools_app.command()
def render(
    context: typer.Context,
    sources: Sources = None,
    mcp: Servers = None,
    allow_local: AllowLocal = None,
    as_json: AsJson = False,
) -> None:
    """Print tools as the model sees them in the system message; with --json, in OpenAI's form too."""
    from loraloop.inputs.tool_sources import tools_from_sources
    from loraloop.tool_schemas import openai_tools, render_tools

    _need(sources, mcp)
    tools = tools_from_sources(sources, mcp, context.with_resource, policy_of(allow_local))
    text = render_tools(tools)
    if as_json:
        text = json.dumps({"rendered": text, "tools": openai_tools(tools)}, ensure_ascii=False)
    print_line(text)


def _need(sources: list[str] | None, mcp: list[str] | None) -> None:
    if not sources and not mcp:
        from loraloop.tool_schemas.errors import InputError

        raise InputError("give files, folders or module:attribute, or an MCP server with --mcp")


def _print(found: Sequence[ToolReport], tokenizer: str) -> None:

    out = console()
    for report in found:
        for line in _lines(report):
            out.print(line, soft_wrap=True)
        out.print()
    refused = sum(bool(report.survey.refused) for report in found)
    many = f"{len(found)} tool{'' if len(found) == 1 else 's'}"
    against = "a byte tokenizer (the embedded base is not on this machine)" if tokenizer == "bytes" else tokenizer
    out.print(f"{many}, {refused} refused; compiled for {against}", soft_wrap=True)


def _lines(report: ToolReport) -> Iterator[Text]:
    from rich.text import Text

    from loraloop.tool_schemas.jsontext import dumps

    state = Text("refused", "bold red") if report.survey.refused else Text("ok", "bold green")
    kind = "" if report.strict else ", not strict: decoded as any object, validated afterwards"
    yield Text.assemble((report.name, "bold"), f"  {report.place}{kind}  ", state)
    if report.survey.enforced:
        yield Text(f"  enforced while decoding: {_counted(report.survey.enforced)}")
    if report.survey.checked:
        yield Text("  checked when the value closes:", "yellow")
        yield from (Text(f"    {note.path}: {note.reason.split(';')[0]}") for note in report.survey.checked)
    if report.survey.annotations:
        yield Text(f"  annotation only: {_counted(report.survey.annotations)}")
        yield from _notes([note for note in report.survey.annotations if note.reason])
    if report.survey.refused:
        yield Text("  refused:", "red")
        yield from _notes(report.survey.refused)
    if report.shortest is not None:
        yield Text(f"  short call:  {dumps(report.shortest)}")
    if report.random is not None:
        yield Text(f"  random call: {dumps(report.random)}")
    if report.problem:
        yield Text(f"  {report.problem}", "yellow")
    if report.compile_ms_p50 is not None:
        yield Text(f"  compiled in {report.compile_ms_p50:.2f} ms (median of {report.compiled})")


def _counted(notes: Sequence[Note]) -> str:
    """The keywords of some paths, each with how often it occurs."""
    from re import findall

    named = Counter(findall(r'[^.\[\]"]+', note.path)[-1] for note in notes)
    return ", ".join(name if count == 1 else f"{name} ({count})" for name, count in sorted(named.items()))


def _notes(notes: Sequence[Note]) -> Iterator[Text]:
    from rich.text import Text

    for note in notes:
        yield Text(f"    {f'{note.path}: ' if note.path else ''}{note.reason}")
