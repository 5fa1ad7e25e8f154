"""OpenTelemetry: a hook that makes spans and metrics of runs, by the semantic conventions for generative AI.

The names are those of https://opentelemetry.io/docs/specs/semconv/gen-ai/; what has no name there is `loraloop.…`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from loraloop.agent.hooks import Follower, RunFacts, RunHook
from loraloop.tool_schemas.errors import needing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
TOKEN_BUCKETS = tuple(4**power for power in range(14))
SECONDS_BUCKETS = tuple(0.01 * 2**power for power in range(14))


class OpenTelemetry(RunHook):
    """Makes a span of each run (`invoke_agent`), of each step in it (`chat`) and of each call (`execute_tool`).

    Spans that a tool makes are children of its call's. A run that is started within a span, or by a tool of another
    run, is a child of that.

    Args:
        tracer_provider: Where spans go; the global one where None.
        meter_provider: Where metrics go; the global one where None.
        content: Whether spans hold messages, arguments, results and the texts of errors. None: as the environment
            says, in the variable that the conventions name (`CAPTURE`); by default not.
        agent: The agent's name.
        conversation: Gives the id of the conversation that a run belongs to, from what is known of the run (its
            `job.deps`, say); empty for none.

    Raises:
        InputError: The package opentelemetry-api is not installed.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        content: bool | None = None,
        agent: str = "agent",
        conversation: Callable[[RunFacts], str] | None = None,
    ) -> None:
        with needing("OpenTelemetry is not installed", "'loraloop[otel]'"):
            from opentelemetry import metrics, trace
        from loraloop.agent.tracing.otel_spans import Instruments
        from loraloop.agent.tracing.provenance import versions

        version = versions()["loraloop"]
        asked = os.environ.get(CAPTURE, "").strip().lower() in ("true", "1", "span_only", "span_and_event")
        meter = metrics.get_meter("loraloop", version, meter_provider)
        self._instruments = Instruments(
            tracer=trace.get_tracer("loraloop", version, tracer_provider),
            tokens=meter.create_histogram(
                "gen_ai.client.token.usage",
                unit="{token}",
                description="Tokens that a step read and wrote.",
                explicit_bucket_boundaries_advisory=TOKEN_BUCKETS,
            ),
            seconds=meter.create_histogram(
                "gen_ai.client.operation.duration",
                unit="s",
                description="How long runs, steps and calls took.",
                explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
            ),
            content=asked if content is None else content,
            agent=agent,
            conversation=conversation,
        )

    def begin(self, run: RunFacts) -> Follower:
        """Starts the span of a run, in the context of whoever reads it."""
        from loraloop.agent.tracing.otel_spans import SpansOfRun

        return SpansOfRun(self._instruments, run)
