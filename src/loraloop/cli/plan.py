"""``loraloop plan``: the memory and time of a base with agents and skills on one machine, and how many machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from loraloop.cli.options import AsJson, Quantize
from loraloop.inputs.loading import BaseName
from loraloop.render.console import console, plural, print_json
from loraloop.render.terminal import table_of

KINDS = {
    "process": "Python, torch and the rest of the process",
    "weights": "weights",
    "agents": "keys and values of {agents} agents",
    "kept": "past conversations and shared beginnings, at most",
    "slots": "slots of {resident} skills",
    "skills": "skills in memory, at most",
}


def plan(
    base: BaseName = "smollm2-135m",
    agents: Annotated[int, typer.Option(help="Conversations that write at the same moment.")] = 1,
    skills: Annotated[int, typer.Option(help="Skills among which steps choose.")] = 4,
    context: Annotated[int, typer.Option(help="Tokens of a conversation.")] = 2048,
    shared: Annotated[
        int | None, typer.Option(help="Tokens from its beginning that all conversations share; 1024 where they fit.")
    ] = None,
    rank: Annotated[int, typer.Option(help="Rank of the skills.")] = 16,
    slots: Annotated[int, typer.Option(help="Skills that are resident at the same time.")] = 8,
    speed: Annotated[float, typer.Option(help="Tokens a second that each agent should get at least.")] = 10.0,
    gpu: Annotated[str, typer.Option(help="Plan for this card by its data; nothing is loaded.")] = "",
    quantize: Quantize = None,
    as_json: AsJson = False,
) -> None:
    """Plan memory, speed and the number of machines. Without --gpu, this machine is measured for a few seconds."""
    from loraloop.scale.capacity import Capacity, Load

    shared = min(Load().shared, context) if shared is None else shared
    load = Load(agents, skills, context, shared, rank=rank, slots=slots, speed=speed)
    if gpu:
        from loraloop.scale.rates import config_of

        capacity = Capacity.of_gpu(base, config_of(base), gpu, quantize)
    else:
        from loraloop.inputs.loading import open_base
        from loraloop.scale.rates import measure

        capacity = measure(open_base(base, quantize, as_json))
    found = capacity.plan(load)
    if as_json:
        print_json(found)
        return
    _show(found)


def _show(found: dict[str, Any]) -> None:
    """The plan as three tables and a sentence."""
    load, most = found["load"], found["most"]
    words = {"agents": load["agents"], "resident": min(load["skills"], load["slots"])}
    console().print(f"{found['base']} in {found['form']} on {found['machine']}")
    sizes = {KINDS[name].format(**words): found["bytes"][name] for name in KINDS if found["bytes"][name]}
    rows = [(name, f"{size / 1e9:.3f}") for name, size in sizes.items()]
    whole = f"{sum(sizes.values()) / 1e9:.3f} of {found['memory'] / 1e9:.1f}"
    rows.append(("together", whole))
    kept = {"skills in the host's memory, at most": 0 if found["bytes"]["skills"] else found["skills"]["memory"]}
    kept["skills on disk"] = found["skills"]["disk"]
    rows += [(name, f"{size / 1e9:.3f}") for name, size in kept.items() if size]
    console().print(table_of(("memory", "GB"), rows, ("GB",)))
    rows3 = [(str(row["agents"]), f"{row['each']:.1f}", f"{row['together']:.0f}") for row in found["speeds"]]
    speeds = ("tokens/s each", "tokens/s together")
    console().print(table_of(("agents at once", *speeds), rows3, speeds))
    seconds = found["seconds"]
    times = {
        f"reading a new conversation of {load['context']} tokens": seconds["prompt"],
        f"the same where its first {load['shared']} tokens are known": seconds["known"],
        "switching to a skill in a slot": seconds["switch"]["slot"],
        "switching to a skill in memory": seconds["switch"]["memory"],
        "switching to a skill on disk": seconds["switch"]["file"],
    }
    console().print(table_of(("time", "s"), [(name, f"{value:.3f}") for name, value in times.items()], ("s",)))
    limits = f"{most['speed']} at {load['speed']:g} tokens/s each, {most['memory']} by memory"
    if found["replicas"] is None:
        text = f"not one agent: one machine serves {limits}"
    else:
        need = "needs" if load["agents"] == 1 else "need"
        text = (
            f"{plural(load['agents'], 'agent')} {need} {plural(found['replicas'], 'such machine')}; one serves {limits}"
        )
    if min(load["agents"], load["skills"]) > load["slots"]:
        text += f"; at most {load['slots']} skills write at once, and steps of others wait for a slot (--slots)"
    console().print(text, soft_wrap=True)
