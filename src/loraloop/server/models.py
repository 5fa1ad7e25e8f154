"""`/v1/models`, `/v1/skills` and `/v1/load`: what can be asked, what it is made of, and how busy it is."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from loraloop.server.errors import ApiError, documented
from loraloop.server.runs import owner_of
from loraloop.server.state import BodyRoute, ServerState, brought_key, key_of, state_of
from loraloop.server.wire import AUTO, BASE, Strict

routes = APIRouter(route_class=BodyRoute)


def model_names(state: ServerState) -> list[str]:
    """`auto`, `base`, each skill and each hosted agent."""
    return list(dict.fromkeys([AUTO, BASE, "router", *state.runtime.skills, *state.agents]))


@routes.get("/v1/models")
async def list_models(request: Request) -> JSONResponse:
    """The models."""
    state = state_of(request)
    return JSONResponse({"object": "list", "data": [_model(name) for name in model_names(state)]})


@routes.get("/v1/models/{name}", responses=documented({404}))
async def show_model(name: str, request: Request) -> JSONResponse:
    """One model."""
    state = state_of(request)
    if name not in (*model_names(state), state.runtime.base.name):
        raise ApiError(404, f"there is no model {name!r}", "model_not_found", "model")
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "loraloop"}


@routes.get("/v1/skills")
async def list_skills(request: Request) -> JSONResponse:
    """The skills with their cards, and where each of them is."""
    runtime = state_of(request).runtime
    found = []
    for name in runtime.skills:
        card = runtime.bank.card(name).model_dump(mode="json")
        found.append({**card, "tier": runtime.bank.tier(name), "slot": runtime.bank.resident.get(name)})
    return JSONResponse({"base": runtime.base.name, "skills": found})


class SkillBody(Strict):
    """What is done with a skill: a folder is loaded, or one that is there is brought into its slot, kept or removed.

    With `identity`, the hash of its weights, nothing else than these weights is brought into a slot.
    """

    action: Literal["load", "warm", "pin", "unpin", "remove"]
    folder: str = ""
    name: str = ""
    identity: str = ""


@routes.post("/v1/skills")
async def change_skills(body: SkillBody, request: Request) -> JSONResponse:
    """Loads, warms, pins or removes a skill without a restart; needs the admin key."""
    state = state_of(request)
    brought = brought_key(request).encode()
    if not state.settings.admin_key or not hmac.compare_digest(brought, state.settings.admin_key.encode()):
        raise ApiError(403, "skills are changed with the admin key (--admin-key-env)", "forbidden")
    if body.action == "load" and not body.folder:
        raise ApiError(400, "folder is missing: name the folder of the skill", "missing", "folder")
    return JSONResponse(await asyncio.to_thread(_changed, state, body))


def _changed(state: ServerState, body: SkillBody) -> dict[str, Any]:
    """What became of a skill.

    Raises:
        ApiError: 400, its weights are others than those that are meant; a skill that was loaded for it is removed.
        LoraloopError: It cannot be read, is not there, or is in use.
    """
    bank = state.runtime.bank
    name = bank.add(body.folder) if body.action == "load" else body.name
    state.runtime.check(name)
    if body.action == "remove":
        bank.remove(name)
        return {"name": name, "removed": True}
    try:
        slot, identity = bank.slot(name), bank.identity(name)
        if body.identity not in ("", identity):
            raise ApiError(400, f"{name} has the weights {identity}", "other_weights", "identity")
    except Exception:
        if body.action == "load":
            bank.remove(name)
        raise
    if body.action == "pin" and name not in state.pinned:
        bank.pin(name)
        state.pinned.add(name)
    if body.action == "unpin" and name in state.pinned:
        state.pinned.discard(name)
        bank.unpin(name)
    return {"name": name, "identity": identity, "slot": slot, "pinned": name in state.pinned}


@routes.get("/v1/load")
async def show_load(request: Request) -> JSONResponse:
    """How busy the server is, and what is kept in memory."""
    state = state_of(request)
    limits, owner = state.settings.limits, owner_of(key_of(request))
    return JSONResponse(
        {
            "running": state.limiter.running,
            "waiting": state.limiter.waiting,
            "concurrency": limits.concurrency,
            "queue": limits.queue,
            "runs": [run.load(run.owner == owner) for run in state.runs.here],
            "scheduler": asdict(state.runtime.engine.stats),
            "tokens": {kind: state.metrics.total(kind) for kind in ("read", "cached")},
            "skills": dict(state.runtime.bank.resident),
            "memory": asdict(state.runtime.memory()),
        }
    )
