"""A hosted agent as a model of `POST /v1/chat/completions`: its own tools run, and its answer comes back."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from loraloop.integrations.in_thread import in_thread
from loraloop.server.wire import conversation_of

if TYPE_CHECKING:
    from loraloop.server.state import ServerState
    from loraloop.server.wire import ChatRequest


async def hosted_completion(state: ServerState, body: ChatRequest) -> dict[str, Any]:
    """Runs an agent on a conversation; the document of its answer.

    A run that waits for approval ends with `finish_reason` `approval_required`: approve it at /v1/agents.
    """
    talk = conversation_of(body.messages)
    *history, last = talk.messages
    stream = state.agents[body.model].agent.stream(last.content, messages=history)
    async for _ in in_thread(iter(stream), stream.cancel):
        pass
    run = stream.result
    state.metrics.count(run)
    refused = run.stop_reason == "refused"
    finish = {"answer": "stop", "code": "stop", "refused": "content_filter", "approval": "approval_required"}
    read = sum(step.tokens.prefilled + step.tokens.reused for step in run.steps[-1:])
    written = sum(step.tokens.generated for step in run.steps)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.model,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None if refused else run.output,
                    "refusal": run.output if refused else None,
                },
                "finish_reason": finish.get(run.stop_reason, "length"),
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        "loraloop": {"run_id": run.run_id, "stop_reason": run.stop_reason, "citations": list(run.citations)},
    }
