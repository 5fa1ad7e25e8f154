"""Hosted agents: read from a YAML file, run by `POST /v1/agents/{name}/runs`, approved and cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import ExitStack, aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Discriminator, Field, Tag, ValidationError

from loraloop.adapters.training.recipe.recipe_lines import explain, read_lines, unknown_key
from loraloop.inputs.loading import read_documents
from loraloop.server.ag_ui import AgUiInput, translated
from loraloop.server.errors import STREAM, ApiError, documented
from loraloop.server.runs import HostedAgent, HostedRun, owner_of
from loraloop.server.state import BodyRoute, begun, check_conversation, event_stream, key_of, state_of, turn_of
from loraloop.server.wire import AUTO, BASE, Items, Pairs, Strict
from loraloop.tool_schemas.errors import InputError, LoraloopError
from loraloop.tool_schemas.jsontext import dumps, levels
from loraloop.tool_schemas.schema.validation import DEEPEST_VALUE

if TYPE_CHECKING:
    from loraloop.agent import Agent, RunStream
    from loraloop.agent.events import RunFinished
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.sessions.sessions import Session
    from loraloop.server.state import RequestTurn, ServerState
    from loraloop.tool_schemas.http.policy import NetworkPolicy

routes = APIRouter(route_class=BodyRoute)


class AgentLimits(Strict):
    """Bounds of each run."""

    max_steps: int = Field(default=12, ge=1)
    run_tokens: int = Field(default=4096, ge=1)
    deadline: float | None = Field(default=None, gt=0)


class FallbackSpec(Strict):
    """A larger model that writes the steps which are handed over."""

    url: str
    model: str = ""
    key_env: str = ""


class AgentSpec(Strict):
    """An agent of the file."""

    description: str = ""
    instructions: str = ""
    tools: list[str] = Field(default_factory=list)
    mcp: list[str] = Field(default_factory=list)
    documents: list[Path] = Field(default_factory=list)
    python: bool = False
    ask: list[str] = Field(default_factory=list)
    skills: list[str] = Field(default_factory=list)
    limits: AgentLimits = AgentLimits()
    fallback: FallbackSpec | None = None


def read_agents(
    file: Path,
    runtime: Runtime,
    stack: ExitStack,
    deadline: float | None = None,
    policy: NetworkPolicy | None = None,
) -> dict[str, HostedAgent]:
    """The agents of a YAML file: `agents:` with a mapping of names.

    Args:
        file: The file.
        runtime: Base, skills and router.
        stack: Leaves, when the server ends, what the agents hold, such as connections to MCP servers.
        deadline: Seconds of a run where the file says nothing; None for no bound.
        policy: Where the tools of OpenAPI documents may connect; None for the rules that hold by default.

    Raises:
        InputError: It is wrong; the message names the place and its line.
        LoraloopError: A tool, a document or a server cannot be read.
    """
    content, lines = read_lines(file)
    if isinstance(content, dict) and (others := [str(key) for key in content if key != "agents"]):
        unknown = unknown_key(others[0], others[0], ["agents"])
        raise InputError(f"{lines.at(others[:1])}: {unknown}; list every agent under agents:")
    if not isinstance(content, dict) or not isinstance(content.get("agents"), dict):
        raise InputError(f"{file}: write agents: with a name for each, see docs/serve.md")
    models = {AUTO, BASE, "router", runtime.base.name, *runtime.skills}
    found = {}
    for name, entry in ((str(key), entry) for key, entry in content["agents"].items()):
        if not name or "/" in name:  # it is a part of the agent's address
            where = lines.at(("agents", name))
            raise InputError(f"{where}: no agent can be called {name!r}: give it a name without a slash")
        if name in models:
            where = lines.at(("agents", name))
            raise InputError(f"{where}: no agent can be called {name!r}: it is the name of a model of this server")
        try:
            spec = AgentSpec.model_validate(entry or {})
        except ValidationError as error:
            raise InputError(explain(error, AgentSpec, lines, ("agents", name))) from None
        spec.limits = spec.limits.model_copy(update={"deadline": spec.limits.deadline or deadline})
        agent = agent_of(name, spec, runtime, file.parent, stack, policy=policy)
        found[name] = HostedAgent(name, agent, spec.description)
    return found


def agent_of(
    name: str,
    spec: AgentSpec,
    runtime: Runtime,
    folder: Path,
    stack: ExitStack,
    *,
    policy: NetworkPolicy | None = None,
) -> Agent[Any, Any]:
    """The agent that a specification describes.

    Args:
        name: The agent's name.
        spec: What the file says of it.
        runtime: Base, skills and router.
        folder: What the paths in the specification are relative to.
        stack: Leaves, when the server ends, what the agent holds.
        policy: Where the tools of OpenAPI documents may connect; None for the rules that hold by default.
    """
    from loraloop.agent import Agent, Fallback, Limits, Policy
    from loraloop.agent.tracing.otel import OpenTelemetry
    from loraloop.inputs.tool_sources import is_python, is_url, tools_from_sources

    def place(source: str) -> str:
        module = is_python(source) and not source.split(":")[0].endswith(".py")
        return source if module or is_url(source) else str(folder / source)

    return Agent(
        runtime,
        tools_from_sources([place(source) for source in spec.tools], spec.mcp, stack.enter_context, policy, folder),
        spec.instructions,
        python=spec.python,
        limits=Limits(**spec.limits.model_dump()),
        policy=Policy(
            skills=tuple(spec.skills), needs_approval=frozenset("*" if name == "all" else name for name in spec.ask)
        ),
        retriever=read_documents([folder / path for path in spec.documents]),
        fallback=None if spec.fallback is None else Fallback(**spec.fallback.model_dump()),
        hooks=[OpenTelemetry(agent=name)],
    )


class RunBody(Strict):
    """The body of a run: what is asked, and the session that it goes on with.

    With `resume` and without an input, a run of the session that was interrupted goes on. Of one that has ended comes
    its end once more: so who lost a connection learns what came of the run, and asks for nothing twice.
    """

    input: str = ""
    session: str | None = Field(default=None, min_length=1, max_length=100)
    resume: bool = False
    skill: str | None = None
    messages: Items[Pairs[str]] = Field(default_factory=list)


class CallDecision(Strict):
    """The decision about a call."""

    approve: bool
    arguments: dict[str, Any] | None = None
    reason: str = ""


class ApproveBody(Strict):
    """Decisions by the ids of calls."""

    decisions: Pairs[CallDecision]


def _protocol_of(body: Any) -> str:
    """The form of a run's body, by what only one of them has; a large body has been read already."""
    ag_ui = isinstance(body, AgUiInput) or (isinstance(body, dict) and {"threadId", "runId"} & body.keys())
    return (AgUiInput if ag_ui else RunBody).__name__


