"""Connecting to a server: its models are looked up, and the embedded base or a server routes for them."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.agent.engine.remote.adapters import adapters_of, load_adapters, models_of
from loraloop.agent.engine.remote.decisions import ROUTER, ServerRouter
from loraloop.agent.engine.remote.engine import RemoteEngine
from loraloop.agent.engine.remote.grammar import KINDS, Kind
from loraloop.agent.engine.remote.server import RemoteServer
from loraloop.tool_schemas.errors import InputError, LoraloopError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.prompting import Prompting
    from loraloop.router.proxy import ProxyRouter

CONTEXT = 4096
"""Positions of a server that does not say how many it has."""
SERVED = {"tools": "calls", "code": "code", "retrieval": "answer", "safety": "verdict"}
"""The skills of a server and the contract of each. A verdict has to be trained, so `safety` has to be an adapter."""
log = logging.getLogger("loraloop")


def connected(
    url: str,
    *,
    base: str | None,
    eyes: str,
    engine: Kind,
    skills: Mapping[str, str | Path] | None,
    context: int | None,
    **options: Any,
) -> tuple[Base, Bank, ProxyRouter | ServerRouter, RemoteEngine]:
    """What a runtime on a server consists of: a base that counts tokens, the skills, a router, and the engine.

    See `Runtime.connect` for the arguments and the errors.

    Args:
        url: Address of the server's API, which ends with `/v1`.
        base: The model's name on the server, or a name of our catalog whose tokenizer counts; None takes the first
            model.
        eyes: Name of a base here whose router reads the transcript, or the address of a server with `/v1/decisions`.
        engine: What the server is, which decides how grammars are asked for.
        skills: Names of the server's adapters by skill, or folders that are loaded into it; None looks for the usual
            names.
        context: Positions of a transcript; None for what the server says, else `CONTEXT`.
        **options: Options of the connection; see `ConnectOptions`. The key is not sent to another server than this one.
    """
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base as LocalBase
    from loraloop.adapters.skill.blank import blank_skill
    from loraloop.adapters.skill.skill import Skill
    from loraloop.router.proxy import ProxyRouter

    if engine not in KINDS:
        raise unknown("engine", engine, KINDS)
    server = RemoteServer(url, **options)
    models = models_of(server)
    own = [name for name, each in models.items() if not each.get("parent")] or list(models)
    if base not in models and base is not None and len(own) > 1:
        raise unknown("model of the server", base, own)
    model = base if base in models else own[0]
    most = _context(server, models[model])
    if context is not None and not 0 < context <= (most or context):
        raise InputError(f"context is {context}: give the positions that the server has{f', {most}' if most else ''}")
    elsewhere = "://" in eyes
    reader = LocalBase.load(device="cpu") if elsewhere else LocalBase.load(eyes, device="cpu")
    local = _counting(reader, base or model, url, context or most or CONTEXT)
    folders = {each.name: each for each in (skills or {}).values() if isinstance(each, Path)}
    adapters = adapters_of(models, SERVED, model)
    if skills is not None:
        adapters = {name: each.name if isinstance(each, Path) else each for name, each in skills.items()}
    for name in adapters:
        if name not in SERVED:
            raise unknown("skill", name, SERVED)
    if folders:
        load_adapters(server, engine, folders)
        models = models_of(server)
    for adapter in adapters.values():
        if engine != "openai" and adapter not in models:
            raise unknown("adapter of the server", adapter, models)
    bank = Bank(local, slots=1, rank=1)
    for name, contract in SERVED.items():
        blank = blank_skill(local, name, contract)
        if name in adapters:
            bank.add(Skill(blank.card.model_copy(update={"training": {"objective": "the server's"}}), blank.tensors))
        elif contract != "verdict":
            bank.add(blank)
    made = RemoteEngine(local, bank, server, kind=engine, model=model, adapters=adapters, folders=folders)
    log.warning("%s, model %s, through %s: %s", url, model, engine, "; ".join(made.missing))
    if not elsewhere:
        return local, bank, ProxyRouter.beside(local.prompting, reader), made
    if eyes.rstrip("/") == server.url:
        return local, bank, _deciding(server, models, model, local.prompting), made
    other = RemoteServer(eyes, **{**options, "key": ""})
    there = models_of(other)
    return local, bank, _deciding(other, there, next(iter(there)), local.prompting), made


def _deciding(server: RemoteServer, models: Iterable[str], model: str, prompting: Prompting) -> ServerRouter:
    """The decisions of a server: by its router where it lists one, else by a model; transcripts are of `prompting`."""
    from loraloop.adapters.base.loading.catalog import CATALOG

    if ROUTER not in models:
        return ServerRouter(server, model)
    base = server.get("skills")["base"]
    if base not in CATALOG:
        return ServerRouter(server, ROUTER)
    return ServerRouter(server, ROUTER, {prompting.tools_header: CATALOG[base].prompting.tools_header})


def _context(server: RemoteServer, model: dict[str, Any]) -> int:
    """Positions of a model's context, as vLLM, SGLang and llama-server say it; 0 where the server does not."""
    length = model.get("max_model_len") or (model.get("meta") or {}).get("n_ctx")
    if not length:
        try:
            length = server.get("/props")["default_generation_settings"]["n_ctx"]
        except (LoraloopError, KeyError, TypeError):
            length = 0
    return int(length)


def _counting(reader: Base, name: str, url: str, context: int) -> Base:
    """The router's base under the name of the server's: its tokenizer counts, and its weights are not used."""
    from loraloop.adapters.base.loading.catalog import CATALOG
    from loraloop.adapters.base.prompting import READING

    made = copy.copy(reader)
    made.name, made.form = name, "server"
    made.prompting = CATALOG[name].prompting if name in CATALOG else READING
    made.config = replace(reader.config, max_positions=context)
    prints, served = reader.fingerprints, f"{name} at {url}"
    architecture = hashlib.sha256(f"{prints.architecture} {name}".encode()).hexdigest()
    made.fingerprints = replace(prints, architecture=architecture, weights=hashlib.sha256(served.encode()).hexdigest())
    return made
