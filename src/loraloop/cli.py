"""The ``loraloop`` command."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def options() -> None:
    """An agent runtime in which every step runs on the right LoRA skill."""


@app.command()
def version() -> None:
    """Print the version."""
    import loraloop

    typer.echo(loraloop.__version__)


def main() -> None:
    """Runs the command line."""
    app()
