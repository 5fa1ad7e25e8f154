"""Where the command line's tools come from: files, folders, Python modules and MCP servers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError, LoraloopError, SchemaError

if TYPE_CHECKING:
    from loraloop.tool_schemas import NetworkPolicy, Tool
    from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
    from loraloop.tool_schemas.grammar.matcher import Vocabulary
    from loraloop.tool_schemas.mcp.server import McpServer
    from loraloop.tool_schemas.tools.checking import ToolChecker, ToolReport

_PYTHON = re.compile(r"(?:[\w.]+|.*\.py):[\w.]+")


def is_url(source: str) -> bool:
    """Whether a source is a URL."""
    return source.startswith(("http://", "https://"))


def is_python(source: str) -> bool:
    """Whether a source is ``module:attribute`` or ``file.py:attribute``."""
    return _PYTHON.fullmatch(source) is not None and not Path(source).exists()


def tools_from_sources(
    sources: Sequence[str] | None,
    servers: Sequence[str] | None = None,
    enter: Callable[[McpServer], McpServer] | None = None,
    policy: NetworkPolicy | None = None,
    folder: Path | None = None,
) -> list[Tool]:
    """The tools of files, folders, OpenAPI documents at URLs, Python modules, and MCP servers.

    Modules are looked for in the working folder first.

    Args:
        sources: All but servers.
        servers: Command lines or URLs of MCP servers.
        enter: Enters a server, which is left later: `with_resource` of a command, or `enter_context` of a stack.
        policy: Where the tools of OpenAPI documents may connect.
        folder: The folder in which the command lines of servers run; where None, the working folder.

    Raises:
        LoraloopError: If one cannot be read or is wrong.
    """
    from loraloop.tool_schemas import load_tools, python_tools, tools_from_openapi

    found: list[tuple[str, Sequence[Tool]]] = []
    for source in sources or ():
        if is_url(source):
            found.append((source, tools_from_openapi(source, policy=policy)))
        else:
            read = python_tools(source, Path.cwd()) if is_python(source) else load_tools(source, policy=policy)
            found.append((source, read))
    for text in servers or ():
        assert enter is not None
        found.append((f"--mcp {text!r}", enter(mcp_server(text, folder)).tools))
    _check_names(found)
    return [tool for _, tools in found for tool in tools]


def _check_names(found: Sequence[tuple[str, Sequence[Tool]]]) -> None:
    places: dict[str, str] = {}
    for place, tools in found:
        for tool in tools:
            if tool.name in places:
                served = any(each.startswith("--mcp") for each in (place, places[tool.name]))
                other = "open the MCP server in Python with a prefix=, and give its tools as --tools FILE.py:tools"
                raise SchemaError(
                    f"two tools are called {tool.name!r} ({places[tool.name]} and {place}); "
                    + (other if served else "rename one")
                )
            places[tool.name] = place


def mcp_server(text: str, folder: Path | None = None) -> McpServer:
    """The server that a command line, which runs in a folder, or a URL says.

    Raises:
        InputError: If it says none.
    """
    from loraloop.tool_schemas import McpServer

    if is_url(text):
        return McpServer.http(text)
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--mcp {text!r} is not a command line: {error}") from None
    if not command:
        raise InputError('--mcp needs a command line, such as "python server.py", or a URL')
    return McpServer.stdio(command[0], command[1:], cwd=folder)


def check_compiler() -> tuple[GrammarCompiler, str]:
    """A compiler for the embedded base's tokenizer, or for bytes where the base is not on this machine; and which."""
    from loraloop.adapters.base.loading.catalog import DEFAULT
    from loraloop.tool_schemas.grammar.compiler import GrammarCompiler

    embedded = _embedded_vocabulary()
    return GrammarCompiler(embedded or _byte_vocabulary()), DEFAULT if embedded else "bytes"


def _byte_vocabulary() -> Vocabulary:
    from loraloop.adapters.base.random_weights import byte_tokenizer_json
    from loraloop.adapters.base.tokenizer import Tokenizer
    from loraloop.tool_schemas.grammar.matcher import Vocabulary

    return Vocabulary(Tokenizer(byte_tokenizer_json(), (0,)), 259, 0)


def _embedded_vocabulary() -> Vocabulary | None:
    """The embedded base's; None where it is not on this machine."""
    from loraloop.adapters.base.chat import Chat
    from loraloop.adapters.base.loading.catalog import CATALOG, DEFAULT
    from loraloop.adapters.base.loading.convert import read_card
    from loraloop.adapters.base.loading.folders import cache_folder
    from loraloop.adapters.base.tokenizer import Tokenizer
    from loraloop.tool_schemas.grammar.matcher import Vocabulary

    stem = f"{DEFAULT}-{CATALOG[DEFAULT].sha256[:12]}-"
    for card_file in sorted(cache_folder().glob(f"bases/{stem}*/base.json"), reverse=True):
        card = read_card(card_file.parent)
        text = (card_file.parent / "tokenizer.json").read_text(encoding="utf-8")
        tokenizer = Tokenizer(text, card.eos_ids)
        return Vocabulary(tokenizer, card.config.vocab_size, Chat(card.chat, tokenizer).closing[0])
    return None


