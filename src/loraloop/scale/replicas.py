"""Replicas of the server under Ray Serve: the same application, in processes of a cluster, behind one address."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError, needing

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

    from loraloop.server.settings import ServerSettings
    from loraloop.server.state import ServerState

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
"""Ray Serve's router that sends requests with the same `x-session-id` header to the same replica, while it is there."""


def application(build: Callable[[], ServerState], settings: ServerSettings, **options: Any) -> Application:
    """The server as an application of Ray Serve.

    Args:
        build: Loads what a replica serves, in the replica's own process; it is pickled.
        settings: The settings of the server; Ray Serve itself listens on an address.
        options: Options of the deployment, such as `num_replicas`, `autoscaling_config` or `ray_actor_options`.

    Raises:
        InputError: Ray is not installed, or the settings keep conversations in one process or on one machine.
    """
    with needing("replicas need Ray", "'loraloop[ray]'"):
        from ray import serve
    if "://" not in settings.sessions:
        raise InputError("replicas share their conversations in a database: add --sessions postgresql://…")

    def app() -> FastAPI:
        from loraloop.server.app import create_app

        return create_app(build())

    own = {
        "name": "server",
        # The replica itself refuses what is too much, with 429; Ray Serve would hold it back.
        "max_ongoing_requests": settings.limits.concurrency + settings.limits.queue + 1,
        "request_router_config": {"request_router_class": ROUTER},
    }
    deployed: Application = serve.deployment(serve.ingress(app)()).options(**{**own, **options}).bind()
    return deployed


def serve_replicas(
    build: Callable[[], ServerState], settings: ServerSettings, count: int, ready: Callable[[str], object]
) -> None:
    """Serves until the process is told to stop, on the cluster of `RAY_ADDRESS`, or else on this machine alone.

    Where the cluster has GPUs, each replica gets one. Where Ray Serve runs there already, it keeps its address, and its
    other applications stay when this one ends.

    Args:
        build: See `application`.
        settings: The settings of the server, with a port.
        count: How many replicas there are.
        ready: Called with the URL once every replica answers.

    Raises:
        InputError: See `application`; or the port is 0.
    """
    made = application(build, settings, num_replicas=count)
    if not settings.port:
        raise InputError("Ray Serve takes no free port by itself: give --port a number")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray tells its makers how it is used
    import ray
    from ray import serve
    from ray.serve.context import _get_global_client

    ray.init(include_dashboard=False, ignore_reinit_error=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # Ray's own handler aborts the process
    if ray.cluster_resources().get("GPU"):  # without asking for one, a replica would see none
        made = application(build, settings, num_replicas=count, ray_actor_options={"num_gpus": 1})
    joined = _get_global_client(raise_if_no_controller_running=False) is not None
    serve.start(http_options={"host": settings.host, "port": settings.port})
    try:
        serve.run(made, name="loraloop", route_prefix="/")
        ready(_get_global_client().root_url)
        threading.Event().wait()
    finally:
        if joined:
            serve.delete("loraloop")
        else:
            serve.shutdown()