AnyBody = Annotated[
    Annotated[RunBody, Tag(RunBody.__name__)] | Annotated[AgUiInput, Tag(AgUiInput.__name__)],
    Discriminator(_protocol_of),
]


@routes.get("/v1/agents")
async def list_agents(request: Request) -> JSONResponse:
    """The hosted agents."""
    return JSONResponse({"agents": [agent.document() for agent in state_of(request).agents.values()]})


@routes.post("/v1/agents/{name}/runs", responses={**STREAM, **documented({404, 409})})
async def start_run(
    name: str, body: AnyBody, request: Request, protocol: Literal["loraloop", "ag-ui"] = "loraloop"
) -> Response:
    """Runs an agent; its events come as server-sent events, of our own or of the AG-UI protocol."""
    from loraloop.adapters.base import Message
    from loraloop.agent import RunStream

    state = state_of(request)
    hosted = hosted_agent(state, name)
    client = body if isinstance(body, AgUiInput) else None
    if (client is not None) != (protocol == "ag-ui"):
        raise ApiError(400, "the body is not one of this protocol: ?protocol=ag-ui takes a RunAgentInput", "protocol")
    if isinstance(body, AgUiInput):
        if body.resume:
            run_id, decided = body.decided()
            answers = {
                call: CallDecision(approve=each.approved, arguments=each.arguments) for call, each in decided.items()
            }
            goes_on = await _decided(request, name, run_id, answers)
            return event_stream(state, _sent(translated(body, goes_on, state.runtime), named=False))
        prompt, history = await asyncio.to_thread(body.split)
        body = RunBody(input=prompt, messages=history)
    options: dict[str, Any] = {"skill": body.skill}
    if body.messages:
        try:
            options["messages"] = [Message(each["role"], each["content"]) for each in body.messages]
        except (KeyError, ValueError) as error:
            raise ApiError(400, f"a message needs role and content: {error}", "invalid_value", "messages") from None
        if any(message.role == "system" for message in options["messages"]):
            raise ApiError(400, f"{name} has its own instructions: leave system messages out", "agent", "messages")
    run = HostedRun("", hosted.name, owner_of(key_of(request)), body.input, body.session or "")
    if bool(body.input.strip()) == body.resume or (body.resume and body.session is None):
        raise ApiError(400, "give an input, or resume: true with a session", "invalid_value", "input")
    await asyncio.to_thread(state.runs.check_waiting, run.owner)
    turn = await turn_of(request)
    try:
        if run.session:
            options["session"] = session = state.session_of(run, turn)
            ended = await asyncio.to_thread(_ended, session, body, f"/v1/agents/{hosted.name}/runs")
            if ended is not None:
                turn.leave()
                return event_stream(state, _sent(_one(ended.to_dict())))
        if not body.resume:
            await asyncio.to_thread(_check, state, hosted.agent, body.input, options)
        loop = asyncio.get_running_loop()  # async tools are awaited here; sessions are read and written on a thread
        starter = await asyncio.to_thread(hosted.agent._starter, body.input, loop=loop, **options)
        events = await begun(_read(state, run, RunStream(starter), turn))
    except BaseException:
        turn.leave()
        raise
    if client is not None:
        return event_stream(state, _sent(translated(client, events, state.runtime), named=False))
    return event_stream(state, _sent(events))


