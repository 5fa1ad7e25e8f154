"""Prometheus metrics of one server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from loraloop.agent.result import RunResult

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts requests, tokens, steps by skill, and refusals; measures first tokens and whole requests."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: Any = {"registry": self.registry}
        self.requests = Counter("loraloop_requests", "Requests by route and status.", ("route", "status"), **made)
        self.first = Histogram("loraloop_ttft_seconds", "Seconds to the first text.", buckets=BUCKETS, **made)
        self.whole = Histogram("loraloop_request_seconds", "Seconds of a request.", buckets=BUCKETS, **made)
        self.tokens = Counter("loraloop_tokens", "Tokens: read, cached, written, forced.", ("kind",), **made)
        self.steps = Counter("loraloop_steps", "Steps by skill.", ("skill",), **made)
        self.switches = Counter("loraloop_skill_switches", "Steps on another skill than the one before.", **made)
        self.refusals = Counter("loraloop_refusals", "Refused runs.", **made)

    def watch(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Adds a gauge that is read when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(read)

    def count(self, run: RunResult[object]) -> None:
        """Counts the steps and tokens of a run."""
        before = ""
        for step in run.steps:
            self.steps.labels(step.skill).inc()
            self.switches.inc(step.skill != before and before != "")
            before = step.skill
            self.tokens.labels("read").inc(step.tokens.prefilled)
            self.tokens.labels("cached").inc(step.tokens.reused)
            self.tokens.labels("written").inc(step.tokens.generated)
            self.tokens.labels("forced").inc(step.tokens.forced)
        self.refusals.inc(run.stop_reason == "refused")

    def text(self) -> bytes:
        """All of them in the text format."""
        return generate_latest(self.registry)
