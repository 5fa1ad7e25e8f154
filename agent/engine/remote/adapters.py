"""Adapters of a running server: loaded into it from folders that it can read, and found among its models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.agent.engine.remote.server import RefusedError
from loraloop.tool_schemas.errors import BaseModelError, InputError

if TYPE_CHECKING:
    from loraloop.agent.engine.remote.grammar import Kind
    from loraloop.agent.engine.remote.server import RemoteServer

_ROUTES: dict[str, str] = {"vllm": "load_lora_adapter", "sglang": "/load_lora_adapter"}
_START = {
    "vllm": "start vLLM with --enable-lora, and with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment",
    "sglang": "start SGLang with --enable-lora",
}
_EXPORTED = re.compile(r"(.+)-[0-9a-f]{12}")


def models_of(server: RemoteServer) -> dict[str, dict[str, Any]]:
    """What a server lists at `/v1/models`, by id: its model, then its adapters.

    Raises:
        BaseModelError: It lists none.
    """
    found = server.get("models")
    listed = found.get("data") if isinstance(found, dict) else None
    if (
        not isinstance(listed, list)
        or not listed
        or not all(isinstance(each, dict) and "id" in each for each in listed)
    ):
        raise BaseModelError(f"{server.url}/models lists no model: give the address that ends with /v1")
    return {str(each["id"]): each for each in listed}


def skill_of(name: str) -> str:
    """The skill of an adapter that is called as `skills export` calls it, `NAME-HASH`; another name is the skill's."""
    found = _EXPORTED.fullmatch(name)
    return found[1] if found else name


def adapters_of(models: Iterable[str], skills: Iterable[str], model: str) -> dict[str, str]:
    """The adapters of a server by the skills that they are; of several for one skill, the one that is listed last."""
    known = set(skills)
    return {skill_of(name): name for name in models if skill_of(name) in known and name != model}


def load_adapters(server: RemoteServer, kind: Kind, folders: Mapping[str, Path]) -> list[str]:
    """Loads those adapters into a server that it does not list, and checks that it lists them then.

    Args:
        server: The server, which reads the folders itself: it has to see them at the same paths.
        kind: What it is.
        folders: The adapters, by their names there.

    Returns:
        The names of those that were loaded.

    Raises:
        BaseModelError: The server refuses one, or does not list it.
        InputError: No adapter can be loaded into a server of this kind while it runs.
    """
    if kind not in _ROUTES:
        raise InputError("adapters are loaded into a running server by vLLM and SGLang alone: name it (--engine)")
    listed = models_of(server)
    missing = [name for name in folders if name not in listed]
    for name in missing:
        try:
            server.post(_ROUTES[kind], {"lora_name": name, "lora_path": str(folders[name].resolve())})
        except RefusedError as error:
            if name in models_of(server):
                continue  # another client was faster
            if error.status == 404 and '"Not Found"' in error.text:
                raise BaseModelError(f"{server.url} loads no adapters while it runs: {_START[kind]}") from None
            raise BaseModelError(
                f"{server.url} did not load {name}: {error.text}. It reads the folder itself, and has to see it at "
                f"{folders[name].resolve()}"
            ) from None
    if lost := missing and set(missing) - models_of(server).keys():
        raise BaseModelError(f"{server.url} took {', '.join(sorted(lost))} and does not list it: see its log")
    return missing
