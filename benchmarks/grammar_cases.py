"""What the grammar benchmarks decode: requests with their tools, and the calls that the tools skill makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base import Message
from loraloop.agent.engine.generate import Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.tool_schemas import Tool, calls_schema, render_tools
from loraloop.tool_schemas.errors import LimitError, LoraloopError
from loraloop.tool_schemas.grammar.grammar import JsonSchema

if TYPE_CHECKING:
    from loraloop.agent import Runtime
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.tool_schemas.grammar.grammar import State

OWN = (
    ("weather.json", "What is the weather in Paris in celsius?"),
    ("weather.json", "Will it rain in London tomorrow? And in Rome?"),
    ("calendar.json", "Put lunch with Ana on my calendar for Friday at noon, one hour."),
    ("calendar.json", "Book a two hour review with Tom and Lee next Monday morning in room 4."),
    ("conversion.json", "How many euros are 250 US dollars?"),
    ("conversion.json", "Convert 12 miles to kilometres."),
    ("search.json", "Search the web for the tallest building in Asia."),
    ("search.json", "Find three recent articles about solar power in Spain."),
)
"""Requests for the example tools of the repository."""

TOKENS = 160  # of one list of calls


@dataclass(frozen=True, slots=True)
class Case:
    """A request, its tools, and the schema of the calls that answer it."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    schema: dict[str, Any]


def cases(data: Path | None, limit: int) -> list[Case]:
    """The repository's own requests, or those of BFCL under `data` that expect calls, as far as the tools are taken."""
    found: list[Case] = []
    for messages, tools in _bfcl(data) if data is not None else _own():
        try:
            made = tuple(map(Tool.from_schema, tools))
            schema = calls_schema(made, 1, 2)
        except LoraloopError:
            continue
        system = Message("system", render_tools(made))
        found.append(Case((system, *messages), made, schema))
        if len(found) >= limit:
            break
    return found


def _own() -> Iterator[tuple[list[Message], list[dict[str, Any]]]]:
    folder = Path(__file__).resolve().parents[1] / "tool_schemas" / "examples"
    for name, request in OWN:
        document = json.loads((folder / name).read_text(encoding="utf-8"))
        yield [Message("user", request)], document if isinstance(document, list) else [document]


def _bfcl(data: Path) -> Iterator[tuple[list[Message], list[dict[str, Any]]]]:
    with (data / "tools" / "bfcl.eval.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["calls"]:
                yield [Message(m["role"], m["content"]) for m in record["messages"]], record["tools"]


def trunk_of(runtime: Runtime, messages: Sequence[Message]) -> Trunk:
    """A computed trunk of a request."""
    trunk = runtime.trunk()
    for message in runtime.base.chat.complete(messages):
        trunk.append(message, runtime.base.chat.message(message.role, message.content))
    trunk.flush()
    return trunk


@contextmanager
def branch_of(runtime: Runtime, trunk: Trunk, skill: str) -> Iterator[Branch]:
    """A branch under a skill that leaves nothing."""
    with runtime.engine.activate(skill) as active:
        branch = trunk.branch(active.author)
        try:
            yield branch
        finally:
            branch.close()


def written(runtime: Runtime, branch: Branch, sampler: Any, tokens: int, state: State | None) -> Generated:
    """What `generate` writes in a branch."""
    request = GenerateRequest(
        invocation=runtime.base.chat.generation_prompt,
        sampler=sampler,
        max_tokens=tokens,
        stop_ids=runtime.base.end_ids,
        constraint=state,
    )
    for piece in generate(branch, request):
        if isinstance(piece, Generated):
            return piece
    raise RuntimeError("nothing was generated")


def decoded(runtime: Runtime, case: Case, skill: str = "tools") -> tuple[Trunk, Generated] | None:
    """The calls that a skill makes, greedily, and the trunk they stand on; None if they do not fit or do not end."""
    try:
        trunk = trunk_of(runtime, case.messages)
        state = runtime.grammar(JsonSchema(case.schema)).start()
        with branch_of(runtime, trunk, skill) as branch:
            out = written(runtime, branch, Sampler(Sampling()), TOKENS, state)
    except LimitError:
        return None
    return (trunk, out) if out.whole else None
