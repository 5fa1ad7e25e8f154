"""``loraloop eval``: how well the parts do on data, beside what else there is. Each command has a module in `evals`."""

from __future__ import annotations

import typer

from loraloop.evals import abstention_cli, beams_cli, commands, reranking_cli, safety_cli, shares_cli
from loraloop.evals.agent_cli import agent
from loraloop.evals.grammar import grammar
from loraloop.evals.injections_cli import injections
from loraloop.evals.router_command import router

eval_app = typer.Typer(no_args_is_help=True, help="Evaluations of skills and parts on data.")
eval_app.command()(commands.tools)
eval_app.command("tools-threshold")(abstention_cli.tools_threshold)
eval_app.command("retrieval-threshold")(abstention_cli.retrieval_threshold)
eval_app.command("tools-beams")(beams_cli.tools_beams)
eval_app.command("tools-reranking")(reranking_cli.tools_reranking)
eval_app.command("tools-shares")(shares_cli.tools_shares)
eval_app.command()(commands.retrieval)
eval_app.command()(commands.code)
safety_cli.add_to(eval_app)
eval_app.command()(router)
eval_app.command()(agent)
eval_app.command()(injections)
eval_app.command()(commands.rewriting)
eval_app.command()(grammar)
