"""``loraloop route``: the first decision of a request, without running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.adapters.skill.contracts import Passage
    from loraloop.agent import Runtime
    from loraloop.router.decision import Route, ScreenResult
    from loraloop.tool_schemas import Tool


@dataclass(frozen=True, slots=True)
class FirstRoute:
    """A screen, a choice and, if asked for, what the router says for itself."""

    screen: ScreenResult
    route: Route
    explanation: Mapping[str, Any] | None = None


def first_route(
    runtime: Runtime,
    prompt: str,
    *,
    tools: Sequence[Tool] = (),
    passages: Sequence[Passage] = (),
    instructions: str = "",
    python: bool = False,
    explain: bool = False,
) -> FirstRoute:
    """Decides the first step of a request as an agent with these tools would.

    Args:
        runtime: Base, skills and router.
        prompt: The request.
        tools: The agent's tools.
        passages: Passages beside the request.
        instructions: The agent's instructions.
        python: Whether the agent may run Python.
        explain: Whether the nearest training examples are looked up.

    Raises:
        InputError: The prompt is empty, or there is no router to explain.
        ContextLengthError: The request does not fit the context.
    """
    from loraloop.agent.engine.timer import Clock
    from loraloop.agent.messages import request, system_content
    from loraloop.agent.values.step import plain
    from loraloop.router.decision import RouterState
    from loraloop.tool_schemas.errors import InputError

    router = runtime.router
    if explain and not hasattr(router, "explain"):
        raise InputError("a base without trained skills has no router to explain: leave out --explain, or --bare")
    system = system_content(instructions, tools, runtime.base.prompting.tools_header)
    messages = runtime.base.chat.complete(request(prompt, passages, (), system))
    trunk = runtime.trunk()
    for message in messages:
        trunk.append(message, more=message is not messages[-1])
    trunk.flush(Clock())
    features = router.features(trunk.features(-1), messages)
    absent = frozenset(getattr(router, "skills", ())) - frozenset(runtime.skills) - {"none"}
    state = RouterState(bool(tools), bool(passages), python, absent, "user")
    explanation: Mapping[str, Any] | None = None
    if explain:
        explained = router.explain(features, state)  # type: ignore[attr-defined]
        explanation = {
            "threshold": explained.threshold,
            "distance": explained.distance,
            "distance_limit": explained.distance_limit,
            "nearest": [{"similarity": near, **plain(example)} for example, near in explained.nearest],
        }
    return FirstRoute(router.screen(features), router.choose(features, state), explanation)
