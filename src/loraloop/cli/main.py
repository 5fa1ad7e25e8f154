"""The ``loraloop`` command: `demo`, `run`, `chat`, `trace`, `route`, `train`, `improve`, `data`, `tools`, `eval` …

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 `doctor` found a problem or
something failed unexpectedly, 2 bad input or anything else that loraloop refuses to do, 3 a run waits for approval, 4 a
run was refused, 5 a limit cut a run off before its answer was whole, 130 interrupted.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from loraloop.cli.chat.command import chat
from loraloop.cli.data import data_app
from loraloop.cli.improve import improve
from loraloop.cli.machine import doctor
from loraloop.cli.options import AsJson, Quantize, command
from loraloop.cli.plan import plan
from loraloop.cli.run.command import demo, route, run
from loraloop.cli.serve import serve_app
from loraloop.cli.sessions import sessions_app
from loraloop.cli.skills import skills_app
from loraloop.cli.tools import tools_app
from loraloop.cli.traces import trace_app
from loraloop.cli.train import train
from loraloop.evals.commands import eval_app
from loraloop.render.console import console, print_json, print_line

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
GROUPS = {
    "skills": skills_app,
    "tools": tools_app,
    "eval": eval_app,
    "data": data_app,
    "sessions": sessions_app,
    "trace": trace_app,
    "serve": serve_app,
}
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)
for _function in (demo, run, route, chat, improve):
    app.command()(command(_function))
app.command()(train)
app.command()(doctor)
app.command()(plan)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
) -> None:
    """An agent runtime in which every step runs on the right LoRA skill."""


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    import loraloop

    print_line(json.dumps({"version": loraloop.__version__}) if as_json else loraloop.__version__)


@app.command()
def bases(
    get: Annotated[str | None, typer.Option(help="Fetch and convert one, so that later loads are quick.")] = None,
    quantize: Quantize = None,
    as_json: AsJson = False,
) -> None:
    """List the bases that have a name, and what of them is on this machine."""
    from loraloop.cli.machine import base_rows, bases_table

    if get is not None:
        from loraloop.inputs.loading import open_base

        open_base(get, quantize, as_json)
    rows = base_rows()
    if as_json:
        print_json(rows)
        return
    console().print(bases_table(rows))


def main() -> None:
    """Runs the command line; every error is one line on standard error."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Runs one command.

    Args:
        arguments: The arguments without the program's name. ``--debug`` may stand anywhere.

    Returns:
        The exit code.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        return guarded(arguments)


def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Our own warnings as one line on standard error; other packages' are for developers."""
    if category.__module__.startswith("loraloop"):
        sys.stderr.write(f"warning: {' '.join(str(message).split())}\n")


@functools.cache
def commands() -> Callable[..., object]:
    """The commands, which take longer to put together than many of them to run."""
    return typer.main.get_command(app)


def guarded(arguments: list[str]) -> int:
    """Runs one command and turns whatever it raises into a line and an exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = commands()(arguments, prog_name="loraloop", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # typer makes this of an interrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return 130
    except (BrokenPipeError, SystemExit) as error:  # click makes an exit of a broken pipe
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads it any more
        return 0
    except Exception as error:
        from loraloop.tool_schemas.errors import LoraloopError

        if debug:
            raise
        formatted = getattr(error, "format_message", None)  # a usage error
        if formatted is not None:
            message, code = formatted(), 2
        elif isinstance(error, LoraloopError):
            message, code = str(error), 2
        elif isinstance(error, OSError) and error.filename is not None:
            message, code = f"{error.filename}: {error.strerror} (--debug shows where)", 2
        else:
            message, code = f"{type(error).__name__}: {error} (--debug shows where)", 1
        if message:  # none where a group of commands was named alone, and its help is shown
            sys.stderr.write(f"error: {' '.join(message.split())}\n")
        return code