def _check(state: ServerState, agent: Agent[Any, Any], prompt: str, options: Mapping[str, Any]) -> None:
    """Checks that a run's instructions, tools, session, messages and input are not too long; raises ApiError."""
    known = options["session"].messages if "session" in options else ()
    check_conversation(state, agent, prompt, (*known, *options.get("messages", ())))


def _ended(session: Session, body: RunBody, route: str) -> RunFinished | None:
    """The end of a session's last run, where `resume` asks for it; None if it has not ended, or there is none.

    Raises:
        ApiError: 409, there is a new input, and the last run was interrupted or waits for approval.
    """
    from loraloop.agent.events import RunFinished

    condition = session.state
    result = session.result if condition == "idle" else None
    if body.resume:
        return None if result is None else RunFinished(result.run_id, result)
    if condition == "interrupted":
        how = "go on with it first (resume: true, without an input)"
        raise ApiError(409, f"a run of session {body.session!r} was interrupted: {how}", "interrupted", "session")
    if result is not None and result.stop_reason == "approval":
        how = f"decide at {route}/{result.run_id}/approve, or end it at …/cancel"
        raise ApiError(409, f"session {body.session!r} waits for approval: {how}", "waits_for_approval", "session")
    return None


async def _one(event: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    yield event


async def _read(
    state: ServerState, run: HostedRun, stream: RunStream[Any], turn: RequestTurn
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a run, whose turn ends with them."""
    try:
        async with aclosing(state.runs.events(run, stream, state.metrics.count)) as events:
            async for event in events:
                yield event
    finally:
        try:
            if run.session and run.state == "failed":
                with suppress(LoraloopError):
                    await asyncio.to_thread(state.still_waits, run)
        finally:
            turn.leave()


@routes.post("/v1/agents/{name}/runs/{run_id}/approve", responses={**STREAM, **documented({404, 409})})
async def approve_run(name: str, run_id: str, body: ApproveBody, request: Request) -> Response:
    """Decides about calls that wait; the run goes on, and its events come as server-sent events."""
    return event_stream(state_of(request), _sent(await _decided(request, name, run_id, body.decisions)))


async def _decided(
    request: Request, name: str, run_id: str, decided: Mapping[str, CallDecision]
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a run that goes on, once there are decisions about its calls that wait.

    Raises:
        ApiError: 404 or 409, there is no such run, or it does not wait; or a decision does not fit its call.
    """
    from loraloop.agent import Approve, Deny, RunStream

    state = state_of(request)
    hosted = hosted_agent(state, name)
    run = await run_of(request, name, run_id)
    decisions = {
        call: Approve(_plain(each.arguments)) if each.approve else Deny(each.reason) for call, each in decided.items()
    }
    pending = await asyncio.to_thread(state.runs.take, run)  # a second decision that comes meanwhile is refused
    try:
        turn = await turn_of(request)
        try:
            session = state.session_of(run, turn) if run.session else None
            resume = partial(hosted.agent._resume, pending, decisions, loop=asyncio.get_running_loop())
            resumed = await asyncio.to_thread(resume, session=session)
        except BaseException:
            turn.leave()
            raise
    except BaseException:
        await asyncio.shield(asyncio.to_thread(state.runs.waits, run, pending, run.result))
        raise

    return await begun(_read(state, run, RunStream(lambda: resumed), turn))


@routes.post("/v1/agents/{name}/runs/{run_id}/cancel", responses=documented({404, 409}))
async def cancel_run(name: str, run_id: str, request: Request) -> JSONResponse:
    """Ends a run at its next token, and one that waits for approval at once: none of its calls runs."""
    state = state_of(request)
    run = await run_of(request, name, run_id)
    if run.state == "running":
        await asyncio.to_thread(state.runs.cancel, run)
    elif run.state == "waiting":
        pending = await asyncio.to_thread(state.runs.take, run)  # nobody else decides about it meanwhile
        try:
            if run.session:
                with await turn_of(request) as turn:
                    await asyncio.to_thread(state.session_of(run, turn).give_up)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(state.runs.waits, run, pending, run.result))
            raise
        await asyncio.to_thread(state.runs.drop, run)
    return JSONResponse(run.summary())


@routes.get("/v1/runs")
async def list_runs(request: Request) -> JSONResponse:
    """The last runs of whoever asks, the newest first."""
    runs = await asyncio.to_thread(state_of(request).runs.of, owner_of(key_of(request)))
    return JSONResponse({"runs": runs})


@routes.get("/v1/runs/{run_id}", responses=documented({404}))
async def show_run(run_id: str, request: Request) -> JSONResponse:
    """A run with all its events."""
    run = await asyncio.to_thread(state_of(request).runs.get, run_id, owner_of(key_of(request)))
    return JSONResponse(run.document())


def _plain(arguments: dict[str, Any] | None) -> dict[str, Any] | None:
    """Arguments as JSON holds them: no NaN and no half of a surrogate pair. What is too deep is refused later."""
    if arguments is None or levels(arguments) > DEEPEST_VALUE:
        return arguments
    made: dict[str, Any] = json.loads(dumps(arguments))
    return made


def hosted_agent(state: ServerState, name: str) -> HostedAgent:
    """An agent.

    Raises:
        ApiError: 404, there is none.
    """
    if name not in state.agents:
        raise ApiError(404, f"there is no agent {name!r}; there are {', '.join(state.agents)}", "agent_not_found")
    return state.agents[name]


async def run_of(request: Request, name: str, run_id: str) -> HostedRun:
    """A run of an agent and of whoever asks.

    Raises:
        ApiError: 404, there is none; 409, it is another agent's.
    """
    run = await asyncio.to_thread(state_of(request).runs.get, run_id, owner_of(key_of(request)))
    if run.agent != name:
        raise ApiError(409, f"run {run_id} is one of the agent {run.agent!r}", "not_waiting")
    return run


async def _sent(events: AsyncIterator[Mapping[str, Any]], named: bool = True) -> AsyncGenerator[dict[str, str], None]:
    """Server-sent events; ours are named by their type, those of AG-UI are not."""
    async for event in events:
        yield {"data": dumps(event), **({"event": event["type"]} if named else {})}
