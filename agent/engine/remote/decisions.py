"""Routing by a server's `/v1/decisions`, which answers a choice among options with a probability for each.

A loraloop server is asked for its router (`model="router"`), which reads the transcript as it stands and says its
thresholds; of any other server (vLLM from 0.33 on, OpenAI) the model itself chooses among descriptions of the skills.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from loraloop.agent.engine.cache.sequence import Interrupted, RequestContext
from loraloop.router.decision import NONE, Route, RouterState, ScreenResult, route_of
from loraloop.router.proxy import reworded
from loraloop.tool_schemas.errors import BaseModelError

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base.messages import Message
    from loraloop.agent.engine.remote.server import RemoteServer

ROUTER = "router"
"""The model of a loraloop server that answers by its router."""
ASKED = "What does the assistant have to do next?"
OUTCOMES = {
    "tools": "Call one of the listed tools, because the request needs it now.",
    "code": "Write a Python program.",
    "retrieval": "Answer from the passages that the last message shows.",
    NONE: "Answer in words, without tools and passages.",
}
"""What can be chosen, as it is described to a model that was not trained to route."""


@dataclass(frozen=True, slots=True)
class ServerDecision:
    """What a server says of a transcript's last message.

    Attributes:
        shares: Probabilities by outcome, where every one of them can be chosen.
        threshold: A skill less probable than this is not taken.
        far: Whether the message lies far from all that the router was fitted on.
        screen: Whether the safety skill is asked.
        call: How probable it is that the message needs a call; None where the server does not tell.
    """

    shares: Mapping[str, float]
    threshold: float
    far: bool
    screen: ScreenResult
    call: float | None = None


class ServerRouter:
    """The decisions of a server; it stands wherever a `Router` does, and needs no hidden states here.

    Args:
        server: The server.
        model: Its model that decides; `ROUTER` for the router of a loraloop server.
        wording: For that router, words of the transcripts' prompts by those that it knows; see `ProxyRouter`.
    """

    layers: tuple[int, ...] = ()
    skills = tuple(name for name in OUTCOMES if name != NONE)

    def __init__(self, server: RemoteServer, model: str, wording: Mapping[str, str] | None = None) -> None:
        self._server, self._model, self._wording = server, model, wording or {}

    def features(
        self, kept: Mapping[int, Tensor], messages: Sequence[Message], request_context: RequestContext | None = None
    ) -> ServerDecision:
        """Asks about the last message of a transcript.

        Args:
            kept: Hidden states `[T, H]` of a base here by layer, which are not used.
            messages: The transcript, up to and including the message that is to be routed.
            request_context: How long the run waits for the answer; None for as long as the connection does.

        Raises:
            Interrupted: The run's time is up, or it was cancelled.
            BaseModelError: The server does not answer, or decides nothing.
            ContextLengthError: The transcript is too long for the server.
            InputError: The server refuses the key.
        """
        routes = self._model == ROUTER
        choices = [{"value": name} if routes else {"value": name, "description": OUTCOMES[name]} for name in OUTCOMES]
        questions: list[dict[str, Any]] = [{"type": "choice", "instructions": ASKED, "choices": choices}]
        if routes:
            questions.append({"type": "predicate", "instructions": "The last message is unsafe."})
        # vLLM takes users' words alone
        transcript: Any = "\n\n".join(f"{each.role}: {each.content}" for each in messages)
        if routes:
            transcript = [{"role": each.role, "content": reworded(each.content, self._wording)} for each in messages]
        body = {"model": self._model, "input": transcript, "questions": questions}
        gone = (request_context or RequestContext()).gone
        text = self._server.ask("decisions", body, gone)
        if reason := gone():
            raise Interrupted(reason)
        try:
            return _decision(json.loads(text)["answers"])
        except (ValueError, KeyError, TypeError) as error:
            raise BaseModelError(
                f"{self._server.url}/decisions chose nothing ({text[:200]}): give the name of a base as eyes"
            ) from error

    def screen(self, features: ServerDecision) -> ScreenResult:
        """Whether the last message is unsafe; see `Router.screen`."""
        return features.screen

    def choose(self, features: ServerDecision, state: RouterState) -> Route:
        """Which skill the next step runs on: the likeliest of those that this step can take; see `Router.choose`."""
        far = "far from all training data" if features.far else ""
        route = route_of(features.shares, state, features.threshold, far)
        return replace(route, call=features.call if state.may_call else None)


def _decision(answers: Sequence[Mapping[str, Any]]) -> ServerDecision:
    """What the answers say. Where no screen says otherwise, every message is judged that a safety skill can judge."""
    chosen, *screened = answers
    shares = {str(each["value"]): max(float(each["probability"]), 1e-9) for each in chosen["probabilities"]}
    unsafe, least = (float(screened[0]["probability"]), float(screened[0]["threshold"])) if screened else (1.0, 0.0)
    return ServerDecision(
        shares={name: shares[name] for name in OUTCOMES},
        threshold=float(chosen.get("threshold") or 0.0),
        far=bool(chosen.get("far")),
        call=chosen.get("call"),
        screen=ScreenResult(unsafe, unsafe >= least, least),
    )