def reports(source: str, checker: ToolChecker, policy: NetworkPolicy | None) -> Iterator[ToolReport]:
    """The report of each tool of a file, a folder, an OpenAPI document at a URL, or a Python module.

    Args:
        source: A path, a URL, or ``module:attribute``.
        checker: Makes the reports.
        policy: Where an OpenAPI document at a URL, and its tools, may connect; None for the rules that hold by default.

    Raises:
        LoraloopError: If it cannot be read at all.
    """
    from loraloop.tool_schemas.loading import as_tool, python_values, tool_files

    if is_url(source):
        yield from _of_service(source, source, checker, policy)
        return
    if is_python(source):
        mode = checker.on_unsupported or "refuse"
        for value in python_values(source, Path.cwd()):
            try:
                yield checker.tool(as_tool(value, source, mode), source)
            except SchemaError as error:
                yield checker.refusal({"name": getattr(value, "__name__", "?")}, source, error, mode)
        return
    for file in tool_files(source):
        yield from _of_file(file, checker)


def _of_file(file: Path, checker: ToolChecker) -> Iterator[ToolReport]:
    from loraloop.tool_schemas.loading import file_entries, read_document
    from loraloop.tool_schemas.tools.tool_lists import is_openapi

    document = read_document(file)
    if is_openapi(document):
        yield from _of_service(document, str(file), checker, None)
        return
    for entry in file_entries(document, file):
        yield checker.entry(entry, f"{file}, {entry.place}")


def _of_service(document: Any, place: str, checker: ToolChecker, policy: NetworkPolicy | None) -> Iterator[ToolReport]:
    """The report of each operation of an OpenAPI document, or of one at a URL.

    Nothing is called, so a document that does not say where its service is can be checked as well.
    """
    from loraloop.tool_schemas import load_openapi

    nowhere = isinstance(document, dict) and not any(
        is_url(str(server.get("url"))) for server in document.get("servers") or () if isinstance(server, dict)
    )
    base = "https://service.invalid" if nowhere else None
    with load_openapi(document, on_unsupported="check", on_refused="skip", base_url=base, policy=policy) as service:
        for tool in service.tools:
            yield checker.tool(tool, f"{place}, {service.report.tools[tool.name]}")
        for each in service.report.refused:
            error = SchemaError(each.reason, each.path)
            yield checker.refusal({"name": each.name}, f"{place}, {each.operation}", error, "check")


def mcp_reports(text: str, checker: ToolChecker) -> Iterator[ToolReport]:
    """The report of each tool of an MCP server.

    Raises:
        LoraloopError: If it cannot be connected to.
    """
    import warnings

    from loraloop.tool_schemas.mcp.server import McpWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", McpWarning)  # the reports say it
        server = mcp_server(text).__enter__()
    with closing(server):
        place = f"mcp:{server.name}"
        for tool in server.tools:
            yield checker.tool(tool, place)
        for left in server.left_out:
            yield checker.refusal({"name": left.name}, place, SchemaError(left.reason, left.path), "check")


def all_reports(
    sources: Sequence[str], servers: Sequence[str], checker: ToolChecker, policy: NetworkPolicy | None
) -> tuple[list[ToolReport], list[tuple[str, str]]]:
    """The reports of everything, and what could not be read, each with the reason.

    Two tools of one source that share a name are refused.

    Args:
        sources: Paths, URLs, and modules as ``module:attribute``.
        servers: Command lines or URLs of MCP servers.
        checker: Makes the reports.
        policy: Where OpenAPI documents at URLs, and their tools, may connect; None for the rules that hold by default.
    """
    from loraloop.tool_schemas.tools.survey import Note

    found: list[ToolReport] = []
    unreadable: list[tuple[str, str]] = []
    asked = [(source, reports(source, checker, policy)) for source in sources]
    asked += [(text, mcp_reports(text, checker)) for text in servers]
    for source, making in asked:
        places: dict[str, str] = {}
        try:
            for report in making:
                if report.name in places:
                    note = Note("", f"another tool is called {report.name!r} ({places[report.name]}); rename one")
                    report = report.also_refused(note)
                places[report.name] = report.place
                found.append(report)
        except LoraloopError as error:
            unreadable.append((source, str(error)))
    return found, unreadable
