"""What a run may use."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.context import Left


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run. A run that meets one ends with that as its stop reason and what it has so far.

    Attributes:
        max_steps: Steps, verdicts and dropped branches included.
        step_tokens: Tokens that one step may generate.
        run_tokens: Tokens that all steps together may generate.
        max_tool_calls: Calls of tools, the `python` tool included.
        concurrent_calls: Calls of one step that run at the same time at most; 1 runs one after another.
        deadline: Seconds for the whole run; None for no bound. Looked at before every token.
        tool_timeout: Seconds that one call of a tool may take, if the tool itself does not say; it becomes an error
            observation then.
        tool_retries: How often one tool may ask the model to try again (`ToolRetry`), if the tool itself does not say.
        result_tokens: Tokens of one call's result or error that the transcript holds at most. What is longer, or
            longer than the context still has room for, is cut, and a marker says how many tokens were left out.
        keep_free: Positions that a step should find free. Where it does not, the oldest results and turns are made
            shorter or left out (`compaction`). None: `step_tokens` and `result_tokens`, at most a third of the
            context. 0: nothing is, and the run ends with `context`.
    """

    max_steps: int = 12
    step_tokens: int = 512
    run_tokens: int = 4096
    max_tool_calls: int = 16
    concurrent_calls: int = 8
    deadline: float | None = None
    tool_timeout: float = 30.0
    tool_retries: int = 2
    result_tokens: int = 1024
    keep_free: int | None = None

    def left(self, index: int, calls: int, tokens: int, deadline: float | None) -> Left:
        """What is left in step `index`, after so many calls and tokens, until a time of `time.monotonic()`."""
        seconds = None if deadline is None else max(deadline - monotonic(), 0.0)
        return Left(self.max_steps - index - 1, self.max_tool_calls - calls, self.run_tokens - tokens, seconds)

    def free(self, context: int) -> int:
        """Positions of a context that a step should find free; 0: nothing is done for it."""
        if self.keep_free is None:
            return min(self.step_tokens + self.result_tokens, context // 3)
        return min(self.keep_free, context - 1)

    def __post_init__(self) -> None:
        for name in ("max_steps", "step_tokens", "run_tokens", "concurrent_calls"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.result_tokens < 64:
            raise InputError(f"result_tokens is {self.result_tokens}: it must be at least 64, so that an error fits")
        for name in ("max_tool_calls", "tool_retries", "keep_free"):
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        if self.deadline is not None and self.deadline <= 0:
            raise InputError(f"deadline is {self.deadline} seconds: it must be above 0, or None for no bound")
        if self.tool_timeout <= 0:
            raise InputError(f"tool_timeout is {self.tool_timeout} seconds: it must be above 0")
