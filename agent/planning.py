"""Asking the base which tools a request needs, before it has seen anything but the user's own words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from loraloop.adapters.base.messages import Message
from loraloop.agent.engine.generate import Budget, Generated
from loraloop.agent.engine.sampling import Sampler, Sampling
from loraloop.tool_schemas.errors import LoraloopError
from loraloop.tool_schemas.grammar import JsonSchema
from loraloop.tool_schemas.jsontext import fold

if TYPE_CHECKING:
    from loraloop.agent.engine.trunk import Trunk
    from loraloop.agent.job import Job
    from loraloop.agent.runtime import Runtime

TOKENS = 96
SYSTEM = """You decide which actions a request asks for. Actions change or send something. A request that only asks \
for information needs none: answer []. Answer with a JSON list of the names.
Example
Actions:
- add_note: Write a new note.
- remove_note: Remove a note.
- share_note: Share a note with somebody.
Request: Which note mentions flour?
[]
Request: Find the note about flour and share it with Mara.
["share_note"]
Request: Copy what the old list says into a new note, then remove the old one.
["add_note","remove_note"]"""


def asked(trunk: Trunk) -> tuple[str, ...]:
    """The user's own words in a transcript, without passages; what is not trusted is left out."""
    words = []
    for span in trunk.messages:
        message = span.message
        if message.role != "user" or (message.origin is not None and not message.origin.trusted):
            continue
        spans = message.origin.passages if message.origin is not None else ()
        words.append(message.content[spans[-1].end :].strip() if spans else message.content)
    return tuple(words)


def needed(runtime: Runtime, trunk: Trunk, job: Job) -> tuple[str, ...]:
    """Names of the tools with effects that the user's words ask for, as the bare base says; none if it cannot tell.

    It is asked in a transcript of its own, which holds nothing else, so that no untrusted text has a say. The answer
    is decoded under a grammar that knows these names only.
    """
    acting = [tool for tool in job.tools if tool.effects]
    words = asked(trunk)
    if not acting or not words:
        return ()
    listed = "\n".join(f"- {tool.name}: {fold(tool.description)}" for tool in acting)
    question = f"Actions:\n{listed}\nRequest: {' '.join(words)}"
    names = [tool.name for tool in acting]
    schema = {"type": "array", "items": {"enum": names}, "minItems": 0, "maxItems": len(names)}
    try:
        said = json.loads(_written(runtime, [Message("system", SYSTEM), Message("user", question)], schema))
    except (LoraloopError, ValueError):  # it does not fit, or was cut off
        return ()
    return tuple(dict.fromkeys(said))


def _written(runtime: Runtime, messages: list[Message], schema: dict[str, object]) -> str:
    chat = runtime.base.chat
    complete = chat.complete(messages)
    trunk = runtime.store.take(complete[:1]) or runtime.trunk()
    for message in complete[len(trunk.messages) :]:
        trunk.append(message, chat.message(message.role, message.content))
    out = Generated()
    branch = trunk.branch(trunk.author)
    try:
        for piece in runtime.generate(
            branch,
            chat.generation_prompt,
            Sampler(Sampling()),
            Budget(TOKENS),
            stop_ids=runtime.stop_ids,
            constraint=runtime.grammar(JsonSchema(schema)).start(),
        ):
            if isinstance(piece, Generated):
                out = piece
    finally:
        branch.close()
        runtime.store.put(trunk)
    return out.text
