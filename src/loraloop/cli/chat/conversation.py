"""A conversation in the terminal: its messages, its turns, and what holds for the next one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError, file_errors

if TYPE_CHECKING:
    from loraloop.adapters.base import Message
    from loraloop.adapters.skill.contracts import Passage
    from loraloop.agent import Agent, PendingRun, RunResult, RunStream, Runtime
    from loraloop.agent.agent import Decisions
    from loraloop.agent.events import Event
    from loraloop.agent.tracing.trace import Trace
    from loraloop.agent.tracing.tracer import Tracer
    from loraloop.tool_schemas import Tool


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One question and what came of it; `before` is the conversation until then."""

    prompt: str
    result: RunResult
    trace: Trace
    before: tuple[Message, ...]


class Conversation:
    """Asks an agent, question after question.

    Args:
        runtime: Base, skills and router.
        tools: What the agent may call.
        settings: What else an `Agent` takes: limits, policy, sampling, python, retriever.
        traces: Makes the turns' traces; one in memory where None.
        approve: Function that is asked about a run's calls that wait for approval; where None, they are denied.

    Attributes:
        messages: The messages so far, without the system message.
        turns: The turns that `undo` can take back.
        instructions: The system message, before the tools.
        skill: Skill of each turn's first step; None: the router's choice.
        passages: What the next questions may be answered from; None: what the retriever finds, if there is one.
        running: The turn that runs.
    """

    def __init__(
        self,
        runtime: Runtime,
        tools: Sequence[Tool] = (),
        settings: Mapping[str, Any] | None = None,
        *,
        traces: Tracer | None = None,
        approve: Callable[[PendingRun, Mapping[str, Tool]], Decisions] | None = None,
    ) -> None:
        from loraloop.agent.tracing.tracer import Tracer

        self.runtime = runtime
        self.tools = tuple(tools)
        self.messages: tuple[Message, ...] = ()
        self.turns: list[ChatTurn] = []
        self.instructions = ""
        self.skill: str | None = None
        self.passages: tuple[Passage, ...] | None = None
        self.running: RunStream[Any] | None = None
        self._settings = dict(settings or {})
        self._tracer = traces or Tracer(keep=1)
        self._approve = approve or (lambda pending, tools: pending.denied())

    def agent(self) -> Agent[Any, Any]:
        """The agent of the next turn."""
        from loraloop.agent import Agent

        return Agent(self.runtime, self.tools, self.instructions, hooks=[self._tracer], **self._settings)

    def ask(self, prompt: str) -> Iterator[Event]:
        """Runs a turn, telling what happens. A turn that was stopped before anything was said is not kept.

        Raises:
            LoraloopError: It cannot run; the conversation is as it was.
        """
        agent = self.agent()
        stream = agent.stream(prompt, messages=self.messages, passages=self.passages, skill=self.skill)
        while True:
            self.running = stream
            try:
                yield from stream
                result = stream.result
            finally:
                self.running = None
            if result.pending is None:
                break
            decisions = self._approve(result.pending, {tool.name: tool for tool in self.tools})
            stream = agent.resume_stream(result.pending, decisions)
        from loraloop.agent.messages import without_system

        kept = without_system(result.messages)
        if kept and kept[-1].role != "user":
            self.turns.append(ChatTurn(prompt, result, self._tracer.last, self.messages))
            self.messages = kept

    def stop(self) -> bool:
        """Ends the turn that runs, at its next token; whether there is one."""
        if self.running is None:
            return False
        self.running.cancel()
        return True

    def undo(self) -> ChatTurn:
        """Takes the last turn back.

        Raises:
            InputError: There is none.
        """
        if not self.turns:
            raise InputError("there is no turn to take back")
        turn = self.turns.pop()
        self.messages = turn.before
        return turn

    def reset(self) -> None:
        """Forgets the messages; instructions, skill and passages stay."""
        self.messages = ()
        self.turns.clear()

    def save(self, file: str | Path) -> None:
        """Writes instructions and messages as JSON."""
        listed = [{"role": each.role, "content": each.content} for each in self.messages]
        text = json.dumps({"instructions": self.instructions, "messages": listed}, indent=1, ensure_ascii=False)
        with file_errors(f"cannot write {file}"):
            Path(file).write_text(text + "\n", encoding="utf-8")

    def load(self, file: str | Path) -> None:
        """Goes on from what `save` wrote, or from a JSON list of messages; a system message gives the instructions."""
        instructions, messages = read_messages(file)
        self.reset()
        self.messages = messages
        self.instructions = instructions or self.instructions


def read_messages(file: str | Path) -> tuple[str, tuple[Message, ...]]:
    """Instructions and messages of a file.

    Raises:
        InputError: It cannot be read, or holds something else; the message names the place.
    """
    from loraloop.adapters.base import Message
    from loraloop.agent.messages import without_system

    wanted = 'give a JSON list of {"role", "content"}, or {"messages": […]} around it'
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}): {wanted}") from error
    instructions = data.get("instructions", "") if isinstance(data, dict) else ""
    entries = data.get("messages") if isinstance(data, dict) else data
    if not isinstance(entries, list) or not isinstance(instructions, str):
        raise InputError(f"{file}: {wanted}")
    listed = []
    for index, entry in enumerate(entries):
        try:
            listed.append(Message(entry["role"], entry["content"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file}, message {index}: {error}; {wanted}") from error
    rest = without_system(listed)
    if len(rest) < len(listed):
        instructions = instructions or listed[0].content
    return instructions, rest
