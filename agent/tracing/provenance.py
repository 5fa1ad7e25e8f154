"""Where a run's result comes from: the base, the skills and the router by fingerprint, versions, the machine."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import TYPE_CHECKING, Any

from loraloop import __version__
from loraloop.agent.tracing.trace import BaseUsed, RouterUsed, RuntimeUsed, SkillUsed, taken

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime

PACKAGES = ("torch", "transformers", "tokenizers", "llguidance", "jsonschema")
_routers: dict[int, tuple[Any, RouterUsed]] = {}  # by id; holds them, so that their ids stay theirs
_lock = Lock()


def runtime_used(runtime: Runtime) -> RuntimeUsed:
    """What a run on this runtime runs on."""
    base, prints = runtime.base, runtime.base.fingerprints
    used = BaseUsed(
        name=base.name,
        form=base.form,
        architecture=prints.architecture,
        weights=prints.weights,
        context=runtime.context,
        device=str(base.device),
    )
    skills = tuple(taken(SkillUsed, runtime.bank.card(name)) for name in runtime.bank.names)
    router, missing = router_used(runtime.router), runtime.engine.missing
    return RuntimeUsed(used, skills, router, dict(versions()), dict(machine()), missing=missing)


def router_used(router: Any) -> RouterUsed:
    """A router; its digest is computed once."""
    with _lock:
        known = _routers.get(id(router))
        if known is None:
            if len(_routers) >= 16:
                _routers.pop(next(iter(_routers)))
            known = _routers[id(router)] = (router, RouterUsed(type(router).__name__, _digest(router)))
        return known[1]


def _digest(router: Any) -> str:
    """SHA-256 of the numbers and names that decide; empty for a router that is no dataclass."""
    if not is_dataclass(router):
        return ""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        import torch

        if isinstance(value, torch.Tensor):
            digest.update(str((value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif is_dataclass(value) and not isinstance(value, type):
            for each in fields(value):
                digest.update(each.name.encode())
                feed(getattr(value, each.name))
        elif isinstance(value, list | tuple):
            for item in value:
                feed(item)
        else:
            digest.update(repr(value).encode())

    for part in ("choice", "screen_model"):
        feed(getattr(router, part, None))
    if call_model := getattr(router, "call_model", None):  # one without it keeps the digest of earlier versions
        feed(call_model)
    return digest.hexdigest()


@cache
def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of Python, loraloop and the packages that are installed; by default what a result may depend on."""
    found = {"python": platform.python_version(), "loraloop": __version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, str]:
    """The machine, as far as a result may depend on it."""
    import torch

    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": torch.backends.cpu.get_cpu_capability(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "threads": str(torch.get_num_threads()),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts
